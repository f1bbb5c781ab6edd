"""The GPU's side of a prediction: its arithmetic by torch on any device, and all of it where there is a GPU."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from models.card import ModelCard
from models.gpu import normalise_on_device
from models.normalise import normalise
from models.predictor import Predictor
from models.registry import build
from models.runtime import Runtime

MEAN, STD = (90.0, 100.0, 110.0), (40.0, 50.0, 60.0)
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64])
def test_pixels_are_normalised_to_the_same_bits(dtype):
    rng = np.random.default_rng(0)
    image = (rng.random((2, 3, 16, 16)) * min(4e9, np.iinfo(dtype).max if np.dtype(dtype).kind != "f" else 4e9)).astype(
        dtype
    )
    if np.dtype(dtype).kind == "f":
        image[0, 0, 0, :4] = (np.nan, np.inf, -np.inf, 1e38)
    valid = rng.random((2, 16, 16)) > 0.3
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (MEAN, STD))
    got = normalise_on_device(torch.from_numpy(image), torch.from_numpy(valid), mean=mean, std=std)
    assert np.array_equal(got.numpy(), normalise(image, valid, mean=MEAN, std=STD))


def predictors():
    card = ModelCard(
        architecture="unet", arguments={"width": 8}, bands=("a", "b", "c"), mean=MEAN, std=STD, stride=16, tile=64,
        classes=("other", "road"), colours=((0, 0, 0),) * 2, margin=8, ramp=8,
    )  # fmt: skip
    torch.manual_seed(0)
    networks = [build("unet", {"width": 8}, bands=3, classes=2).eval() for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    return Predictor(card, networks[0]), lambda **how: Predictor(card, networks[1], device="cuda", **how)


def batches():
    rng = np.random.default_rng(1)
    return [(rng.integers(0, 255, (2, 3, 64, 64), np.uint8), rng.random((2, 64, 64)) > 0.2) for _ in range(6)]


@GPU
@pytest.mark.parametrize("runtime", [Runtime(), Runtime(arithmetic="tensorfloat32"), Runtime(arithmetic="bfloat16")])
def test_a_gpu_draws_the_map_of_the_cpu_and_gives_the_same_bits_to_all_threads(runtime):
    here, on_gpu = predictors()
    there = on_gpu(runtime=runtime)
    alone = [there(*batch) for batch in batches()]
    with ThreadPoolExecutor(3) as lanes:
        together = list(lanes.map(lambda batch: there(*batch), batches()))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    apart = [np.abs(a.astype(int) - here(*batch)).mean() for a, batch in zip(alone, batches(), strict=True)]
    assert max(apart) < (0.01 if runtime == Runtime() else 2)
    assert there.probabilities(*batches()[0]).sum(axis=1) == pytest.approx(1, abs=1e-5)
