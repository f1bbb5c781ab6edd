"""Roads along displaced lines: found where the picture shows them, as wide as it does, whatever the window."""

import numpy as np
import pytest
import shapely
from scipy import ndimage

from infra.store import open_store
from tasks.label_params import LabelParams
from tasks.labelers import Dropped
from tasks.line_evidence import Lines, look_beside, slopes
from tasks.raster.grid import within
from tasks.raster.lines import widen
from tasks.raster.vectors import Shapes
from tasks.sam_view import SamView
from tasks.scene_look import Sight
from tasks.vector_labeler import VectorLabeler
from tasks.vector_lessons import learnt_here
from tasks.workspace import open_workspace

SHAPE, ROAD = (900, 1000), 2
ROADS = [
    shapely.LineString([(0, 150), (400, 250), (1000, 200)]),
    shapely.LineString([(300, 0), (350, 500), (250, 900)]),
    shapely.LineString([(700, 0), (650, 900)]),
    shapely.LineString([(0, 700), (1000, 600)]),
]
TRUE, SAID = (9.0, 9.0, 14.0, 14.0), 12.0


def burnt(lines, widths):
    return np.any([widen(line, width, SHAPE) for line, width in zip(lines, widths, strict=True)], axis=0)


def iou(found, truth):
    return np.count_nonzero(found & truth) / np.count_nonzero(found | truth)


@pytest.fixture(scope="module")
def scene(before_sam):
    """Grey roads of two widths in noisy fields: (SAM before them, truth)."""
    rng = np.random.default_rng(0)
    truth = burnt(ROADS, TRUE)
    fields = ndimage.gaussian_filter(rng.normal(size=SHAPE), 20) * 600 + 110
    picture = np.stack([fields * k for k in (1.0, 1.1, 0.6)])
    picture[:, truth] = 130
    picture = np.clip(picture + rng.normal(0, 18, picture.shape), 1, 255).astype(np.uint8)
    workspace = open_workspace(open_store(before_sam(picture)))
    params = LabelParams(method=("vectors",), prompts="lines.gpkg")
    return SamView.of(workspace.store, workspace.cube(), params, device="cpu"), truth


def look(view, shapes, place, known, *, misplaced=6.0):
    """As the labeler does."""
    slope = slopes(shapes.width, misplaced)
    return look_beside(Lines(shapes, ROAD).beside(place), Sight(view, place), known, slope=slope)


def moved(*more):
    """The lines with a vertex every 40 pixels, each moved by up to 6, and all said to be of one width."""
    rng = np.random.default_rng(1)
    lines = []
    for line in (*ROADS, *more):
        points = shapely.get_coordinates(shapely.segmentize(line, 40))
        lines.append(shapely.LineString(points + rng.uniform(-6, 6, points.shape)))
    count = len(lines)
    return Shapes(np.array(lines, object), np.full(count, ROAD, np.uint8), np.full(count, SAID))


def test_roads_are_found_where_they_are_and_as_wide(scene):
    view, truth = scene
    shapes = moved()
    whole = (slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    found = look(view, shapes, whole, learnt_here(view, shapes).lines[ROAD])
    best = max(iou(burnt(shapes.geometry, [width] * 4), truth) for width in (8, 10, 12, 14, 16, 18, 20))
    assert iou(found.logit > 0, truth) > best + 0.07
    for number, width in enumerate(TRUE):
        areas = np.count_nonzero((found.logit > 0) & (found.beside.number == number))
        assert areas / ROADS[number].length == pytest.approx(width, rel=0.25)


def test_neighbouring_windows_agree_about_what_both_see(scene):
    """Each line runs on as it is, over the border between them."""
    view, _ = scene
    shapes = moved()
    known = learnt_here(view, shapes).lines[ROAD]
    left, right = ((slice(384, 768), slice(start, start + 384)) for start in (0, 384))
    seen = [view.around(window) for window in (left, right)]
    shared = (seen[0][0], slice(384 - 16, 384 + 16))
    roads = [look(view, shapes, place, known).logit[within(shared, place)] > 0 for place in seen]
    assert roads[0].mean() > 0.02
    assert iou(*roads) > 0.95


def test_lines_that_lie_well_are_believed(scene):
    """The less they may be beside their roads, the more their place and width count."""
    view, _ = scene
    shapes = Shapes(np.array(ROADS, object), np.full(4, ROAD, np.uint8), np.full(4, SAID))
    place = (slice(0, 500), slice(400, 1000))
    known = learnt_here(view, shapes).lines[ROAD]
    said = burnt(ROADS, 4 * [SAID])[place]
    well, badly = (look(view, shapes, place, known, misplaced=m).logit > 0 for m in (1.0, 6.0))
    assert iou(well, said) > 0.75
    assert iou(well, said) > iou(badly, said) + 0.1


def test_how_much_the_place_of_lines_says():
    np.testing.assert_allclose(slopes(np.array([12.0, 24.0, 4.0, 100.0]), 6), [1, 4, 1, 10])


def test_a_line_that_the_picture_does_not_show_is_listed(scene):
    view, truth = scene
    ghost = shapely.LineString([(760, 420), (980, 400)])
    shapes = moved(ghost)
    labeler = VectorLabeler(view, shapes, learnt_here(view, shapes), misplaced=6)
    found = labeler((slice(384, 768), slice(768, 1000)))
    (dropped,) = found.dropped
    assert isinstance(dropped, Dropped)
    assert dropped.klass == ROAD
    assert dropped.score < 0.2
    assert shapely.box(*dropped.box).buffer(1).contains(shapely.clip_by_rect(shapes.geometry[4], 768, 384, 1000, 768))
    rows, cols = found.seen
    assert iou(found.label == ROAD, truth[rows, cols]) > 0.7
    numbers = np.unique(found.instance[found.label == ROAD])
    assert set(numbers) <= {1, 2, 3, 4, 5}
    assert (found.confidence[found.label == ROAD] < 255).all()
