"""What a few labelled windows teach, by colour, texture and SAM alone, and by the shipped model's features, too.

    python -m benchmarks.few_shot [--scenes whu massroads vegas] [--draws 0 1]

Of a scene that the shipped model never saw four windows are shown, a sixteenth of it each, at most 512 pixels; the rest
is scored. Dubai is left out, for the model was trained there: tile 8 is read by `benchmarks/report.py` alone, beside
the default network, trained on the same windows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.labels import iou, labelled
from benchmarks.page import Goal, Result, parser, publish
from benchmarks.samples import BUILDING, ROAD, SETS, open_sample
from flows import steps
from infra.progress import Silent
from infra.settings import settings
from infra.store import open_store
from tasks import few_shot_labeler
from tasks.label_params import LabelParams
from tasks.params import ClusterParams, IngestParams, PredictParams, RunParams, TrainParams
from tasks.raster.appearance import appearance
from tasks.raster.classes import DEFAULT_CLASSES, IGNORE
from tasks.raster.dubai import write_scene
from tasks.raster.gdal import rasterio
from tasks.raster.grid import whole
from tasks.workspace import open_workspace

SIDE, COUNT = 512, 4
LABELLED = 0.7
"""Share of a window that the truth labels, at least."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The windows of a truth that are shown, and what is left to score."""

    truth: NDArray[np.uint8]
    corners: list[tuple[int, int]]
    """Row and column of each."""
    side: int

    @classmethod
    def drawn(cls, truth: NDArray[np.uint8], draw: int, *, side: int = SIDE) -> Shown:
        """Four windows that do not overlap and show every class of the truth."""
        chance = np.random.default_rng(draw)
        wanted = set(np.unique(truth[truth != IGNORE]).tolist())
        for _ in range(1000):
            found: list[tuple[int, int]] = []
            for row, column in chance.integers(0, np.array(truth.shape) - side, (200, 2)).tolist():
                apart = all(max(abs(row - r), abs(column - c)) >= side for r, c in found)
                if apart and np.mean(truth[row : row + side, column : column + side] != IGNORE) >= LABELLED:
                    found.append((row, column))
                if len(found) == COUNT:
                    break
            seen = {n for r, c in found for n in np.unique(truth[r : r + side, c : c + side]).tolist()}
            if len(found) == COUNT and seen >= wanted:
                return cls(truth, found, side)
        raise SystemExit(f"No {COUNT} windows show every class.")

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(y, x) which pixels are shown."""
        found = np.zeros(self.truth.shape, bool)
        for row, column in self.corners:
            found[row : row + self.side, column : column + self.side] = True
        return found

    @property
    def rest(self) -> NDArray[np.uint8]:
        """The truth of what is scored; ignored in the windows."""
        return np.where(self.inside, np.uint8(IGNORE), self.truth)

    def params(self, examples: Path, names: Sequence[str], *, scene: Path) -> LabelParams:
        """How to label by the windows; they are written to a file first, in the scene's place."""
        height, width = self.truth.shape
        with rasterio.open(scene) as source:
            place = {"crs": source.crs, "transform": source.transform}
        with rasterio.open(examples, "w", driver="GTiff", width=width, height=height, count=1, dtype="uint8",
                           nodata=IGNORE, **place) as target:  # fmt: skip
            target.write(np.where(self.inside, self.truth, np.uint8(IGNORE)), 1)
        windows = tuple(f"{row},{column},{self.side}" for row, column in self.corners)
        return LabelParams(
            method=("few-shot",), examples=str(examples), example_windows=windows, truth_classes=tuple(names),
            from_truth=True,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """IoUs outside the windows."""

    windows: list[tuple[int, int]]
    """Row and column of those that were shown."""
    by: str
    building: float
    road: float


def readings(number: int, draw: int, folder: Path, *, network: int) -> Iterator[Reading]:
    """Label a Dubai tile by windows of it, and train on them for so many steps; each is told as soon as it is known."""
    scene, truth_file = write_scene(settings().data_dir / "dubai", number, folder)
    workspace = folder / f"few{number}"
    if not workspace.exists():
        steps.ingest(IngestParams(scenes=(str(scene),)), str(workspace), run=ClusterParams(), progress=Silent())
    with rasterio.open(truth_file) as source:
        shown = Shown.drawn(source.read(1), draw)
    names = DEFAULT_CLASSES.names
    examples = folder / f"shown{number}-{draw}.tif"
    label = labelled(str(workspace), shown.params(examples, names, scene=scene))
    yield Reading(shown.corners, "few-shot", *_scored(label, shown))
    if network:
        taught = LabelParams(method=("truth",), truth=str(examples), truth_classes=names)
        steps.label(taught, str(workspace), run=RunParams(), progress=Silent())
        model = folder / f"model{number}-{draw}"
        training = TrainParams(steps=network, validation_share=0.0)
        steps.train(training, [str(workspace)], model, run=RunParams(), progress=Silent())
        steps.predict(PredictParams(model=(str(model),)), str(workspace), run=RunParams(), progress=Silent())
        steps.mosaic(str(workspace), progress=Silent())
        with rasterio.open(workspace / "products" / "classes.tif") as source:
            yield Reading(shown.corners, f"network, {network} steps", *_scored(source.read(1), shown))


def _scored(found: NDArray[np.uint8], shown: Shown) -> tuple[float, float]:
    """IoU of building and road outside the windows."""
    return iou(found == BUILDING, shown.rest, BUILDING), iou(found == ROAD, shown.rest, ROAD)


@contextmanager
def without_the_model() -> Iterator[None]:
    """Few-shot labels by colour, texture and SAM alone."""
    real, step = few_shot_labeler.look_of, few_shot_labeler.STEP
    few_shot_labeler.look_of = lambda picture, valid, *, device: appearance(picture)[::step, ::step]  # noqa: ARG005
    try:
        yield
    finally:
        few_shot_labeler.look_of = real


def compared(name: str, draws: Sequence[int], folder: Path) -> list[tuple[float, float]]:
    """IoU of a sample's one class outside the windows of each draw, by colour, texture and SAM, and by all."""
    sample = open_sample(name, folder)
    klass = ROAD if (sample.truth == ROAD).any() else BUILDING
    names = ("other", DEFAULT_CLASSES.names[klass])
    workspace = str(folder / name.replace("/", "-"))
    scenes = IngestParams(scenes=(str(sample.file),), nodata=sample.nodata, classes=names)
    steps.ingest(scenes, workspace, run=ClusterParams(), progress=Silent())
    cube = open_workspace(open_store(workspace)).cube()
    known = cube.read(whole(cube.grid), bands=())[1] & (sample.truth != IGNORE)
    truth = np.where(known, sample.truth == klass, IGNORE).astype(np.uint8)
    found = []
    for draw in draws:
        shown = Shown.drawn(truth, draw, side=min(SIDE, min(truth.shape) // 4))
        params = shown.params(folder / f"shown-{draw}.tif", names, scene=sample.file)
        pair = []
        for way in (without_the_model, nullcontext):
            open_store(workspace).delete_all("labels.zarr")  # neither is the other's
            with way():
                pair.append(iou(labelled(workspace, params) == 1, shown.rest, 1))
        found.append((pair[0], pair[1]))
        print(name, draw, found[-1], flush=True)
    return found


def main() -> None:
    """Measure every scene and draw, tell."""
    words = parser("few_shot", __doc__)
    words.add_argument("--scenes", nargs="+", default=["whu", "massroads", "vegas"])
    words.add_argument("--draws", type=int, nargs="+", default=[0, 1])
    options = words.parse_args()
    names = [name for group in options.scenes for name in SETS.get(group, (group,))]
    with tempfile.TemporaryDirectory() as folder:
        found = {name: compared(name, options.draws, Path(folder)) for name in names}
    means = {name: np.mean(pairs, axis=0) for name, pairs in found.items()}
    rows = [(name, f"{a:.3f}", f"{b:.3f}", f"{b - a:+.3f}") for name, (a, b) in means.items()]
    gain = float(np.mean([b - a for a, b in means.values()]))
    about = (
        f"Scenes that the shipped model never saw, {len(options.draws)} draws of {COUNT} windows, each a sixteenth of "
        "the scene and at most 512 pixels a side; IoU of the one class that the truth has, outside of them, by "
        "colour, texture and SAM's embedding, and with the shipped model's features, too."
    )
    goals = (Goal("mean IoU that the shipped model's features bring", gain, at_least=0.0),)
    head = ("scene", "without the model", "with it", "gain")
    data = {"iou": found}
    publish(Result("few_shot", "A few labelled windows", about, head, tuple(rows), data, goals), options)


if __name__ == "__main__":
    main()
