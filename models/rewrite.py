"""A recorded network's convolutions, rewritten so that the same numbers take fewer steps.

Every rule here is algebra: the result is the same up to float32's rounding of sums.

- Normalisation after a convolution goes into its weights and bias; zeros padded before one become its padding.
- A convolution of three by three over pixels repeated two by two reads every pixel four times. Summing its taps first
  gives a transposed convolution of four by four and stride two: 16 multiplications an output's channel instead of 36
  (measured: a U-Net's decoder in 84 instead of 145 ms). Where other planes were stacked beside the repeated ones, they
  get a convolution of their own, and the two are added.
- Sums and activations that follow a convolution are noted beside it: the library applies them before it writes.
- A vector unit computes 16 planes at a time, and a head of 3 classes wastes 13: it computes neighbouring pixels of a
  row as further planes instead, and the memory it writes is already in the right order (measured: 7 instead of 12 ms).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from models.recorded import is_item, reads

aten = torch.ops.aten
_WIDE = 16
"""Planes that a vector holds in float32."""
_FEW = 8
"""Planes under which a convolution is no head."""

_ACTIVATIONS: Mapping[Any, str] = {
    aten.relu: "relu",
    aten.hardtanh: "hardtanh",
    aten.silu: "swish",
    aten.hardswish: "hardswish",
    aten.sigmoid: "sigmoid",
}


@dataclass(frozen=True, slots=True)
class Convolution:
    """What a convolution's node computes; the node's arguments are what it reads, and what is added to it."""

    weight: Tensor
    """(out, in / groups, y, x) float64; (in, out, y, x) where transposed."""
    bias: Tensor
    """(out,) float64."""
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, int] = (0, 0)
    adds: bool = False
    """Its second argument is added before the activation."""
    activation: str = "none"
    scalars: tuple[float, ...] = ()
    """The activation's arguments."""
    pixels: int = 1
    """Neighbouring pixels of a row that it computes as planes."""


Convolutions = dict[fx.Node, Convolution]


def rewrite(graph: fx.Graph, constants: Mapping[str, Tensor], *, transposed: bool) -> Convolutions:
    """Change a recorded graph in place; returns what became of its convolutions, by node, in their order.

    Args:
        graph: as `record` gave it.
        constants: its weights.
        transposed: rewrite convolutions over repeated pixels.
    """
    convolutions = _find(graph, constants)
    _fold_padding(convolutions)
    _fold_normalisation(graph, constants, convolutions)
    if transposed:
        _split_repeated(graph, convolutions)
    _fuse_sums(graph, convolutions)
    _fuse_activations(graph, convolutions)
    _widen_heads(convolutions)
    graph.eliminate_dead_code()
    return {node: convolutions[node] for node in graph.nodes if node in convolutions}


def operation(node: object) -> Any:
    """The operation that a node calls, whatever its overload."""
    return getattr(node.target, "overloadpacket", None) if isinstance(node, fx.Node) else None


def _find(graph: fx.Graph, constants: Mapping[str, Tensor]) -> Convolutions:
    found: Convolutions = {}
    for node in graph.nodes:
        if operation(node) is not aten.convolution:
            continue
        source, weight, bias, stride, padding, dilation, transposed, output_padding, groups = reads(node)
        values = constants.get(weight.target)
        plane = values is not None and values.ndim == 4 and not (transposed and groups > 1)  # noqa: PLR2004 - (out, in, y, x)
        if not plane or not (bias is None or bias.target in constants):
            continue
        assert values is not None
        outputs = values.shape[1 if transposed else 0]
        node.args = (source,)  # from here on `found` says the rest
        found[node] = Convolution(
            values.detach().double(),
            torch.zeros(outputs).double() if bias is None else constants[bias.target].detach().double(),
            stride=tuple(stride),
            padding=tuple(padding),
            dilation=tuple(dilation),
            groups=groups,
            transposed=transposed,
            output_padding=tuple(output_padding),
        )
    return found


def _fold_padding(convolutions: Convolutions) -> None:
    """Zeros on some sides become padding on all, and zeros in the kernel: cheap where each plane has its own kernel."""
    for node, old in convolutions.items():
        pad = reads(node)[0]
        if operation(pad) is not aten.constant_pad_nd or any(reads(pad)[2:]) or len(reads(pad)[1]) != 4:  # noqa: PLR2004
            continue
        source, (left, right, top, bottom) = reads(pad)[:2]
        depthwise = old.groups == source.meta["shape"][1] and not old.transposed
        if not depthwise or min(left, right, top, bottom) < 0 or old.padding != (0, 0) or old.dilation != (1, 1):
            continue
        both = (max(top, bottom), max(left, right))
        grow = (both[1] - left, both[1] - right, both[0] - top, both[0] - bottom)
        convolutions[node] = replace(old, weight=functional.pad(old.weight, grow), padding=both)
        node.replace_input_with(pad, source)


def _fold_normalisation(graph: fx.Graph, constants: Mapping[str, Tensor], convolutions: Convolutions) -> None:
    for norm in [n for n in graph.nodes if operation(n) is aten.native_batch_norm]:
        source, scale, shift, mean, variance, training, _, epsilon = reads(norm)
        if training or source not in convolutions or len(source.users) > 1:
            continue
        old = convolutions[source]
        zero, one = torch.zeros(1).double(), torch.ones(1).double()
        scale, shift, mean, variance = (
            default if n is None else constants[n.target].detach().double()
            for n, default in ((scale, one), (shift, zero), (mean, zero), (variance, one))
        )
        factor = (scale / (variance + epsilon).sqrt()).expand(len(old.bias))
        shape = (1, -1, 1, 1) if old.transposed else (-1, 1, 1, 1)
        convolutions[source] = replace(
            old, weight=old.weight * factor.view(shape), bias=(old.bias - mean) * factor + shift
        )
        for item in list(norm.users):
            if is_item(item) and reads(item)[1] == 0:
                item.replace_all_uses_with(source)
            graph.erase_node(item)
        graph.erase_node(norm)


