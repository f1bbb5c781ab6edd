"""Scores of arrays, without a workspace around them."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from tasks.raster.classes import class_map
from tasks.raster.ground import Ground
from tasks.scoring import Scoring, Seen


@pytest.mark.parametrize("with_planes", [False, True])
def test_a_map_that_is_the_truth_has_all_its_roads(with_planes):
    """A gap that may well be road is closed in vectors; here both networks are drawn from the masks alone."""
    shape, gap = (512, 512), np.s_[250:260, 240:260]
    ids, planes = np.zeros(shape, np.uint8), np.zeros((3, *shape), np.uint8)
    ids[250:260] = 2
    ids[gap] = 0
    planes[2] = np.where(ids == 2, 254, 0)
    planes[2][gap] = 110
    planes[0] = 254 - planes[2]
    ground = Ground(GeoBox(shape, Affine.identity(), None), None)
    scoring = Scoring(
        class_map(["other", "building", "road"]), [0, 1, 2], shape, ground, cell=512, kinds=("roads",),
        extents={"scene": (0, 0, *shape)},
    )  # fmt: skip
    scoring.add((slice(0, 512), slice(0, 512)), Seen(ids, ids, planes if with_planes else None))
    roads = scoring.results().roads
    assert roads.apls.apls == pytest.approx(1.0)
    assert roads.topo.f1 == pytest.approx(1.0)
