"""How wide a road is that is drawn as a line: what it says, else its lanes, else its kind."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

LANE = 3.5
"""Metres of a lane: the regular width in most countries' guidelines."""
MOST_LANES = 16
WIDEST = 100.0
"""Metres; what says more was meant in centimetres, or is no carriageway."""

KINDS: Mapping[str, float] = {
    "motorway": 12.0,
    "trunk": 8.0,
    "primary": 8.0,
    "secondary": 7.0,
    "tertiary": 6.5,
    "unclassified": 6.0,
    "residential": 5.5,
    "living_street": 4.75,
    "service": 3.5,
    "busway": 3.5,
    "track": 3.0,
    "motorway_link": 6.0,
    "trunk_link": 6.0,
    "primary_link": 4.75,
    "secondary_link": 4.75,
    "tertiary_link": 4.75,
    "road": np.nan,
    "unknown": np.nan,
}
"""Metres of carriageway of OpenStreetMap's (and Overture's) drivable kinds; NaN where the kind says nothing.

German design guidelines: one carriageway with hard shoulder of RQ 31 and one-lane ramps Q1 (RAA 2008); RQ 11 and RQ 9
(RAL 2012); two buses, a lorry and a car, two cars that meet (RASt 06); field tracks (RLW 2016).
"""

_NUMBER = r"(\d+(?:[.,]\d+)?)"
_METRES = re.compile(_NUMBER + r"\s*(?:m|meters?|metres?)?")
_FEET = re.compile(_NUMBER + r"\s*(?:'|ft|feet)(?:\s*" + _NUMBER + r"\s*(?:\"|in|''))?")


def metres(said: str) -> float:
    """Metres of a width as it is written: `7.5`, `7,5 m`, `24'`, `24'6"`, `24 ft`; NaN of anything else."""
    said = said.strip().lower()
    if found := _METRES.fullmatch(said):
        return _positive(_decimal(found[1]))
    if found := _FEET.fullmatch(said):
        return _positive((_decimal(found[1]) + _decimal(found[2] or "0") / 12) * 0.3048)
    return np.nan


def lanes_metres(said: str) -> float:
    """Metres of so many lanes: `2`, `2;3` (the first counts); NaN of anything else."""
    found = re.match(_NUMBER, said)
    lanes = _decimal(found[1]) if found else 0.0
    return LANE * lanes if 0 < lanes <= MOST_LANES else np.nan


def _decimal(digits: str) -> float:
    return float(digits.replace(",", "."))


def _positive(width: float) -> float:
    return width if 0 < width <= WIDEST else np.nan
