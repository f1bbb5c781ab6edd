"""Ingest goes on where it stopped, reads nothing twice, and takes nothing old for new."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from flows import steps
from infra.errors import UnusableInput
from infra.ledger import Ledger
from infra.progress import Silent
from infra.store import open_store
from tasks.params import ClusterParams, IngestParams
from tasks.raster.cube import open_cube
from tasks.raster.gdal import rasterio
from tasks.raster.grid import whole
from tasks.workspace import Source, open_workspace

BLOCKS = 4
"""2500 x 2300 pixels in blocks of 2048."""


def run(scenes, out, *, workers=2, cluster="lanes", progress=None, **params):
    scenes = (scenes,) if not isinstance(scenes, tuple) else scenes
    wanted = IngestParams(scenes=tuple(map(str, scenes)), **params)
    on = ClusterParams(workers=workers, cluster=cluster)
    return steps.ingest(wanted, str(out), run=on, progress=progress or Silent())


def cube_of(out):
    return open_cube(open_store(out).zarr("cube.zarr"))


def times(out):
    """When each stored pixel's file was written."""
    found = [p for a in ("image", "valid") for p in (out / "cube.zarr" / a / "c").rglob("*") if p.is_file()]
    files = [p for p in found if p.suffix != ".partial"]  # what a killed process had begun is swept
    return {str(p): p.stat().st_mtime_ns for p in files}


@pytest.fixture
def mine(scene, tmp_path):
    """A copy of the scene, to be changed."""
    path = tmp_path / "scene.tif"
    path.write_bytes(scene.read_bytes())
    return path


@pytest.fixture(scope="module")
def once(scene, tmp_path_factory):
    """An ingest that nothing disturbed."""
    out = tmp_path_factory.mktemp("once") / "ws"
    return out, run(scene, out)


def test_the_cube_is_the_scene(once, pixels, scene):
    out, done = once
    image, valid = pixels
    assert (done.rows, done.columns) == valid.shape
    assert done.bands == ("red", "green", "blue") == cube_of(out).bands
    assert done.valid_share == pytest.approx(valid.mean())
    assert (done.units_total, done.units_run) == (BLOCKS, BLOCKS)
    cube = cube_of(out)
    _, found, there = cube.read_proved(whole(cube.grid), bands=(0, 1, 2))
    np.testing.assert_array_equal(there, valid)
    np.testing.assert_array_equal(found[:, valid], np.maximum(image, 1)[:, valid])
    for band, statistics in zip(np.maximum(image, 1), cube.statistics, strict=True):
        values = band[valid].astype(float)
        assert (statistics.minimum, statistics.maximum) == (values.min(), values.max())
        assert statistics.mean == pytest.approx(values.mean())
        assert statistics.std == pytest.approx(values.std())
    assert open_workspace(open_store(out)).sources == (
        Source(str(scene), cube.fingerprint, "", extent=(0, 0, *cube.grid.shape)),
    )


def test_a_rerun_reads_nothing_and_changes_nothing(mine, tmp_path):
    out = tmp_path / "ws"
    first = run(mine, out)
    written, document = times(out), (out / "workspace.json").read_bytes()
    again = run(mine, out)
    assert (again.units_total, again.units_run) == (BLOCKS, 0)
    assert again.valid_share == first.valid_share
    assert times(out) == written
    assert (out / "workspace.json").read_bytes() == document


def test_a_file_that_was_touched_is_read_again(mine, once, tmp_path):
    out = tmp_path / "ws"
    run(mine, out)
    os.utime(mine, ns=(0, 1))
    again = run(mine, out)
    assert again.units_run == BLOCKS
    assert cube_of(out).fingerprint == cube_of(once[0]).fingerprint, "it holds what it held"


