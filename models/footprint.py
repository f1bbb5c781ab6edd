"""What a network takes while it runs: the most bytes of tensors that are there at once.

Counted, not read off the process: one that has run before keeps what it freed, and seems to need nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


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
    with _Meter() as meter:
        yield found
    found.peak = meter.most


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._now = 0
        self._seen: dict[int, int] = {}
        """Living tensors that share a storage, by the storage."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: to keep torch's compiler out of what it does not compile, torch would import it, for 2 s."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(part, Tensor):
                storage = part.untyped_storage()
                key, size = storage._cdata, storage.nbytes()  # noqa: SLF001
                if key not in self._seen:
                    self._seen[key] = 0
                    self._now += size
                    self.most = max(self.most, self._now)
                self._seen[key] += 1
                weakref.finalize(part, self._gone, key, size)
        return result

    def _gone(self, key: int, size: int) -> None:
        self._seen[key] -= 1
        if not self._seen[key]:
            del self._seen[key]
            self._now -= size
