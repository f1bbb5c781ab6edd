"""Prepare the demo: two Dubai scenes where the sample data is, two procedural worlds elsewhere."""

from __future__ import annotations

from pathlib import Path

from infra.progress import Progress
from infra.settings import settings
from infra.storage import replacing
from tasks.label_params import DemoScenes, LabelParams
from tasks.make_world import make_world
from tasks.params import IngestParams, WorldParams
from tasks.raster.dubai import write_prompts, write_scene
from tasks.truth_params import EvaluateParams

CLASSES = ("other", "building", "road")


def prepare_demo(folder: Path, *, progress: Progress) -> DemoScenes:
    """Make the demo's scenes as GeoTIFFs: `learn.tif` and `target.tif`, each with its truth.

    Raises:
        UnwritableOutput: the folder cannot be written.
    """
    dubai = settings().data_dir / "dubai"
    with replacing(folder) as made:
        made.mkdir()
        if dubai.is_dir():
            progress.note("Scenes: Dubai, a window of tile 4 to learn from, tile 1 to map (Humans in the Loop, CC0).")
            _, truth = write_scene(dubai, 4, made, name="learn")
            write_prompts(truth, made / "learn_prompts.gpkg")
            write_scene(dubai, 1, made, name="target")
            bounds, prompts, known = (0, 0, 1152, 1152), "learn_prompts.gpkg", "target_truth.tif"
        else:
            progress.note("Scenes: two procedural worlds (the sample data is not here), a window of one to learn from.")
            make_world(WorldParams(size=1600, seed=7), made / "learn.tif", progress=progress)
            make_world(WorldParams(size=2000, seed=11), made / "target.tif", progress=progress)
            # A window with a river: what the network is never shown it calls a building.
            bounds, prompts, known = (450_100, 5_399_400, 450_500, 5_399_800), "learn_truth.gpkg", "target_truth.gpkg"
    return DemoScenes(
        learn=IngestParams(scenes=(str(folder / "learn.tif"),), bounds=bounds, classes=CLASSES),
        label=LabelParams(method=("vectors",), prompts=str(folder / prompts), from_truth=True),
        target=IngestParams(scenes=(str(folder / "target.tif"),), classes=CLASSES),
        truth=EvaluateParams(
            truth=str(folder / known), truth_classes=("ignore", "building", "road", "other", "other", "other")
        ),
    )
