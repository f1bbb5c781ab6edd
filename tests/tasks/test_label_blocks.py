"""Objects that are labelled window by window, block by block, are whole: one id each, whatever ran when."""

from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage

from flows import steps
from infra.errors import UnusableInput
from infra.ledger import Ledger
from infra.progress import Silent
from infra.store import open_store
from tasks import label_block
from tasks.label_params import LabelParams
from tasks.labelers import Labelled
from tasks.params import RunParams
from tasks.raster.gdal import rasterio
from tasks.raster.grid import crop_to, grown
from tasks.raster.labels import open_labels

SHAPE = (1700, 2000)
SIZE, HALO = 384, 64


class ExactLabeler:
    """Sees every object as it is, and numbers what it sees as SAM's labelers do."""

    window, halo, pieces = SIZE, HALO, True

    def __init__(self, truth):
        self.truth, self.tells = truth, frozenset({0, 1, 2})

    def __call__(self, window):
        """Label one window."""
        seen = crop_to(grown(window, HALO), self.truth.shape)
        label = self.truth[seen]
        pieces = np.zeros(label.shape, np.uint32)
        for klass in (1, 2):
            found, _ = ndimage.label(label == klass)
            pieces += np.where(found > 0, found + pieces.max(), 0).astype(np.uint32)
        return Labelled(seen, label, pieces, np.full(label.shape, 200, np.uint8))


@pytest.fixture(scope="module")
def truth():
    """Objects of two classes, many larger than a window."""
    rng = np.random.default_rng(0)
    noise = [ndimage.gaussian_filter(rng.normal(size=SHAPE), s) for s in (25, 60)]
    label = np.zeros(SHAPE, np.uint8)
    label[noise[1] > np.quantile(noise[1], 0.7)] = 2
    label[noise[0] > np.quantile(noise[0], 0.8)] = 1
    return label


@pytest.fixture
def workspace(tmp_path, engine, truth, monkeypatch):
    """A cube to be labelled by an exact labeler, for want of one among the methods."""
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=SHAPE[0], width=SHAPE[1], count=3, dtype="uint8", tiled=True
    ) as target:
        target.write(np.broadcast_to(truth + 1, (3, *SHAPE)))
    monkeypatch.setattr(label_block, "open_labeler", lambda *_, **__: (ExactLabeler(truth), []))
    monkeypatch.setattr("tasks.label.prepared", lambda way, *_, **__: way)
    return engine.ingest(tmp_path / "a.tif", tmp_path / "ws")


def labelled(workspace, tmp_path, workers):
    (tmp_path / "examples.tif").write_bytes(b"the exact labeler asks for none")
    params = LabelParams(method="few-shot", examples=str(tmp_path / "examples.tif"))
    steps.label(params, str(workspace), run=RunParams(device="cpu", workers=workers), progress=Silent())
    group = open_labels(open_store(str(workspace)).zarr("labels.zarr"))
    return {name: np.asarray(group[name][:]) for name in ("label", "instance", "piece")}


def one_to_one(truth, found):
    """Whether every object has one id, and every id is of one object."""
    objects = np.zeros(truth.shape, np.int64)
    for klass in (1, 2):
        parts = ndimage.label(truth == klass)[0]
        objects[parts > 0] = parts[parts > 0] + objects.max()
    there = objects > 0
    both = np.unique(np.stack([objects[there], found[there].astype(np.int64)]), axis=1)
    return len(both[0]) == len(np.unique(both[0])) == len(np.unique(both[1])) and not found[~there].any()


def test_objects_are_whole_and_the_same_for_any_number_of_workers(workspace, truth, tmp_path):
    first = labelled(workspace, tmp_path, 1)
    assert one_to_one(truth, first["instance"])
    assert not one_to_one(truth, first["piece"]), "the objects are in pieces, or there is nothing to test"
    np.testing.assert_array_equal(first["label"], truth)
    open_store(str(workspace)).delete_all("labels.zarr")
    again = labelled(workspace, tmp_path, 2)
    np.testing.assert_array_equal(again["instance"], first["instance"])


def test_a_block_that_is_labelled_again_finds_its_objects_again(workspace, truth, tmp_path):
    first = labelled(workspace, tmp_path, 2)
    store = open_store(str(workspace))
    Ledger(store, "label").forget(["0_1"])
    store.delete(["pieces/0_1.npz"])
    np.testing.assert_array_equal(labelled(workspace, tmp_path, 2)["instance"], first["instance"])


def test_a_scene_with_more_windows_than_there_are_ids_is_refused():
    cube = SimpleNamespace(grid=GeoBox((400_000, 420_000), Affine.identity(), None))
    with pytest.raises(UnusableInput, match="label it in parts"):
        label_block._require_ids(cube, SIZE)
