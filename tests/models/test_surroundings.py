"""What SAM makes of a pixel's surroundings, in few numbers."""

import numpy as np

from models.surroundings import Surroundings

RNG = np.random.default_rng(0)


def test_a_pixel_lies_between_the_middles_of_cells():
    """Embeddings that grow evenly to the right and down, 8 pixels a cell, are straight lines along pixels, too."""
    mixed = RNG.normal(size=(2, 16))
    down, right = np.mgrid[:8, :10].astype(float)
    embedding = np.tensordot(mixed.T, np.stack([down, right]), 1).astype(np.float32)
    around = Surroundings(2).fit([embedding])
    rows, cols = np.array([4, 20, 36, 36]), np.array([4, 36, 36, 68])
    found = around.at(embedding, rows, cols, cells=(1 / 8, 1 / 8))
    assert found.shape == (4, 2)
    down16, right32 = found[2] - found[1], found[3] - found[2]
    np.testing.assert_allclose(found[2] - found[0], 2 * down16 + right32, atol=1e-4)
    beyond = around.at(embedding, np.array([0, 63]), np.array([0, 79]), cells=(1 / 8, 1 / 8))
    corner = around.at(embedding, np.array([3, 59]), np.array([3, 75]), cells=(1 / 8, 1 / 8))
    assert np.abs(beyond - corner).max() < np.abs(found[0] - found[3]).max(), "nothing is made up outside the cells"


def test_the_components_are_those_in_which_windows_differ_most():
    strong, weak = RNG.normal(size=(2, 12, 12))
    embedding = np.stack([strong, weak / 100, np.zeros((12, 12))]).astype(np.float32)
    around = Surroundings(1).fit([embedding, embedding[:, ::-1]])
    rows, cols = (axis.ravel() for axis in np.mgrid[:12, :12])
    (found,) = around.at(embedding, rows, cols, cells=(1.0, 1.0)).T
    assert abs(np.corrcoef(found, strong.ravel())[0, 1]) > 0.999
    assert abs(found.std() - 1) < 0.1


def test_there_are_no_more_components_than_there_is_to_tell():
    embedding = RNG.normal(size=(3, 4, 4)).astype(np.float32)
    assert Surroundings(48).fit([embedding]).at(embedding, np.array([1]), np.array([2]), cells=(1.0, 1.0)).shape == (
        1,
        3,
    )
