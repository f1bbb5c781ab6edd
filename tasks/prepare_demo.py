"""Prepare the demo: two Dubai scenes where the sample data is, two procedural worlds elsewhere."""

from __future__ import annotations

from pathlib import Path

from infra.progress import Progress
from infra.settings import settings
from tasks.make_world import make_world
from tasks.params import DemoScenes, EvaluateParams, IngestParams, LabelParams, WorldParams
from tasks.raster.dubai import write_prompts, write_scene


def prepare_demo(folder: Path, *, progress: Progress) -> DemoScenes:
    """Make the demo's scenes as GeoTIFFs.

    Raises:
        UnwritableOutput: the folder cannot be written.
    """
    dubai = settings().data_dir / "dubai"
    if dubai.is_dir():
        progress.note("Scenes: Dubai, a window of tile 4 to learn from, tile 1 to map (Humans in the Loop, CC0).")
        scene, truth = write_scene(dubai, 4, folder)
        target, target_truth = write_scene(dubai, 1, folder)
        prompts = write_prompts(truth, folder / "dubai_4_prompts.gpkg")
        classes = ("other", "building", "road")
        return DemoScenes(
            learn=IngestParams(scenes=(str(scene),), bounds=(1200, 700, 1968, 1468), classes=classes),
            label=LabelParams(method="vectors", prompts=str(prompts), from_truth=True),
            target=IngestParams(scenes=(str(target),), classes=classes),
            truth=EvaluateParams(
                truth=str(target_truth), truth_classes=("ignore", "building", "road", "other", "other", "other")
            ),
        )
    progress.note("Scenes: two procedural worlds (the sample data is not here), a window of one to learn from.")
    learn, target_world = (
        make_world(WorldParams(size=size, seed=seed), folder / f"world_{seed}.tif", progress=progress)
        for size, seed in ((1600, 7), (2000, 11))
    )
    classes = ("other", "building", "road")
    return DemoScenes(
        learn=IngestParams(scenes=(learn.scene,), bounds=(450_100, 5_399_300, 450_500, 5_399_700), classes=classes),
        label=LabelParams(method="vectors", prompts=learn.vectors, from_truth=True),
        target=IngestParams(scenes=(target_world.scene,), classes=classes),
        truth=EvaluateParams(truth=target_world.vectors),
    )
