"""Truth comes onto the grid as rasterio's own warper would bring it."""

import hashlib

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from infra.errors import UnusableInput
from tasks.raster.classes import DEFAULT_CLASSES, class_map
from tasks.raster.gdal import rasterio
from tasks.raster.grid import whole, windows
from tasks.raster.truth import RasterTruth, VectorTruth, file_fingerprint, open_truth

TRANSFORM = Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)
GRID = GeoBox((200, 300), TRANSFORM, "EPSG:32636")
NAMES = ("ignore", "road", "building", "other")
IDS = np.array([255, 2, 1, 0], np.uint8)


def blobs(shape=(200, 300), seed=0):
    noise = np.random.default_rng(seed).integers(0, 4, (shape[0] // 10, shape[1] // 10), dtype=np.uint8)
    return np.kron(noise, np.ones((10, 10), np.uint8))


def write(path, values, *, transform=TRANSFORM, crs="EPSG:32636", nodata=None, tag=None, mask=None):
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", count=1, height=values.shape[0], width=values.shape[1], dtype=values.dtype,
            crs=crs, transform=transform, nodata=nodata,
        ) as target,
    ):  # fmt: skip
        target.write(values, 1)
        if tag is not None:
            target.update_tags(CLASS_NAMES=tag)
        if mask is not None:
            target.write_mask(mask)
    return str(path)


def read_truth(path, grid=GRID, *, names=NAMES):
    return open_truth(path, grid, DEFAULT_CLASSES, names=names, vector_class=None, road_width=6.0)


@pytest.mark.parametrize("named", ["option", "tag"])
def test_truth_on_the_grid_is_translated_pixel_by_pixel(tmp_path, named):
    values = blobs()
    path = write(tmp_path / "t.tif", values, tag=", ".join(NAMES) if named == "tag" else "a,b,c,d", nodata=None)
    truth = read_truth(path, names=() if named == "tag" else NAMES)
    assert isinstance(truth, RasterTruth)
    assert truth.aligned
    assert truth.ids == {0, 1, 2}
    np.testing.assert_array_equal(truth.read(whole(GRID)), IDS[values])
    for window in windows((200, 300), 77):
        np.testing.assert_array_equal(truth.read(window), IDS[values][window])


@pytest.mark.parametrize("how", ["nodata", "mask"])
@pytest.mark.parametrize("shifted", [False, True])
def test_truth_is_silent_where_it_has_no_data(tmp_path, how, shifted):
    values = blobs().clip(1)
    hole = np.zeros(values.shape, bool)
    hole[50:90, 100:180] = True
    if how == "nodata":
        values[hole] = 9
    transform = TRANSFORM @ Affine.translation(-20, 10) if shifted else TRANSFORM
    path = write(
        tmp_path / "t.tif", values, transform=transform,
        nodata=9 if how == "nodata" else None, mask=~hole if how == "mask" else None,
    )  # fmt: skip
    expected = np.where(hole, 255, IDS[values.clip(max=3)]).astype(np.uint8)
    if shifted:
        moved = np.full_like(expected, 255)
        moved[10:, :-20] = expected[:-10, 20:]
        expected = moved
    np.testing.assert_array_equal(read_truth(path).read(whole(GRID)), expected)


def test_truth_of_a_larger_place_is_cut(tmp_path):
    values = blobs((400, 500))
    path = write(tmp_path / "t.tif", values, transform=TRANSFORM @ Affine.translation(-100, -150))
    truth = read_truth(path)
    assert not truth.aligned
    np.testing.assert_array_equal(truth.read(whole(GRID)), IDS[values[150:350, 100:400]])


def fitted(bounds, shape):
    left, bottom, right, top = bounds
    return Affine((right - left) / shape[1], 0, left, 0, (bottom - top) / shape[0], top)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32637"])
