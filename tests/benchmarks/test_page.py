"""The page of benchmarks: each script rewrites its own section and no other's; goals; what a seam's gradient is."""

import numpy as np
import pytest

from benchmarks.page import Goal, _without_folder, number, replace_section, table
from benchmarks.scenes import BLOCK, rgb_scene
from benchmarks.seams import Edges, gradients
from tasks.raster.gdal import rasterio
from tasks.raster.tiling import cut_scene


def test_a_section_replaces_its_own_and_keeps_the_others():
    page = replace_section("", "memory", "## Memory\n\nold\n")
    page = replace_section(page, "peers", "## Peers\n")
    page = replace_section(page, "memory", "## Memory\n\nnew\n")
    assert page.index("## Peers") < page.index("## Memory")
    assert "new" in page
    assert "old" not in page
    assert replace_section(page, "memory", "## Memory\n\nnew\n") == page


@pytest.mark.parametrize(
    ("value", "said"),
    [(1234.5, "1,234"), (43.21, "43.2"), (1.234, "1.23"), (0.1234, "0.123"), (0.0012, "0.0012"), (0, "0")],
)
def test_numbers_keep_three_digits(value, said):
    assert number(value) == said


def test_a_goal_is_met_within_its_bounds():
    assert Goal("share", 0.99, at_least=0.98, at_most=1.02).met
    assert not Goal("share", 1.03, at_least=0.98, at_most=1.02).met
    assert Goal("time", 7, "s", at_most=6).row() == ["time", "7.00 s", "at most 6 s", "**no**"]


def test_a_table_without_rows_is_nothing():
    assert table(("a",), []) == []
    assert table(("a", "b"), [("1", "2")]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_the_edges_are_where_the_tiling_fades():
    length, tile, margin, ramp, stride = 700, 256, 24, 16, 32
    axis = cut_scene((length, length), tile=tile, margin=margin, ramp=ramp, stride=stride, shard=1024).rows
    speaking = np.zeros((len(axis.starts), length))
    for i in range(len(axis.starts)):
        speaking[i, slice(*axis.span(i))] = axis.weights(i)
    changing = np.abs(np.diff(speaking, axis=1)).max(axis=0) > 0
    edges = Edges.cut(length, tile=tile, margin=margin, ramp=ramp, stride=stride)
    assert changing.any()
    assert not (changing & ~edges.ramp).any()
    assert edges.ramp.sum() == (len(axis.starts) - 1) * (ramp + 1)
    assert edges.middle.sum() == (len(axis.starts) - 1) * 2


def test_a_step_in_the_middle_of_a_ramp_is_found():
    edges = Edges.cut(512, tile=256, margin=32, ramp=32, stride=32)
    place = int(np.flatnonzero(edges.middle)[0])
    planes = np.zeros((2, 512, 512), np.uint8)
    planes[0, :, place + 1 :] = 100
    found = gradients(planes, edges)
    assert found["elsewhere"] == 0
    assert found["middle"] > found["ramp"] > 0


def test_a_scene_larger_than_a_world_repeats_it(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.scenes.WORLD", 2 * BLOCK)
    scene = rgb_scene(tmp_path, 3 * BLOCK + 10)
    with rasterio.open(scene) as made, rasterio.open(tmp_path / f"world_{2 * BLOCK}.tif") as world:
        assert made.shape == (3 * BLOCK + 10,) * 2
        assert made.descriptions == ("red", "green", "blue")
        assert made.profile["compress"] == "deflate"
        assert np.array_equal(
            made.read()[:, 2 * BLOCK :, 2 * BLOCK :], world.read([1, 2, 3])[:, : BLOCK + 10, : BLOCK + 10]
        )


@pytest.mark.parametrize("given", [["--out", "/home/me/x"], ["--out=/home/me/x"]])
def test_a_page_says_no_folder_of_a_machine(given):
    assert _without_folder(["--sizes", "2048", *given, "--no-page"]) == ["--sizes", "2048", "--no-page"]
