"""What the network that maps scenes makes of a picture."""

import numpy as np
import pytest
import torch

from models.deep_look import DeepLook
from models.predictor import load_predictor, shared_network
from tasks.model import find_model

FOLDER = find_model("default")


@pytest.fixture(scope="module")
def look():
    return DeepLook(*shared_network(FOLDER))


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 255, (70, 100, 3)).astype(np.uint8)


def everywhere(picture):
    return np.ones(picture.shape[:2], bool)


def test_it_ends_with_the_logits_that_the_network_gives(look, picture):
    predictor = load_predictor(FOLDER)
    found = look(picture, everywhere(picture), step=1)
    padded = np.pad(picture, ((0, 26), (0, 28), (0, 0)), mode="edge").transpose(2, 0, 1)[None]
    likely = predictor.probabilities(padded, np.ones((1, 96, 128), bool))[0, :, :70, :100]
    logits = torch.from_numpy(found[..., -len(predictor.card.classes) :].transpose(2, 0, 1))
    np.testing.assert_allclose(logits.softmax(0).numpy(), likely, atol=1e-4)


def test_every_second_row_and_column_is_what_all_hold_there(look, picture):
    valid = everywhere(picture)
    np.testing.assert_array_equal(look(picture, valid, step=2), look(picture, valid, step=1)[::2, ::2])


def test_what_fills_pixels_without_data_has_no_effect(look, picture):
    valid = everywhere(picture)
    valid[:, 60:] = False
    found = [look(np.where(valid[..., None], picture, np.uint8(fill)), valid, step=2) for fill in (0, 255)]
    np.testing.assert_array_equal(*found)


def test_a_mark_shows_where_it_is(look):
    picture = np.full((96, 96, 3), 120, np.uint8)
    marked = picture.copy()
    marked[46:50, 46:50] = 250
    changed = np.abs(look(marked, everywhere(picture), step=1) - look(picture, everywhere(picture), step=1))
    assert changed.shape == (96, 96, 16 + 32 + 64 + 6)
    finest = changed[..., :16].max(axis=2)
    row, column = np.unravel_index(finest.argmax(), finest.shape)
    assert abs(row - 48) < 8
    assert abs(column - 48) < 8
