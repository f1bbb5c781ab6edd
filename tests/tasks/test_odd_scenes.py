"""Scenes that lack something, or ask for what cannot be: placed by what the user adds, or refused in one sentence."""

import numpy as np
import pytest
from PIL import Image

from flows import steps
from infra.errors import UnusableInput
from infra.progress import Silent
from infra.store import open_store
from tasks.params import ClusterParams, IngestParams
from tasks.raster.cube import open_cube
from tasks.raster.gdal import rasterio

PIXELS = np.random.default_rng(0).integers(1, 255, (200, 300, 3), np.uint8)
WORLD = (0.5, 0.0, 0.0, -0.5, 500_000.25, 4_000_000 - 0.25)


def ingested(tmp_path, *paths, **options):
    store = open_store(str(tmp_path / "ws"))
    params = IngestParams(scenes=tuple(map(str, paths)), **options)
    steps.ingest(params, store.url, run=ClusterParams(workers=2), progress=Silent())
    return open_cube(store.zarr("cube.zarr"))


def picture(path, pixels=PIXELS, world=WORLD):
    Image.fromarray(pixels).save(path)
    path.with_suffix(".pgw").write_text("\n".join(map(str, world)))
    return path


def scene(path, crs="EPSG:32636", side=200, transform=None, **options):
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=side, width=side, dtype="uint8", crs=crs,
        transform=transform or rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000), **options,
    ) as target:  # fmt: skip
        target.write(PIXELS[:side, :side, 0][None])
    return path


def test_pictures_without_a_crs_side_by_side_are_one(tmp_path):
    picture(tmp_path / "a.png", PIXELS[:, :100])
    picture(tmp_path / "b.png", PIXELS[:, 100:], (*WORLD[:4], WORLD[4] + 50, WORLD[5]))
    cube = ingested(tmp_path, tmp_path / "*.p*")  # their world files are not taken for scenes
    image, valid = cube.read((slice(0, 200), slice(0, 300)))
    np.testing.assert_array_equal(image.transpose(1, 2, 0), PIXELS)
    assert valid.all()
    assert cube.grid.crs is None


@pytest.mark.parametrize("how", ["beside", "said"])
def test_what_a_picture_s_coordinates_are_in_can_be_said(tmp_path, how):
    path = picture(tmp_path / "a.png")
    if how == "beside":
        path.with_suffix(".prj").write_text(
            rasterio.crs.CRS.from_epsg(32636).to_wkt(version=rasterio.enums.WktVersion.WKT1_ESRI)
        )
    options = {"assume_crs": "EPSG:32636" if how == "said" else "EPSG:3857"}  # the file beside it knows better
    assert ingested(tmp_path, path, **options).grid.crs.to_epsg() == 32636
    assert ingested(tmp_path, path, **options, crs="EPSG:4326").grid.crs.to_epsg() == 4326


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_damage_that_gdal_only_warns_of_is_refused(tmp_path, name):
    path = tmp_path / name
    with rasterio.open(
        path, "w", count=3, height=200, width=300, dtype="uint8", **({"driver": "JPEG"} if name == "a.jpg" else
        {"driver": "GTiff", "compress": "jpeg", "photometric": "ycbcr"}),
    ) as target:  # fmt: skip
        target.write(PIXELS.transpose(2, 0, 1))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = b"\xff\xd9" * 32  # an end too early
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match="truncated or corrupt"):
        ingested(tmp_path, path)


@pytest.mark.parametrize(
    ("crs", "options", "said"),
    [
        ("EPSG:32636", {"crs": "EPSG:5773"}, "no CRS of a map"),
        ("EPSG:32636", {"crs": "EPSG:4978"}, "no CRS of a map"),
        ("EPSG:32636", {"crs": "EPSG:4326", "resolution": 0.3}, "0.3 degrees would hold all of"),
        ("EPSG:32636", {"crs": "IAU_2015:30110"}, "cannot be brought into the CRS asked for"),
        ('LOCAL_CS["site",UNIT["metre",1]]', {"crs": "EPSG:32636"}, "cannot be brought into the CRS asked for"),
        (None, {"assume_crs": "EPSG:0"}, "'EPSG:0' is no CRS that PROJ knows"),
    ],
)
def test_a_target_that_cannot_be_meant_is_refused(tmp_path, crs, options, said):
    with pytest.raises(UnusableInput, match=said) as told:
        ingested(tmp_path, scene(tmp_path / "a.tif", crs), **options)
    assert len(str(told.value)) < 400


def test_a_nodata_that_no_pixel_can_have_is_refused(tmp_path):
    with pytest.raises(UnusableInput, match="of type uint8, can be 999"):
        ingested(tmp_path, scene(tmp_path / "a.tif"), nodata=999)


def test_control_points_on_one_line_place_nothing(tmp_path):
    path = scene(tmp_path / "a.tif", None, transform=rasterio.Affine.identity())
    with rasterio.open(path, "r+") as target:
        points = [rasterio.control.GroundControlPoint(k, k, 500_000 + k, 4_000_000 - k) for k in (0, 50, 100, 150)]
        target.gcps = points, rasterio.crs.CRS.from_epsg(32636)
    with pytest.raises(UnusableInput, match="cannot be brought"):
        ingested(tmp_path, path, crs="EPSG:4326")


@pytest.mark.parametrize("world", [(np.nan, 0, 0, -1, 0, 0), (1, 1, 1, 1, 0, 0)])
def test_a_world_file_that_leads_nowhere_is_refused(tmp_path, world):
    with pytest.raises(UnusableInput, match="transform that leads nowhere"):
        ingested(tmp_path, picture(tmp_path / "a.png", world=world))


def test_a_palette_of_more_than_256_colours(tmp_path):
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", count=1, height=200, width=300, dtype="uint16", photometric="palette"
    ) as target:
        target.write(np.full((1, 200, 300), 1000, np.uint16))
        target.write_colormap(1, {1000: (10, 20, 30, 255)})
    image, valid = ingested(tmp_path, tmp_path / "a.tif").read((slice(0, 200), slice(0, 300)))
    assert image[:, 0, 0].tolist() == [10, 20, 30]
    assert valid.all()
