"""A network that begins with what another has learnt, for other classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import JsonValue
from torch import nn

from models.registry import build


@torch.no_grad()
def inherit(
    source: nn.Module,
    architecture: str,
    arguments: Mapping[str, JsonValue],
    *,
    bands: int,
    classes: Sequence[str],
    known: Sequence[str],
) -> nn.Module:
    """A network with the weights of another, and of its last layer what belongs to the classes that both know.

    Args:
        source: has learnt.
        architecture: of both.
        arguments: of both.
        bands: of both.
        classes: of the new one, in the order of their ids.
        known: of the source.
    """
    network = build(architecture, arguments, bands=bands, classes=len(classes))
    with torch.device("meta"):
        more = build(architecture, arguments, bands=bands, classes=len(classes) + 1).state_dict()
    learnt = source.state_dict()
    for name, tensor in network.state_dict().items():
        if tensor.shape == more[name].shape:
            tensor.copy_(learnt[name])
            continue
        rows = tensor.unflatten(0, (len(classes), -1))  # its first axis is that of the classes, or of numbers for each
        source_rows = learnt[name].unflatten(0, (len(known), -1))
        for mine, klass in enumerate(classes):
            if klass in known:
                rows[mine] = source_rows[known.index(klass)]
    return network
