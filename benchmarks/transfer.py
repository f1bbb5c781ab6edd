"""The shipped model on pictures that neither it nor its makers saw: as it is, and tuned on half a picture.

    python -m benchmarks.transfer [--steps 300] [--threads 2]

Each data set is looked at at five magnifications, for nobody knows which one a network learnt at; the best is told.
Vegas is tuned on its left half and scored on its right half, beside the model at the scale that is best on the left.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.labels import iou
from benchmarks.page import Goal, Result, number, parser, publish
from benchmarks.samples import BUILDING, ROAD, SETS, Sample, open_sample
from flows import steps
from infra.progress import Silent
from tasks.label_params import LabelParams
from tasks.params import ClusterParams, IngestParams, PredictParams, RunParams, TrainParams
from tasks.raster.classes import DEFAULT_CLASSES, IGNORE
from tasks.raster.gdal import rasterio

SCALES = (0.5, 0.75, 1.0, 1.5, 2.0)
PICTURES = {"whu": (BUILDING, SETS["whu"]), "massroads": (ROAD, SETS["massroads"]), "vegas": (ROAD, ("vegas/rgb",))}
"""RGB as the model wants it: the class that the truth knows, and the pictures."""


def main() -> None:
    """Map all at all scales, tune, tell."""
    words = parser("transfer", __doc__)
    words.add_argument("--model", default="default")
    words.add_argument("--steps", type=int, default=300, help="of tuning")
    words.add_argument("--threads", type=int, default=None, help="of tuning")
    options = words.parse_args()
    rows, data = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, (klass, pictures) in PICTURES.items():
            found = {picture: _by_scale(open_sample(picture, Path(scratch)), klass, options.model, Path(scratch))
                     for picture in pictures}  # fmt: skip
            at = {scale: float(np.mean([each[scale] for each in found.values()])) for scale in SCALES}
            best = max(at, key=lambda scale: at[scale])
            each = ", ".join(f"{picture.partition('/')[2]} {number(by[best])}" for picture, by in found.items())
            rows.append((name, DEFAULT_CLASSES.names[klass], number(at[1.0]), f"{best:g}", number(at[best]), each))
            data[name] = {"scale": best, "iou": {picture: list(by.values()) for picture, by in found.items()}}
        before, after, scale = _tuned(open_sample("vegas/rgb", Path(scratch)), options, Path(scratch))
    data["tuned"] = {"before": before, "after": after, "scale": scale, "steps": options.steps}
    note = (
        f"Vegas tuned on its left half for {options.steps} steps: roads of the right half {number(after)}; the model "
        f"as it is, at the scale that is best on the left ({scale:g}): {number(before)}."
    )
    about = (
        "IoU of the one class that the truth knows, mean of the pictures, at the model's own scale and at the best "
        f"of {', '.join(f'{scale:g}' for scale in SCALES)}."
    )
    goals = (Goal("what tuning on the left half of Vegas brings on the right", after - before, at_least=0.15),)
    head = ("pictures", "class", "IoU at scale 1", "best scale", "IoU at it", "each")
    publish(
        Result("transfer", "Scenes of other places and sensors", about, head, tuple(rows), data, goals, (note,)),
        options,
    )


def _by_scale(sample: Sample, klass: int, model: str, folder: Path) -> Mapping[float, float]:
    """IoU of the whole picture at each scale."""
    workspace = _ingested(sample, folder / sample.name.replace("/", "-"))
    found = {scale: _scored(_mapped(workspace, model, scale), sample.truth, klass) for scale in SCALES}
    print(sample.name, {scale: round(value, 3) for scale, value in found.items()}, flush=True)
    return found


def _ingested(sample: Sample, workspace: Path, **more: object) -> Path:
    params = IngestParams.model_validate({"scenes": (str(sample.file),), "nodata": sample.nodata} | more)
    steps.ingest(params, str(workspace), run=ClusterParams(), progress=Silent())
    return workspace


def _mapped(workspace: Path, model: str, scale: float) -> NDArray[np.uint8]:
    """(y, x) class ids, those of the model."""
    steps.predict(PredictParams(model=(model,), scales=(scale,)), str(workspace), run=RunParams(), progress=Silent())
    steps.mosaic(str(workspace), progress=Silent())
    with rasterio.open(workspace / "products" / "classes.tif") as source:
        classes: NDArray[np.uint8] = source.read(1)
    return classes


def _scored(classes: NDArray[np.uint8], truth: NDArray[np.uint8], klass: int) -> float:
    """IoU where there is data and truth."""
    return iou(classes == klass, np.where(classes == IGNORE, np.uint8(IGNORE), truth), klass)


def _tuned(sample: Sample, options: argparse.Namespace, folder: Path) -> tuple[float, float, float]:
    """IoU of the right half before and after tuning on the left, and the scale that it had before."""
    names = ("other", "road")
    middle = sample.truth.shape[1] // 2
    left, right = sample.truth.copy(), sample.truth.copy()
    left[:, middle:], right[:, :middle] = IGNORE, IGNORE
    truth = folder / "left.tif"
    with rasterio.open(sample.file) as source:
        place = {"crs": source.crs, "transform": source.transform}
    height, width = left.shape
    with rasterio.open(truth, "w", driver="GTiff", width=width, height=height, count=1, dtype="uint8", nodata=IGNORE,
                       **place) as target:  # fmt: skip
        target.write(np.where(left == ROAD, np.uint8(1), left), 1)
    workspace = _ingested(sample, folder / "halves", classes=names)
    steps.label(
        LabelParams(method=("truth",), truth=str(truth), truth_classes=names),
        str(workspace), run=RunParams(), progress=Silent(),
    )  # fmt: skip
    maps = {scale: _mapped(workspace, options.model, scale) for scale in SCALES}
    scale = max(SCALES, key=lambda one: _scored(maps[one], left, ROAD))
    before = _scored(maps[scale], right, ROAD)
    training = TrainParams(
        start=options.model, steps=options.steps, threads=options.threads, validation_share=0.0, keep="last"
    )
    steps.train(training, [str(workspace)], folder / "tuned", run=RunParams(), progress=Silent())
    tuned = _mapped(workspace, str(folder / "tuned"), 1.0)
    after = _scored(np.where(tuned == 1, np.uint8(ROAD), tuned), right, ROAD)
    print("tuned", before, after, scale, flush=True)
    return before, after, scale


if __name__ == "__main__":
    main()
