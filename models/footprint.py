"""What a network takes while it runs: the most bytes of tensors that are there at once.

Counted, not read off the process: one that has run before keeps what it freed, and seems to need nothing.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(slots=True)
class Footprint:
    """Filled when the block ends."""

    peak: int = 0
    """Bytes."""


@contextmanager
def watching(device: torch.device) -> Iterator[Footprint]:
    """Count the bytes of tensors that are made, and not yet gone, while the block runs; this thread's only."""
    found = Footprint()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        yield found
        torch.cuda.synchronize(device)
        found.peak = torch.cuda.max_memory_allocated(device) - held
        return
    with _Counter() as counter:
        yield found
    found.peak = counter.peak


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._views: Counter[int] = Counter()
        """Address of a storage to the tensors that look at it."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return made

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if not self._views[address]:
            self._now += size
            self.peak = max(self.peak, self._now)
        self._views[address] += 1
        weakref.finalize(tensor, self._drop, address, size)

    def _drop(self, address: int, size: int) -> None:
        self._views[address] -= 1
        if not self._views[address]:
            self._now -= size
