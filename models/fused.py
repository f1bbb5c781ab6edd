"""A network in oneDNN's own calls: weights laid out for it beforehand, sums and activations done while it writes.

No compiler and no trial runs: 0.5 s for a U-Net, and the same graph in every process. Runs where torch is built with
oneDNN (x86 and most ARM servers).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from models.recorded import is_item, reads, record
from models.rewrite import Convolution, Convolutions, operation, rewrite
from models.rounding import round_weights

aten = torch.ops.aten
# The library's calls, as torch's own compiler makes them: private, and pinned with torch's version.
_convolve = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001
_convolve_into = torch.ops.mkldnn._convolution_pointwise_
_convolve_transposed = torch.ops.mkldnn._convolution_transpose_pointwise  # noqa: SLF001
_lay_out = torch.ops.mkldnn._reorder_convolution_weight  # noqa: SLF001
_lay_out_transposed = torch.ops.mkldnn._reorder_convolution_transpose_weight  # noqa: SLF001
_convert = aten._to_copy.default  # noqa: SLF001

_ANY_TYPE = frozenset(
    (
        aten.cat,
        aten.upsample_nearest2d,
        aten.upsample_bilinear2d,
        aten.max_pool2d_with_indices,
        aten.constant_pad_nd,
        aten.add,
        aten.mul,
        aten.relu,
        aten.hardtanh,
        aten.silu,
        aten.sigmoid,
        aten.hardswish,
        aten.mean,
        aten.view,
        aten.permute,
        aten.clone,
    )
)
"""Operations that are as right in bfloat16 as the convolutions around them; all others get float32."""


def fuse(
    network: nn.Module, shape: Sequence[int], *, dtype: torch.dtype, transposed: bool, tail: int
) -> fx.GraphModule:
    """The network for images of one shape, (n, band, y, x) float32 to logits (n, class, y, x) float32.

    Args:
        network: float32, on the CPU, in evaluation mode; it keeps its own weights.
        shape: (n, band, y, x).
        dtype: float32 or bfloat16, of the convolutions.
        transposed: rewrite convolutions over repeated pixels (`models.rewrite`).
        tail: so many of the last convolutions stay float32.

    Raises:
        Unrecordable: the network cannot be written as a graph.
        RuntimeError: oneDNN is not there.
    """
    graph, constants = record(network, shape)
    convolutions = rewrite(graph, constants, transposed=transposed)
    kinds = dict.fromkeys(convolutions, dtype)
    kinds.update(dict.fromkeys(list(convolutions)[max(len(kinds) - tail, 0) :], torch.float32))
    lowering = _Lowering(graph, dict(constants))
    lowering.lower(convolutions, kinds)
    graph.eliminate_dead_code()
    used = {str(node.target) for node in graph.find_nodes(op="get_attr")}
    return fx.GraphModule({name: value for name, value in lowering.constants.items() if name in used}, graph).eval()


class _Lowering:
    """Replaces convolutions by oneDNN's calls, and keeps account of numbers' types."""

    def __init__(self, graph: fx.Graph, constants: dict[str, Tensor]) -> None:
        self.graph = graph
        self.constants = constants
        self._types: dict[fx.Node, torch.dtype] = {}

    def lower(self, convolutions: Convolutions, kinds: dict[fx.Node, torch.dtype]) -> None:
        """Walk the graph once, in order."""
        fresh: set[fx.Node] = set()  # oneDNN's results, each in memory of its own
        for node in list(self.graph.nodes):
            if node in convolutions:
                old, taken = convolutions[node], reads(node)
                # A result whose readers have all read it is written over: half the memory traffic of a new one.
                held = taken[-1]
                consumed = old.adds and held in fresh and held is not taken[0] and fresh >= held.users.keys() - {node}
                with self.graph.inserting_before(node):
                    new = self._call(old, taken, kinds[node], consumed=consumed)
                    if old.pixels > 1:
                        n, classes, height, width = node.meta["shape"]
                        rows = self.graph.call_function(aten.permute.default, (new, [0, 2, 3, 1]))
                        apart = self.graph.call_function(aten.reshape.default, (rows, [n, height, width, classes]))
                        new = self.graph.call_function(aten.permute.default, (apart, [0, 3, 1, 2]))
                    else:
                        fresh.add(new)
                new.meta["shape"] = node.meta["shape"]
                self._types[new] = kinds[node]
                node.replace_all_uses_with(new)
                self.graph.erase_node(node)
            else:
                self._keep(node)

    def _call(self, c: Convolution, taken: tuple[Any, ...], dtype: torch.dtype, *, consumed: bool) -> fx.Node:
        source = self._as(taken[0], dtype)
        size = list(taken[0].meta["shape"])
        bias = self._constant(c.bias.to(dtype))
        spatial = (list(c.padding), list(c.stride), list(c.dilation), c.groups)
        unary = (c.activation, list(c.scalars), "")
        if c.transposed:
            padding = (list(c.padding), list(c.output_padding), list(c.stride), list(c.dilation), c.groups)
            weight = self._constant(_lay_out_transposed(_typed(c, dtype), *padding, size))
            return self.graph.call_function(_convolve_transposed.default, (source, weight, bias, *padding, *unary))
        weight = self._constant(_lay_out(_typed(c, dtype), *spatial, size))
        if not c.adds:
            call = _convolve.default
            return self.graph.call_function(call, (source, weight, bias, *spatial, *unary))
        held = self._as(taken[1], dtype)
        activation = None if c.activation == "none" else c.activation
        after: tuple[Any, ...] = (*spatial, "add", None, activation, [], "")
        if consumed or held is not taken[1]:
            return self.graph.call_function(_convolve_into.binary, (held, source, weight, bias, *after))
        return self.graph.call_function(_convolve.binary, (source, held, weight, bias, *after))

    def _keep(self, node: fx.Node) -> None:
        """Leave an operation as it is, in float32 where it may not be told otherwise."""
        if node.op == "output":
            result = reads(node)[0]
            with self.graph.inserting_before(node):
                node.args = (self._as(result, torch.float32),)
            return
        types = {self._types.get(n, torch.float32) for n in node.all_input_nodes}
        free = operation(node) in _ANY_TYPE or is_item(node)
        if types == {torch.bfloat16} and free:
            self._types[node] = torch.bfloat16
        elif node.op == "call_function" and not is_item(node):
            with self.graph.inserting_before(node):
                for source in node.all_input_nodes:
                    node.replace_input_with(source, self._as(source, torch.float32))

    def _as(self, node: fx.Node, dtype: torch.dtype) -> fx.Node:
        if self._types.get(node, torch.float32) == dtype:
            return node
        converted = self.graph.call_function(_convert, (node,), {"dtype": dtype})
        self._types[converted] = dtype
        return converted

    def _constant(self, value: Tensor) -> fx.Node:
        name = f"laid_out{len(self.constants)}"
        self.constants[name] = value
        return self.graph.get_attr(name)


def _typed(c: Convolution, dtype: torch.dtype) -> Tensor:
    """A convolution's weights in the type that it computes in."""
    weight = c.weight
    if dtype != torch.bfloat16:
        return weight.to(dtype).contiguous()
    if not c.transposed:
        return round_weights(weight.flatten(1)).view(weight.shape)
    # Each phase of the output sees its own taps, and errors are to stay within them.
    inputs, outputs, *kernel = weight.shape
    steps = [stride if side % stride == 0 else 1 for side, stride in zip(kernel, c.stride, strict=True)]
    phases = weight.view(inputs, outputs, kernel[0] // steps[0], steps[0], kernel[1] // steps[1], steps[1])
    rows = phases.permute(1, 3, 5, 0, 2, 4)  # out, phase y, phase x, in, y, x
    rounded = round_weights(rows.flatten(0, 2).flatten(1)).view(rows.shape)
    return rounded.permute(3, 0, 4, 1, 5, 2).reshape(weight.shape).contiguous()
