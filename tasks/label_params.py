"""What labelling, and looking at labels, takes; see `tasks/params.py`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from tasks.params import IngestParams, Parameters, split_commas
from tasks.truth_params import EvaluateParams, TruthParams

Method = Literal["present", "truth", "vectors", "few-shot", "automatic", "text", "network"]
WITHOUT_SAM = frozenset({"present", "truth", "network"})
"""Methods that ask no SAM."""
SamName = Literal[
    "sam-vit-t", "sam-vit-b", "sam-vit-l", "sam-vit-h",
    "sam2-tiny", "sam2-small", "sam2-base-plus", "sam2-large", "sam3",
]  # fmt: skip


class MethodParams(Parameters):
    """By what labels are made."""

    method: Annotated[
        tuple[Method, ...],
        BeforeValidator(split_commas),
        Field(
            alias="with",
            min_length=1,
            description="present (labels as they stand), truth (masks or vectors that exist), vectors (as prompts for "
            "SAM), few-shot (what labelled windows teach), automatic (every object that SAM sees, of no class), "
            "text (what SAM 3 finds by the classes' names), network (what a model sees); of several, each fills in "
            "what those before it cannot.",
        ),
    ] = ("vectors",)

    @property
    def way(self) -> Method:
        """The method, where there is only one."""
        (only,) = self.method
        return only


SMALLEST, LARGEST = 32, 1024
"""Pixels a side of a window of examples."""


def _are_windows(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        parts = re.fullmatch(r"(\d+),(\d+),(\d+)", text)
        if parts is None or not SMALLEST <= int(parts[3]) <= LARGEST:
            raise ValueError(
                f"a window was {text!r}, expected ROW,COLUMN,SIZE in pixels, such as 0,512,512, with a size of "
                f"{SMALLEST} to {LARGEST}"
            )
    return texts


class LabelParams(TruthParams, MethodParams):
    """How to label a cube."""

    truth: str | None = Field(default=None, description="truth: a class raster or vector file.")
    prompts: str | None = Field(
        default=None,
        description="vectors: a file of building polygons and road lines; or 'osm' or 'overture', which fetch them.",
    )
    examples: str | None = Field(
        default=None, description="few-shot: a class raster or vector file of a few labelled windows."
    )
    example_windows: Annotated[tuple[str, ...], AfterValidator(_are_windows)] = Field(
        default=(), description="few-shot: ROW,COLUMN,SIZE of a window of the examples to learn from; again for each."
    )
    misplaced: float = Field(
        default=2.0,
        gt=0,
        le=200,
        description="vectors: by how much lines may lie beside their roads; metres, pixels without CRS.",
    )
    points: int = Field(
        default=16, ge=2, le=128, description="automatic: points a side of the grid that SAM is asked at in a window."
    )
    texts: tuple[str, ...] = Field(
        default=(), description="text: CLASS=TEXT,TEXT in place of the texts that a class is asked for by."
    )
    model: str | None = Field(
        default=None, description="network: a model's folder, or a name from 'geoloom models list'."
    )
    sam: SamName | None = Field(default=None, description="The SAM model; sam-vit-t if none, for text sam3.")
    sam_checkpoint: str | None = Field(
        default=None,
        description="Weights of that SAM of your own instead of the fetched ones: a .pth file (ViT-B/L/H) or a folder "
        "with config.json and model.safetensors (SAM 2, SAM 3).",
    )
    update: bool = Field(
        default=False,
        description="truth: the file is an edited products/review.gpkg; only what was changed there changes.",
    )
    accept_license: bool = Field(default=False, description="You have read the licence of SAM 3 and accept it.")
    from_truth: bool = Field(
        default=False, description="Prompts or examples were made from the truth that scores will use."
    )

    @property
    def backbone(self) -> SamName:
        """The SAM that its one method asks."""
        return self.sam or ("sam3" if self.way == "text" else "sam-vit-t")

    def alone(self, method: Method) -> LabelParams:
        """The same with one of its methods; where text and others ask a SAM, `sam` is the others'."""
        update: dict[str, object] = {"method": (method,)}
        asking = set(self.method) - WITHOUT_SAM
        if len(asking) > 1 and "text" in asking and (method == "text") != (self.sam == "sam3"):
            update |= {"sam": None, "sam_checkpoint": None}
        return self.model_copy(update=update)


class ReviewParams(TruthParams):
    """How to look at labels."""

    truth: str | None = Field(
        default=None, description="A class raster or vector file to compare with, which had no part in the labels."
    )
    places: int = Field(default=500, ge=1, le=100_000, description="Doubtful places to list, the worst first.")
    ablation: bool = Field(default=False, description="Compare labels with the very truth they were made from.")


class DemoScenes(Parameters):
    """What the demo learns from and what it maps."""

    learn: IngestParams
    """A window of one scene."""
    label: LabelParams
    target: IngestParams
    """Another scene, whole."""
    truth: EvaluateParams
    """The other scene's truth."""
