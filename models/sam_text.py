"""SAM 3 asked by text: every object in a picture that a short noun phrase names.

For each text the network gives up to 200 masks, a score for each, and one number for the whole picture: how sure it is
that the thing is there at all. The confidence of a mask is its score times that, as its authors have it; doubt about
the picture is no gate of its own, so that masks which are sure enough stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from infra.errors import UnusableInput, first_line
from models.hugging_face import import_transformers, load_network

LEAST_CONFIDENCE = 0.3
"""Masks that the network is less sure of are left out (its processor's default)."""
EVEN = 0.5
"""Probability above which a pixel is the object's."""
SAME = 0.5
"""Intersection over union of two masks of a class above which they are one object."""


@dataclass(frozen=True, slots=True)
class Objects:
    """What the texts found in a picture, the surest first."""

    masks: NDArray[np.bool_]
    """(n, y, x); those of different classes may overlap, and those of one class a little."""
    classes: NDArray[np.uint8]
    """(n,) class ids."""
    confidences: NDArray[np.float32]
    """(n,) in 0..1."""


def load_text_sam(folder: Path, texts: Mapping[int, Sequence[str]], *, device: str = "cpu") -> TextSam:
    """SAM 3 from a folder in Hugging Face's layout, with its processor's files, ready to look for texts.

    Args:
        folder: config.json, model.safetensors, and the files of image processor and tokenizer.
        texts: class id → the texts that it is asked for by.
        device: where it runs.

    Raises:
        UnusableInput: transformers is not installed; the files are missing, damaged or of another network; or a text
            is too long.
    """
    network = load_network("Sam3Model", folder, types=("sam3", "sam3_video"), device=device)
    return TextSam(network, _processor(folder), texts)


def _processor(folder: Path) -> Any:
    for files in (("tokenizer.json", "vocab.json"), ("processor_config.json", "preprocessor_config.json")):
        if not any((folder / file).is_file() for file in files):  # transformers would make do with an empty vocabulary
            raise UnusableInput(f"{folder} lacks {files[0]}, without which SAM 3 reads no text; fetch the model again.")
    try:
        return import_transformers().Sam3Processor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # a damaged file may raise nearly anything
        raise UnusableInput(
            f"The image processor and tokenizer in {folder} cannot be read ({first_line(error)}); fetch the "
            "model again."
        ) from error


class TextSam:
    """SAM 3 that looks for the same texts in every picture: the texts are encoded once, each picture once."""

    def __init__(self, network: Any, processor: Any, texts: Mapping[int, Sequence[str]]) -> None:
        self.network, self._processor = network, processor
        self.classes = frozenset(texts)
        """Ids of those that are looked for."""
        self._asked = {klass: [self._encoded(text) for text in listed] for klass, listed in texts.items()}

    @torch.inference_mode()
    def __call__(self, picture: NDArray[np.uint8]) -> Objects:
        """The objects in an (y, x, 3) RGB picture."""
        frame = self._processor.image_processor(
            images=picture, input_data_format="channels_last", return_tensors="pt"
        )["pixel_values"].to(self.network.device)  # fmt: skip
        seen = self.network.get_vision_features(frame)
        shape = (picture.shape[0], picture.shape[1])
        parts = [self._of_class(seen, texts, shape) for texts in self._asked.values()]
        masks, sure = (torch.cat(each).cpu() for each in zip(*parts, strict=True))
        classes = np.repeat(np.array([*self._asked], np.uint8), [len(part[0]) for part in parts])
        order = torch.argsort(-sure, stable=True)
        return Objects(masks[order].numpy(), classes[order.numpy()], sure[order].numpy())

    def _of_class(self, seen: Any, texts: Sequence[Any], shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Masks n y x and confidences of the objects that any text of a class finds."""
        found = [self._of_text(seen, *text) for text in texts]
        probability, sure = (torch.cat(each) for each in zip(*found, strict=True))
        chosen = distinct(probability > EVEN, sure)
        if not len(chosen):
            return torch.zeros(0, *shape, dtype=torch.bool, device=sure.device), sure[chosen]
        large = functional.interpolate(probability[chosen][None], shape, mode="bilinear", align_corners=False)[0]
        return large > EVEN, sure[chosen]

    def _of_text(self, seen: Any, text: Any, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities, coarse, n y x, and confidences of what a text finds."""
        out = self.network(vision_embeds=seen, text_embeds=text, attention_mask=mask)
        sure = (out.pred_logits.sigmoid() * out.presence_logits.sigmoid())[0]
        keep = sure > LEAST_CONFIDENCE
        return out.pred_masks[0, keep].sigmoid(), sure[keep]

    @torch.inference_mode()
    def _encoded(self, text: str) -> tuple[Any, Tensor]:
        """A text as the network has it, and which of its tokens count."""
        tokens = self._processor(text=text, return_tensors="pt").to(self.network.device)
        most = self.network.config.text_config.max_position_embeddings
        if tokens["input_ids"].shape[1] > most:
            raise UnusableInput(f"The text '{text}' is longer than the {most} tokens that SAM 3 reads; shorten it.")
        return self.network.get_text_features(**tokens), tokens["attention_mask"]


def distinct(masks: Tensor, confidences: Tensor) -> Tensor:
    """Which masks n y x to keep, the surest first: of those that are one object the surest; none that is empty."""
    flat = masks.flatten(1).float()
    common, area = flat @ flat.T, flat.sum(1)  # whole numbers below 2^24: exact in float32
    same = (common > SAME * (area[:, None] + area - common)).cpu()
    kept: list[int] = []
    for n in torch.argsort(-confidences, stable=True).tolist():
        if same[n, n] and not same[n, kept].any():  # an empty mask is not even the same as itself
            kept.append(n)
    return torch.tensor(kept, dtype=torch.long, device=masks.device)
