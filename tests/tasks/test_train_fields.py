"""What a training draws from several labelled scenes: from all, in one language of classes, as sure as they are."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from flows import steps
from infra.errors import UnusableInput
from infra.progress import Silent
from infra.store import open_store
from models.ranks import ALONE, Rank
from tasks import train_chips
from tasks.label_params import LabelParams
from tasks.made_labels import open_made_labels
from tasks.params import ClusterParams, IngestParams, RunParams, TrainParams
from tasks.train import _notes
from tasks.train_begin import _own_scale
from tasks.train_chips import drawer, validation_of
from tasks.train_fields import open_fields
from tasks.workspace import open_workspace

WEST, NORTH = 450_000, 5_400_000
PARAMS = {"chip": 64, "batch": 6, "validation_share": 0.3}
TURNED = ("other", "water", "road", "land", "vegetation", "building")


def made(world, folder, *, side, truth, south=0, classes=None, **bands):
    """A workspace of a square of the world, so many metres a side, labelled with a truth."""
    bounds = (WEST, NORTH - south - side, WEST + side, NORTH - south)
    more = {"classes": classes} if classes else {}
    params = IngestParams(scenes=(world.scene,), bounds=bounds, **more, **bands)
    steps.ingest(params, str(folder), run=ClusterParams(), progress=Silent())
    label = LabelParams(method="truth", truth=truth)
    steps.label(label, str(folder), run=RunParams(device="cpu"), progress=Silent())
    return str(folder)


@pytest.fixture(scope="module")
def workspaces(world, tmp_path_factory):
    """A large one that knows every class, a small one that knows buildings and roads, in classes of another order."""
    folder = tmp_path_factory.mktemp("fields")
    return (
        made(world, folder / "large", side=160, truth=world.truth),
        made(world, folder / "small", south=288, side=96, truth=world.vectors, classes=TURNED),
    )


@pytest.fixture(scope="module")
def fields(workspaces):
    return open_fields(TrainParams(**PARAMS), workspaces)


def squares(field, corners, side):
    """(y, x) of a scene: what lies in squares."""
    mask = np.zeros(tuple(field.cube.grid.shape), bool)
    for row, col in corners:
        mask[row : row + side, col : col + side] = True
    return mask


def test_ground_that_one_scene_holds_back_is_learnt_from_no_other(world, workspaces, tmp_path):
    """The same scene with other labels, and a scene that shows a part of it."""
    large = workspaces[0]
    again = shutil.copytree(large, tmp_path / "again")
    label = LabelParams(method="truth", truth=world.vectors)
    steps.label(label, str(again), run=RunParams(device="cpu"), progress=Silent())
    south = made(world, tmp_path / "south", side=160, south=40, truth=world.truth)
    for seed in range(3):
        params = TrainParams(**PARAMS, seed=seed, draw="area")
        first, second, third = open_fields(params, [large, str(again), south])
        assert first.plan.regions.held == second.plan.regions.held != ()
        offset = round(40 / abs(first.cube.grid.resolution.y))  # rows
        held = [squares(f, f.plan.regions.held, f.plan.regions.side) for f in (first, second, third)]
        learnt = [squares(f, f.plan.training, f.plan.side) for f in (first, second, third)]
        assert not (held[0] & (learnt[0] | learnt[1])).any()
        assert not (held[0][offset:] & learnt[2][:-offset]).any()
        assert not (held[2][:-offset] & (learnt[0] | learnt[1])[offset:]).any()
        assert all(mask.mean() > 0.1 for mask in learnt)


def test_bands_are_normalised_by_the_pixels_of_all_scenes_together(workspaces):
    """Scenes that lie far apart in brightness, and are not as large as each other."""
    pixels, scenes = [], []
    for number, root in enumerate(workspaces):
        cube = open_workspace(open_store(root)).cube()
        image, valid = cube.read((slice(0, cube.grid.shape[0]), slice(0, cube.grid.shape[1])))
        moved = tuple(replace(one, mean=one.mean + 1000 * number) for one in cube.statistics)
        pixels.append(image[:, valid].astype(float) + 1000 * number)
        scenes.append(SimpleNamespace(cube=SimpleNamespace(statistics=moved, bands=cube.bands, counts=cube.counts)))
    mean, std = _own_scale(scenes)
    np.testing.assert_allclose(mean, np.concatenate(pixels, axis=1).mean(axis=1))
    np.testing.assert_allclose(std, np.concatenate(pixels, axis=1).std(axis=1))


def test_labels_of_all_speak_the_first_one_s_classes(fields, workspaces):
    small = fields[1]
    window = (slice(0, 192), slice(0, 192))
    own = open_made_labels(open_workspace(open_store(workspaces[1]))).read(window)
    learnt = small.labels.read(window)
    names = fields[0].workspace.classes.names
    assert names != TURNED
    for number, name in enumerate(TURNED):
        assert np.array_equal(own == number, learnt == names.index(name)), name
    assert (learnt == names.index("building")).any()
    told = {name for name, tells in zip(names, small.labels.told, strict=True) if tells}
    assert told == {"other", "building", "road"}, "what vectors never tell is `other` to them"
    assert fields[0].labels.told.all()


@pytest.mark.parametrize("draw", ["area", "classes"])
def test_chips_come_from_all_and_more_from_where_there_is_more(fields, draw):
    """Of windows, or of each class's pixels."""
    params = TrainParams(**PARAMS, draw=draw)
    chips = [drawer(params, fields, ALONE)(step) for step in range(30)]
    small = np.concatenate([~batch.told.all(axis=1) for batch in chips])
    there = np.array([[len(f.plan.training)] if draw == "area" else f.plan.totals for f in fields])
    there = there[:, there.any(axis=0)]
    assert small.mean() == pytest.approx((there[1] / there.sum(axis=0)).mean(), abs=0.12)
    assert all(len(batch) == 6 for batch in chips)


