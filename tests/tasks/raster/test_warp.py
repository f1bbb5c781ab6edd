"""A warped scene shows at every place what the place is: the oracle is a function of the ground."""

import numpy as np
import pyproj
import pytest
from affine import Affine

from infra.errors import UnusableInput
from tasks.raster.gdal import rasterio
from tasks.raster.grid import whole
from tasks.raster.scene import describe_scene
from tasks.raster.union import unite
from tasks.raster.warp import choose_target, footprint, read_warped

UTM, NEXT, DEGREES = "EPSG:32636", "EPSG:32637", "EPSG:4326"
TRANSFORM = Affine(2, 0, 700_000, 0, -2, 4_000_000)
ROTATED = Affine.translation(700_000, 4_000_000) @ Affine.rotation(25) @ Affine.scale(2, -2)
SOUTH_UP = Affine(2, 0, 700_000, 0, 2, 4_000_000)
SHAPE = (300, 400)


def ground(xs, ys):
    """What the ground looks like at UTM coordinates: smooth, and different everywhere."""
    return 120 + 60 * np.sin((xs - 700_000) / 90) + 50 * np.cos((ys - 4_000_000) / 70)


def painted(transform, shape=SHAPE):
    cols, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    return ground(*(transform @ (cols, rows)))


def seen(grid):
    """The ground at the pixels of any grid."""
    cols, rows = np.meshgrid(np.arange(grid.shape[1]) + 0.5, np.arange(grid.shape[0]) + 0.5)
    there = pyproj.Transformer.from_crs(grid.crs.wkt, UTM, always_xy=True)
    return ground(*there.transform(*(grid.affine @ (cols, rows))))


@pytest.fixture
def make(tmp_path):
    def write(pixels, *, transform=TRANSFORM, crs=UTM, **profile):
        pixels = np.atleast_3d(pixels.T).T
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.tif"
        gcps, rpcs = profile.pop("gcps", None), profile.pop("rpcs", None)
        place = {} if gcps or rpcs else {"transform": transform, "crs": crs}
        with rasterio.open(
            path, "w", driver="GTiff", count=len(pixels), height=pixels.shape[1], width=pixels.shape[2],
            dtype=pixels.dtype, **place, **profile,
        ) as target:  # fmt: skip
            target.write(pixels)
            if gcps:
                target.gcps = gcps, rasterio.crs.CRS.from_user_input(crs)
            if rpcs:
                target.rpcs = rpcs
        return describe_scene(path)

    return write


def control(transform):
    """Ground control points that say what a transform says."""
    points = [(r, c) for r in (0, 100, 200, 300) for c in (0, 130, 260, 400)]
    return [rasterio.control.GroundControlPoint(r, c, *(transform @ (c, r)), 0) for r, c in points]


def rational():
    """RPCs of a scene whose rows and columns run along latitude and longitude."""
    zero = [0.0] * 20
    one, west, south = [1.0, *zero[1:]], [0.0, 1.0, *zero[2:]], [0.0, 0.0, -1.0, *zero[3:]]
    return rasterio.rpc.RPC(
        height_off=0, height_scale=500, lat_off=36.1, lat_scale=0.003, long_off=35.2, long_scale=0.004,
        line_off=150, line_scale=150, samp_off=200, samp_scale=200,
        line_num_coeff=south, line_den_coeff=one, samp_num_coeff=west, samp_den_coeff=one, err_bias=None, err_rand=None,
    )  # fmt: skip


KINDS = {
    "north up": {"transform": TRANSFORM},
    "rotated": {"transform": ROTATED},
    "south up": {"transform": SOUTH_UP},
    "control points": {"gcps": control(ROTATED), "transform": ROTATED},
}


@pytest.mark.parametrize("crs", [DEGREES, NEXT, "EPSG:3857", UTM])
@pytest.mark.parametrize("kind", KINDS)
def test_every_pixel_shows_the_ground_where_it_lies(make, kind, crs):
    pixels = painted(KINDS[kind]["transform"]).astype(np.float32)
    scene = make(pixels, **KINDS[kind])
    target = choose_target(scene, crs, None, "cubic")
    grid = footprint(scene, target)
    image, valid = read_warped(scene, grid, whole(grid), bands=scene.bands, resampling="cubic")
    assert valid.sum() == pytest.approx(pixels.size, rel=0.03)  # of pixels as large as its own
    assert np.abs(image[0] - seen(grid))[valid].max() < 1.0
    assert not image[:, ~valid].any()


