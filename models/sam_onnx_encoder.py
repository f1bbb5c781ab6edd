"""SAM's image encoder as an ONNX graph in the shape of a torch module, so that segment-anything runs on it."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from infra.errors import UnusableInput, first_line

IMAGE_SIZE = 1024
"""Pixels a side of the encoder's input; segment-anything resizes the longer side to it and pads the other."""

EMBEDDING_CHANNELS = 256
EMBEDDING_SIZE = 64
"""Cells a side of the embedding: one for 16 pixels of the input."""


class OnnxImageEncoder(nn.Module):
    """An image encoder that onnxruntime runs on the CPU; it has no parameters that torch could train."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        """Open the graph and check its input and output.

        Two threads were no faster than one for ViT-T (2.1 s against 1.9 s on two shared cores): lanes beat threads.

        Args:
            path: graph of [N, 3, 1024, 1024] float32, normalised as SAM does, to [N, 256, 64, 64].
            threads: CPU threads of this session.

        Raises:
            UnusableInput: the file is no such graph.
        """
        super().__init__()
        self.img_size = IMAGE_SIZE  # segment-anything reads this name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # the arena keeps its peak for the life of the process, and is no faster
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common parent below Exception
            raise UnusableInput(
                f"{path} is no ONNX graph that can be run ({first_line(error)}); fetch the model again."
            ) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].shape[1:] != [3, IMAGE_SIZE, IMAGE_SIZE]:
            shapes = [(i.name, i.shape) for i in inputs]
            raise UnusableInput(f"{path} takes {shapes}, expected one input of [N, 3, 1024, 1024]; give a SAM encoder.")
        if len(outputs) != 1 or outputs[0].shape[1:] != [EMBEDDING_CHANNELS, EMBEDDING_SIZE, EMBEDDING_SIZE]:
            shapes = [(o.name, o.shape) for o in outputs]
            raise UnusableInput(f"{path} gives {shapes}, expected one output of [N, 256, 64, 64]; give a SAM encoder.")
        self._input = inputs[0].name

    def forward(self, image: Tensor) -> Tensor:
        """The embedding of normalised, padded images.

        Args:
            image: [N, 3, 1024, 1024] on any device.

        Returns:
            [N, 256, 64, 64] float32 on the device of `image`.
        """
        frames = image.detach().to("cpu", torch.float32).numpy()
        # One by one: the export fixes N = 1 inside the graph, whatever its input says.
        embeddings = [self._session.run(None, {self._input: frames[i : i + 1]})[0] for i in range(len(frames))]
        return torch.cat([torch.from_numpy(e) for e in embeddings]).to(image.device)  # N 256 64 64
