"""Classes are matched by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UnusableInput
from tasks.raster.classes import DEFAULT_CLASSES, IGNORE, ClassMap, MapClass, class_map


@given(st.permutations(DEFAULT_CLASSES.names))
def test_labels_of_another_numbering_keep_their_names(names):
    label = np.arange(len(names), dtype=np.uint8)
    carried = DEFAULT_CLASSES.translation(names)[label]
    assert [DEFAULT_CLASSES.names[i] for i in carried] == names


def test_names_that_mean_ignore_and_ids_beyond_the_names_are_ignored():
    table = DEFAULT_CLASSES.translation(["road", "unlabelled", "ignore", "nodata", "water"])
    assert table.shape == (256,)
    assert table.dtype == np.uint8
    assert table[:5].tolist() == [2, IGNORE, IGNORE, IGNORE, 5]
    assert (table[5:] == IGNORE).all()


def test_a_name_that_the_map_lacks_is_refused_with_those_it_has():
    words = r"There is no class 'lake' in this map; its classes are other, building, road, land, vegetation, water\."
    with pytest.raises(UnusableInput, match=words):
        DEFAULT_CLASSES.translation(["other", "lake"])
    with pytest.raises(UnusableInput, match="no class 'lake'"):
        DEFAULT_CLASSES.id("lake")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), r"\(empty\) does not begin with 'other'"),
        (("building", "other"), "does not begin with 'other'; put it first"),
        (("other", "road", "Road "), "names a class twice"),
        (("other", ""), "an empty name or one with a comma"),
        (("other", "a,b"), "an empty name or one with a comma"),
        (("other", *(f"c{i}" for i in range(255))), "has 256 classes; at most 255 fit"),
    ],
)
def test_class_maps_check_themselves(names, words):
    with pytest.raises(UnusableInput, match=words):
        class_map(names)


def test_a_full_class_map_leaves_255_for_ignore():
    assert class_map(("other", *(f"c{i}" for i in range(254)))).id("c253") == 254


def test_known_names_keep_their_colours_and_the_palette_follows_the_ids():
    classes = class_map([" Other", "WATER", "tank", "building"])
    assert classes.names == ("other", "water", "tank", "building")
    colours = {c.name: c.colour for c in DEFAULT_CLASSES.classes}
    palette = classes.palette()
    assert tuple(palette[1]) == colours["water"]
    assert tuple(palette[3]) == colours["building"]
    assert tuple(palette[2]) not in colours.values()
    assert (palette[4:] == 0).all()
    assert ClassMap((MapClass("other", (1, 2, 3)),)).palette()[0].tolist() == [1, 2, 3]
