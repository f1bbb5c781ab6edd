"""What a predictor promises: the bits do not depend on what lies where there is no data."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import UnusableInput
from models.card import ModelCard
from models.checkpoint import save_model
from models.normalise import LIMIT, normalise
from models.predictor import Predictor, load_predictor
from models.registry import build, network_stride


def predictor_of(architecture="smp-unet", arguments=None, **options):
    arguments = {"encoder": "tu-tf_efficientnet_lite0"} if arguments is None else arguments
    torch.manual_seed(0)
    stride = network_stride(architecture, arguments)
    card = ModelCard(
        architecture=architecture, arguments=arguments, bands=("r", "g", "b"), mean=(100, 90, 80), std=(30, 40, 50),
        classes=("other", "building"), colours=((0, 0, 0), (255, 0, 0)), stride=stride, tile=64, margin=8, ramp=8,
    )  # fmt: skip
    return Predictor(card, build(architecture, arguments, bands=3, classes=2), **options)


def scene(dtype=np.float32, n=2, y=64, x=32):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (n, 3, y, x)).astype(dtype), random.random((n, y, x)) > 0.3


@pytest.mark.parametrize("architecture", ["smp-unet", "tiny"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_fills_the_invalid_pixels_changes_no_bit(architecture, precision):
    predict = predictor_of(architecture, None if architecture == "smp-unet" else {}, precision=precision)
    image, valid = scene()
    plain = predict(np.where(valid[:, None], image, 0).astype(np.float32), valid)
    fills = [np.nan, np.inf, -np.inf, np.finfo(np.float32).max, np.random.default_rng(1).normal(0, 1e6, image.shape)]
    for fill in fills:
        filled = np.where(valid[:, None], image, fill).astype(np.float32)
        assert np.array_equal(predict(filled, valid), plain)
    changed = np.where(valid[:, None], image + 1, 0).astype(np.float32)
    assert not np.array_equal(predict(changed, valid), plain)


def test_a_hole_in_one_band_is_that_bands_mean():
    predict = predictor_of("tiny", {})
    image, _ = scene()
    valid = np.ones((2, 64, 32), bool)
    holed, filled = image.copy(), image.copy()
    holed[:, 1, 10:20, 10:20], filled[:, 1, 10:20, 10:20] = np.nan, 90
    assert np.array_equal(predict(holed, valid), predict(filled, valid))


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u2", "u4", "i8", "f2", "f4", ">f8"])
def test_any_number_type_gives_the_same(dtype):
    predict = predictor_of("tiny", {})
    image, valid = scene()
    assert np.array_equal(predict(image.astype(dtype), valid), predict(image, valid))


def test_probabilities_are_the_networks_softmax():
    predict = predictor_of(channels_last=False)
    image, valid = scene()
    valid[:] = True
    result = predict(image, valid)
    assert result.shape == (2, 2, 64, 32)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    z = (image - np.array([100, 90, 80]).reshape(1, 3, 1, 1)) / np.array([30, 40, 50]).reshape(1, 3, 1, 1)
    with torch.no_grad():
        expected = predict.network(torch.from_numpy(z).float()).softmax(1).numpy()
    np.testing.assert_allclose(result, expected, atol=1e-5)
    np.testing.assert_allclose(result.sum(axis=1), 1, atol=1e-6)
    assert np.array_equal(predict(image, valid), result)


def test_precisions_and_memory_formats_agree_closely():
    image, valid = scene()
    plain = predictor_of(channels_last=False)(image, valid)
    np.testing.assert_allclose(predictor_of(channels_last=True)(image, valid), plain, atol=1e-4)
    np.testing.assert_allclose(predictor_of(precision="bfloat16")(image, valid), plain, atol=0.1)


def test_a_loaded_predictor_is_the_saved_one(tmp_path):
    predict = predictor_of()
    image, valid = scene()
    save_model(tmp_path, predict.network, predict.card)
    assert np.array_equal(load_predictor(tmp_path)(image, valid), predict(image, valid))


@pytest.mark.parametrize(
    ("image", "valid", "says"),
    [
        (np.zeros((1, 4, 32, 32)), np.ones((1, 32, 32), bool), "3, y, x"),
        (np.zeros((3, 32, 32)), np.ones((32, 32), bool), "3, y, x"),
        (np.zeros((1, 3, 32, 32)), np.ones((1, 32, 32), np.uint8), "expected bool"),
        (np.zeros((1, 3, 32, 32)), np.ones((1, 32, 64), bool), "expected bool"),
        (np.zeros((1, 3, 40, 32)), np.ones((1, 40, 32), bool), "multiples of 32"),
    ],
)
def test_what_does_not_fit_is_refused(image, valid, says):
    with pytest.raises(UnusableInput, match=says):
        predictor_of()(image, valid)


def test_unknown_precision_and_device_are_refused():
    with pytest.raises(UnusableInput, match="float32 or bfloat16"):
        predictor_of("tiny", {}, precision="float8")
    with pytest.raises(UnusableInput, match="warp"):
        predictor_of("tiny", {}, device="warp")


@settings(deadline=None, max_examples=50)
@given(
    dtype=st.sampled_from(["u1", "u2", "i4", "f4", "f8"]),
    mean=st.floats(-1e4, 1e4),
    std=st.floats(1e-3, 1e4),
    seed=st.integers(0, 2**32 - 1),
)
def test_normalised_images_are_finite_bounded_and_zero_where_invalid(dtype, mean, std, seed):
    random = np.random.default_rng(seed)
    raw = random.bytes(2 * 2 * 3 * 5 * np.dtype(dtype).itemsize)  # any bits: NaN, infinities and denormals too
    image = np.frombuffer(raw, dtype).reshape(2, 2, 3, 5)
    valid = random.random((2, 3, 5)) > 0.5
    out = normalise(image, valid, mean=(mean, 0.0), std=(std, 1.0))
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= LIMIT
    assert not out.transpose(0, 2, 3, 1)[~valid].any()
    with np.errstate(invalid="ignore"):  # signalling NaN
        first = image[:, 0].astype(np.float64)
    inside = valid & (np.abs(first) < 1e4)
    expected = np.clip((first[inside] - mean) / std, -LIMIT, LIMIT)
    np.testing.assert_allclose(out[:, 0][inside], expected, rtol=1e-4, atol=1e-3 + 2e-3 / std)
