"""Data sets in and out of workspaces: what goes out comes back, what cannot be used is named, what is done is kept."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows import dataset_steps, steps
from infra.errors import UnusableInput
from infra.progress import Silent
from infra.store import open_store
from tasks.dataset_params import DatasetExportParams, DatasetImportParams
from tasks.label_params import LabelParams
from tasks.params import ClusterParams, IngestParams, RunParams
from tasks.raster import grid as grids
from tasks.raster.annotations.formats import FORMATS
from tasks.raster.labels import change_group, open_labels, set_cube
from tasks.workspace import open_workspace

EXACT = sorted(set(FORMATS) - {"dota"})


def import_set(name, folder, out, **params):
    return dataset_steps.import_dataset(
        name, Path(folder), str(out), DatasetImportParams(**params), run=ClusterParams(), progress=Silent()
    )


def export_set(name, workspace, out, **params):
    chosen = DatasetExportParams(format=name, **params)
    return dataset_steps.export_dataset(chosen, str(workspace), Path(out), progress=Silent())


def arrays_of(workspace):
    group = open_labels(open_store(workspace).zarr("labels.zarr"))
    return {name: np.asarray(group[name][:]) for name in ("label", "instance")}, dict(group.attrs)


def pixels_of(workspace):
    cube = open_workspace(open_store(workspace)).cube()
    return cube.read(grids.whole(cube.grid))


@pytest.fixture(scope="module")
def labelled(world, tmp_path_factory):
    """A workspace of a world, labelled by its truth, with objects of its own, and a corner without data."""
    folder = tmp_path_factory.mktemp("labelled") / "north"
    steps.ingest(IngestParams(scenes=(world.scene,), nodata=None), str(folder), run=ClusterParams(), progress=Silent())
    steps.label(
        LabelParams(method="truth", truth=world.truth), str(folder), run=RunParams(device="cpu"), progress=Silent()
    )
    group = change_group(open_store(folder).zarr("labels.zarr"))
    label = np.asarray(group["label"][:])
    group["instance"][:] = np.where(label == 1, 1 + np.arange(768)[:, None] // 100, 0)
    return folder


@pytest.mark.parametrize("name", EXACT)
def test_what_is_exported_comes_back(name, labelled, tmp_path):
    done = export_set(name, labelled, tmp_path / "set", size=500)
    assert done.pictures == 4
    back = import_set(name, tmp_path / "set", tmp_path / "back")
    assert list(back.workspaces) == ["north"]
    assert back.left_out == []
    (wanted, about), (found, said) = arrays_of(labelled), arrays_of(back.workspaces["north"])
    for array, pixels in wanted.items():
        np.testing.assert_array_equal(found[array], pixels)
    assert said["classes"] == about["classes"]
    assert said["known"] == about["known"]
    one, other = (open_workspace(open_store(place)) for place in (labelled, back.workspaces["north"]))
    assert other.grid == one.grid
    assert other.owners == one.owners
    for mine, theirs in zip(pixels_of(labelled), pixels_of(back.workspaces["north"]), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_whole_scene_is_one_picture_and_is_ingested_as_it_is(labelled, tmp_path):
    assert export_set("coco", labelled, tmp_path / "set", size=1024).pictures == 1
    back = import_set("coco", tmp_path / "set", tmp_path / "back")
    source = open_workspace(open_store(back.workspaces["north"])).sources[0]
    assert source.path == str(tmp_path / "set" / "images" / "north.png")
    np.testing.assert_array_equal(arrays_of(back.workspaces["north"])[0]["label"], arrays_of(labelled)[0]["label"])


def test_a_second_import_keeps_what_is_finished(labelled, tmp_path):
    export_set("masks", labelled, tmp_path / "set", size=500)
    assert import_set("masks", tmp_path / "set", tmp_path / "back").kept == 0
    assert import_set("masks", tmp_path / "set", tmp_path / "back").kept == 1
    mask = tmp_path / "set" / "masks" / "north_000_000.png"
    with Image.open(mask) as picture:
        changed = np.asarray(picture).copy()
        changed[300:310, 300:310] = 5
        palette = picture.getpalette()
    again = Image.fromarray(changed)
    again.putpalette(palette)
    again.save(mask)
    done = import_set("masks", tmp_path / "set", tmp_path / "back")
    assert done.kept == 0
    found = arrays_of(done.workspaces["north"])[0]["label"]
    assert (found[300:310, 300:310] == 5).all()


def test_an_import_that_was_interrupted_goes_on(labelled, tmp_path):
    export_set("coco", labelled, tmp_path / "set", size=1024)
    shutil.copytree(tmp_path / "set", tmp_path / "both")
    document = json.loads((tmp_path / "both" / "annotations.json").read_text())
    shutil.copy(tmp_path / "both" / "images" / "north.png", tmp_path / "both" / "images" / "south.png")
    (image,) = document["images"]
    image.pop("geoloom")
    document["images"].append(image | {"id": 2, "file_name": "images/south.png"})
    (tmp_path / "both" / "annotations.json").write_text(json.dumps(document))

    class Interrupted(Silent):
        def start(self, name, **_):
            if name == "south":
                raise KeyboardInterrupt
            return super().start(name, **_)

    with pytest.raises(KeyboardInterrupt):
        dataset_steps.import_dataset(
            "coco", tmp_path / "both", str(tmp_path / "out"), DatasetImportParams(), run=ClusterParams(),
            progress=Interrupted(),
        )  # fmt: skip
    done = import_set("coco", tmp_path / "both", tmp_path / "out")
    assert (sorted(done.workspaces), done.kept) == (["north", "south"], 1)
    assert set(np.unique(arrays_of(done.workspaces["south"])[0]["label"])) <= {0, 255}, "no object is of this picture"


def test_pictures_that_lack_something_are_left_out_and_the_others_are_there(labelled, tmp_path):
    export_set("labelme", labelled, tmp_path / "set", size=1024)
    for name in ("lonely", "small"):
        Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(tmp_path / "set" / f"{name}.png")
    done = import_set("labelme", tmp_path / "set", tmp_path / "back")
    assert list(done.workspaces) == ["north"]
    assert [line.rpartition("/")[2] for line in done.left_out] == [
        "lonely.png has no annotation.", "small.png has no annotation."
    ]  # fmt: skip


def test_a_damaged_picture_is_left_out(tmp_path):
    for name in ("good", "bad"):
        (tmp_path / "set" / "masks").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(tmp_path / "set" / f"{name}.png")
        Image.fromarray(np.ones((50, 60), np.uint8)).save(tmp_path / "set" / "masks" / f"{name}.png")
    Image.fromarray(np.ones((40, 60), np.uint8)).save(tmp_path / "set" / "masks" / "bad.png")
    (tmp_path / "set" / "labelmap.txt").write_text("background:0,0,0::\nroad:1,2,3::\n")
    whole = (tmp_path / "set" / "good.png").read_bytes()
    (tmp_path / "set" / "cut.png").write_bytes(whole[:20])
    done = import_set("masks", tmp_path / "set", tmp_path / "back")
    assert list(done.workspaces) == ["good"]
    assert "cut.png is not a raster" in done.left_out[0]
    assert "60 x 40 pixels and its picture 60 x 50" in done.left_out[1]
    assert (arrays_of(done.workspaces["good"])[0]["label"] == 2).all(), "road, in the fixed order of classes"


def test_classes_of_ones_own_are_refused_where_the_set_has_others(labelled, tmp_path):
    export_set("coco", labelled, tmp_path / "set", size=1024)
    with pytest.raises(UnusableInput, match="no class 'building'"):
        import_set("coco", tmp_path / "set", tmp_path / "back", classes=("other", "road"))
    assert not (tmp_path / "back").exists()


def test_labels_that_are_not_finished_are_not_exported(labelled, tmp_path):
    place = open_store(labelled).zarr("labels.zarr")
    finished = open_labels(place).attrs["cube"]
    set_cube(place, "")
    try:
        with pytest.raises(UnusableInput, match="are not finished"):
            export_set("coco", labelled, tmp_path / "out")
    finally:
        set_cube(place, finished)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_not_written_into(labelled, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    with pytest.raises(UnusableInput, match="not an empty folder"):
        export_set("coco", labelled, tmp_path / "set")
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("name", [*FORMATS, "dubai", "inria", "isaid", "massachusetts-roads", "spacenet-roads"])
def test_a_wrong_folder_is_told(name, tmp_path):
    with pytest.raises(UnusableInput, match="There is no folder"):
        import_set(name, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnusableInput, match=r"looked|holds no|There is no"):
        import_set(name, tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()