def test_a_killed_ingest_is_gone_on_with(mine, once, engine, tmp_path):
    out = tmp_path / "ws"
    call = (
        f"steps.ingest(IngestParams(scenes=({str(mine)!r},)), {str(out)!r}, run=ClusterParams(workers=1),"
        " progress=Dying())"
    )
    engine.die(call, units=2)
    store = open_store(out)
    done = len(Ledger(store, "ingest").done())
    assert 2 <= done < BLOCKS
    with pytest.raises(UnusableInput, match="not a workspace"):
        open_workspace(store)
    written = times(out)

    again = run(mine, out)
    assert again.units_run == BLOCKS - done
    assert again.valid_share == once[1].valid_share
    assert sum(times(out)[path] == when for path, when in written.items()) >= 4 * done, "what was done stands"
    assert cube_of(out).fingerprint == cube_of(once[0]).fingerprint
    assert cube_of(out).statistics == cube_of(once[0]).statistics


def test_what_a_killed_ingest_had_begun_to_write_is_written_anew(mine, once, engine, tmp_path):
    """A shard at the grid's edge is read by zarr before it is written: a torn one must not stop the rerun."""
    out = tmp_path / "ws"
    run(mine, out)
    torn = out / "cube.zarr/image/c/0/1/1"
    torn.write_bytes(torn.read_bytes()[:1000])
    Ledger(open_store(out), "ingest").forget(["1_1"])
    (out / "workspace.json").unlink()
    assert run(mine, out).units_run == 1
    cube = cube_of(out)
    cube.read_proved(whole(cube.grid), bands=(0, 1, 2))
    assert cube.fingerprint == cube_of(once[0]).fingerprint


@pytest.mark.parametrize("bounds", [(450_100, 5_399_000, 450_400, 5_399_900), (450_000, 5_398_750, 451_150, 5_400_000)])
def test_another_grid_begins_anew(mine, tmp_path, bounds):
    """The second bounds are the scene's own, and the grid the same: there, nothing is to be done."""
    out = tmp_path / "ws"
    run(mine, out)
    done = run(mine, out, bounds=bounds)
    fresh = tmp_path / "fresh"
    expected = run(mine, fresh, bounds=bounds)
    assert done.units_total == expected.units_total
    assert done.units_run == (0 if expected.rows == 2500 else expected.units_total)
    assert cube_of(out).grid == cube_of(fresh).grid
    assert cube_of(out).fingerprint == cube_of(fresh).fingerprint
    assert set(Ledger(open_store(out), "ingest").done()) == set(Ledger(open_store(fresh), "ingest").done())
    assert {p.removeprefix(str(out)) for p in times(out)} == {p.removeprefix(str(fresh)) for p in times(fresh)}


@pytest.mark.parametrize("change", [{"bands": ("green",)}, {"dtype": "float32"}])
def test_other_bands_or_another_type_begin_anew(mine, tmp_path, change):
    out = tmp_path / "ws"
    run(mine, out)
    assert run(mine, out, **change).units_run == BLOCKS
    cube = cube_of(out)
    _, found, _ = cube.read_proved((slice(0, 2500), slice(2048, 2300)), bands=tuple(range(len(cube.bands))))
    with rasterio.open(mine) as source:
        expected = source.read([2] if "bands" in change else None)[:, :, 2048:]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == ("uint8" if "bands" in change else "float32")


def test_other_classes_cost_no_reading(mine, tmp_path):
    out = tmp_path / "ws"
    run(mine, out)
    assert run(mine, out, classes=("other", "roof")).units_run == 0
    assert open_workspace(open_store(out)).classes.names == ("other", "roof")


def test_a_block_that_the_ledger_has_lost_is_read_again_and_no_other(mine, tmp_path):
    out = tmp_path / "ws"
    run(mine, out)
    written = times(out)
    Ledger(open_store(out), "ingest").forget(["1_0"])
    assert run(mine, out).units_run == 1
    fresh = {p for p, when in times(out).items() if when != written[p]}
    assert fresh == {str(out / "cube.zarr" / name) for name in (*(f"image/c/{n}/1/0" for n in range(3)), "valid/c/1/0")}