def test_truth_in_another_crs_is_warped_nearest(tmp_path, crs):
    """The oracle is GDAL's warper on the whole array, by way of rasterio."""
    values = blobs((600, 700), seed=3)
    bounds = rasterio.warp.transform_bounds("EPSG:32636", crs, *GRID.extent.boundingbox.bbox)
    transform = fitted(bounds, (600, 700))
    path = write(tmp_path / "t.tif", values, crs=crs, transform=transform)
    expected, there = np.zeros((200, 300), np.uint8), np.zeros((200, 300), np.uint8)
    for source, out in ((values, expected), (np.ones_like(values), there)):
        rasterio.warp.reproject(
            source, out, src_transform=transform, src_crs=crs, dst_transform=TRANSFORM, dst_crs="EPSG:32636",
            resampling=rasterio.enums.Resampling.nearest,
        )  # fmt: skip
    found = read_truth(path).read(whole(GRID))
    same = found == np.where(there > 0, IDS[expected], 255)
    assert same.mean() > 0.995  # the warper approximates the transform to an eighth of a pixel, window by window
    assert len(np.unique(found)) == 4


def test_windows_of_warped_truth_meet(tmp_path):
    values = blobs((600, 700), seed=4)
    bounds = rasterio.warp.transform_bounds("EPSG:32636", "EPSG:4326", *GRID.extent.boundingbox.bbox)
    transform = fitted(bounds, (600, 700))
    truth = read_truth(write(tmp_path / "t.tif", values, crs="EPSG:4326", transform=transform))
    everything = truth.read(whole(GRID))
    parts = np.zeros_like(everything)
    for window in windows((200, 300), 64):
        parts[window] = truth.read(window)
    assert (parts == everything).mean() > 0.999


def test_its_own_map_may_have_fewer_classes_than_the_grid_s(tmp_path):
    path = write(tmp_path / "t.tif", np.array([[0, 1], [1, 0]], np.uint8), tag="other,road")
    grid = GeoBox((2, 2), TRANSFORM, "EPSG:32636")
    truth = read_truth(path, grid, names=())
    assert truth.ids == {0, 2}
    assert truth.read(whole(grid)).tolist() == [[0, 2], [2, 0]]


def test_vectors_are_truth_too_and_other_where_there_is_none(tmp_path):
    import geopandas as gpd

    path = tmp_path / "t.gpkg"
    gpd.GeoDataFrame(geometry=[shapely.box(500_010, 3_999_950, 500_030, 3_999_990)], crs="EPSG:32636").to_file(
        path, layer="buildings"
    )
    truth = read_truth(str(path), names=())
    assert isinstance(truth, VectorTruth)
    assert truth.ids == {0, 1}
    expected = np.zeros((200, 300), np.uint8)
    expected[20:100, 20:60] = 1
    np.testing.assert_array_equal(truth.read(whole(GRID)), expected)


def refused(path, words, grid=GRID, **options):
    with pytest.raises(UnusableInput, match=words) as caught:
        read_truth(path, grid, **options)
    assert "\n" not in str(caught.value)


def test_truth_that_cannot_be_used_is_refused(tmp_path):
    values = blobs()
    good = write(tmp_path / "t.tif", values)
    refused(good, r"no tag CLASS_NAMES\); name them from id 0, for example --truth-classes other,building", names=())
    refused(good, "There is no class 'lake' in this map", names=("other", "lake"))
    refused(write(tmp_path / "h.tif", values, tag="other,,road"), "There is no class ''", names=())
    refused(write(tmp_path / "f.tif", values.astype(np.float32)), "has pixels of type float32; a class raster is uint8")
    far = write(tmp_path / "x.tif", values, transform=TRANSFORM @ Affine.translation(5000, 0))
    refused(far, "does not overlap the scene: it spans x 502500 to 502650")
    bare = write(tmp_path / "n.tif", values[:-1], crs=None, transform=None)
    refused(bare, "without a CRS on both they must be of the same size and place")
    refused(str(tmp_path / "missing.tif"), "There is no file")
    pixels = GeoBox((200, 300), Affine.identity(), None)
    refused(bare, "without a CRS on both", grid=pixels)
    assert read_truth(write(tmp_path / "p.tif", values, crs=None, transform=None), pixels).aligned


