"""Real scenes with truth for their buildings and roads, out of the folder of sample data, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.settings import settings
from tasks.raster.datasets.table import DATASETS
from tasks.raster.dubai import write_scene
from tasks.raster.gdal import rasterio
from tasks.raster.grid import whole

BUILDING, ROAD = 1, 2
SETS = {
    "dubai": tuple(f"dubai/{number}" for number in range(1, 7)),
    "whu": tuple(f"whu/{city}" for city in ("cairo", "cordoba", "los_angeles", "ottawa", "venice", "wuhan")),
    "atlanta": ("atlanta",),
    "massroads": ("massroads/10078660_15", "massroads/10078675_15"),
    "vegas": ("vegas/rgb", "vegas/pan"),
}
"""Dubai's tile 8 is in none: it reports, and is read by `benchmarks/report.py` alone."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A scene and what it shows."""

    name: str
    file: Path
    truth: NDArray[np.uint8]
    """(y, x) class ids, 255 = ignore; where it has no data, anything."""
    jitter: float = 6.0
    """Pixels by which a map's vertices lie wrong."""
    road_width: float = 8.0
    """What a map without widths would guess: metres, or pixels where the file has no metres."""
    misplaced: float = 6.0
    """The same as `jitter`, in that unit."""
    nodata: float | None = None


def open_sample(name: str, folder: Path) -> Sample:
    """A sample by its name; Dubai's parts are joined in a folder first."""
    kind, _, which = name.partition("/")
    data = settings().data_dir
    if kind == "dubai":
        scene, drawn = write_scene(data / "dubai", int(which), folder)
        return Sample(name, scene, _band(drawn), road_width=14)
    if kind == "whu":
        return Sample(name, data / "whu" / f"{which}.png", _where(_band(data / "whu" / f"{which}_gt.png"), BUILDING))
    if kind == "atlanta":
        return Sample(name, *_of_set(data / "spacenet", "spacenet-buildings", "sample_geotiff"))
    if kind == "massroads":  # a pixel is a metre
        return Sample(
            name, *_of_set(data / kind, "massachusetts-roads", which), jitter=2, misplaced=2, road_width=7, nodata=255
        )
    metres = 0.3
    width = 8.0
    if which == "rgb":
        picture, truth = _of_set(data / "spacenet", "spacenet-roads", "RGB-PanSharpen_AOI_2_Vegas_img0")
    else:
        picture, mask = (data / "spacenet" / f"{n}.tif" for n in ("road_mask_input", "sample_road_raster_mask"))
        truth, width = _where(_band(mask), ROAD), 4.0
    return Sample(name, picture, truth, jitter=2 / metres, misplaced=2, road_width=width)


def _of_set(folder: Path, name: str, picture: str) -> tuple[Path, NDArray[np.uint8]]:
    """A picture of a data set, and the one class that the set knows of it."""
    opened = DATASETS[name](folder)
    (found,) = (one for one in opened.pictures if one.name == picture)
    (known,) = (opened.about.id(klass) for klass in opened.about.known)
    return found.file, _where(opened.read(found, whole(found.whole)).label == known, known)


def _band(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as source:
        band: NDArray[np.uint8] = source.read(1)
    return band


def _where(drawn: NDArray[np.generic], klass: int) -> NDArray[np.uint8]:
    return np.where(drawn.astype(bool), np.uint8(klass), np.uint8(0))
