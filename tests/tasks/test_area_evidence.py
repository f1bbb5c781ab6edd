"""Polygons that lie wrong: what lies around them, and what the picture shows of them."""

import json

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from flows import steps
from infra.progress import Silent
from infra.store import open_store
from tasks.area_evidence import around
from tasks.label_params import LabelParams
from tasks.params import RunParams
from tasks.raster.gdal import rasterio
from tasks.raster.labels import open_label

SHAPE, BUILDING = (620, 700), 1


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.floats(-20, 90), st.floats(-20, 90)), st.floats(4, 40), st.floats(4, 40), st.floats(0.1, 1.5),
    st.integers(5, 60),
)  # fmt: skip
def test_how_far_a_pixel_lies_from_a_polygon(corner, wide, high, sides, most):
    """Whatever the window: the distance between its middle and the middle of the nearest pixel of the polygon."""
    x, y = corner
    # An edge through the middle of a pixel may count either way.
    assume(all(abs(edge % 1 - 0.5) > 1e-6 for edge in (x, y, x + wide, y + high)))
    polygon = shapely.box(x, y, x + wide, y + high)
    rows, cols = np.mgrid[-100:200, -100:200]
    inside = (rows + 0.5 > y) & (rows + 0.5 < y + high) & (cols + 0.5 > x) & (cols + 0.5 < x + wide)
    if polygon.area < 32:
        return
    side = np.sqrt(wide * high)
    truth = ndimage.distance_transform_edt(~inside) / side
    reach = min(sides * side, most) / side
    place = (slice(10, 70), slice(0, 80))
    own = (slice(110, 170), slice(100, 180))
    found = around(polygon, place, sides, most=most)
    near = truth[own] < reach
    seen = np.full((60, 80), np.inf)
    if found is not None:
        assert found.reach == pytest.approx(reach)
        seen[found.patch] = found.away
    np.testing.assert_allclose(seen.clip(0)[near], truth[own][near], atol=1e-5)
    assert (seen[~near] >= reach - 1e-6).all()
    np.testing.assert_array_equal(seen < 0, inside[own])


def test_of_a_forest_some_pixels_are_deep():
    """However large it is: a window sees none of its edges."""
    forest = shapely.box(-9000, -9000, 9000, 9000)
    found = around(forest, (slice(0, 512), slice(0, 512)), 1.2, most=256)
    assert found.away.shape == (512, 512)
    assert (found.away < -0.15).all()


def test_what_lies_between_the_middles_of_pixels_is_seen():
    sliver = shapely.box(10.6, 5, 10.9, 50)
    found = around(sliver, (slice(0, 60), slice(0, 60)), 0.3, most=64)
    assert np.count_nonzero(found.away < 0) in range(45, 48)


def houses(rng):
    """Corners and sides (x, y, w, h) of a town's houses on a grid, none beside another."""
    places = [(x, y) for y in range(30, 560, 90) for x in range(30, 640, 90)]
    return [(x + rng.integers(0, 15), y + rng.integers(0, 15), *rng.integers(28, 60, 2)) for x, y in places]


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """Roofs that shade hides half of, in bright yards: (picture, prompts, truth, boxes)."""
    rng = np.random.default_rng(0)
    picture = np.stack(
        [120 + 25 * ndimage.gaussian_filter(rng.normal(size=SHAPE), 6) / 0.05 * k for k in (0.1, 0.12, 0.06)]
    )
    truth = np.zeros(SHAPE, bool)
    boxes = []
    for x, y, w, h in houses(rng):
        truth[y : y + h, x : x + w] = True
        for dark, part in ((0, slice(x, x + w // 2)), (55, slice(x + w // 2, x + w))):
            picture[:, y : y + h, part] = np.array([190, 110, 90])[:, None, None] - dark
        moved = rng.uniform(-0.15, 0.15, 4) * [w, h, w, h]
        boxes.append(shapely.box(*np.array([x, y, x + w, y + h]) + moved))
    picture = np.clip(picture + rng.normal(0, 8, picture.shape), 1, 255).astype(np.uint8)
    return picture, prompts_of(boxes, tmp_path_factory.mktemp("town")), truth, boxes


def prompts_of(boxes, folder):
    features = [
        {"type": "Feature", "properties": {"class": "building"}, "geometry": b.__geo_interface__} for b in boxes
    ]
    (folder / "boxes.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(folder / "boxes.geojson")


def iou(found, truth):
    return np.count_nonzero(found & truth) / np.count_nonzero(found | truth)


def test_houses_are_found_where_they_are(town, before_sam):
    picture, prompts, truth, boxes = town
    workspace = before_sam(picture)
    burnt = rasterio.features.rasterize([(b, 1) for b in boxes], out_shape=SHAPE, dtype="uint8") > 0
    steps.label(LabelParams(prompts=prompts), workspace, run=RunParams(), progress=Silent())
    store = open_store(workspace)
    label = np.asarray(open_label(store.zarr("labels.zarr"))[:])
    assert set(np.unique(label)) == {0, BUILDING}
    assert iou(label == BUILDING, truth) > iou(burnt, truth) + 0.15
    assert iou(label == BUILDING, truth) > 0.9


@pytest.mark.slow
def test_ground_without_data_says_nothing_against_vectors(town, before_sam, monkeypatch):
    """A third of the town is not in the picture. Where nothing that SAM says is enough, what has data is dropped."""
    picture, prompts, _, boxes = town
    picture = picture.copy()
    picture[:, :, :240] = 0
    monkeypatch.setattr("tasks.vector_labeler.EVIDENCE", 2.0)
    workspace = before_sam(picture)
    done = steps.label(LabelParams(prompts=prompts), workspace, run=RunParams(), progress=Silent())
    store = open_store(workspace)
    told = json.loads(store.read("review/dropped.json"))["dropped"]
    share = shapely.area(shapely.intersection(boxes, shapely.box(240, 0, 700, 620))) / shapely.area(boxes)
    shown = (np.flatnonzero(share > 0.5) + 1).tolist()
    assert [one["number"] for one in sorted(told, key=lambda one: one["number"])] == shown
    assert 0 < done.dropped == len(shown) < len(boxes)
    label = np.asarray(open_label(store.zarr("labels.zarr"))[:])
    assert (label[:, :240] == 255).all()
    assert (label[:, 300:] == 0).all()  # houses at the edge, of which less than half is seen, are not judged