def test_classes_of_the_map_that_truth_does_not_know_are_not_its_ids(tmp_path):
    path = write(tmp_path / "t.tif", blobs())
    classes = class_map(("other", "building", "road", "tank"))
    truth = open_truth(path, GRID, classes, names=NAMES, vector_class=None, road_width=6.0)
    assert truth.ids == {0, 1, 2}


def test_the_fingerprint_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"truth")
    assert file_fingerprint(str(tmp_path / "a")) == hashlib.sha256(b"truth").hexdigest()


def test_a_truth_with_an_alpha_band_may_lie_anywhere(tmp_path):
    values, alpha = blobs(), np.full((200, 300), 255, np.uint8)
    alpha[:, :40] = 0
    west = GRID.transform @ Affine.translation(-7, 0)
    with rasterio.open(
        tmp_path / "t.tif", "w", driver="GTiff", count=2, height=200, width=300, dtype="uint8", crs="EPSG:32636",
        transform=west, photometric="minisblack", alpha="yes",
    ) as target:  # fmt: skip
        target.write(np.stack([values, alpha]))
        target.colorinterp = [rasterio.enums.ColorInterp.gray, rasterio.enums.ColorInterp.alpha]
    read = read_truth(str(tmp_path / "t.tif")).read(whole(GRID))
    np.testing.assert_array_equal(read[:, 33:293], IDS[values][:, 40:])
    assert (read[:, :33] == 255).all()
    assert (read[:, 293:] == 255).all()


@pytest.mark.parametrize("offset", [0, 3])
def test_a_damaged_truth_is_refused_in_one_sentence(tmp_path, offset):
    noise = np.random.default_rng(0).integers(0, 4, (200, 300), dtype=np.uint8)
    path = tmp_path / "t.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=200, width=300, dtype="uint8", crs="EPSG:32636", compress="deflate",
        transform=GRID.transform @ Affine.translation(offset, 0),
    ) as target:  # fmt: skip
        target.write(noise, 1)
    content = bytearray(path.read_bytes())
    content[4000:9000] = b"\0" * 5000
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match=r"t\.tif cannot be read in rows 0 to 200: .* get it again"):
        read_truth(str(path)).read(whole(GRID))


def test_a_warped_truth_is_the_same_in_every_window(tmp_path):
    """Each window has a transformer of its own."""
    noise = np.random.default_rng(0).integers(0, 4, (3000, 3000), dtype=np.uint8)
    degrees = Affine(6e-6, 0, 33.0, 0, -5e-6, 36.146)
    truth = read_truth(
        write(tmp_path / "t.tif", noise, transform=degrees, crs="EPSG:4326"),
        GeoBox((2600, 2600), TRANSFORM, "EPSG:32636"),
    )
    all_at_once = truth.read((slice(0, 2600), slice(0, 2600)))
    assert (all_at_once != 255).mean() > 0.5
    apart = sum((truth.read(window) != all_at_once[window]).sum() for window in windows((2600, 2600), 900))
    assert apart < 10


def test_each_part_of_a_multipolygon_is_an_object(tmp_path):
    """What was dissolved is many buildings."""
    import geopandas

    boxes = [shapely.box(500_010 + 20 * n, 3_999_950, 500_020 + 20 * n, 3_999_960) for n in range(5)]
    frame = geopandas.GeoDataFrame({"class": ["building"]}, geometry=[shapely.union_all(boxes)], crs="EPSG:32636")
    frame.to_file(tmp_path / "b.gpkg", layer="b")
    truth = read_truth(str(tmp_path / "b.gpkg"), names=())
    assert len(np.unique(truth.objects(whole(GRID)))) == 1 + 5
    assert truth.ids == {0, 1}
