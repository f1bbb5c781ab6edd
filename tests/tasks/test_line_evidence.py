"""Roads along displaced lines: found where the picture shows them, as wide as it does, whatever the window."""

import numpy as np
import pytest
import shapely
from scipy import ndimage

from flows import steps
from infra.progress import Silent
from infra.store import open_store
from tasks.labelers import Dropped
from tasks.line_evidence import Lines, learn_lines, look_beside
from tasks.params import ClusterParams, IngestParams
from tasks.raster.gdal import rasterio
from tasks.raster.grid import within
from tasks.raster.lines import widen
from tasks.raster.picture import rgb_bands
from tasks.raster.vectors import Shapes
from tasks.sam_view import Pictures
from tasks.vector_labeler import VectorLabeler
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
def scene(tmp_path_factory):
    """Grey roads of two widths in noisy fields: (pictures, truth)."""
    rng = np.random.default_rng(0)
    truth = burnt(ROADS, TRUE)
    fields = ndimage.gaussian_filter(rng.normal(size=SHAPE), 20) * 600 + 110
    picture = np.stack([fields * k for k in (1.0, 1.1, 0.6)])
    picture[:, truth] = 130
    picture = np.clip(picture + rng.normal(0, 18, picture.shape), 1, 255).astype(np.uint8)
    folder = tmp_path_factory.mktemp("roads")
    with rasterio.open(folder / "scene.tif", "w", driver="GTiff", width=SHAPE[1], height=SHAPE[0], count=3,
                       dtype="uint8") as target:  # fmt: skip
        target.write(picture)
    steps.ingest(
        IngestParams(scenes=(str(folder / "scene.tif"),)), str(folder / "ws"), run=ClusterParams(), progress=Silent()
    )
    cube = open_workspace(open_store(folder / "ws")).cube()
    return Pictures(cube, rgb_bands(cube.bands)), truth


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
    pictures, truth = scene
    shapes = moved()
    whole = (slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    found = look_beside(Lines(shapes, ROAD), pictures.picture(whole), whole, learn_lines(pictures, shapes)[ROAD])
    best = max(iou(burnt(shapes.geometry, [width] * 4), truth) for width in (8, 10, 12, 14, 16, 18, 20))
    assert iou(found.logit > 0, truth) > best + 0.07
    for number, width in enumerate(TRUE):
        areas = np.count_nonzero((found.logit > 0) & (found.beside.number == number))
        assert areas / ROADS[number].length == pytest.approx(width, rel=0.25)


def test_windows_agree_about_what_both_see(scene):
    pictures, _ = scene
    shapes = moved()
    known = learn_lines(pictures, shapes)[ROAD]
    inner = (slice(300, 620), slice(280, 640))
    seen = []
    for reach in (64, 150):
        place = tuple(slice(s.start - reach, s.stop + reach) for s in inner)
        found = look_beside(Lines(shapes, ROAD), pictures.picture(place), place, known)
        seen.append(found.logit[within(inner, place)])
    np.testing.assert_array_equal(seen[0] > 0, seen[1] > 0)


def test_a_line_that_the_picture_does_not_show_is_listed(scene):
    """SAM is not asked about lines: a labeler without one will do."""
    pictures, truth = scene
    ghost = shapely.LineString([(760, 420), (980, 400)])
    shapes = moved(ghost)
    labeler = VectorLabeler(pictures, shapes, learn_lines(pictures, shapes))
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
