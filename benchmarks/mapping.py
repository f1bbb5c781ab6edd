"""A scene to a GeoTIFF of classes through geoloom's own steps, with the seconds of each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scenes import fresh
from flows import steps
from infra.progress import Silent, Task
from tasks.params import ClusterParams, IngestParams, MosaicParams, PredictParams, RunParams


@dataclass(frozen=True, slots=True)
class Mapped:
    """Seconds of each step, and what came of them."""

    ingest: float
    predict: float
    prepare: float
    """Of predict, until the first tile: the network is measured, and compiled or rewritten where that pays."""
    mosaic: float
    tiles: int
    runtime: str
    """How the network was run."""
    products: Path

    @property
    def seconds(self) -> float:
        """From GeoTIFF to GeoTIFF."""
        return self.ingest + self.predict + self.mosaic


class _Bell(Silent):
    """Notes when the bar of blocks begins."""

    rung = 0.0

    def start(self, name: str, *, total: float, unit: str) -> Task:
        self.rung = time.perf_counter()
        return super().start(name, total=total, unit=unit)


def ingest(scene: Path, workspace: Path) -> float:
    """Bring a scene into a new workspace; seconds."""
    fresh(workspace)
    begun = time.perf_counter()
    steps.ingest(IngestParams(scenes=(str(scene),)), str(workspace), run=ClusterParams(), progress=Silent())
    return time.perf_counter() - begun


def map_scene(
    scene: Path,
    workspace: Path,
    params: PredictParams,
    *,
    run: RunParams = RunParams(),
    products: tuple[str, ...] = ("classes",),
) -> Mapped:
    """Run the three steps in a new workspace."""
    first = ingest(scene, workspace)
    begun, bell = time.perf_counter(), _Bell()
    done = steps.predict(params, str(workspace), run=run, progress=bell)
    between = time.perf_counter()
    steps.mosaic(str(workspace), MosaicParams(products=products), progress=Silent())
    return Mapped(
        ingest=first,
        predict=between - begun,
        prepare=bell.rung - begun,
        mosaic=time.perf_counter() - between,
        tiles=done.tiles_run,
        runtime=str(done.plan.runtimes[0]),
        products=workspace / "products",
    )
