"""A model as one ONNX graph, for TensorRT, OpenVINO or onnxruntime: from source pixels to probabilities.

Normalisation, pixels without data and the softmax are in the graph: what a user has to add by hand goes wrong. torch's
older exporter writes it (`dynamo=False`): it keeps every size open, and the newer one wants the library onnxscript.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import onnx
import torch
from torch import Tensor, nn

from infra.errors import UnusableInput, first_line
from models.card import ModelCard
from models.normalise import LIMIT
from models.onnx_check import compare
from models.onnx_pools import open_pools
from models.predictor import Predictor
from models.runtime import warmed

OPSET = 17
"""The newest that TensorRT 8.6 reads; later ones read it too."""
DIFFERENCE, EQUAL = 1e-3, 0.9999
"""How far a probability may lie from torch's, and the share of pixels that must have torch's class."""
_EDGE = 128
"""Least pixels a side at which every architecture runs: smp-pan halves a sixteenth of the image three times more."""
_ELSE = "train another architecture, such as lite-unet or unet."


@dataclass(frozen=True, slots=True)
class Graph:
    """An ONNX graph, and how near torch it came on random images."""

    content: bytes
    """The .onnx file's bytes."""
    difference: float
    """The largest difference of a probability."""
    equal: float
    """The share of pixels of the same class, as `models.onnx_check.compare` counts them."""


class _Whole(nn.Module):
    """From source pixels to probabilities, as `models.normalise` and `models.predictor` do it."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self.temperature = card.temperature
        self.register_buffer("mean", torch.tensor(card.mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(card.std, dtype=torch.float32).reshape(1, -1, 1, 1))

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        plain = (image - self.mean) / self.std  # (n, band, y, x)
        # NaN compares false, too. No product with the mask: NaN times 0 is NaN.
        keep = valid.unsqueeze(1) & (plain.abs() <= torch.finfo(torch.float32).max)
        plain = torch.where(keep, plain.clamp(-LIMIT, LIMIT), torch.zeros_like(plain[:1, :1, :1, :1]))
        logits = self.network(plain)  # (n, class, y, x)
        probability: Tensor = warmed(logits, self.temperature).softmax(dim=1)
        return probability


def to_onnx(network: nn.Module, card: ModelCard) -> Graph:
    """A network as an ONNX graph of opset 17 that was run beside torch.

    Its inputs are `image` (n, band, y, x) float32, source units, bands in the card's order, and `valid` (n, y, x) bool,
    True = data; its output is `probability` (n, class, y, x) float32, summing to 1 over classes, without meaning where
    not valid. n, y and x are open; y and x are multiples of the card's stride.

    Args:
        network: on the CPU, in evaluation mode; of the card's bands and classes.
        card: what it is; goes into the file's metadata (`describe`).

    Raises:
        UnusableInput: the network cannot be written as ONNX, or the graph's results are not torch's.
    """
    edge = -(-_EDGE // card.stride) * card.stride
    try:
        content = _export(network, card, edge=edge)
        difference, equal = compare(content, Predictor(card, network), edge=edge)
    except Exception as error:  # the exporter, the checker and onnxruntime raise whatever their parts do
        raise UnusableInput(
            f"{_called(card)} cannot be written as ONNX ({first_line(error)[:160]}); {_ELSE}"
        ) from error
    if not (difference <= DIFFERENCE and equal >= EQUAL):
        raise UnusableInput(
            f"{_called(card)} is not what torch runs once it is ONNX: probabilities differ by up to {difference:.2g} "
            f"(at most {DIFFERENCE:g} is let through) and {1 - equal:.3%} of pixels get another class; "
            f"{_ELSE}"
        )
    return Graph(content, difference, equal)


def describe(card: ModelCard) -> dict[str, str]:
    """What the file's metadata says of a model: plain words as they are, numbers and lists as JSON."""
    told = card.model_dump(
        mode="json", include={"architecture", "bands", "classes", "colours", "mean", "std", "resolution",
                              "stride", "tile", "margin", "ramp", "weights_sha256"}
    )  # fmt: skip
    told |= {name: card.lineage.get(name) for name in ("attribution", "licence")}
    told["geoloom_version"] = version("geoloom")
    return {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in told.items() if v is not None}


def _export(network: nn.Module, card: ModelCard, *, edge: int) -> bytes:
    image = torch.zeros(2, len(card.bands), edge, edge)
    valid = torch.ones(2, edge, edge, dtype=torch.bool)
    file = io.BytesIO()
    with _silent(), torch.no_grad(), open_pools(network):
        # Traced first: while smp's networks know that they are exported, they take other ways.
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            _Whole(network, card).eval(), (image, valid), check_trace=False
        )
        torch.onnx.export(
            traced,
            (image, valid),
            file,  # type: ignore[arg-type]  # the older exporter takes a file as well
            dynamo=False,
            opset_version=OPSET,
            input_names=["image", "valid"],
            output_names=["probability"],
            dynamic_axes={
                "image": {0: "n", 2: "y", 3: "x"},
                "valid": {0: "n", 1: "y", 2: "x"},
                "probability": {0: "n", 2: "y", 3: "x"},
            },
        )
    model = onnx.load_from_string(file.getvalue())
    onnx.helper.set_model_props(model, describe(card))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@contextmanager
def _silent() -> Iterator[None]:
    """No warnings of the tracer, of the exporter's age or of sizes, and no graph printed where the export fails."""
    # A hack: torch 2.14 prints the graph of a failed export below sys.stdout whatever it is told, because its
    # setup_onnx_logging lacks a pair of brackets.
    told = torch._C._jit_onnx_log  # noqa: SLF001
    torch._C._jit_onnx_log = _tell_nothing  # noqa: SLF001
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch._C._jit_onnx_log = told  # noqa: SLF001


def _tell_nothing(*_: object) -> None:
    """In place of what prints graphs."""


def _called(card: ModelCard) -> str:
    encoder = card.arguments.get("encoder")
    return f"Architecture {card.architecture}" + (f" with encoder {encoder}" if encoder else "")