def test_a_damaged_entry_of_the_ledger_costs_its_block(mine, once, tmp_path):
    out = tmp_path / "ws"
    run(mine, out)
    entry = next((out / "ledger" / "ingest").glob("1_0.*.json"))
    entry.write_bytes(entry.read_bytes()[:300])
    with pytest.raises(UnusableInput, match="run the same command again"):
        run(mine, out)
    assert run(mine, out).units_run == 1
    assert cube_of(out).statistics == cube_of(once[0]).statistics


def test_a_lost_table_of_cells_is_made_again_without_reading(mine, tmp_path):
    """As after a kill between the last block and the end."""
    out = tmp_path / "ws"
    run(mine, out)
    fingerprint = cube_of(out).fingerprint
    open_store(out).delete_all("cube.zarr/digests")
    assert run(mine, out).units_run == 0
    assert cube_of(out).fingerprint == fingerprint


def test_processes_make_the_same_cube(scene, once, tmp_path):
    out = tmp_path / "ws"
    run(scene, out, cluster="processes")
    assert cube_of(out).fingerprint == cube_of(once[0]).fingerprint
    assert cube_of(out).statistics == cube_of(once[0]).statistics


def parts(scene, folder):
    """The scene as two files, left and right, that overlap in nothing."""
    with rasterio.open(scene) as source:
        for name, window in (
            ("left", (slice(0, 2500), slice(0, 1000))),
            ("right", (slice(0, 2500), slice(1000, 2300))),
        ):
            place = rasterio.windows.Window.from_slices(*window)
            moved = source.transform @ rasterio.Affine.translation(place.col_off, 0)
            profile = source.profile | {"width": place.width, "height": place.height, "transform": moved}
            with rasterio.open(folder / f"{name}.tif", "w", **profile) as target:
                target.write(source.read(window=place))
                target.update_tags(TIFFTAG_COPYRIGHT=f"the {name} one's")
    return folder / "left.tif", folder / "right.tif"


def test_scenes_side_by_side_are_one_cube_and_keep_their_names(scene, once, tmp_path):
    pair = parts(scene, tmp_path)
    done = run(pair, tmp_path / "ws")
    assert (done.rows, done.columns, done.units_total) == (2500, 2300, BLOCKS)
    assert cube_of(tmp_path / "ws").fingerprint == cube_of(once[0]).fingerprint
    sources = open_workspace(open_store(tmp_path / "ws")).sources
    assert [s.path for s in sources] == [str(p) for p in pair]
    assert [s.attribution for s in sources] == ["the left one's", "the right one's"]
    assert len({*(s.fingerprint for s in sources), cube_of(once[0]).fingerprint}) == 3
    # The fingerprints are those of the files' pixels: a rerun from the ledger, and one of other files, agree.
    before = [s.fingerprint for s in sources]
    assert run(pair, tmp_path / "ws").units_run == 0
    assert [s.fingerprint for s in open_workspace(open_store(tmp_path / "ws")).sources] == before
    os.utime(pair[0], ns=(0, 1))
    assert run(pair, tmp_path / "ws").units_run == 2, "the blocks that it reaches"
    assert [s.fingerprint for s in open_workspace(open_store(tmp_path / "ws")).sources] == before


