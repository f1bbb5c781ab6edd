"""Make world: a procedural scene as a GeoTIFF, with its truth beside it as a class raster and as vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from infra.errors import UnusableInput
from infra.progress import Progress, counting
from infra.storage import replacing
from infra.store import open_store, require_room
from tasks.params import WorldParams
from tasks.raster.geotiff import Layout, class_layout, copy_to_cog, tiled_geotiff
from tasks.raster.grid import windows
from tasks.raster.ogr import geopandas as gpd
from tasks.raster.ogr import pyogrio
from tasks.raster.world.scene import CLASSES, Features, World, features, paint

BLOCK = 2048
DISTRICTS = 64
"""Districts whose vectors are written at a time."""
TAGS = {"TIFFTAG_COPYRIGHT": "geoloom world, CC0"}


@dataclass(frozen=True, slots=True)
class MadeWorld:
    """What a world consists of."""

    scene: str
    truth: str
    vectors: str


def make_world(params: WorldParams, out: Path, *, progress: Progress) -> MadeWorld:
    """Write `NAME.tif`, `NAME_truth.tif` and `NAME_truth.gpkg` (layers `buildings` and `roads`), block by block.

    Args:
        params: size, seed and resolution.
        out: NAME.tif.
        progress: told of each block.

    Raises:
        UnusableInput: the file's name does not end in .tif.
        UnwritableOutput: the folder cannot be written.
    """
    if out.is_dir() or out.suffix.lower() not in {".tif", ".tiff"}:
        raise UnusableInput(f"The scene was to be written to {out}; name a file that ends in .tif.")
    world = World(params.size, params.seed, params.resolution)
    truth, vectors = (out.with_name(f"{out.stem}_truth{suffix}") for suffix in (".tif", ".gpkg"))
    require_room(open_store(out), 2 * params.size**2)
    layouts = (
        Layout(world.grid, ("red", "green", "blue", "alpha"), None, "AVERAGE", tags=TAGS),
        class_layout(world.grid, CLASSES, tags=TAGS),
    )
    parts = list(windows((world.size, world.size), BLOCK))
    with replacing(out) as image_file, replacing(truth) as label_file:
        scratch = [path.with_suffix(".scratch") for path in (image_file, label_file)]
        try:
            with (
                tiled_geotiff(scratch[0], layouts[0]) as write_image,
                tiled_geotiff(scratch[1], layouts[1]) as write_label,
                counting(progress, "world", total=len(parts), unit="blocks") as bar,
            ):
                for window in parts:
                    painted = paint(world, *window)
                    alpha = np.where(painted.valid, np.uint8(255), np.uint8(0))
                    write_image(window, np.concatenate([painted.image, alpha[None]]))
                    write_label(window, painted.label[None])
                    bar.advance()
            for made, target, layout in zip(scratch, (image_file, label_file), layouts, strict=True):
                copy_to_cog(made, target, layout)
        finally:
            for made in scratch:
                made.unlink(missing_ok=True)
    with replacing(vectors) as vector_file:
        _write_vectors(world, vector_file)
    return MadeWorld(str(out), str(truth), str(vectors))


def _write_vectors(world: World, path: Path) -> None:
    """Append a few districts at a time, so that a large world's vectors never sit in memory at once."""
    crs = world.grid.crs
    # GeoPackage notes when it was changed; a fixed moment keeps the bytes the same.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2000-01-01T00:00:00.000Z"})
    made: set[str] = set()
    for some in _batches(features(world)):
        buildings = [b for f in some for b in f.buildings]
        roads = [r for f in some for r in f.roads]
        layers = {
            "buildings": {
                "id": [b.id for b in buildings],
                "class": ["building"] * len(buildings),
                "geometry": [b.footprint for b in buildings],
            },
            "roads": {
                "class": ["road"] * len(roads),
                "width": [r.width for r in roads],
                "geometry": [r.line for r in roads],
            },
        }
        for name, columns in layers.items():
            if columns["geometry"]:
                frame = gpd.GeoDataFrame(columns, crs=str(crs))
                pyogrio.write_dataframe(
                    frame,
                    path,
                    layer=name,
                    driver="GPKG",
                    append=name in made,
                    promote_to_multi=True,
                    dataset_options={"VERSION": "1.2"},
                )
                made.add(name)


def _batches(everything: Iterator[Features]) -> Iterator[list[Features]]:
    while some := list(islice(everything, DISTRICTS)):
        yield some
