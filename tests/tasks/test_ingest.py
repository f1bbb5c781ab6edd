"""Ingest goes on where it stopped, reads nothing twice, and takes nothing old for new."""

import json
import os

import numpy as np
import pytest

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
    assert open_workspace(open_store(out)).sources == (Source(str(scene), cube.fingerprint, ""),)


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
    assert run(pair, tmp_path / "ws").units_run == BLOCKS, "any file may lie under any block"
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


@pytest.mark.parametrize("content", ["{", "[]", '{"format_version": 2}', "\xff"])
def test_a_damaged_workspace_says_so(mine, tmp_path, content):
    out = tmp_path / "ws"
    run(mine, out)
    (out / "workspace.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UnusableInput, match=r"workspace\.json is damaged .*; delete it and ingest the scenes again"):
        open_workspace(open_store(out))
    (out / "workspace.json").unlink()
    assert run(mine, out).units_run == 0
    open_workspace(open_store(out)).cube()
