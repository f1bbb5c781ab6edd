"""The choice of a runtime: only what draws the same map, only what pays, and nothing is forgotten."""

import json

import numpy as np
import pytest
import torch

import models.choice as choices
from models.card import ModelCard
from models.choice import choose_runtime, time_tiles
from models.registry import build
from models.runtime import REFERENCE, Runtime

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def unet():
    card = ModelCard(
        architecture="unet", arguments={"width": 8, "depth": 2}, bands=("a", "b", "c"), mean=(120,) * 3, std=(60,) * 3,
        classes=("other", "road", "land"), colours=((0, 0, 0),) * 3, stride=4, tile=64, margin=8, ramp=8,
    )  # fmt: skip
    torch.manual_seed(0)
    network = build("unet", dict(card.arguments), bands=3, classes=3).eval()
    rng = np.random.default_rng(0)
    batches = [(rng.integers(0, 255, (1, 3, 64, 64), np.uint8), rng.random((1, 64, 64)) > 0.1) for _ in range(3)]
    return network, card, batches


def by_runtime(choice):
    return {trial.runtime: trial for trial in choice.trials}


def test_float32_takes_the_first_that_agrees_whatever_the_clock_says(unet, monkeypatch):
    monkeypatch.setattr(choices, "NOISE", 0.999)  # nothing is so much faster
    choice = choose_runtime(*unet, precision="float32", tiles_ahead=10**9)
    assert choice.runtime == Runtime("fused", transposed=True)
    assert [trial.runtime for trial in choice.trials] == [REFERENCE, choice.runtime]
    assert choice.trials[1].agreement == 1
    assert choice.seconds > 0


def test_float32_falls_back_on_what_can_be_built(unet, monkeypatch):
    monkeypatch.setattr("models.runtime._fused", lambda *_: 1 / 0)
    choice = choose_runtime(*unet, precision="float32", tiles_ahead=10**9)
    assert choice.runtime.kind == REFERENCE.kind  # in float32, or in bfloat16 where the processor is fast at it
    assert all("cannot be run fused here" in trial.refused for trial in choice.trials[1:])


def test_auto_takes_the_fastest_of_those_that_agree_and_keeps_what_it_saw(unet):
    choice = choose_runtime(*unet, tiles_ahead=10**6)
    assert json.loads(json.dumps(choice.to_json()))["runtime"]["kind"] == choice.runtime.kind
    trials = by_runtime(choice)
    assert {REFERENCE, Runtime("fused", transposed=True)} <= trials.keys()
    assert all(trial.agreement == 1 for trial in choice.trials if trial.runtime.arithmetic == "float32")
    fastest = min(t.seconds for t in choice.trials if t.seconds is not None and not t.refused)
    assert fastest <= choice.seconds == trials[choice.runtime].seconds <= fastest / (1 - choices.NOISE) ** 2


def test_little_work_pays_for_no_trial(unet):
    assert [trial.runtime for trial in choose_runtime(*unet, tiles_ahead=choices.FEW).trials] == [REFERENCE]
    choice = choose_runtime(*unet, tiles_ahead=choices.FEW + 1)
    assert choice.runtime.kind == REFERENCE.kind  # in float32, or in bfloat16 where the processor is fast at it
    assert all("too few" in trial.refused for trial in choice.trials[1:])
    assert len(choice.trials) > 1


def test_what_cannot_be_built_is_kept_with_the_reason(unet, monkeypatch):
    def no_library(*args, **kwargs):
        raise RuntimeError("oneDNN is not there\nand more")

    monkeypatch.setattr("models.fused.fuse", no_library)
    choice = choose_runtime(*unet, tiles_ahead=10**6)
    assert choice.runtime.kind == REFERENCE.kind  # in float32, or in bfloat16 where the processor is fast at it
    assert "oneDNN is not there" in by_runtime(choice)[Runtime("fused")].refused


def test_what_draws_another_map_is_refused_however_fast(unet, monkeypatch):
    from models import runtime

    def wrong(network, kind, shape):
        return lambda batch: torch.zeros(batch.shape[0], 3, *batch.shape[2:]).index_fill_(1, torch.tensor(1), 9.0)

    monkeypatch.setattr(runtime, "_fused", wrong)
    choice = choose_runtime(*unet, tiles_ahead=10**6)
    assert choice.runtime.kind == REFERENCE.kind  # in float32, or in bfloat16 where the processor is fast at it
    trial = by_runtime(choice)[Runtime("fused")]
    assert trial.seconds < choice.seconds
    assert "not safely 99.5%" in trial.refused


def test_the_same_classes_from_other_probabilities_are_a_fault_too(unet, monkeypatch):
    from models import runtime

    eager = runtime._eager
    monkeypatch.setattr(
        runtime, "_fused", lambda network, kind, shape: lambda x: eager(network, REFERENCE, torch.device("cpu"))(x) * 9
    )
    trial = by_runtime(choose_runtime(*unet, tiles_ahead=10**6))[Runtime("fused")]
    assert trial.agreement > choices.AGREEMENT
    assert "more than rounding" in trial.refused


def test_where_bfloat16_moves_too_many_pixels_a_float32_tail_is_tried(unet, monkeypatch):
    monkeypatch.setattr(choices, "has_bfloat16", lambda device: True)
    half, tail = Runtime("fused", "bfloat16", transposed=True), Runtime("fused", "bfloat16", transposed=True, tail=6)
    monkeypatch.setattr(choices, "AGREEMENT", 0.0)
    assert tail not in by_runtime(choose_runtime(*unet, tiles_ahead=10**6))
    monkeypatch.setattr(choices, "AGREEMENT", 1.1)
    trials = by_runtime(choose_runtime(*unet, tiles_ahead=10**6))
    assert half in trials
    assert tail in trials
    assert trials[tail].drift < trials[half].drift


def test_bfloat16_is_what_was_asked_for(unet):
    choice = choose_runtime(*unet, precision="bfloat16", tiles_ahead=10**6)
    assert choice.runtime.arithmetic == "bfloat16"


def test_tiles_of_several_sizes_are_timed_and_what_is_kept_is_counted(unet):
    network, card, _ = unet
    found = time_tiles(network, card, REFERENCE, sizes=(64, 128), margin=8, ramp=8, seconds=60)
    assert [t.tile for t in found] == [64, 128]
    assert [t.rate * t.seconds for t in found] == pytest.approx([40**2, 104**2])
    assert len(time_tiles(network, card, REFERENCE, sizes=(64, 128), margin=8, ramp=8, seconds=0)) == 1