class Noting(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_scene_without_any_data_is_told(tmp_path, dtype):
    path = tmp_path / "empty.tif"
    nodata = 0 if dtype == "uint8" else float("nan")
    with rasterio.open(
        path, "w", driver="GTiff", width=300, height=20, count=1, dtype=dtype, nodata=nodata,
        transform=rasterio.Affine(2, 0, 500_000, 0, -2, 5_000_000), crs="EPSG:32632",
    ) as target:  # fmt: skip
        target.write(np.full((1, 20, 300), nodata, dtype))
    progress = Noting()
    done = run(path, tmp_path / "ws", progress=progress)
    assert done.valid_share == 0
    assert any("no data at all" in note for note in progress.notes)
    assert run(path, tmp_path / "ws").units_run == 0


def test_a_workspace_of_another_version_is_left_alone(mine, tmp_path):
    out = tmp_path / "ws"
    run(mine, out)
    document = json.loads((out / "workspace.json").read_text())
    (out / "workspace.json").write_text(json.dumps(document | {"format_version": 99}))
    written = times(out)
    with pytest.raises(UnusableInput, match="version 99"):
        run(mine, out, bands=("red",))
    assert times(out) == written


@pytest.mark.parametrize("content", ["{", "[]", '{"format_version": 4}', "\xff"])
def test_a_damaged_workspace_says_so(mine, tmp_path, content):
    out = tmp_path / "ws"
    run(mine, out)
    (out / "workspace.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UnusableInput, match=r"workspace\.json is damaged .*; delete it and ingest the scenes again"):
        open_workspace(open_store(out))
    (out / "workspace.json").unlink()
    assert run(mine, out).units_run == 0
    open_workspace(open_store(out)).cube()


def patch(folder, name, corner, *, size=600, seed=0, crs="EPSG:32636"):
    """A scene of one band whose first pixel lies at a row and column of a common pixel grid."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    place = rasterio.Affine(0.5, 0, 500_000 + corner[1] / 2, 0, -0.5, 4_000_000 - corner[0] / 2)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=size, width=size, dtype="uint8", crs=crs, transform=place, nodata=0
    ) as target:
        target.write(np.random.default_rng(seed).integers(1, 255, (1, size, size)).astype(np.uint8))
    return path


@pytest.mark.parametrize("merge", ["over", "median", "feather"])
def test_a_scene_that_is_added_or_replaced_later_costs_the_blocks_it_covers(tmp_path, merge):
    """Two corners span the grid of four blocks; a third scene lies within one of them."""
    folder, out = tmp_path / "scenes", tmp_path / "ws"
    corners = (patch(folder, "a.tif", (0, 0), seed=1), patch(folder, "c.tif", (2400, 2400), seed=2))
    assert run(corners, out, merge=merge).units_run == BLOCKS
    added = patch(folder, "b.tif", (100, 300), seed=3)
    more = run((corners[0], added, corners[1]), out, merge=merge)
    assert (more.units_total, more.units_run) == (BLOCKS, 1)
    fresh = run((corners[0], added, corners[1]), tmp_path / "fresh", merge=merge)
    assert more.valid_share == fresh.valid_share
    assert cube_of(out).fingerprint == cube_of(tmp_path / "fresh").fingerprint
    assert open_workspace(open_store(out)).sources == open_workspace(open_store(tmp_path / "fresh")).sources
    patch(folder, "b.tif", (100, 300), seed=4)
    assert run((corners[0], added, corners[1]), out, merge=merge).units_run == 1
    assert cube_of(out).fingerprint != cube_of(tmp_path / "fresh").fingerprint
    assert run(folder, tmp_path / "folder", merge=merge).units_total == BLOCKS, "a folder is its scenes"


def test_scenes_of_two_crs_become_one_cube_within_bounds(tmp_path):
    one = patch(tmp_path, "a.tif", (0, 0))
    other = patch(tmp_path, "b.tif", (0, 0), crs="EPSG:32637")
    with pytest.raises(UnusableInput, match="give --crs"):
        run((one, other), tmp_path / "ws")
    bounds = (499_990.0, 3_999_690.0, 500_310.0, 4_000_010.0)
    done = run((one,), tmp_path / "ws", crs="EPSG:32636", resolution=1.0, bounds=bounds)
    assert (done.rows, done.columns) == (320, 320)
    assert done.valid_share == pytest.approx((300 / 320) ** 2, abs=0.01), "beyond the scene there is no data"
    grid = open_workspace(open_store(tmp_path / "ws")).grid
    assert (grid.affine.c, grid.affine.f, grid.affine.a) == (499_990, 4_000_010, 1)


def test_a_collar_is_asked_for(tmp_path):
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(1, 250, (1, 100, 100)).astype(np.uint8)
    pixels[:, :, :40] = 255
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=100, width=100, dtype="uint8", crs="EPSG:32636",
        transform=rasterio.Affine(1, 0, 500_000, 0, -1, 4_000_000),
    ) as target:  # fmt: skip
        target.write(pixels)
    notes = []

    class Listening(Silent):
        def note(self, text):
            notes.append(text)

    assert run(path, tmp_path / "ws", progress=Listening()).valid_share == 1
    assert len(notes) == 1
    assert "--nodata 255" in notes[0]
    assert run(path, tmp_path / "ws", progress=Listening(), nodata=255).valid_share == pytest.approx(0.6, abs=0.01)
    assert len(notes) == 1


def test_of_a_file_with_pages_the_first_is_taken_and_the_others_are_told(tmp_path):
    pages = [np.random.default_rng(n).integers(1, 250, (200, 300, 3)).astype(np.uint8) for n in range(3)]
    first, *others = (Image.fromarray(page) for page in pages)
    first.save(tmp_path / "pages.tif", save_all=True, append_images=others)
    notes = []

    class Listening(Silent):
        def note(self, text):
            notes.append(text)

    run(tmp_path / "pages.tif", tmp_path / "ws", progress=Listening())
    image, _ = cube_of(tmp_path / "ws").read((slice(0, 200), slice(0, 300)))
    np.testing.assert_array_equal(image, np.moveaxis(pages[0], 2, 0))
    assert [note for note in notes if "page" in note] == [
        f"{tmp_path / 'pages.tif'} holds 3 pictures, one a page; only the first was taken."
    ]
    notes.clear()
    first.save(tmp_path / "one.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "one.tif", "r+") as file:
        file.build_overviews([2, 4])
        file.write_mask(np.full((200, 300), 255, np.uint8))
    run(tmp_path / "one.tif", tmp_path / "other", progress=Listening())
    assert not [note for note in notes if "page" in note]


@pytest.mark.parametrize("cluster", ["lanes", pytest.param("processes", marks=pytest.mark.slow)])
@pytest.mark.parametrize("spoil", ["truncated", "empty", "text"])
def test_scenes_that_cannot_be_read_are_named_and_left_out(tmp_path, engine, scene, pixels, spoil, cluster):
    image, valid = pixels
    other = tmp_path / "other.tif"
    engine.write_scene(other, image, valid, west=450_000 + 1150)
    whole_one = other.read_bytes()
    spoilt = {"truncated": whole_one[: len(whole_one) * 6 // 10], "empty": b"", "text": b"no raster"}[spoil]
    other.write_bytes(spoilt)
    done = run((scene, other), tmp_path / "ws", cluster=cluster)
    assert [path in said for said, path in zip(done.left_out, [str(other)], strict=True)] == [True]
    assert (done.rows, done.columns) == valid.shape
    assert cube_of(tmp_path / "ws").fingerprint == cube_of(engine_alone(tmp_path, scene)).fingerprint
    # Once the file is whole, the same command takes it too.
    other.write_bytes(whole_one)
    again = run((scene, other), tmp_path / "ws", cluster=cluster)
    assert again.left_out == ()
    assert again.columns == valid.shape[1] + 2300


def engine_alone(folder, scene):
    run(scene, folder / "alone")
    return folder / "alone"


def test_where_no_scene_can_be_read_the_last_one_is_told(tmp_path):
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).write_bytes(b"no raster")
    with pytest.raises(UnusableInput, match=r"b\.tif is not a raster"):
        run((tmp_path / "a.tif", tmp_path / "b.tif"), tmp_path / "ws")
    assert not (tmp_path / "ws/workspace.json").exists()
