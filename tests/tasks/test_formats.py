"""The formats that people have: the pixels that were written come back, in their place."""

import numpy as np
import pytest

from flows import steps
from infra.progress import Silent
from infra.store import open_store
from tasks.params import ClusterParams, IngestParams
from tasks.raster.cube import open_cube
from tasks.raster.gdal import rasterio

SHAPE = (210, 333)
PLACE = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)
YS, XS = np.indices(SHAPE)
SMOOTH = np.stack([(YS + k * XS) % 256 // 2 for k in (0, 1, 2)]).astype(np.uint8)
"""Something that a lossy format keeps within a few steps."""

TIFFS = {
    "striped": {"tiled": False},
    "tiled": {"tiled": True, "blockxsize": 64, "blockysize": 32},
    "planes-apart": {"interleave": "band", "tiled": True, "blockxsize": 64, "blockysize": 64},
    "bigtiff": {"BIGTIFF": "YES"},
    "lzw-predictor": {"compress": "lzw", "predictor": 2},
    "deflate": {"compress": "deflate", "zlevel": 9},
    "zstd": {"compress": "zstd"},
    "packbits": {"compress": "packbits"},
    "lerc": {"compress": "lerc"},
    "webp-lossless": {"compress": "webp", "WEBP_LOSSLESS": "YES"},
    "big-endian": {"ENDIANNESS": "BIG"},
}


def ingested(tmp_path, path, **options):
    store = open_store(str(tmp_path / "ws"))
    params = IngestParams(scenes=(str(path),), **options)
    steps.ingest(params, store.url, run=ClusterParams(workers=2), progress=Silent())
    cube = open_cube(store.zarr("cube.zarr"))
    return cube, *cube.read((slice(0, cube.grid.shape[0]), slice(0, cube.grid.shape[1])))


def write(path, pixels, **options):
    with rasterio.open(
        path, "w", count=len(pixels), height=pixels.shape[1], width=pixels.shape[2], dtype=pixels.dtype,
        **({"driver": "GTiff", "crs": "EPSG:32636", "transform": PLACE} | options),
    ) as target:  # fmt: skip
        target.write(pixels)


@pytest.mark.parametrize("form", TIFFS)
def test_geotiff_in_all_its_forms(tmp_path, form):
    write(tmp_path / "scene.tif", SMOOTH, **TIFFS[form])
    cube, image, valid = ingested(tmp_path, tmp_path / "scene.tif")
    assert np.array_equal(image, SMOOTH)
    assert valid.all()
    assert (cube.grid.affine, cube.grid.crs.to_epsg()) == (PLACE, 32636)


def test_jpeg_inside_a_geotiff_as_colours(tmp_path):
    write(
        tmp_path / "scene.tif", SMOOTH, compress="jpeg", photometric="ycbcr", tiled=True, blockxsize=64, blockysize=64
    )
    _, image, _ = ingested(tmp_path, tmp_path / "scene.tif")
    assert np.abs(image.astype(int) - SMOOTH).mean() < 6


def test_a_cog_with_a_mask_inside(tmp_path):
    hole = np.full(SHAPE, 255, np.uint8)
    hole[:50, :70] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(tmp_path / "plain.tif", SMOOTH)
        with rasterio.open(tmp_path / "plain.tif", "r+") as target:
            target.write_mask(hole)
        rasterio.shutil.copy(tmp_path / "plain.tif", tmp_path / "scene.tif", driver="COG", COMPRESS="DEFLATE")
    _, image, valid = ingested(tmp_path, tmp_path / "scene.tif")
    assert np.array_equal(valid, hole > 0)
    assert np.array_equal(image[:, valid], SMOOTH[:, valid])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_jpeg_2000(tmp_path, dtype):
    pixels = SMOOTH.astype(dtype) * (1 if dtype == "uint8" else 200)
    write(tmp_path / "scene.tif", pixels)
    options = {"QUALITY": "100", "REVERSIBLE": "YES"}
    rasterio.shutil.copy(tmp_path / "scene.tif", tmp_path / "scene.jp2", driver="JP2OpenJPEG", **options)
    cube, image, _ = ingested(tmp_path, tmp_path / "scene.jp2")
    assert np.array_equal(image, pixels)
    assert (cube.grid.affine, cube.grid.crs.to_epsg(), str(cube.dtype)) == (PLACE, 32636, dtype)


@pytest.mark.parametrize(
    ("suffix", "driver", "world"), [("png", "PNG", "pgw"), ("jpg", "JPEG", "jgw"), ("png", "PNG", "wld")]
)
def test_a_picture_lies_where_its_world_file_says(tmp_path, suffix, driver, world):
    path = tmp_path / f"scene.{suffix}"
    write(path, SMOOTH, driver=driver, crs=None, transform=rasterio.Affine.identity())
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)
    # Six lines: the size of a pixel, turns, and the middle of the first pixel.
    lines = (PLACE.a, PLACE.d, PLACE.b, PLACE.e, PLACE.c + PLACE.a / 2, PLACE.f + PLACE.e / 2)
    path.with_suffix(f".{world}").write_text("\n".join(f"{v:.6f}" for v in lines))
    cube, image, _ = ingested(tmp_path, path)
    assert cube.grid.affine.almost_equals(PLACE)
    assert cube.grid.crs is None
    assert np.abs(image.astype(int) - SMOOTH).mean() < (1 if suffix == "png" else 6)
    assert cube.bands == ("red", "green", "blue")


def test_a_folder_of_pictures_side_by_side_is_one_map(tmp_path):
    folder = tmp_path / "delivery"
    folder.mkdir()
    for n, name in enumerate(("b.tif", "a.tif")):
        place = PLACE @ rasterio.Affine.translation(n * SHAPE[1], 0)
        write(folder / name, SMOOTH + np.uint8(n), transform=place)
    (folder / "notes.txt").write_text("not a raster")
    _, image, _ = ingested(tmp_path, folder)
    assert np.array_equal(image, np.concatenate([SMOOTH, SMOOTH + 1], axis=2))


@pytest.mark.parametrize("bands", [1, 2, 4, 8, 20])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_any_number_of_bands_of_any_type(tmp_path, bands, dtype):
    rng = np.random.default_rng(bands)
    pixels = rng.normal(0, 900, (bands, 40, 50)) if dtype.startswith("f") else rng.integers(1, 120, (bands, 40, 50))
    pixels = pixels.astype(dtype)
    write(tmp_path / "scene.tif", pixels, photometric="minisblack", alpha="no")
    cube, image, valid = ingested(tmp_path, tmp_path / "scene.tif")
    assert len(cube.bands) == bands
    assert str(cube.dtype) == dtype.replace("float64", "float32")
    assert np.array_equal(image, pixels.astype(cube.dtype))
    assert valid.all()


def test_statistics_are_of_valid_pixels_alone(tmp_path):
    pixels = np.random.default_rng(3).integers(100, 3000, (2, 80, 90)).astype(np.uint16)
    pixels[:, :40] = 65535
    write(tmp_path / "scene.tif", pixels, nodata=65535)
    cube, _, valid = ingested(tmp_path, tmp_path / "scene.tif")
    assert not valid[:40].any()
    for found, plane in zip(cube.statistics, pixels[:, 40:], strict=True):
        assert (found.minimum, found.maximum) == (plane.min(), plane.max())
        assert found.mean == pytest.approx(plane.mean())
        assert found.std == pytest.approx(plane.std())


@pytest.mark.parametrize("place", ["south-up", "turned", "sheared", "half-pixel-lines"])
def test_a_transform_of_any_kind_is_kept(tmp_path, place):
    turned = rasterio.Affine.translation(500_000, 4_000_000) @ rasterio.Affine.rotation(33)
    turns = {
        "south-up": rasterio.Affine(0.5, 0, 500_000, 0, 0.5, 4_000_000),
        "turned": turned @ rasterio.Affine.scale(0.5, -0.5),
        "sheared": rasterio.Affine(0.5, 0.1, 500_000, 0.02, -0.5, 4_000_000),
        "half-pixel-lines": rasterio.Affine(0.5, 0, 500_000, 0, -0.25, 4_000_000),
    }
    write(tmp_path / "scene.tif", SMOOTH, transform=turns[place])
    cube, image, _ = ingested(tmp_path, tmp_path / "scene.tif")
    assert cube.grid.affine.almost_equals(turns[place], 1e-9)
    assert np.array_equal(image, SMOOTH)


def test_a_pixel_that_is_a_point_lies_around_it(tmp_path):
    write(tmp_path / "scene.tif", SMOOTH)
    with rasterio.open(tmp_path / "scene.tif", "r+") as target:
        target.update_tags(AREA_OR_POINT="Point")
    cube, _, _ = ingested(tmp_path, tmp_path / "scene.tif")
    assert cube.grid.affine == PLACE


def test_another_planet(tmp_path):
    mars = "+proj=eqc +lat_ts=0 +lon_0=180 +R=3396190 +units=m +no_defs"
    write(tmp_path / "scene.tif", SMOOTH, crs=mars, transform=rasterio.Affine(6, 0, 1e6, 0, -6, 2e6))
    cube, image, _ = ingested(tmp_path, tmp_path / "scene.tif")
    assert "3396190" in cube.grid.crs.wkt
    assert np.array_equal(image, SMOOTH)
