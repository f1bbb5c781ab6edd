"""Mosaic: the stored prediction as georeferenced GeoTIFFs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from infra.errors import UnusableInput
from infra.progress import Progress, Task, counting
from infra.storage import replacing, require_free
from tasks.raster import grid as grids
from tasks.raster.blend import NODATA, TOP, predicted_class
from tasks.raster.classes import ClassMap, MapClass
from tasks.raster.geotiff import Layout, class_layout, write_geotiff
from tasks.raster.probability import SHARD, open_probability
from tasks.raster.zarrays import open_group
from tasks.workspace import open_workspace


@dataclass(frozen=True, slots=True)
class Mosaicked:
    """What a mosaic made."""

    classes: str
    probability: str
    valid_share: float


def mosaic(out: Path, *, progress: Progress) -> Mosaicked:
    """Write `products/classes.tif` and `products/probability.tif`.

    Raises:
        UnusableInput: nothing has been predicted yet.
        UnwritableOutput: the products cannot be written.
    """
    workspace = open_workspace(out)
    array = open_probability(workspace.probability_path)
    about: dict[str, Any] = dict(open_group(workspace.probability_path, made_by="predict").attrs)
    if about["cube"] != workspace.cube().fingerprint:
        raise UnusableInput(f"The prediction in {out} is of other pixels than its cube's; run 'geoloom predict' again.")
    classes = ClassMap(tuple(MapClass(n, tuple(c)) for n, c in zip(about["classes"], about["colours"], strict=True)))
    tags = {"GEOLOOM_MODEL_SHA256": str(about["model"]), "GEOLOOM_CUBE": str(about["cube"])}
    tags["GEOLOOM_TRAINED_HERE"] = "yes" if about["trained_here"] else "no"
    attribution = "; ".join(sorted({s.attribution for s in workspace.sources if s.attribution}))
    if attribution:
        tags["TIFFTAG_COPYRIGHT"] = attribution
    rows, columns = workspace.grid.shape
    require_free(out, 2 * rows * columns * (len(classes) + 1))

    total = 2 * len(list(grids.windows((rows, columns), SHARD)))
    counted = _Counted()
    targets = {name: workspace.products / f"{name}.tif" for name in ("classes", "probability")}
    layouts = {
        "classes": class_layout(workspace.grid, classes, tags=tags),
        "probability": Layout(
            workspace.grid,
            classes.names,
            NODATA,
            "AVERAGE",
            compress="ZSTD",
            predictor=True,
            scale=1 / TOP,
            tags=tags | {"CLASS_NAMES": ",".join(classes.names)},
        ),
    }
    with counting(progress, "mosaic", total=total, unit="blocks") as bar:
        for name, target in targets.items():
            source = _class_windows(array, bar, counted) if name == "classes" else _probability_windows(array, bar)
            with replacing(target) as temporary:
                write_geotiff(temporary, layouts[name], source, scratch=temporary.with_suffix(".scratch"))
    return Mosaicked(str(targets["classes"]), str(targets["probability"]), counted.valid / (rows * columns))


@dataclass(slots=True)
class _Counted:
    valid: int = 0


def _probability_windows(array: zarr.Array[Any], bar: Task) -> Iterator[tuple[grids.Window, NDArray[np.uint8]]]:
    for window in grids.windows((array.shape[1], array.shape[2]), SHARD):
        yield window, np.asarray(array[:, *window])
        bar.advance()


def _class_windows(
    array: zarr.Array[Any], bar: Task, counted: _Counted
) -> Iterator[tuple[grids.Window, NDArray[np.uint8]]]:
    for window, planes in _probability_windows(array, bar):
        best = predicted_class(planes)
        counted.valid += int(np.count_nonzero(best != NODATA))
        yield window, best[None]
