"""What each step takes: one model a step, which is its form in Prefect, its options on the command line and its check.

This module imports pydantic, and what needs no more, so that `geoloom --help` answers at once.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat

from models.recipe import AugmentRecipe, Balance, Keep, LossRecipe, Schedule

Bounds = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


def split_commas(names: object) -> object:
    """A text, or texts, with commas between names, as a tuple of names; anything else as it is."""
    if isinstance(names, str):
        names = (names,)
    if isinstance(names, list | tuple):
        return tuple(part.strip() for name in names for part in str(name).split(",") if part.strip())
    return names


Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
"""Names, given one by one or with commas between them."""
Scales = Annotated[tuple[float, ...], BeforeValidator(split_commas)]
"""Magnifications, given likewise."""


class Parameters(BaseModel):
    """Frozen, and strict about names: an option that does not exist is refused, not swallowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class LeaseParams(Parameters):
    """Under whose lease a step runs."""

    lease: str | None = Field(
        default=None, description="Set by a flow that holds the workspace and hands a step to another process."
    )


class ClusterParams(LeaseParams):
    """Where blocks are worked on."""

    cluster: str = Field(
        default="lanes",
        description="lanes (threads here), processes, cuda, kubernetes, slurm and other batch queues, or a Dask "
        "scheduler's tcp:// or tls:// address.",
    )
    workers: int | None = Field(default=None, ge=1, le=4096, description="Lanes or processes; one per core by default.")


class RunParams(ClusterParams):
    """Where a run goes."""

    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where networks run.")


class IngestParams(Parameters):
    """Scenes to bring into a workspace's cube."""

    scenes: tuple[str, ...] = Field(
        min_length=1, description="Rasters: files, folders, globs, s3:// or https:// addresses; the last lies on top."
    )
    bands: Names = Field(default=(), description="Names or numbers (from 1) of the bands to take; all by default.")
    bounds: Bounds | None = Field(
        default=None, description="x0 y0 x1 y1 to take, in the map's coordinates (column row where it has no CRS)."
    )
    crs: str | None = Field(
        default=None, description="Warp the scenes to this CRS (EPSG:32616, WKT, ...); else pixels are taken untouched."
    )
    assume_crs: str | None = Field(
        default=None,
        description="What the coordinates of scenes are in that have a transform and no CRS, as pictures with world "
        "files; a .prj beside one counts more.",
    )
    resolution: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Warp the scenes to pixels of this size, in units of the CRS.",
    )
    resampling: Literal["nearest", "bilinear", "cubic", "average", "lanczos"] = Field(
        default="bilinear", description="How pixels are warped, where they are."
    )
    merge: Literal["over", "median", "feather"] = Field(
        default="over",
        description="Where scenes overlap: the last one named over those before it, the median of all, or a fade of "
        "64 pixels from one into the other.",
    )
    order: Literal["given", "date", "data"] = Field(
        default="given",
        description="Which scene lies over which: as they are named, the newest on top, or the one with the largest "
        "share of data on top.",
    )
    nodata: float | None = Field(
        default=None,
        description="What all bands of a pixel without data have, in scenes that do not say so.",
    )
    dtype: Literal["uint8", "uint16", "int16", "float32"] | None = Field(
        default=None, description="The cube's pixel type, where scenes differ in theirs."
    )
    classes: Names = Field(default=(), description="The map's class names in id order, 'other' first.")
    uploads: str | None = Field(
        default=None,
        min_length=1,
        description="The folder that the scenes must lie in, where others put them: they are then opened as by a "
        "stranger's hand, without sidecars, overviews or network, and within limits of size.",
    )


