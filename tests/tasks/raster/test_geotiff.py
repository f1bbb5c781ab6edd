"""GeoTIFFs are cloud-optimized, say what they show, and are the same bytes each time."""

import struct

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from tasks.raster import cog, geotiff
from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.cog import OFFSETS, SIZES, read_directory
from tasks.raster.gdal import rasterio
from tasks.raster.geotiff import Layout, class_layout, overview_shapes, write_geotiff
from tasks.raster.grid import whole, windows

SHAPE = (1100, 1300)
GRID = GeoBox(SHAPE, Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000), "EPSG:32636")
PIXELS = GeoBox(SHAPE, Affine.identity(), None)


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


@pytest.mark.parametrize("order", ["backwards", "at once", "in larger parts"])
def test_the_same_pixels_give_the_same_bytes_in_any_order(tmp_path, label, order):
    layout = class_layout(GRID, DEFAULT_CLASSES, tags={"MODEL": "m"})
    parts = list(windows(SHAPE, 512))
    one = write(tmp_path / "a.tif", layout, label).read_bytes()
    other = {"backwards": parts[::-1], "at once": [whole(GRID)], "in larger parts": list(windows(SHAPE, 1024))}[order]
    two = write(tmp_path / "b.tif", layout, label, parts=other)
    assert one == two.read_bytes()


def test_windows_across_tiles_are_refused(tmp_path, label):
    with pytest.raises(AssertionError):
        write(tmp_path / "a.tif", class_layout(GRID, DEFAULT_CLASSES, tags={}), label, parts=windows(SHAPE, 300))


PROBABILITY = Layout(GRID, ("other", "road"), 255, "AVERAGE", compress="ZSTD", predictor=True, scale=1 / 254)


@pytest.mark.parametrize("threads", ["1", "7"])
def test_threads_do_not_change_a_byte(tmp_path, monkeypatch, threads):
    pixels = np.random.default_rng(4).integers(0, 255, (2, *SHAPE), dtype=np.uint8)
    one = write(tmp_path / "a.tif", PROBABILITY, pixels).read_bytes()
    monkeypatch.setattr(geotiff, "THREADS", threads)
    assert one == write(tmp_path / "b.tif", PROBABILITY, pixels).read_bytes()


@pytest.mark.parametrize("kind", ["classes", "probability"])
def test_it_says_what_gdals_own_cog_says(tmp_path, label, kind):
    """The oracle: the same pixels through GDAL's COG driver."""
    layout = class_layout(GRID, DEFAULT_CLASSES, tags={"A": "b"}) if kind == "classes" else PROBABILITY
    pixels = label if kind == "classes" else np.concatenate([label * 20, label * 30])
    if kind == "probability":
        pixels[:, label[0] == 255] = 255
    path = write(tmp_path / "a.tif", layout, pixels)
    options = {"blocksize": "512", "compress": layout.compress, "predictor": "YES" if layout.predictor else "NO"}
    rasterio.shutil.copy(path, tmp_path / "b.tif", driver="COG", overview_resampling=layout.overviews, **options)
    with rasterio.open(path) as ours, rasterio.open(tmp_path / "b.tif") as theirs:
        assert ours.profile == theirs.profile
        assert ours.tags() == theirs.tags()
        assert ours.tags(ns="IMAGE_STRUCTURE") == theirs.tags(ns="IMAGE_STRUCTURE")
        assert ours.overviews(1) == theirs.overviews(1)
        assert (ours.scales, ours.descriptions, ours.colorinterp) == (
            theirs.scales,
            theirs.descriptions,
            theirs.colorinterp,
        )
        np.testing.assert_array_equal(ours.read(), theirs.read())
    for level in range(len(overview_shapes(SHAPE))):
        with (
            rasterio.open(path, OVERVIEW_LEVEL=level) as ours,
            rasterio.open(tmp_path / "b.tif", OVERVIEW_LEVEL=level) as theirs,
        ):
            assert ours.profile == theirs.profile
            a, b = ours.read(), theirs.read()
        # Blobs of 100 pixels: the two differ in how ties and halves are broken at their edges.
        assert (a != b).mean() < 0.05
        assert ((a == 255) == (b == 255)).mean() > 0.999


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
def test_the_tiles_lie_as_the_note_says(tmp_path, monkeypatch, label, big):
    if big:
        monkeypatch.setattr(cog, "LARGEST", 1000)
    path = write(tmp_path / "a.tif", class_layout(GRID, DEFAULT_CLASSES, tags={}), label)
    assert cog_validate(path, strict=True)[0]
    raw = path.read_bytes()
    assert raw[2] == (43 if big else 42)
    note = raw[16 if big else 8 :]
    assert note.startswith(b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(cog.NOTE) + cog.NOTE)
    with rasterio.open(path) as source:
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        np.testing.assert_array_equal(source.read(), label)
    directory = read_directory(path)
    offsets, sizes = directory[OFFSETS].integers(), directory[SIZES].integers()
    assert len(offsets) == 3 * 3
    for offset, size in zip(offsets, sizes, strict=True):
        assert struct.unpack("<I", raw[offset - 4 : offset]) == (size,)
        assert raw[offset + size - 4 : offset + size] == raw[offset + size : offset + size + 4]
    # Row by row without a gap, to the end of the file.
    assert [a + s + 8 for a, s in zip(offsets, sizes, strict=True)] == [*offsets[1:], len(raw) + 4]


def test_parts_that_are_bigtiffs_make_the_same_cog(tmp_path, monkeypatch, label):
    layout = class_layout(GRID, DEFAULT_CLASSES, tags={"MODEL": "m"})
    one = write(tmp_path / "a.tif", layout, label).read_bytes()
    monkeypatch.setattr(geotiff, "BIGTIFF", "YES")
    seen = []
    assemble = geotiff.assemble_cog
    monkeypatch.setattr(
        geotiff,
        "assemble_cog",
        lambda path, levels: (seen.extend(p.read_bytes()[2] for p in levels), assemble(path, levels)),
    )
    assert write(tmp_path / "b.tif", layout, label).read_bytes() == one
    assert seen == [43, 43, 43]


@pytest.mark.parametrize("shape", [(1, 1), (512, 512), (513, 40), (3, 1030)])
def test_small_and_narrow_scenes_are_cogs_too(tmp_path, shape):
    grid = GeoBox(shape, Affine.identity(), None)
    pixels = np.random.default_rng(5).integers(0, 5, (1, *shape), dtype=np.uint8)
    layout = class_layout(grid, DEFAULT_CLASSES, tags={})
    path = tmp_path / "a.tif"
    write_geotiff(path, layout, [(whole(grid), pixels)], scratch=tmp_path / "s")
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as source:
        np.testing.assert_array_equal(source.read(), pixels)
        assert source.overviews(1) == [2 ** (n + 1) for n in range(len(overview_shapes(shape)))]


def test_colours_beside_no_data_are_not_darkened(tmp_path):
    pixels = np.full((4, *SHAPE), 200, np.uint8)
    pixels[:, :401, :301] = 0
    layout = Layout(GRID, ("red", "green", "blue", "alpha"), None, "AVERAGE")
    path = write(tmp_path / "a.tif", layout, pixels)
    with rasterio.open(path, OVERVIEW_LEVEL=0) as source:
        assert [c.name for c in source.colorinterp] == list(layout.bands)
        small = source.read()
    assert set(np.unique(small[:3])) == {0, 200}
    assert small[:, 200, 100].tolist() == [200, 200, 200, 100]


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
