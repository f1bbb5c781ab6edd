"""What a predictor promises: the bits do not depend on what lies where there is no data, nor on who asks when."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from infra.errors import GeoloomError, UnusableInput
from models.card import ModelCard
from models.checkpoint import save_model
from models.normalise import normalise
from models.predictor import Predictor, load_predictor
from models.quantise import quantise_probability
from models.registry import build
from models.runtime import Runtime

pytestmark = pytest.mark.usefixtures("one_thread")
GREY = {"colours": ((0, 0, 0), (9, 9, 9)), "mean": (90, 100, 110), "std": (40, 50, 60)}
RESNET = {"encoder": "resnet18", "decoder_channels": [16, 8, 8, 8, 8]}
FUSED = Runtime("fused", transposed=True)
RUNTIMES = [Runtime(), Runtime(arithmetic="bfloat16"), FUSED, Runtime("fused", "bfloat16", transposed=True, tail=2)]


def predictor_of(architecture="smp-unet", arguments=None, **options):
    arguments = (RESNET if architecture == "smp-unet" else {}) if arguments is None else arguments
    card = ModelCard(
        architecture=architecture, arguments=arguments, bands=("red", "green", "blue"), classes=("other", "road"),
        stride=1 if architecture == "tiny" else 32, tile=64, margin=8, ramp=8, **GREY,
    )  # fmt: skip
    torch.manual_seed(0)
    return Predictor(card, build(architecture, arguments, bands=3, classes=2).eval(), **options)


def scene(dtype=np.uint8, size=64, seed=0, count=2):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (count, 3, size, size)).astype(dtype), rng.random((count, size, size)) > 0.4


@pytest.mark.parametrize("architecture", ["smp-unet", "tiny"])
@pytest.mark.parametrize("runtime", RUNTIMES, ids=str)
def test_what_fills_invalid_pixels_changes_no_bit_anywhere(architecture, runtime):
    predict = predictor_of(architecture, runtime=runtime)
    image, valid = scene(np.float32)
    expected = predict(image, valid)
    for fill in (np.nan, np.inf, -np.inf, 1e38, np.random.default_rng(1).normal(0, 1e4, image.shape)):
        filled = np.where(valid[:, None], image, fill).astype(np.float32)
        assert np.array_equal(predict(filled, valid), expected)
        assert np.array_equal(predict.probabilities(filled, valid), predict.probabilities(image, valid))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float64])
def test_every_source_dtype_gives_the_numbers_of_float32(dtype):
    predict = predictor_of("tiny")
    image, valid = scene(dtype)
    assert np.array_equal(predict(image, valid), predict(image.astype(np.float32), valid))


def test_values_that_float32_cannot_hold_become_zero_or_are_cut_and_warn_of_nothing():
    image = np.full((1, 3, 2, 2), 1e300)
    image[0, :, 0, 0] = (np.nan, 90, 1e6)
    out = normalise(image, np.ones((1, 2, 2), bool), mean=(90, 100, 110), std=(40, 50, 60))
    assert out[0, :, 1, 1].tolist() == [0, 0, 0]
    assert out[0, :, 0, 0] == pytest.approx([0, -10 / 50, 10])
    predict = predictor_of("tiny")
    assert np.isfinite(predict.probabilities(image, np.ones((1, 2, 2), bool))).all()


@pytest.mark.parametrize("runtime", RUNTIMES[:2], ids=str)
def test_probabilities_are_the_softmax_of_the_network_on_normalised_pixels_and_are_rounded_to_254ths(runtime):
    predict = predictor_of(runtime=runtime)
    image, valid = scene()
    shape = (1, 3, 1, 1)
    plain = (image.astype(np.float32) - np.reshape(GREY["mean"], shape)) / np.reshape(GREY["std"], shape)
    batch = torch.from_numpy((plain * valid[:, None]).astype(np.float32)).contiguous(memory_format=torch.channels_last)
    half = runtime.arithmetic == "bfloat16"
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        expected = torch.softmax(predict._network(batch).float(), dim=1).numpy()
    got = predict.probabilities(image, valid)
    assert (got.dtype, got.shape) == (np.float32, (2, 2, 64, 64))
    np.testing.assert_allclose(got, expected, atol=1e-6)
    stored = predict(image, valid)
    assert stored.dtype == np.uint8
    assert np.array_equal(stored, quantise_probability(got))


@pytest.mark.parametrize("runtime", RUNTIMES, ids=str)
def test_threads_that_share_a_predictor_get_the_bits_of_one_alone(runtime):
    predict = predictor_of(runtime=runtime)
    batches = [scene(seed=seed, size=(64, 96)[seed % 2], count=1) for seed in range(8)]
    alone = [predict(*batch) for batch in batches]
    for round_ in range(3):
        # What is built at the first call is built by several at once, too.
        again = predictor_of(runtime=runtime)
        order = random.Random(round_).sample(range(8), 8)
        with ThreadPoolExecutor(3) as lanes:
            found = dict(zip(order, lanes.map(lambda n, new=again: new(*batches[n]), order), strict=True))
        assert all(np.array_equal(found[n], alone[n]) for n in range(8))


@pytest.mark.parametrize("runtime", RUNTIMES, ids=str)
def test_the_same_tile_is_the_same_whatever_its_place_and_companions_in_a_batch_of_the_same_size(runtime):
    predict = predictor_of(runtime=runtime)
    image, valid = scene(count=4)
    other, _ = scene(seed=5, count=4)
    whole = predict(image, valid)
    turned = np.roll(image, 1, axis=0), np.roll(valid, 1, axis=0)
    assert np.array_equal(np.roll(predict(*turned), -1, axis=0), whole)
    mixed = np.concatenate([image[:1], other[1:]])
    assert np.array_equal(predict(mixed, valid)[0], whole[0])


def test_a_loaded_predictor_is_the_saved_one(tmp_path):
    predict = predictor_of()
    save_model(tmp_path, predict._network, predict.card)
    image, valid = scene()
    assert np.array_equal(load_predictor(tmp_path)(image, valid), predict(image, valid))


def test_weights_that_give_no_numbers_are_named():
    predict = predictor_of("tiny")
    with torch.no_grad():
        predict._network.layers[4].bias.fill_(torch.nan)
    with pytest.raises(GeoloomError, match="do not sum to 1; check its weights"):
        predict(*scene())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda i, v: (i[:, :2], v), r"\(2, 2, 64, 64\), expected \(n, 3, y, x\)"),
        (lambda i, v: (i[0], v), r"\(3, 64, 64\), expected"),
        (lambda i, v: (i, v[:1]), r"bool \(1, 64, 64\), expected bool \(2, 64, 64\)"),
        (lambda i, v: (i, v.astype(np.uint8)), "uint8 .* expected bool"),
        (lambda i, v: (i[..., :48], v[..., :48]), "64 x 48 pixels do not fit: use multiples of 32"),
    ],
)
def test_arrays_that_do_not_fit_the_model_are_refused(change, complaint):
    image, valid = change(*scene())
    with pytest.raises(UnusableInput, match=complaint):
        predictor_of()(image, valid)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(UnusableInput, match="warp"):
        predictor_of("tiny", device="warp")
