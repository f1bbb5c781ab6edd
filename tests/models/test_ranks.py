"""Processes that learn together learn what one would have learnt from all of each batch."""

import socket
import subprocess
import sys

import pytest
import safetensors.torch
import torch

CODE = """
import sys
from pathlib import Path
import numpy as np, torch
from models.card import ModelCard
from models.chips import Chips
from models.ranks import Rank
from models.recipe import LossRecipe, TrainSettings
from models.registry import build
from models.train import train

number, count, port, folder = *map(int, sys.argv[1:4]), Path(sys.argv[4])
torch.set_num_threads(1)
card = ModelCard(architecture="tiny", bands=("a", "b"), mean=(0, 0), std=(1, 1), classes=("x", "y", "z"),
                 colours=((0, 0, 0), (1, 1, 1), (2, 2, 2)), stride=1, tile=32, margin=4, ramp=4)

def draw(step):
    random = np.random.default_rng(step)
    images = random.normal(size=(4, 2, 24, 24)).astype(np.float32)
    labels = (images[:, 0] > 0).astype(np.uint8) + (images[:, 1] > 0.5)
    labels[0, 2:] = 255  # one of two processes has less to learn from
    chips = Chips(images, labels.astype(np.uint8), np.ones(labels.shape, bool), np.ones((4, 3), bool))
    return chips.part(slice(number, None, count))

class Bar:
    def advance(self, amount=1.0): pass
    def say(self, text): print(text)

torch.manual_seed(number)  # what each begins with is the leader's
network = build("tiny", {}, bands=2, classes=3)
if number == 0:
    torch.manual_seed(0)
    network = build("tiny", {}, bands=2, classes=3)
settings = TrainSettings(steps=12, chip=24, loss=LossRecipe(dice=0), class_weights=(0.1, 1, 5), augment=None,
                         learning_rate=1e-2, average=0.5, save_every=6, validate_every=4, accumulate=int(sys.argv[5]))
train(network, card, draw=draw, validate=[draw(99)], settings=settings, folder=folder, progress=Bar(),
      resume=sys.argv[6] == "resume", rank=Rank(number, count, port))
"""


def together(folder, count, *, parts=1, resume=False):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    words = [str(count), str(port), str(folder), str(parts), "resume" if resume else "begin"]
    running = [
        subprocess.Popen([sys.executable, "-c", CODE, str(number), *words], stdout=subprocess.PIPE, text=True)
        for number in range(count)
    ]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * count
    tensors = safetensors.torch.load_file(folder / "training.safetensors")
    del tensors["history"]  # it knows how long it took
    return said, tensors


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
def test_the_mean_of_two_halves_is_the_whole(tmp_path, parts):
    _, alone = together(tmp_path / "alone", 1)
    said, shared = together(tmp_path / "shared", 2, parts=parts)
    assert alone.keys() == shared.keys()
    for name, tensor in alone.items():
        assert torch.allclose(tensor, shared[name], atol=1e-5), name
    assert said[0].count("IoU") == 3
    _, again = together(tmp_path / "shared", 2, parts=parts, resume=True)
    assert all(torch.equal(shared[name], again[name]) for name in shared)
