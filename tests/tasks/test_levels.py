"""The cube's coarser levels: the means that whole arrays would give, in the right place, gone where they are old."""

from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401 - gives xarray its .rio
import xarray

from flows import steps
from infra.progress import Silent
from infra.store import open_store
from tasks.raster.cube import open_cube
from tasks.raster.gdal import rasterio
from tasks.raster.levels import halve, level_sources, levels_of

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rioxarray's use of affine 3
SHAPE = (4301, 2050)
PLACE = rasterio.Affine(2, 0, 500_000, 0, -2, 4_000_000)


def halved(image, valid):
    """A half by loops over shifted planes: what is there, what is data, their mean."""
    rows, cols = (-(-n // 2) for n in valid.shape)
    there, data, total = np.zeros((rows, cols)), np.zeros((rows, cols)), np.zeros((len(image), rows, cols))
    for dy in (0, 1):
        for dx in (0, 1):
            part = valid[dy::2, dx::2]
            place = np.s_[: part.shape[0], : part.shape[1]]
            there[place] += 1
            data[place] += part
            total[(slice(None), *place)] += np.where(part, image[:, dy::2, dx::2], 0)
    enough = (2 * data >= there) & (data > 0)
    mean = np.divide(total, data, out=np.zeros_like(total), where=data > 0)
    if image.dtype.kind != "f":
        mean = np.floor(mean + 0.5)
    return np.where(enough, mean, 0).astype(image.dtype), enough


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 5), (64, 64)])
def test_a_half_is_the_mean_of_what_is_data(dtype, shape):
    rng = np.random.default_rng(1)
    image = (rng.normal(size=(2, *shape)) * 90).clip(0 if dtype[0] == "u" else -99, 250).astype(dtype)
    valid = rng.random(shape) < 0.6
    found, want = halve(image, valid), halved(image, valid)
    np.testing.assert_array_equal(found[1], want[1])
    np.testing.assert_array_equal(found[0], want[0])
    assert found[0].dtype == image.dtype


def test_a_hole_in_one_band_is_no_number_in_its_mean():
    image = np.array([[[100, 100], [100, np.nan]], [[np.nan, np.nan], [np.nan, np.nan]]], np.float32)
    (one, other), valid = halve(image, np.ones((2, 2), bool))
    assert one[0, 0] == 100
    assert np.isnan(other[0, 0])
    assert valid.all()


def test_levels_end_where_a_screen_begins():
    assert level_sources((512, 100)) == []
    assert [levels_of((40_000, 30_000), s) for s in level_sources((40_000, 30_000))] == [[2, 4, 8], [16, 32, 64], [128]]
    assert [levels_of((513, 9), s) for s in level_sources((513, 9))] == [[2]]


@pytest.fixture(scope="module")
def leveled(tmp_path_factory, engine):
    """A scene of odd sides with a hole, its cube with levels."""
    folder = tmp_path_factory.mktemp("levels")
    rng = np.random.default_rng(0)
    image = rng.integers(1, 60_000, (2, *SHAPE)).astype(np.uint16)
    image[:, 1000:2501, 300:1111] = 0
    with rasterio.open(
        folder / "a.tif", "w", driver="GTiff", count=2, height=SHAPE[0], width=SHAPE[1], dtype="uint16", nodata=0,
        crs="EPSG:32636", transform=PLACE,
    ) as target:  # fmt: skip
        target.write(image)
    workspace = str(engine.ingest(folder / "a.tif", folder / "ws"))
    steps.export_levels(workspace, progress=Silent())
    return workspace, image


def test_every_level_is_half_of_the_one_before(leveled):
    workspace, image = leveled
    path, valid = Path(workspace) / "cube.zarr", image.any(0)
    factors = [2, 4, 8, 16]
    for factor in factors:
        image, valid = halved(image, valid)
        with xarray.open_zarr(path, group=f"levels/{factor}", mask_and_scale=False) as level:
            np.testing.assert_array_equal(level["image"].values, image)
            np.testing.assert_array_equal(level["valid"].values, valid)
            assert level.rio.transform().almost_equals(PLACE @ rasterio.Affine.scale(factor))
            assert level.rio.crs.to_epsg() == 32636
    with xarray.open_zarr(path) as whole:
        listed = whole.attrs["multiscales"]["layout"]
    assert [entry["asset"] for entry in listed] == [".", *(f"levels/{f}" for f in factors)]
    assert [entry["transform"]["scale"] for entry in listed[1:]] == [[2.0, 2.0]] * 4


def test_an_ingest_that_changes_the_cube_takes_them_away(leveled, tmp_path, engine):
    workspace, image = leveled
    with rasterio.open(
        tmp_path / "b.tif", "w", driver="GTiff", count=2, height=SHAPE[0], width=SHAPE[1], dtype="uint16", nodata=0,
        crs="EPSG:32636", transform=PLACE,
    ) as target:  # fmt: skip
        target.write(image[:, ::-1])
    store = open_store(workspace)
    before = open_cube(store.zarr("cube.zarr")).fingerprint
    engine.ingest(tmp_path / "b.tif", workspace)
    assert open_cube(store.zarr("cube.zarr")).fingerprint != before
    assert not store.keys("cube.zarr/levels")
    with xarray.open_zarr(Path(workspace) / "cube.zarr") as whole:
        assert "multiscales" not in whole.attrs
