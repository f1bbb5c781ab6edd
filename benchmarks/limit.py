"""The limit that no tiled run can pass: the network alone, on tiles that already lie in memory."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

CORES = 2
"""Threads in all; every contender has as many."""


@dataclass(frozen=True, slots=True)
class Form:
    """How tiles go through the network."""

    channels_last: bool
    batch: int
    lanes: int
    """Threads of Python that each call the network; each has CORES / lanes threads of torch."""

    def __str__(self) -> str:
        """As a table says it."""
        layout = "channels-last" if self.channels_last else "NCHW"
        threads = CORES // self.lanes
        lanes = "one lane" if self.lanes == 1 else f"{self.lanes} lanes"
        return f"{layout}, batch {self.batch}, {lanes} of {threads} thread{'s' if threads > 1 else ''}"

    @property
    def plain(self) -> dict[str, int | bool]:
        """As JSON."""
        return asdict(self)


def forms() -> Iterator[Form]:
    """Every form that is tried."""
    for channels_last, batch, lanes in itertools.product((False, True), (1, 2, 4, 8), (1, CORES)):
        yield Form(channels_last, batch, lanes)


def tiles_in_memory(count: int, *, tile: int, bands: int = 3) -> Tensor:
    """`count` tiles (n, band, y, x) float32 of noise, as they are after normalisation."""
    return torch.randn(count, bands, tile, tile, generator=torch.Generator().manual_seed(0))


def seconds(network: nn.Module, tiles: Tensor, form: Form) -> float:
    """Seconds to pass all tiles through the network once, after a first batch of each lane that is not counted."""
    layout = torch.channels_last if form.channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)
    batches = [b.contiguous(memory_format=layout) for b in torch.split(tiles, form.batch)]
    shares = [batches[lane :: form.lanes] for lane in range(form.lanes)]

    def work(share: list[Tensor]) -> None:
        torch.set_num_threads(CORES // form.lanes)  # a thread of Python has a number of its own
        with torch.inference_mode():
            for batch in share:
                network(batch)

    with ThreadPoolExecutor(form.lanes) as pool:
        list(pool.map(work, [share[:1] for share in shares]))
        begun = time.perf_counter()
        list(pool.map(work, shares))
        return time.perf_counter() - begun


def fastest(network: nn.Module, tiles: Tensor) -> list[tuple[Form, float]]:
    """Seconds a tile of every form, the fastest first."""
    found = [(form, seconds(network, tiles, form) / len(tiles)) for form in forms()]
    return sorted(found, key=lambda pair: pair[1])
