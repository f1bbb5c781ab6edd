"""Ways to run a network: plain values that travel, and refusals in one sentence."""

import json
import shutil
from dataclasses import asdict

import pytest
import torch

from infra.errors import UnusableInput
from models.machine import has_bfloat16, machine_kind
from models.malloc import give_back_freed_memory, keep_freed_memory
from models.registry import build
from models.runtime import REFERENCE, Runtime, build_runner, place, runtime_of


def test_a_runtime_travels_as_json():
    runtime = Runtime("fused", "bfloat16", transposed=True, tail=6)
    assert Runtime(**json.loads(json.dumps(asdict(runtime)))) == runtime
    assert "bfloat16" in str(runtime)
    assert "6 convolutions" in str(runtime)


def test_a_runtime_that_means_nothing_is_refused():
    with pytest.raises(ValueError, match="eager"):
        Runtime(tail=3)


def test_a_precision_means_a_runtime_and_others_are_refused():
    assert runtime_of("float32") == runtime_of("auto") == REFERENCE
    assert runtime_of("bfloat16").arithmetic == "bfloat16"
    with pytest.raises(UnusableInput, match="'float8' is not known: choose"):
        runtime_of("float8")


class Stubborn(torch.nn.Conv2d):
    """A network whose flow depends on pixels."""

    def forward(self, x):
        return super().forward(x if float(x.max()) < 9 else x * 0)


def test_a_network_that_cannot_be_run_so_is_refused_in_one_sentence():
    network = Stubborn(3, 2, 3, padding=1)
    place(network, "cpu")
    with pytest.raises(UnusableInput, match="cannot be run fused here") as told:
        build_runner(network, Runtime("fused"), shape=(1, 3, 8, 8))
    assert "\n" not in str(told.value)
    image = torch.ones(1, 3, 8, 8)
    torch.testing.assert_close(build_runner(network, REFERENCE, shape=(1, 3, 8, 8))(image), network(image))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_compiled_network_keeps_its_logits():
    torch.manual_seed(0)
    network = build("unet", {"width": 4, "depth": 1}, bands=3, classes=2)
    place(network, "cpu")
    image = torch.randn(1, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    compiled = build_runner(network, Runtime("compiled"), shape=image.shape)
    torch.testing.assert_close(compiled(image), build_runner(network, REFERENCE, shape=image.shape)(image))


def test_the_machine_is_told_in_words():
    kind = machine_kind("cpu")
    assert json.loads(json.dumps(kind)) == kind == machine_kind("cpu")
    assert (kind["device"], kind["torch"]) == ("cpu", torch.__version__.split("+")[0])
    assert kind["capability"] == torch.backends.cpu.get_cpu_capability()
    assert all(isinstance(value, str) for value in kind.values())
    # Whoever computes in bfloat16 itself is another kind of machine.
    assert has_bfloat16("cpu") == any(word.endswith("bf16") for word in kind["instructions"].split())


def test_memory_is_kept_and_given_back():
    kept = keep_freed_memory()
    assert kept == keep_freed_memory()
    give_back_freed_memory()