class TrainParams(Parameters):
    """How to train a network on labelled workspaces."""

    recipe: str | None = Field(
        default=None, description="A TOML file with any of these options; those that are given beside it win."
    )
    architecture: str = Field(
        default="lite-unet", description="lite-unet, unet, mask-rcnn, or smp-unet, smp-fpn, smp-deeplabv3plus, ..."
    )
    encoder: str = Field(
        default="tu-tf_efficientnet_lite0", description="The encoder of a lite-unet, mask-rcnn or smp-* network."
    )
    objects: Names = Field(
        default=("building",), min_length=1, description="mask-rcnn: classes whose objects are learnt one by one."
    )
    start: str = Field(
        default="imagenet",
        description="Weights to begin with: imagenet, random, a file of an encoder's weights (.pth, .safetensors), or "
        "a model's folder or name, whose architecture it keeps.",
    )
    steps: int = Field(default=2400, ge=1, le=10_000_000, description="Training steps.")
    minutes: float | None = Field(
        default=None, gt=0, description="Stop and finish the schedule after this many minutes."
    )
    batch: int = Field(default=8, ge=1, le=1024, description="Chips a step.")
    chip: int = Field(default=256, ge=64, le=2048, multiple_of=32, description="Pixels a side of a training chip.")
    learning_rate: float = Field(default=1e-3, gt=0, lt=1, description="Peak learning rate of AdamW.")
    encoder_rate: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Factor of it for the encoder, whose weights may be worth keeping.",
    )
    average: float = Field(
        default=0.99, ge=0, lt=1, description="Decay per step of the average of the weights that is kept; 0 for none."
    )
    loss: LossRecipe = Field(default=LossRecipe(), description="The terms of the loss.")
    balance: Balance = Field(
        default="root",
        description="How rare classes weigh more in the cross-entropy: by which rule of their frequency.",
    )
    draw: Literal["classes", "area"] = Field(
        default="classes", description="Draw chips for each class as often as for the others, or evenly from the area."
    )
    augment: AugmentRecipe = Field(default=AugmentRecipe(), description="How far the views of a chip may stray.")
    schedule: Schedule = Field(default="cosine", description="How the learning rate falls.")
    accumulate: int = Field(
        default=1, ge=1, le=1024, description="Parts in which a batch goes through the network, where memory is short."
    )
    keep: Keep = Field(
        default="best", description="Weights to keep: those with the best mean IoU at a validation, or the last."
    )
    patience: int | None = Field(
        default=None, ge=1, description="End early after so many validations (every 100 steps) without a better IoU."
    )
    seed: int = Field(default=0, ge=0, description="Everything random follows from it.")
    validation_share: float = Field(
        default=0.125, ge=0, lt=0.9, description="Share of the area kept for validation, in whole cells."
    )
    least_confidence: float = Field(
        default=0.0, ge=0, le=1, description="Labels that are less sure than this are ignored."
    )
    weigh_confidence: bool = Field(default=False, description="Labels count by how sure they are.")
    tile: int = Field(default=512, ge=64, le=4096, multiple_of=32, description="Pixels a side of a tile at inference.")
    precision: Literal["auto", "float32", "bf16-mixed"] = Field(
        default="auto", description="Arithmetic in training; auto is bf16-mixed where the machine computes in bfloat16."
    )
    weights: Literal["float32", "float16"] = Field(default="float32", description="How the model is stored.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; all cores by default.")
    processes: int | None = Field(
        default=None, ge=1, le=64, description="Processes that learn together, one a GPU; one on a CPU by default."
    )
    logs: Names = Field(default=(), description="Log to tensorboard or mlflow too, as far as installed.")
    resume: bool = Field(
        default=False,
        description="Go on from the state in the output folder, and where the labels have changed since, fine-tune its "
        "model; the same command again goes on without this.",
    )


class PredictParams(Parameters):
    """How to run a model over a cube."""

    model: Names = Field(
        default=("default",),
        min_length=1,
        description="A model's folder, or a name from 'geoloom models list'; of several the mean is taken.",
    )
    tta: bool = Field(
        default=False, description="Look at every tile turned and mirrored in eight ways: eight times the work."
    )
    scales: Scales = Field(
        default=(1.0,), description="Look at it at these magnifications, quarters from 0.5 to 2, such as 0.75,1,1.5."
    )
    tile: int | None = Field(
        default=None, ge=32, le=8192, description="Pixels a side of a tile; the model's by default."
    )
    margin: int | None = Field(
        default=None, ge=0, le=4096, description="Pixels thrown away at inner sides; the model's by default."
    )
    ramp: int | None = Field(
        default=None, ge=1, le=4096, description="Pixels over which tiles fade into each other; the model's by default."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Arithmetic of the network; auto takes the fastest that agrees with float32 on 99.5 % of pixels, "
        "float32 gives the same bits in every workspace.",
    )
    plan: bool = Field(default=False, description="Say what it would take, and do nothing.")
    strict: bool = Field(
        default=False, description="Refuse what is otherwise warned of; fail whole where a tile fails."
    )
    keep_strips: bool = Field(
        default=False, description="Keep what tiles hand to neighbouring blocks: later reruns redo fewer tiles."
    )


PRODUCTS = ("classes", "probability", "uncertainty")


class MosaicParams(Parameters):
    """Which products to write."""

    products: Names = Field(default=("classes", "probability"), description="classes, probability, uncertainty.")


class VectorizeParams(Parameters):
    """What to draw of a map, and how."""

    areas: Names | None = Field(
        default=None, description="Classes drawn as polygons; building by default, where there is one."
    )
    lines: Names | None = Field(
        default=None, description="Classes drawn as a network of lines; road by default, where there is one."
    )
    outlines: Literal["square", "pixels"] = Field(
        default="square", description="Outlines as a surveyor would draw them, or along pixel edges."
    )
    smallest: float = Field(
        default=10.0, ge=0, description="Square metres of the smallest area; pixels where there is no CRS."
    )
    shortest: float = Field(
        default=10.0, ge=0, description="Metres of the shortest line that joins nothing; pixels where there is no CRS."
    )


class WorldParams(Parameters):
    """A procedural scene with its truth."""

    size: int = Field(default=2000, ge=256, le=200_000, description="Pixels a side.")
    seed: int = Field(default=0, ge=0, description="The same seed gives the same bits.")
    resolution: float = Field(default=0.5, gt=0, le=5, description="Metres a pixel.")
