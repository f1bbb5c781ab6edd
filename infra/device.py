"""Which device networks run on."""

from __future__ import annotations

from infra.cluster import Device
from infra.errors import UnusableInput
from infra.settings import settings


def choose_device(wanted: str = "auto") -> Device:
    """`cuda` where there is a GPU and the wish allows it, else `cpu`.

    Raises:
        UnusableInput: a GPU is asked for and there is none.
    """
    import torch

    wish = settings().device if wanted == "auto" else wanted
    there = torch.cuda.is_available()
    if wish == "cuda" and not there:
        raise UnusableInput("A GPU was asked for (--device cuda) and torch finds none here; use --device cpu.")
    return "cuda" if there and wish != "cpu" else "cpu"


def lanes_for(device: str) -> int | None:
    """Lanes where the user does not say: two a GPU, so that one batch is copied while another computes; else None."""
    return 2 if device == "cuda" else None


def processes_for(device: str, wanted: int | None, *, batch: int) -> int:
    """Processes that train a network together: as wanted, else one on a CPU, and one a GPU as far as they share evenly.

    Raises:
        UnusableInput: more are wanted than there are GPUs.
    """
    if device != "cuda":
        return wanted or 1
    import torch

    there = torch.cuda.device_count()
    if (wanted or 1) > there:
        raise UnusableInput(f"--processes was {wanted} and there are {there} GPUs; each process takes one.")
    return wanted or max(count for count in range(1, there + 1) if batch % count == 0)
