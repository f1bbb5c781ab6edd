"""One training in several processes of a machine: each learns from a share of every batch, and all keep one network."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from lightning_fabric import Fabric

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rank:
    """One of the processes."""

    number: int = 0
    count: int = 1
    port: int = 0
    """Of this machine, where they meet."""

    @property
    def leads(self) -> bool:
        """Whether it is the one that validates, writes and tells."""
        return self.number == 0


ALONE = Rank()


def open_fabric(device: str, precision: Literal["float32", "bf16-mixed"], rank: Rank) -> Fabric:
    """What a network is trained with: gradients are averaged over the processes, which have to meet first.

    Args:
        device: "cpu", "cuda", "cuda:1"; of several processes each takes the GPU of its number.
        precision: of the arithmetic.
        rank: which of the processes this is.
    """
    kind, _, index = device.partition(":")
    words: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if precision == "bf16-mixed" else "32-true"
    if rank.count == 1:
        return Fabric(accelerator=kind, devices=[int(index)] if index else 1, precision=words)
    # What torchrun would say: processes that are already there.
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(rank.port),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(rank.number),
        "RANK": str(rank.number),
        "WORLD_SIZE": str(rank.count),
    }
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # every process would say that it is there
    fabric = Fabric(accelerator=kind, devices=rank.count, strategy="ddp", precision=words)
    fabric.launch()
    return fabric


class Together:
    """What the processes of a training tell each other; nothing where there is one."""

    def __init__(self, fabric: Fabric, rank: Rank) -> None:
        self._fabric, self._rank = fabric, rank

    def from_leader(self, value: T) -> T:
        """What the leading process has."""
        if self._rank.count == 1:
            return value
        told: T = self._fabric.broadcast(value)
        return told

    def mean(self, value: float) -> float:
        """Over all processes; no number where one of them has none."""
        if self._rank.count == 1:
            return value
        total = self._fabric.all_reduce(torch.tensor(value, device=self._fabric.device), reduce_op="mean")
        return float(total)  # type: ignore[arg-type]  # a tensor, as what went in