def _split_repeated(graph: fx.Graph, convolutions: Convolutions) -> None:
    for node, old in list(convolutions.items()):
        plain = (old.stride, old.padding, old.dilation, old.groups) == ((1, 1), (1, 1), (1, 1), 1)
        if not plain or old.transposed or old.weight.shape[2:] != (3, 3):
            continue
        stacked = _stacked(reads(node)[0])
        small = _unrepeated(stacked[0])
        if small is None:
            continue
        planes = small.meta["shape"][1]
        with graph.inserting_before(node):
            wide = graph.call_function(aten.convolution.default, (small,))
            wide.meta["shape"] = node.meta["shape"]
            rest = stacked[1] if len(stacked) == 2 else None  # noqa: PLR2004
            if len(stacked) > 2:  # noqa: PLR2004
                rest = graph.call_function(aten.cat.default, (stacked[1:], 1))
                shape = stacked[0].meta["shape"]
                rest.meta["shape"] = (shape[0], sum(s.meta["shape"][1] for s in stacked[1:]), *shape[2:])
        of_small = Convolution(
            _summed_taps(old.weight[:, :planes]), old.bias, stride=(2, 2), padding=(1, 1), transposed=True
        )
        convolutions[wide] = of_small
        if rest is None:
            del convolutions[node]
            node.replace_all_uses_with(wide)
            graph.erase_node(node)
        else:
            node.args = (rest, wide)
            convolutions[node] = replace(old, weight=old.weight[:, planes:], bias=torch.zeros_like(old.bias), adds=True)


def _stacked(node: fx.Node) -> list[fx.Node]:
    """The planes that are stacked in a tensor, or itself."""
    if operation(node) is aten.cat and reads(node)[1:] in ((1,), (-3,)):
        return list(reads(node)[0])
    return [node]


def _unrepeated(node: fx.Node) -> fx.Node | None:
    """What a node repeats two by two; None where it does something else."""
    if operation(node) is not aten.upsample_nearest2d:
        return None
    source: fx.Node = reads(node)[0]
    doubled = [2 * side for side in source.meta["shape"][2:]] == list(node.meta["shape"][2:])
    return source if doubled else None


def _summed_taps(weight: Tensor) -> Tensor:
    """(out, in, 3, 3) over repeated pixels as (in, out, 4, 4), transposed, of stride 2 and padding 1."""
    # Along an axis: tap k of the small kernel is part of taps 2 - k and 3 - k of the large one.
    along = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0]], dtype=weight.dtype)
    outputs, inputs = weight.shape[:2]
    taps = weight.reshape(-1, 9) @ torch.kron(along, along)  # (out · in, 4 · 4)
    return taps.view(outputs, inputs, 4, 4).transpose(0, 1).contiguous()


def _fuse_sums(graph: fx.Graph, convolutions: Convolutions) -> None:
    for add in [n for n in graph.nodes if operation(n) is aten.add and not n.kwargs]:
        one, other = reads(add)
        for node, addend in ((other, one), (one, other)):
            if node not in convolutions or not isinstance(addend, fx.Node) or node is addend:
                continue
            old = convolutions[node]
            free = len(node.users) == 1 and not old.adds and not old.transposed
            if free and addend.meta["shape"] == node.meta["shape"]:
                add.prepend(node)  # its only user: it may wait until the other is there
                node.args = (reads(node)[0], addend)
                add.replace_all_uses_with(node)
                graph.erase_node(add)
                convolutions[node] = replace(old, adds=True)
                break


def _fuse_activations(graph: fx.Graph, convolutions: Convolutions) -> None:
    for node in [n for n in graph.nodes if operation(n) in _ACTIVATIONS]:
        source, name = reads(node)[0], _ACTIVATIONS[operation(node)]
        if source not in convolutions or len(source.users) > 1:
            continue
        old = convolutions[source]
        # After a sum torch passes on no other activation.
        if old.activation != "none" or (old.adds and name != "relu"):
            continue
        scalars = (*reads(node)[1:], -1, 1)[:2] if name == "hardtanh" else ()  # its defaults
        convolutions[source] = replace(old, activation=name, scalars=tuple(float(s) for s in scalars))
        node.replace_all_uses_with(source)
        graph.erase_node(node)


def _widen_heads(convolutions: Convolutions) -> None:
    for node, old in convolutions.items():
        outputs, inputs, down, across = old.weight.shape
        width, pixels = node.meta["shape"][3], 1
        while 2 * pixels * outputs <= _WIDE and width % (2 * pixels) == 0:
            pixels *= 2
        plain = old.stride == (1, 1) and old.dilation == (1, 1) and old.groups == 1 and not old.transposed
        # oneDNN 3.12 computes a kernel of 7 by 14 over one plane wrongly: nothing but what heads are is widened.
        head = plain and (down, across) == (3, 3) and inputs >= _FEW and not old.adds
        if not head or pixels == 1:
            continue
        weight = torch.zeros(pixels, outputs, inputs, down, across + pixels - 1, dtype=torch.double)
        for k in range(pixels):
            weight[k, ..., k : k + across] = old.weight
        convolutions[node] = replace(
            old, weight=weight.flatten(0, 1), bias=old.bias.repeat(pixels), stride=(1, pixels), pixels=pixels
        )
