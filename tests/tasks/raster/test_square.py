"""Drawn outlines cover what the pixels cover, with the corners that the building has."""

import numpy as np
import pytest
import shapely
from shapely import affinity

from tasks.raster.gdal import rasterio
from tasks.raster.objects import find_objects
from tasks.raster.square import square_outlines


def seen(shapes, size=400):
    """Shapes as a camera sees them: pixels, found as objects again."""
    mask = rasterio.features.rasterize(shapes, out_shape=(size, size), dtype="uint8").astype(bool)
    found, _ = find_objects(mask, mask.astype(np.uint8), (slice(0, size), slice(0, size)), shape=mask.shape)
    return list(found.outlines)


def corners(polygon):
    return sum(len(r.coords) - 1 for r in (polygon.exterior, *polygon.interiors))


def iou(a, b):
    return a.intersection(b).area / a.union(b).area


def ell(turn):
    shape = shapely.box(100, 100, 220, 160).union(shapely.box(100, 100, 150, 250))
    return affinity.rotate(shape, turn, origin="centroid")


@pytest.mark.parametrize("turn", [0, 7, 20, 33, 45, 71])
def test_a_turned_building_gets_its_corners_back(turn):
    building = ell(turn)
    (raw,) = seen([building])
    (drawn,) = square_outlines([raw])
    assert drawn.is_valid
    assert iou(drawn, raw) >= 0.9
    assert iou(drawn, building) >= 0.93
    assert corners(drawn) <= 12
    assert turn == 0 or corners(drawn) < corners(raw) / 5


def test_what_is_not_square_keeps_its_shape():
    round_one = shapely.Point(200, 200).buffer(80)
    (raw,) = seen([round_one])
    (drawn,) = square_outlines([raw])
    assert iou(drawn, round_one) >= 0.9


def test_a_courtyard_stays_and_a_speck_goes():
    building = shapely.box(50, 50, 250, 250) - shapely.box(120, 120, 180, 180) - shapely.box(70, 70, 72, 72)
    (drawn,) = square_outlines(seen([affinity.rotate(building, 12)]))
    assert len(drawn.interiors) == 1
    assert iou(drawn, affinity.rotate(building, 12)) >= 0.9


def test_order_and_number_are_kept_and_neighbours_too():
    rng = np.random.default_rng(0)
    houses = [
        affinity.rotate(shapely.box(x, y, x + rng.integers(15, 40), y + rng.integers(15, 40)), rng.uniform(0, 90))
        for x in range(40, 360, 70) for y in range(40, 360, 70)
    ]  # fmt: skip
    raw = seen(houses)
    drawn = square_outlines(raw)
    assert len(drawn) == len(raw) == len(houses)
    assert all(iou(a, b) >= 0.9 for a, b in zip(drawn, raw, strict=True))
    assert sum(map(corners, drawn)) < sum(map(corners, raw)) / 5


def test_right_angles_are_right_on_the_ground():
    """Where a pixel is half as wide as high, a square building of the ground is a slanted one in pixels."""
    ground = affinity.rotate(shapely.box(40, 80, 120, 200), 25)
    pixels = affinity.scale(ground, 2.0, 1.0, origin=(0, 0))
    (drawn,) = square_outlines(seen([pixels]), aspect=0.5)
    back = affinity.scale(drawn, 0.5, 1.0, origin=(0, 0))
    points = np.asarray(back.exterior.coords)[:-1]
    edges = np.diff(points, axis=0, append=points[:1])
    angles = np.degrees(np.arctan2(edges[:, 1], edges[:, 0])) % 90
    assert len(points) == 4
    assert np.ptp(np.minimum(np.abs(angles - np.median(angles)), 90 - np.abs(angles - np.median(angles)))) < 1.0


def test_nothing_is_nothing():
    assert square_outlines([]) == []
