"""What a network needs is what its tensors take together, whatever the process holds already."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from models.footprint import watching
from models.registry import build

CPU = torch.device("cpu")
PLANE = 64 * 64 * 4
"""Bytes of a plane of 64 x 64 float32."""


def passed(network):
    image = torch.zeros(1, 3, 64, 64)
    with torch.inference_mode(), watching(CPU) as footprint:
        network(image)
    return footprint.peak


def test_it_is_the_most_that_is_there_at_once():
    convolve = nn.Conv2d(3, 8, 3, padding=1)
    assert passed(convolve) == 8 * PLANE
    assert passed(nn.Sequential(convolve, nn.ReLU())) == 16 * PLANE
    # The first result is gone when the third is made.
    assert passed(nn.Sequential(convolve, nn.ReLU(), nn.Conv2d(8, 4, 1))) == 16 * PLANE
    assert passed(nn.Sequential(convolve, nn.ReLU(inplace=True))) == 8 * PLANE


def test_of_a_network_it_is_that_of_the_largest_moment():
    network = build("tiny", {"width": 8}, bands=3, classes=2).eval()
    with torch.inference_mode(), watching(CPU) as footprint:
        network(torch.zeros(1, 3, 64, 64))
    # Image, the convolution's result, and the ReLU's beside it.
    assert footprint.peak == (3 + 8 + 8) * PLANE


def test_a_second_pass_needs_as_much_as_the_first():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    assert passed(network) == passed(network) > 0


def test_views_take_nothing():
    class Views(nn.Module):
        def forward(self, image):
            return image.flatten(2).unflatten(2, (64, 64))[:, :1]

    assert passed(Views()) == pytest.approx(0, abs=3 * PLANE)


def test_watching_does_not_import_the_compiler():
    code = (
        "import sys, torch; from models.footprint import watching\n"
        "with watching(torch.device('cpu')) as found: torch.ones(1000) + 1\n"
        "print(found.peak, 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["8000", "False"]
