"""What of a machine and its software changes a network's bits, beside the plan."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

import torch
from threadpoolctl import threadpool_limits

_INSTRUCTIONS = (
    "avx2",
    "fma3",
    "avx512_f",
    "avx512_bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx10_1",
    "avx10_2",
    "amx_tile",
    "amx_bf16",
    "amx_fp16",
    "neon",
    "sve",
    "sve2",
    "bf16",
)
"""Those that oneDNN chooses its kernels by."""


def machine_kind(device: str) -> dict[str, str]:
    """Everything outside the plan that a network's bits depend on, as words; equal dicts mean equal bits.

    Args:
        device: "cpu", "cuda" or "cuda:1".
    """
    about = {"torch": torch.__version__.split("+")[0], "device": torch.device(device).type}
    if about["device"] == "cuda":
        return about | {
            "gpu": torch.cuda.get_device_name(device),
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        }
    there = torch.cpu.get_capabilities()
    return about | {
        "processor": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "instructions": " ".join(name for name in _INSTRUCTIONS if there.get(name)),
        # oneDNN cuts sums into pieces that fit the cache.
        "cache": f"{there.get('l1d_cache_size')} {there.get('l2_cache_size')}",
    }


def has_bfloat16(device: str) -> bool:
    """True where the device computes in bfloat16 itself; elsewhere it is imitated, and three times slower."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    there = torch.cpu.get_capabilities()
    return any(bool(there.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def one_thread(device: str) -> None:
    """On a CPU a lane is one thread: two of one were measured as fast as one of two. To be said in every thread.

    Numbers below 1e-38 count as 0 there: the processor takes a hundred times as long for them, and sure networks make
    many (the softmax of a tile took 8 ms instead of 2).
    """
    if device == "cpu":
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)


_keeper = ThreadPoolExecutor(1, thread_name_prefix="blas")
"""Sets and lifts the limit of the process's BLAS: threadpoolctl lets the thread that set it lift it, and no other."""
_holding = Lock()
_held: list[threadpool_limits] = []
_holders = 0


@contextmanager
def one_thread_for_numpy() -> Iterator[None]:
    """NumPy, SciPy and scikit-learn compute with one thread in here.

    OpenMP's limit is each thread's own. BLAS has one for the process: were it set and lifted by each lane for itself,
    the first to leave would lift it for all, and the last would put back what it found, which is the limit.
    """
    with threadpool_limits(1, user_api="openmp"):
        _count(1)
        try:
            yield
        finally:
            _count(-1)


def _count(more: int) -> None:
    global _holders  # noqa: PLW0603 - of the process, as the limit is
    with _holding:
        _holders += more
        if _holders and not _held:
            _held.append(_keeper.submit(threadpool_limits, 1, "blas").result())
        elif not _holders:
            _keeper.submit(_held.pop().restore_original_limits).result()


@contextmanager
def as_a_lane(device: str) -> Iterator[None]:
    """Compute here as lanes do, and to the same bits, where this thread goes on with other things afterwards."""
    threads = torch.get_num_threads()
    one_thread(device)
    try:
        with one_thread_for_numpy():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
