"""Every real raster becomes a map that lies where it lies: size, CRS, transform or control points, and what is data."""

from pathlib import Path

import numpy as np
import pytest
import torch

from flows import steps
from infra.errors import UnusableInput
from infra.progress import Silent
from models.card import ModelCard
from models.checkpoint import save_model
from models.registry import build
from tasks.params import ClusterParams, IngestParams, PredictParams, RunParams
from tasks.raster.classes import DEFAULT_CLASSES
from tasks.raster.gdal import rasterio

LARGE = {"cog_cmap.tif": (0.25, 0.35)}
"""Of these a part, as shares of rows and columns."""
NAMES = (
    "rasters/201404_13SED190110_201404_0x1500m_CL_1.tif",
    "rasters/201404_13SED190110_201404_0x1500m_CL_1_alpha.tif",
    "rasters/201404_13SED190110_201404_0x1500m_CL_1_mask.tif",
    "rasters/201404_13SED190110_201404_0x1500m_CL_1_nodata.tif",
    "rasters/5b90f92da0d7280005fab355_4310.tif",
    "rasters/5dded5bc0140b80006d2e565_23.tif",
    "rasters/OSBS_029.tif",
    "rasters/RGB.byte.tif",
    "rasters/RGBA.byte.tif",
    "rasters/RGBA.uint16.tif",
    "rasters/all-nodata.tif",
    "rasters/alpha.tif",
    "rasters/cog_cmap.tif",
    "rasters/cog_gcps.tif",
    "rasters/cog_nodata.tif",
    "rasters/cog_rgb_mask.tif",
    "rasters/cogeo.tif",
    "rasters/rotated.tif",
    "spacenet/RGB-PanSharpen_AOI_2_Vegas_img0.tif",
    "spacenet/ms1.tif",
    "spacenet/pan1.tif",
    "spacenet/road_mask_input.tif",
    "spacenet/sample_geotiff.tif",
)


def model(folder, bands):
    torch.manual_seed(0)
    card = ModelCard(
        architecture="tiny", bands=bands, mean=(100.0,) * len(bands), std=(64.0,) * len(bands),
        classes=DEFAULT_CLASSES.names, colours=tuple(c.colour for c in DEFAULT_CLASSES.classes),
        stride=1, tile=512, margin=8, ramp=8,
    )  # fmt: skip
    save_model(folder, build("tiny", {}, bands=len(bands), classes=len(DEFAULT_CLASSES)), card)
    return str(folder)


def data_of(path):
    """What is data, as plain rasterio tells it."""
    with rasterio.open(path) as source:
        if source.colorinterp[0].name != "palette" and source.nodata is not None:
            colours = [i for i, c in zip(source.indexes, source.colorinterp, strict=True) if c.name != "alpha"]
            return (source.read(colours) != source.nodata).any(axis=0)
        return source.dataset_mask() > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_product_lies_where_its_scene_lies(data, name, tmp_path):
    path = data / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    bounds = None
    with rasterio.open(path) as source:
        shape, crs, transform, (points, control) = source.shape, source.crs, source.transform, source.gcps
    if path.name in LARGE:
        shape = tuple(int(share * n) for share, n in zip(LARGE[path.name], shape, strict=True))
        bounds = (*(transform @ (0, 0)), *(transform @ (shape[1], shape[0])))
    ws, notes = tmp_path / "ws", []

    class Listening(Silent):
        def note(self, text):
            notes.append(text)

    wanted = IngestParams(scenes=(str(path),), bounds=bounds)
    done = steps.ingest(wanted, str(ws), run=ClusterParams(workers=1), progress=Listening())
    params = PredictParams(model=model(tmp_path / "model", done.bands), precision="float32")
    steps.predict(params, str(ws), run=RunParams(workers=1, device="cpu"), progress=Silent())
    products = steps.mosaic(str(ws), progress=Silent()).products
    valid = data_of(path)[: shape[0], : shape[1]]
    assert done.valid_share == pytest.approx(valid.mean())
    for product in products.values():
        with rasterio.open(product) as source:
            assert source.shape == shape
            assert source.crs == crs
            assert source.transform.almost_equals(transform, 1e-12)
            got, there = source.gcps
            assert [(p.row, p.col, p.x, p.y, p.z) for p in got] == [(p.row, p.col, p.x, p.y, p.z) for p in points]
            assert there == control
            np.testing.assert_array_equal(source.read(1) != source.nodata, valid)
    assert ("no data at all" in " ".join(notes)) == (not valid.any())


def test_a_scene_of_control_points_is_warped_where_a_crs_is_asked_for(data, tmp_path):
    path = data / "rasters/cog_gcps.tif"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    wanted = IngestParams(scenes=(str(path),), crs="EPSG:4326")
    done = steps.ingest(wanted, str(tmp_path / "ws"), run=ClusterParams(workers=1), progress=Silent())
    from infra.store import open_store
    from tasks.workspace import open_workspace

    workspace = open_workspace(open_store(str(tmp_path / "ws")))
    with rasterio.open(path) as source:
        points, _ = source.gcps
        pixels = source.width * source.height
    box = workspace.grid.extent.boundingbox
    assert box.left <= min(p.x for p in points) + 0.01
    assert box.right >= max(p.x for p in points) - 0.01
    assert workspace.control is None
    assert done.valid_share * done.rows * done.columns == pytest.approx(pixels, rel=0.15)


def test_a_corrupt_raster_is_refused(data, tmp_path):
    path = data / "rasters/corrupt.tif"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with pytest.raises(UnusableInput, match="corrupt"):
        steps.ingest(IngestParams(scenes=(str(path),)), str(tmp_path / "ws"), run=ClusterParams(), progress=Silent())
    assert not (Path(tmp_path) / "ws" / "workspace.json").exists()