def test_processes_share_what_was_pasted_for_the_whole_batch(fields):
    params = TrainParams(**PARAMS, augment={"paste": 1.0})
    plain = drawer(TrainParams(**PARAMS), fields, ALONE)

    def drawn(step, count):
        parts = [drawer(params, fields, Rank(number, count))(step) for number in range(count)]
        pairs = [pair for part in parts for pair in zip(part.images, part.labels, strict=True)]
        return sorted(image.tobytes() + label.tobytes() for image, label in pairs)

    assert any((drawer(params, fields, ALONE)(step).labels != plain(step).labels).any() for step in range(9))
    for step in range(9):
        assert drawn(step, 1) == drawn(step, 2) == drawn(step, 3)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7, 48])
def test_validation_is_thinned_evenly(fields, monkeypatch, most):
    """Of ten chips of a scene five are not the first five; and the smallest scene is validated on, too."""
    monkeypatch.setattr(train_chips, "VALIDATION_CHIPS", most)
    total = sum(len(field.plan.validation) for field in fields)
    images = [image for batch in validation_of(fields, 64) for image in batch.images]
    for field in fields:
        own = [field.cube.read((slice(r, r + 64), slice(c, c + 64)))[0] for r, c in field.plan.validation]
        places = [n for n, cut in enumerate(own) if any(np.array_equal(cut, image) for image in images)]
        assert len(places) == min(len(own), max(1, most * len(own) // total))
        gaps = np.diff([*places, len(own) + places[0]])
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1


def test_labels_are_learnt_as_far_as_they_are_sure(workspaces, tmp_path):
    root = shutil.copytree(workspaces[0], tmp_path / "ws", ignore=shutil.ignore_patterns("lease"))
    group = zarr.open_group(root / "labels.zarr", mode="r+")
    sure = group["confidence"][:]
    sure[:, 100:] = 100
    group["confidence"][:] = sure
    window = (slice(0, 200), slice(0, 200))
    known = group["label"][window] != 255
    (strict,) = open_fields(TrainParams(**PARAMS, least_confidence=0.5), [str(root)])
    assert np.array_equal(strict.labels.read(window) != 255, known & (sure[window] > 127))
    (weighed,) = open_fields(TrainParams(**PARAMS, weigh_confidence=True), [str(root)])
    assert np.allclose(weighed.labels.sure(window), np.where(sure[window] == 100, 100 / 254, 1.0))
    drawn = drawer(TrainParams(**PARAMS, weigh_confidence=True), [weighed], ALONE)(0)
    assert np.allclose(np.unique(drawn.sure), [100 / 254, 1.0])


def test_options_that_a_loss_of_its_own_ignores_are_named(workspaces):
    params = TrainParams(**PARAMS, architecture="mask-rcnn", balance="median", loss={"dice": 0.0})
    told = _notes(params, open_fields(params, workspaces[:1], objects=True), "mask-rcnn")
    assert told[-1] == "mask-rcnn learns by a loss of its own: --loss, --balance have no part in it."
    plain = TrainParams(**PARAMS, architecture="mask-rcnn")
    told = _notes(plain, open_fields(plain, workspaces[:1], objects=True), "mask-rcnn")
    assert not any("no part" in note for note in told)


def test_scenes_that_do_not_go_together_are_refused(world, workspaces, tmp_path):
    grey = made(world, tmp_path / "grey", side=96, truth=world.truth, bands="1")
    with pytest.raises(UnusableInput, match=r"has the bands .*; train on scenes of the same bands"):
        open_fields(TrainParams(**PARAMS), [workspaces[0], grey])


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rasterio's windows
def test_pixels_of_two_types_are_refused(world, workspaces, tmp_path):
    """Counts of 16 bits beside bytes: one scale of the bands cannot be right for both."""
    import rasterio

    with rasterio.open(world.scene) as source:
        window = rasterio.windows.Window(0, 0, 256, 256)
        image, transform, crs = source.read((1, 2, 3), window=window), source.window_transform(window), source.crs
    profile = {"driver": "GTiff", "count": 3, "width": 256, "height": 256, "dtype": "uint16", "photometric": "RGB"}
    with rasterio.open(tmp_path / "deep.tif", "w", **profile, transform=transform, crs=crs) as file:
        file.write(image.astype(np.uint16) * 16)
    out = str(tmp_path / "deep")
    params = IngestParams(scenes=(str(tmp_path / "deep.tif"),))
    steps.ingest(params, out, run=ClusterParams(), progress=Silent())
    steps.label(LabelParams(method="truth", truth=world.truth), out, run=RunParams(device="cpu"), progress=Silent())
    with pytest.raises(UnusableInput, match=r"pixels of type uint16 and .* of uint8"):
        open_fields(TrainParams(**PARAMS), [workspaces[0], out])
