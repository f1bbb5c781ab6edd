"""Several looks are one answer: the mean of them, the same for every turn of a tile, blind to what fills holes."""

import numpy as np
import pytest
import torch

from infra.errors import UnusableInput
from models.card import ModelCard
from models.ensemble import assemble, union
from models.looks import Looks
from models.predictor import Predictor
from models.registry import build

pytestmark = pytest.mark.usefixtures("one_thread")
RGB = ("red", "green", "blue")
WORDS = ("other", "road", "house")
EVERY = Looks(turned=True, scales=(0.5, 1.0, 1.5))


def predictor(seed=0, *, classes=WORDS, bands=RGB, architecture="tiny", **more):
    torch.manual_seed(seed)
    stride = 1 if architecture == "tiny" else 32
    card = ModelCard(
        architecture=architecture, bands=bands, classes=classes, colours=((0, 0, 0),) * len(classes), stride=stride,
        mean=(90, 100, 110)[: len(bands)], std=(40, 50, 60)[: len(bands)], tile=64, margin=8, ramp=8, **more,
    )  # fmt: skip
    return Predictor(card, build(architecture, {}, bands=len(bands), classes=len(classes)).eval())


def scene(seed=0, size=(64, 96), bands=3):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (2, bands, *size)).astype(np.float32), rng.random((2, *size)) > 0.2


def test_one_look_of_one_model_is_its_predictor():
    alone = predictor()
    assert assemble([alone], bands=[(2, 0, 1)], looks=Looks()) is alone
    assert Looks().card((alone.card,)) is alone.card
    assert union([(2, 0, 1)]) == (2, 0, 1)


def test_eight_views_are_the_mean_over_the_square_s_symmetries():
    alone = predictor(architecture="lite-unet")
    ensemble = assemble([alone], bands=[(0, 1, 2)], looks=Looks(turned=True))
    image, valid = scene()
    expected = np.zeros((2, 3, 64, 96))
    for quarter in range(4):
        for mirrored in (False, True):
            seen, data = (np.rot90(part, quarter, axes=(-2, -1)) for part in (image, valid))
            seen, data = (part[..., ::-1].copy() if mirrored else part.copy() for part in (seen, data))
            answer = alone.probabilities(seen, data)
            answer = answer[..., ::-1] if mirrored else answer
            expected += np.rot90(answer, -quarter, axes=(-2, -1)) / 8
    found = ensemble.probabilities(image, valid)
    assert np.allclose(found, expected, atol=1e-5)
    assert not np.allclose(found, alone.probabilities(image, valid), atol=1e-3)


def test_turning_a_tile_turns_the_answer():
    ensemble = assemble([predictor(architecture="lite-unet")], bands=[(0, 1, 2)], looks=Looks(turned=True))
    image, valid = scene()
    straight = ensemble(image, valid)
    turned = ensemble(np.rot90(image, 1, axes=(-2, -1)).copy(), np.rot90(valid, 1, axes=(-2, -1)).copy())
    assert np.abs(np.rot90(turned, -1, axes=(-2, -1)).astype(int) - straight).max() <= 1


def test_what_fills_holes_changes_no_bit():
    ensemble = assemble([predictor()], bands=[(0, 1, 2)], looks=EVERY)
    image, valid = scene()
    expected = ensemble(image, valid)
    assert (expected.sum(axis=1) == 254).all()
    for fill in (np.nan, np.inf, 1e38, -5.0):
        assert np.array_equal(ensemble(np.where(valid[:, None], image, fill).astype(np.float32), valid), expected)


def test_models_of_other_bands_and_another_order_of_classes_answer_together():
    first, second = predictor(1), predictor(2, classes=("house", "other", "road"), bands=("nir", "red"))
    looks = Looks()
    bands = [(0, 1, 2), (5, 0)]
    assert union(bands) == (0, 1, 2, 5)
    image, valid = scene(bands=4)
    found = assemble([first, second], bands=bands, looks=looks).probabilities(image, valid)
    one = first.probabilities(image[:, :3].copy(), valid)
    two = second.probabilities(image[:, [3, 0]].copy(), valid)[:, [1, 2, 0]]
    assert np.allclose(found, (one + two) / 2, atol=1e-6)


def test_models_of_other_classes_are_refused():
    with pytest.raises(UnusableInput, match=r"house and another other, road, lake; only models of the same classes"):
        assemble([predictor(), predictor(classes=("other", "road", "lake"))], bands=[(0, 1, 2)] * 2, looks=Looks())


@pytest.mark.parametrize("scales", [(), (0.3,), (2.25,), (1.0, 1.0), (0.25,)])
def test_other_scales_are_refused(scales):
    with pytest.raises(UnusableInput, match=r"[Ss]cale.* 0\.75,1,1\.5"):
        Looks(scales=scales)


@pytest.mark.parametrize(
    ("scales", "stride", "tile", "margin"),
    [((1.0,), 32, 64, 8), ((0.5, 1.0), 64, 128, 16), ((0.75, 1.25), 128, 128, 16), ((2.0,), 32, 64, 8)],
)
def test_tiles_grow_with_what_is_seen_smaller(scales, stride, tile, margin):
    """Starts of tiles must be multiples of the network's stride at every scale."""
    card = Looks(scales=scales).card((predictor(architecture="lite-unet").card,))
    assert (card.stride, card.tile, card.margin) == (stride, tile, margin)
    assert all((card.stride * scale) % 32 == 0 for scale in scales)


def test_a_temperature_makes_less_sure_and_moves_no_class():
    cold, warm = predictor(), predictor(temperature=3.0)
    image, valid = scene()
    one, other = (p.probabilities(image, valid) for p in (cold, warm))
    assert np.array_equal(one.argmax(axis=1), other.argmax(axis=1))
    assert np.allclose(np.log(one[:, 0] / one[:, 1]), 3 * np.log(other[:, 0] / other[:, 1]), atol=1e-3)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.5])
def test_a_line_without_data_is_where_it_is_at_every_scale(scale):
    """Mirrored, a tile has the mirrored answer: what is valid is not moved against the image."""
    ensemble = assemble([predictor()], bands=[(0, 1, 2)], looks=Looks(turned=True, scales=(scale,)))
    image, _ = scene()
    valid = np.ones((2, 64, 96), bool)
    valid[:, :, 37] = valid[:, 20:22] = False
    answer = ensemble.probabilities(image, valid)
    mirrored = ensemble.probabilities(image[..., ::-1, ::-1].copy(), valid[..., ::-1, ::-1].copy())
    assert np.allclose(mirrored[..., ::-1, ::-1], answer, atol=1e-5)
