"""What a prediction will take, said before it starts; what cannot fit is refused."""

from __future__ import annotations

from dataclasses import dataclass

from infra.cluster import Cluster
from infra.errors import UnusableInput
from infra.store import Store
from tasks.prediction_plan import Plan
from tasks.raster.probability import COMPRESSED, room_for_products
from tasks.raster.tiling import Tiling


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is left to do, and what it takes."""

    blocks: int
    blocks_left: int
    tiles: int
    tiles_left: int
    memory: int
    """Bytes that one process needs: libraries, the network and its activations, and one block for every thread."""
    memory_there: int
    """Bytes that one process may hold."""
    disk: int
    """Bytes that prediction, strips and products take at most: products pass through a temporary file."""
    disk_there: int | None
    """Bytes that are free; None where nobody can say (a bucket)."""
    seconds: float
    """By the measured rate."""

    def refuse_what_cannot_fit(self) -> None:
        """Refuse before any work.

        Raises:
            UnusableInput: memory or disk is too small.
        """
        if self.memory > self.memory_there:
            raise UnusableInput(
                f"A process needs about {self.memory / 1e6:.0f} MB (libraries, network and blocks) and may use "
                f"{self.memory_there / 1e6:.0f} MB; give workers more memory or fewer lanes, or a smaller --tile."
            )
        if self.disk_there is not None and self.disk > self.disk_there:
            raise UnusableInput(
                f"The prediction and its products need about {self.disk / 1e6:.0f} MB and "
                f"{self.disk_there / 1e6:.0f} MB are free; make room, or choose another folder."
            )

    def lines(self) -> list[str]:
        """The estimate as a person reads it."""
        disk = f" of {self.disk_there / 1e6:.0f} MB free" if self.disk_there is not None else ""
        return [
            f"blocks  {self.blocks_left} of {self.blocks} left",
            f"tiles   {self.tiles_left} of {self.tiles} left (tiles without data are skipped)",
            f"memory  {self.memory / 1e6:.0f} MB a process, of {self.memory_there / 1e6:.0f} MB",
            f"disk    {self.disk / 1e6:.0f} MB{disk}",
            f"time    {self.seconds:.0f} s",
        ]


def estimate(
    plan: Plan, tiling: Tiling, cluster: Cluster, *, classes: int, itemsize: int, left: int, store: Store
) -> Estimate:
    """Estimate a prediction.

    Args:
        plan: how it will run.
        tiling: the scene's tiles and blocks.
        cluster: where it will run.
        classes: of the network.
        itemsize: bytes of a pixel of a band.
        left: blocks that are not done.
        store: where it will be written.
    """
    rows, cols = tiling.rows.length, tiling.cols.length
    blocks = len(list(tiling.blocks()))
    tiles_left = round(tiling.count * left / blocks)
    pixels = rows * cols
    return Estimate(
        blocks=blocks,
        blocks_left=left,
        tiles=tiling.count,
        tiles_left=tiles_left,
        memory=plan.memory(tiling, classes=classes, lanes=cluster.lanes, itemsize=itemsize),
        memory_there=cluster.memory,
        disk=round(COMPRESSED * pixels * classes * left / blocks) + room_for_products(pixels, classes + 1),
        disk_there=store.free(),
        seconds=tiles_left * plan.seconds / cluster.workers,
    )
