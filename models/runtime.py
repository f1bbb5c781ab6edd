"""How a network is run: what of it changes bits is a small value that the plan records and every worker rebuilds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from infra.errors import UnusableInput, first_line

Precision = Literal["auto", "float32", "bfloat16"]
Kind = Literal["eager", "fused", "compiled"]
Arithmetic = Literal["float32", "tensorfloat32", "bfloat16"]

Runner = Callable[[Tensor], Tensor]
"""Normalised images (n, band, y, x) float32, channels last, to logits (n, class, y, x) float32; for any thread."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """How a network is run; always channels last, measured up to twice as fast as planes on a CPU."""

    kind: Kind = "eager"
    """eager: as torch runs it. fused: in oneDNN's calls (`models.fused`), CPU. compiled: torch.compile, CUDA."""
    arithmetic: Arithmetic = "float32"
    transposed: bool = False
    """Fused: convolutions over repeated pixels rewritten (`models.rewrite`)."""
    tail: int = 0
    """Fused: so many of the last convolutions stay float32."""

    def __post_init__(self) -> None:
        if (self.transposed or self.tail) and self.kind != "fused":
            raise ValueError(f"A {self.kind} runtime has neither transposed nor tail")

    def __str__(self) -> str:
        words: list[str] = [self.kind, self.arithmetic]
        words += ["repeated pixels summed first"] if self.transposed else []
        words += [f"the last {self.tail} convolutions float32"] if self.tail else []
        return ", ".join(words)


REFERENCE = Runtime()
"""What all others are compared with."""


def runtime_of(precision: Precision) -> Runtime:
    """The runtime that a precision means where nothing is measured.

    Raises:
        UnusableInput: no such precision.
    """
    if precision == "bfloat16":
        return Runtime(arithmetic="bfloat16")
    if precision in ("auto", "float32"):
        return REFERENCE
    raise UnusableInput(f"Precision {precision!r} is not known: choose auto, float32 or bfloat16.")


def warmed(logits: Tensor, temperature: float) -> Tensor:
    """Logits divided by a model's temperature."""
    return logits if temperature == 1 else logits / temperature


def place(network: nn.Module, device: str) -> torch.device:
    """Put a network on a device, channels last, in evaluation mode.

    Raises:
        UnusableInput: the device is not there.
    """
    try:
        where = torch.device(device)
        network.to(where, memory_format=torch.channels_last).eval().requires_grad_(requires_grad=False)  # type: ignore[call-overload]
    except (RuntimeError, AssertionError) as error:
        raise UnusableInput(f"Device {device!r} cannot be used here ({first_line(error)}): choose cpu.") from error
    return where


def build_runner(network: nn.Module, runtime: Runtime, *, shape: Sequence[int]) -> Runner:
    """A network ready to run in the way that a runtime says.

    Args:
        network: where `place` put it; shared, not copied.
        runtime: how.
        shape: (n, band, y, x) of the images; only eager ones take others too.

    Raises:
        UnusableInput: this machine or this network cannot be run so.
    """
    device = next(network.parameters()).device
    if device.type == "cuda":
        _fix_cuda(tensorfloat32=runtime.arithmetic == "tensorfloat32")
    try:
        if runtime.kind == "fused":
            return _fused(network, runtime, shape)
        if runtime.kind == "compiled":
            return _compiled(network, runtime, shape, device)
    except Exception as error:
        # A compiler that is missing, a library without oneDNN, a network that is no graph: anything may be raised.
        raise UnusableInput(
            f"The network cannot be run {runtime.kind} here ({first_line(error)}); use --precision float32."
        ) from error
    return _eager(network, runtime, device)


def _eager(network: Callable[[Tensor], Tensor], runtime: Runtime, device: torch.device) -> Runner:
    half = runtime.arithmetic == "bfloat16"

    def run(batch: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False):
            return network(batch).float()

    return run


def _fused(network: nn.Module, runtime: Runtime, shape: Sequence[int]) -> Runner:
    from models.fused import fuse

    dtype = torch.bfloat16 if runtime.arithmetic == "bfloat16" else torch.float32
    graph = fuse(network, shape, dtype=dtype, transposed=runtime.transposed, tail=runtime.tail)

    def run(batch: Tensor) -> Tensor:
        with torch.inference_mode():
            result: Tensor = graph.forward(batch)
        return result

    run(torch.zeros(*shape).contiguous(memory_format=torch.channels_last))
    return run


def _compiled(network: nn.Module, runtime: Runtime, shape: Sequence[int], device: torch.device) -> Runner:
    # Each shape and each model of an ensemble is compiled for itself, however many there are.
    compiled = torch.compile(network, dynamic=False, fullgraph=True, isolate_recompiles=True)  # type: ignore[call-overload]
    run = _eager(compiled, runtime, device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's advice on settings
        run(torch.zeros(*shape, device=device).contiguous(memory_format=torch.channels_last))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return run


def _fix_cuda(*, tensorfloat32: bool) -> None:
    """The same algorithm every time, and float32 that means float32; for the whole process."""
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = tensorfloat32
    torch.backends.cuda.matmul.allow_tf32 = tensorfloat32
