"""GeoTIFFs are cloud-optimized, say what they show, and are the same bytes each time."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.gdal import rasterio
from tasks.raster.geotiff import Layout, class_layout, write_geotiff
from tasks.raster.grid import whole, windows

SHAPE = (1100, 1300)
GRID = GeoBox(SHAPE, Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000), "EPSG:32636")
PIXELS = GeoBox(SHAPE, Affine.identity(), None)

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def write(path, layout, pixels, *, parts=None):
    cut = list(parts or windows(SHAPE, 512))
    write_geotiff(path, layout, ((w, pixels[:, *w]) for w in cut), scratch=path.with_suffix(".scratch"))
    assert not path.with_suffix(".scratch").exists()
    return path


@pytest.fixture(scope="module")
def label():
    """Blobs of every class, and a corner without data."""
    noise = np.random.default_rng(0).integers(0, 6, (12, 14), dtype=np.uint8)
    label = np.kron(noise, np.ones((100, 100), np.uint8))[: SHAPE[0], : SHAPE[1]]
    label[:300, :200] = 255
    return label[None]


@pytest.mark.parametrize("grid", [GRID, PIXELS], ids=["placed", "pixel space"])
def test_classes_tif_is_a_valid_cog_that_names_its_classes(tmp_path, label, grid):
    path = write(tmp_path / "classes.tif", class_layout(grid, DEFAULT_CLASSES, tags={"MODEL": "m"}), label)
    valid, errors, warnings = cog_validate(path, strict=True)
    assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(path) as source:
        np.testing.assert_array_equal(source.read(), label)
        assert source.shape == SHAPE
        assert source.transform == grid.affine
        assert source.crs == ("EPSG:32636" if grid.crs else None)
        assert source.nodata == 255
        assert source.descriptions == ("class",)
        assert source.tags()["CLASS_NAMES"] == "other,building,road,land,vegetation,water"
        assert source.tags()["MODEL"] == "m"
        colours = source.colormap(1)
        assert [colours[i][:3] for i in range(6)] == [c.colour for c in DEFAULT_CLASSES.classes]
        assert source.block_shapes == [(512, 512)]
        assert source.compression == rasterio.enums.Compression.deflate
        assert source.overviews(1) == [2, 4]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["classes.tif"]


def test_a_scene_without_crs_gets_no_transform(tmp_path, label):
    path = write(tmp_path / "a.tif", class_layout(PIXELS, DEFAULT_CLASSES, tags={}), label)
    # ModelPixelScale, ModelTiepoint, ModelTransformation: where they are, QGIS shows degrees at (0, 0).
    from PIL import Image

    with Image.open(path) as picture:
        assert not {33550, 33922, 34264} & set(picture.tag_v2)


def test_a_custom_transform_without_crs_is_kept(tmp_path, label):
    grid = GeoBox(SHAPE, Affine(2, 0, 10, 0, -2, 20), None)
    with rasterio.open(write(tmp_path / "a.tif", class_layout(grid, DEFAULT_CLASSES, tags={}), label)) as source:
        assert source.transform == grid.affine
        assert source.crs is None


def test_class_overviews_are_the_mode_of_the_pixels_below(tmp_path):
    rng = np.random.default_rng(1)
    label = np.where(rng.random(SHAPE) < 0.8, 2, rng.integers(0, 6, SHAPE)).astype(np.uint8)[None]
    path = write(tmp_path / "a.tif", class_layout(GRID, DEFAULT_CLASSES, tags={}), label)
    with rasterio.open(path, OVERVIEW_LEVEL=0) as source:
        small = source.read(1)
    squares = label[0].reshape(SHAPE[0] // 2, 2, SHAPE[1] // 2, 2).transpose(0, 2, 1, 3).reshape(*small.shape, 4)
    counts = np.stack([(squares == k).sum(-1) for k in range(6)], -1)
    clear = (counts == counts.max(-1, keepdims=True)).sum(-1) == 1
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(small[clear], counts.argmax(-1)[clear])


def test_probabilities_average_carry_their_scale_and_skip_nodata(tmp_path):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 255, (2, *SHAPE), dtype=np.uint8)
    pixels[:, :400, :400] = 255
    layout = Layout(
        GRID, ("other", "road"), 255, "AVERAGE", compress="ZSTD", predictor=True, scale=1 / 254, tags={"A": "b"}
    )
    path = write(tmp_path / "p.tif", layout, pixels)
    assert cog_validate(path, strict=True)[0]
    with rasterio.open(path) as source:
        np.testing.assert_array_equal(source.read(), pixels)
        assert source.descriptions == ("other", "road")
        assert source.scales == (1 / 254, 1 / 254)
        assert source.tags()["A"] == "b"
        assert source.compression == rasterio.enums.Compression.zstd
    with rasterio.open(path, OVERVIEW_LEVEL=0) as source:
        small = source.read()
    mean = pixels.reshape(2, SHAPE[0] // 2, 2, SHAPE[1] // 2, 2).mean(axis=(2, 4))
    assert (small[:, :200, :200] == 255).all()
    assert np.abs(small[:, 200:, 200:] - mean[:, 200:, 200:]).max() <= 0.5


@pytest.mark.parametrize("order", ["backwards", "in smaller parts"])
def test_the_same_pixels_give_the_same_bytes_in_any_order(tmp_path, label, order):
    layout = class_layout(GRID, DEFAULT_CLASSES, tags={"MODEL": "m"})
    parts = list(windows(SHAPE, 512))
    one = write(tmp_path / "a.tif", layout, label).read_bytes()
    two = write(tmp_path / "b.tif", layout, label, parts=parts[::-1] if order == "backwards" else [whole(GRID)])
    assert one == two.read_bytes()


def test_red_green_and_blue_are_a_picture(tmp_path):
    pixels = np.random.default_rng(3).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
    layout = Layout(GRID, ("red", "green", "blue"), None, "AVERAGE")
    with rasterio.open(write(tmp_path / "a.tif", layout, pixels)) as source:
        assert [c.name for c in source.colorinterp] == ["red", "green", "blue"]
        assert source.nodata is None
        np.testing.assert_array_equal(source.read(), pixels)


def test_a_failure_half_way_leaves_no_file(tmp_path, label):
    def parts():
        yield whole(GRID), label
        raise RuntimeError("a worker died")

    with pytest.raises(RuntimeError, match="a worker died"):
        write_geotiff(tmp_path / "a.tif", class_layout(GRID, DEFAULT_CLASSES, tags={}), parts(), scratch=tmp_path / "s")
    assert list(tmp_path.iterdir()) == []
