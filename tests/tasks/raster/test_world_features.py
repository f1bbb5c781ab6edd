"""The vectors of a world say what its labels say; GDAL's rasteriser is the oracle."""

import numpy as np
import pytest
import shapely
from scipy import ndimage

from tasks.raster.gdal import rasterio
from tasks.raster.world.fill import fill
from tasks.raster.world.scene import CLASSES, World, features, paint

BUILDING, ROAD, VEGETATION = (CLASSES.id(n) for n in ("building", "road", "vegetation"))


@pytest.fixture(scope="module")
def scene():
    world = World(1400, 3)
    parts = list(features(world))
    return world, paint(world, slice(0, 1400), slice(0, 1400)), parts


def burnt(world, shapes):
    return rasterio.features.rasterize(shapes, out_shape=world.grid.shape, transform=world.grid.affine).astype(bool)


def test_footprints_are_the_building_pixels(scene):
    world, painted, parts = scene
    footprints = [b.footprint for part in parts for b in part.buildings]
    assert len(footprints) > 150
    assert sum(len(f.interiors) for f in footprints if f.geom_type == "Polygon") >= 3
    truth = burnt(world, footprints)
    bare = painted.valid & (painted.label != VEGETATION)
    assert ((painted.label == BUILDING) == truth)[bare].mean() > 0.999
    union, common = (truth | (painted.label == BUILDING)) & bare, truth & (painted.label == BUILDING) & bare
    assert common.sum() / union.sum() > 0.99
    assert (painted.label == VEGETATION)[truth & painted.valid].mean() < 0.03  # crowns hide little of the roofs


def test_courtyards_stay_open(scene):
    world, painted, parts = scene
    holes = [
        shapely.Polygon(r) for part in parts for b in part.buildings for r in getattr(b.footprint, "interiors", ())
    ]
    inside = burnt(world, holes) & painted.valid
    assert inside.sum() > 1000
    assert (painted.label[inside] != BUILDING).mean() > 0.99


def test_ids_are_unique_and_fit_in_32_bits(scene):
    _, _, parts = scene
    ids = [b.id for part in parts for b in part.buildings]
    assert len(set(ids)) == len(ids)
    assert min(ids) > 0
    assert max(ids) < 2**32
    far = [
        b.id
        for part in features(World(200_000, 3), slice(199_000, 199_500), slice(199_000, 199_500))
        for b in part.buildings
    ]
    assert max(far, default=1) < 2**32


def test_footprints_are_valid_and_do_not_overlap(scene):
    _, _, parts = scene
    footprints = [b.footprint for part in parts for b in part.buildings]
    assert all(f.is_valid for f in footprints)
    covered = shapely.union_all(footprints).area
    assert covered == pytest.approx(sum(f.area for f in footprints), rel=0.005)


def test_roads_buffered_by_half_their_width_are_the_road_pixels(scene):
    world, painted, parts = scene
    lines = [(r.line, r.width) for part in parts for r in part.roads]
    assert {w > 10 for _, w in lines} == {True, False}
    truth = burnt(world, [line.buffer(width / 2) for line, width in lines])
    open_sky = painted.valid & (painted.label != VEGETATION)
    assert (painted.label == ROAD)[truth & open_sky].mean() > 0.985
    assert truth[(painted.label == ROAD) & open_sky].mean() > 0.75  # the rest are car parks


def test_the_network_hangs_together(scene):
    _, _, parts = scene
    streets = shapely.union_all([r.line.buffer(1.0) for part in parts for r in part.roads])
    pieces = sorted((p.length for p in getattr(streets, "geoms", [streets])), reverse=True)
    assert pieces[0] / sum(pieces) > 0.9


def test_avenues_cross_the_river(scene):
    world, painted, _ = scene
    water = painted.label == CLASSES.id("water")
    parts, count = ndimage.label(ndimage.binary_closing(water, iterations=25) & (painted.label == ROAD))
    sizes = ndimage.sum_labels(np.ones_like(parts), parts, range(1, count + 1))
    assert max(sizes) > 300, world  # at least one bridge


@pytest.mark.parametrize("corner", [(0, 0), (40, 300_000)])
def test_fill_agrees_with_gdal(corner):
    generator = np.random.default_rng(4)
    polygons = []
    for _ in range(40):
        angle = np.sort(generator.uniform(0, 2 * np.pi, 9))
        radius = generator.uniform(3, 30, 9)
        centre = generator.uniform(-10, 110, 2)
        polygons.append(centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1))
    out = np.zeros((90, 100), np.int32)
    xy = np.concatenate(polygons) + np.array([corner[1], corner[0]])
    fill(out, (xy, np.arange(40) * 9, np.arange(40)), values=np.arange(1, 41, dtype=np.int32), corner=corner)
    oracle = rasterio.features.rasterize(
        [(shapely.Polygon(p), n + 1) for n, p in enumerate(polygons)], out_shape=(90, 100), dtype="int32"
    )
    assert (out != oracle).mean() < 0.001
