"""Widths as people write them."""

import math

import pytest

from tasks.raster.road_widths import KINDS, lanes_metres, metres


@pytest.mark.parametrize(
    ("said", "expected"),
    [("7.5", 7.5), ("7,5 m", 7.5), ("4 metres", 4), ("24'", 7.3152), ("24 ft", 7.3152), ("12'6\"", 3.81), ("4.0", 4)],
)
def test_widths(said, expected):
    assert metres(said) == pytest.approx(expected)


@pytest.mark.parametrize("said", ["", "wide", "0", "-3", "350", "5-7", "inf", "nan", "3;4"])
def test_what_is_no_width(said):
    assert math.isnan(metres(said))


def test_lanes():
    assert lanes_metres("2") == 7
    assert lanes_metres("2;3") == 7
    assert lanes_metres("1.5") == pytest.approx(5.25)
    assert all(math.isnan(lanes_metres(said)) for said in ("", "0", "many", "99"))


def test_kinds_are_what_a_car_may_drive_on():
    assert all(math.isnan(width) or 3 <= width <= 12 for width in KINDS.values())
    assert not {"footway", "path", "steps", "cycleway", "pedestrian", "proposed", "construction"} & KINDS.keys()
