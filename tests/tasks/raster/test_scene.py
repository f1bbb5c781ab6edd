"""Scenes are what plain rasterio says they are; what is no scene is refused in one sentence."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.gdal import rasterio
from tasks.raster.grid import whole
from tasks.raster.scene import describe_scene, read_scene

UTM = Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)

REAL = {
    "rasters/201404_13SED190110_201404_0x1500m_CL_1.tif": "plain",
    "rasters/201404_13SED190110_201404_0x1500m_CL_1_alpha.tif": "alpha",
    "rasters/201404_13SED190110_201404_0x1500m_CL_1_mask.tif": "mask",
    "rasters/201404_13SED190110_201404_0x1500m_CL_1_nodata.tif": "nodata",
    "rasters/RGB.byte.tif": "nodata",
    "rasters/RGBA.byte.tif": "alpha",
    "rasters/RGBA.uint16.tif": "alpha",
    "rasters/all-nodata.tif": "nodata",
    "rasters/cog_rgb_mask.tif": "mask",
    "rasters/cog_gcps.tif": "plain",
    "rasters/rotated.tif": "plain",
    "spacenet/RGB-PanSharpen_AOI_2_Vegas_img0.tif": "alpha",
    "spacenet/ms1.tif": "plain",
    "spacenet/pan1.tif": "plain",
}


@pytest.mark.parametrize(("name", "kind"), REAL.items())
def test_a_real_scene_is_what_rasterio_says(data, name, kind):
    path = data / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    scene = describe_scene(path)
    image, valid = read_scene(scene, whole(scene.grid), bands=scene.bands)
    with rasterio.open(path) as source:
        pixels = source.read()
        colours = [c.name for c in source.colorinterp]
        keep = [i for i, c in enumerate(colours) if c != "alpha"]
        if kind == "alpha":
            expected = pixels[colours.index("alpha")] > 0
        elif kind == "mask":
            expected = source.read_masks(1) > 0
        elif kind == "nodata":
            expected = (pixels[keep] != source.nodata).any(0)
        else:
            expected = np.ones(pixels.shape[1:], bool)
        assert tuple(scene.grid.shape) == source.shape
        assert scene.grid.affine == source.transform
        assert (scene.grid.crs is None) == (source.crs is None)
        if source.crs:
            assert rasterio.crs.CRS.from_wkt(scene.grid.crs.wkt) == source.crs
        assert (scene.alpha is not None, scene.masked, scene.nodata is not None) == (
            kind == "alpha",
            kind == "mask",
            kind == "nodata",
        )
    assert scene.dtype == str(image.dtype) == str(pixels.dtype)
    assert len(scene.bands) == len(keep)
    np.testing.assert_array_equal(image, pixels[keep])
    np.testing.assert_array_equal(valid, expected)


def test_a_window_and_the_order_of_bands(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 60), dtype=np.uint8)
    scene = describe_scene(write(tmp_path / "a.tif", pixels))
    image, valid = read_scene(scene, (slice(5, 12), slice(50, 60)), bands=("b3", "b1"))
    np.testing.assert_array_equal(image, pixels[[2, 0], 5:12, 50:60])
    assert valid.shape == (7, 10)
    assert valid.all()


def write(path, pixels, *, mask=None, names=None, tags=None, colours=None, **profile):
    profile = {"crs": "EPSG:32636", "transform": UTM, "photometric": "minisblack"} | profile
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", count=len(pixels), height=pixels.shape[1], width=pixels.shape[2],
            dtype=pixels.dtype, **profile,
        ) as target,
    ):  # fmt: skip
        target.update_tags(**(tags or {}))
        if names:
            target.descriptions = names
        if colours:
            target.colorinterp = [rasterio.enums.ColorInterp[c] for c in colours]
        target.write(pixels)
        if mask is not None:
            target.write_mask(mask)
    return path


def holes(shape):
    valid = np.ones(shape, bool)
    valid[3:9, 4:20] = False
    return valid


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("how", ["nodata", "alpha", "mask"])
def test_holes_of_every_kind_in_every_dtype(tmp_path, dtype, how):
    rng = np.random.default_rng(1)
    pixels = rng.integers(1, 100, (3, 32, 48)).astype(dtype)
    valid = holes((32, 48))
    if how == "nodata":
        pixels[:, ~valid] = 0
        pixels[1, 20, 20] = 0  # one band of three: still data
        path = write(tmp_path / "a.tif", pixels, nodata=0)
    elif how == "mask":
        path = write(tmp_path / "a.tif", pixels, mask=valid)
    else:
        alpha = np.where(valid, 7, 0).astype(dtype)  # any alpha over 0 is data
        colours = ("red", "green", "blue", "alpha")
        path = write(tmp_path / "a.tif", np.concatenate([pixels, alpha[None]]), colours=colours)
    scene = describe_scene(path)
    image, found = read_scene(scene, whole(scene.grid), bands=scene.bands)
    assert len(image) == 3
    assert scene.dtype == dtype
    np.testing.assert_array_equal(found, valid)
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("nodata", [None, float("nan"), -9999.0])
def test_what_is_not_finite_is_no_data(tmp_path, nodata):
    pixels = np.random.default_rng(2).random((2, 32, 48)).astype(np.float32)
    valid = holes((32, 48))
    pixels[0, ~valid], pixels[1, ~valid] = np.nan, np.inf
    pixels[0, 25, 25] = np.nan  # the other band has data there
    if nodata == -9999.0:
        pixels[:, 30, 30] = -9999.0
        valid[30, 30] = False
    scene = describe_scene(write(tmp_path / "a.tif", pixels, nodata=nodata))
    _, found = read_scene(scene, whole(scene.grid), bands=scene.bands)
    np.testing.assert_array_equal(found, valid)


@pytest.mark.parametrize(
    ("names", "colours", "expected"),
    [
        (("Red", " Green", "NIR"), None, ("red", "green", "nir")),
        (("x", "x", "y"), None, ("b1", "b2", "b3")),
        (("x", None, "y"), None, ("b1", "b2", "b3")),
        (None, ("blue", "green", "red"), ("blue", "green", "red")),
        (None, ("gray", "undefined", "undefined"), ("b1", "b2", "b3")),
    ],
)
def test_bands_are_called_by_description_then_colour_then_number(tmp_path, names, colours, expected):
    path = write(tmp_path / "a.tif", np.zeros((3, 8, 8), np.uint8), names=names, colours=colours)
    assert describe_scene(path).bands == expected


def test_the_attribution_is_kept(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((1, 8, 8), np.uint8), tags={"TIFFTAG_COPYRIGHT": "(c) someone"})
    assert describe_scene(path).attribution == "(c) someone"


def test_a_scene_without_crs_lies_in_pixel_space(tmp_path):
    scene = describe_scene(write(tmp_path / "a.tif", np.zeros((1, 8, 9), np.uint8), crs=None, transform=None))
    assert scene.grid == GeoBox((8, 9), Affine.identity(), None)


def refused(path, words):
    with pytest.raises(UnusableInput) as caught:
        describe_scene(path)
    text = str(caught.value)
    assert words in text
    assert "a.tif" in text
    assert "\n" not in text
    assert text.endswith(".")


def test_what_is_no_scene_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "a.tif"
    refused(path, "There is no file")
    path.write_bytes(b"")
    refused(path, "is empty (0 bytes)")
    path.write_text("not a raster at all")
    refused(path, "is not a raster that GDAL can open")
    path.unlink()
    path.mkdir()
    refused(path, "There is no file")
    path.rmdir()
    for name in ("/vsicurl/http://localhost/a.tif", "<VRTDataset>a.tif</VRTDataset>", "ftp://localhost/a.tif"):
        refused(name, "is no file and no address")
    refused("http://localhost:1/a.tif", "is not a raster that GDAL can open")


@pytest.mark.parametrize("dtype", ["complex64", "uint32", "int32", "int8"])
def test_other_pixel_types_are_refused(tmp_path, dtype):
    refused(write(tmp_path / "a.tif", np.zeros((1, 8, 8), dtype)), f"has pixels of type {dtype}; expected one of uint8")


def test_alpha_alone_is_no_scene(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((1, 8, 8), np.uint8), colours=("alpha",))
    refused(path, "has an alpha band and no other")


def test_a_truncated_scene_never_reads_as_pixels(tmp_path):
    pixels = np.random.default_rng(3).integers(0, 256, (1, 512, 512), dtype=np.uint8)
    path = write(tmp_path / "a.tif", pixels, compress="deflate", tiled=True, blockxsize=128, blockysize=128)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    scene = describe_scene(path)  # the header is whole
    with pytest.raises(UnusableInput, match="cannot be read in rows 384 to 512: the file is truncated or corrupt"):
        read_scene(scene, (slice(384, 512), slice(0, 512)), bands=scene.bands)


def test_a_header_alone_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", np.ones((1, 64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:8])
    refused(path, "is not a raster")


def test_a_palette_s_indexes_are_the_colours_they_stand_for(tmp_path):
    table = {0: (0, 0, 0, 0), 1: (10, 20, 30, 255), 2: (200, 100, 50, 255), 9: (1, 2, 3, 255)}
    indexes = np.random.default_rng(0).choice([0, 1, 2, 9], (1, 20, 30)).astype(np.uint8)
    path = tmp_path / "palette.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=20, width=30, dtype="uint8", photometric="palette",
        crs="EPSG:32636", transform=UTM, nodata=9,
    ) as target:  # fmt: skip
        target.write(indexes)
        target.write_colormap(1, table)
    scene = describe_scene(path)
    assert scene.bands == ("red", "green", "blue")
    image, valid = read_scene(scene, (slice(2, 18), slice(3, 30)), bands=("blue", "red"))
    part = indexes[0, 2:18, 3:30]
    for index, (red, _, blue, _) in table.items():
        assert set(image[0][part == index]) == {blue}
        assert set(image[1][part == index]) == {red}
    np.testing.assert_array_equal(valid, part != 9)  # a GeoTIFF keeps no alpha of a palette, but what is nodata