def test_rational_polynomials_place_a_scene(make):
    rows, cols = np.mgrid[0:300, 0:400]  # lines and samples of RPCs count from the middle of the first pixel
    there = pyproj.Transformer.from_crs(DEGREES, UTM, always_xy=True)
    xs, ys = there.transform(35.2 + (cols - 200) / 200 * 0.004, 36.1 - (rows - 150) / 150 * 0.003)
    scene = make(ground(xs, ys).astype(np.float32), rpcs=rational())
    grid = footprint(scene, choose_target(scene, UTM, 2.0, "cubic"))
    image, valid = read_warped(scene, grid, whole(grid), bands=scene.bands, resampling="cubic")
    assert valid.mean() > 0.8
    assert np.abs(image[0] - seen(grid))[valid].max() < 1.0


def test_any_window_is_a_cut_of_the_whole(make):
    scene = make(painted(ROTATED).astype(np.uint8), transform=ROTATED)
    grid = footprint(scene, choose_target(scene, DEGREES, None, "bilinear"))
    image, valid = read_warped(scene, grid, whole(grid), bands=scene.bands, resampling="bilinear")
    for rows, cols in (
        (slice(0, 64), slice(0, 64)),
        (slice(100, 228), slice(150, 300)),
        (slice(40, 41), slice(0, 200)),
    ):
        part, data = read_warped(scene, grid, (rows, cols), bands=scene.bands, resampling="bilinear")
        assert np.mean(data != valid[rows, cols]) < 0.01
        both = data & valid[rows, cols]
        assert np.abs(part.astype(int) - image[:, rows, cols])[:, both].max(initial=0) <= 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("means", ["nodata", "alpha"])
def test_what_is_no_data_stays_so_and_bleeds_into_nothing(make, means, dtype):
    """All that is valid has one value: any other in the result has come from what is not."""
    hole = np.zeros(SHAPE, bool)
    hole[100:200, 150:250] = True
    pixels = np.where(hole, 0, 200).astype(dtype)
    if means == "alpha":
        alpha = np.where(hole, 0, 255).astype(dtype)
        noisy = np.where(hole, 33, pixels).astype(dtype)
        scene = make(np.stack([noisy, alpha]), photometric="MINISBLACK", alpha="YES")
    else:
        scene = make(pixels, nodata=0)
    assert (scene.alpha is not None) == (means == "alpha")
    grid = footprint(scene, choose_target(scene, NEXT, 2.0, "bilinear"))
    image, valid = read_warped(scene, grid, whole(grid), bands=scene.bands, resampling="bilinear")
    assert set(np.unique(image[0][valid])) == {200}
    assert valid.sum() == pytest.approx((~hole).sum(), rel=0.02)


def test_a_coarser_target_means_over_what_it_covers(make):
    scene = make(painted(TRANSFORM, (1200, 1200)).astype(np.float32))
    grid = footprint(scene, choose_target(scene, None, 20.0, "average"))
    image, valid = read_warped(scene, grid, whole(grid), bands=scene.bands, resampling="average")
    inner = np.s_[1:-1, 1:-1]
    assert valid[inner].all()
    cells = painted(TRANSFORM, (1200, 1200)).reshape(120, 10, 120, 10).mean((1, 3))
    top, left = (round(v) for v in (~grid.affine @ (TRANSFORM.c, TRANSFORM.f))[::-1])
    got = image[0][top : top + 120, left : left + 120]
    assert np.abs(got - cells)[inner].max() < 2.0


def test_scenes_of_two_zones_and_two_resolutions_meet_on_one_grid(make):
    one = make(painted(TRANSFORM).astype(np.float32))
    other_place = Affine(3, 0, 159_500, 0, -3, 4_005_000)
    cols, rows = np.meshgrid(np.arange(300) + 0.5, np.arange(300) + 0.5)
    back = pyproj.Transformer.from_crs(NEXT, UTM, always_xy=True)
    other = make(
        ground(*back.transform(*(other_place @ (cols, rows)))).astype(np.float32), transform=other_place, crs=NEXT
    )
    union = unite((one, other), bands=(), bounds=None, dtype=None, target=choose_target(one, UTM, 2.0, "cubic"))
    image, valid = union.read(whole(union.grid))
    assert union.grid.affine.a == 2.0
    assert union.grid.affine.c % 2 == 0
    assert np.abs(image[0] - seen(union.grid))[valid].max() < 1.5
    assert valid.sum() > 1.2 * one.grid.shape[0] * one.grid.shape[1]


def test_what_lies_nowhere_is_refused(make):
    scene = make(painted(TRANSFORM).astype(np.uint8), crs=None, transform=Affine.identity())
    with pytest.raises(UnusableInput, match="no CRS, no ground control points"):
        choose_target(scene, UTM, None, "nearest")


def test_a_crs_that_is_none_is_refused(make):
    scene = make(painted(TRANSFORM).astype(np.uint8))
    with pytest.raises(UnusableInput, match="EPSG:99999"):
        choose_target(scene, "EPSG:99999", None, "nearest")
