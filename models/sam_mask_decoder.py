"""The mask decoder of the first Segment Anything, computed in another order.

The package projects every cell of the embedding to keys, queries and values, for each prompt anew. A prompt has a
handful of tokens and 4,096 cells, so the same sums cost less with the projections on the tokens' side: for a query q,
cells x and keys Wk x, q·(Wk x) = (Wkᵀ q)·x, and the weighted sum of values Wv x is Wv times that of x. Its transposed
convolutions of stride and size 2 are products of matrices, too. What comes out is the same but for rounding, in less
time (`benchmarks/sam_decoder.py`).
"""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional


def attend(transformer: TwoWayTransformer, cells: Tensor, places: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """`TwoWayTransformer.forward`.

    Args:
        transformer: the package's.
        cells: (1 or n, 4096, c) the embedding, one for all prompts or one each.
        places: (1, 4096, c) the encoding of each cell's place.
        tokens: (n, t, c).

    Returns:
        (n, t, c) tokens and (n, 4096, c) cells.
    """
    asked, placed = tokens, cells + places
    for layer in transformer.layers:
        asked = _among_tokens(layer, asked, tokens)
        asked = layer.norm2(asked + _gathered(layer.cross_attn_token_to_image, asked + tokens, placed, cells))
        asked = layer.norm3(asked + layer.mlp(asked))
        cells = layer.norm4(_spread(layer.cross_attn_image_to_token, cells, placed, asked + tokens, asked))
        placed = cells + places
    gathered = _gathered(transformer.final_attn_token_to_image, asked + tokens, placed, cells)
    asked = transformer.norm_final_attn(asked + gathered)
    return asked, cells


def _among_tokens(layer: TwoWayAttentionBlock, asked: Tensor, tokens: Tensor) -> Tensor:
    placed = asked + tokens
    found: Tensor = layer.norm1(
        layer.self_attn(q=asked, k=asked, v=asked)
        if layer.skip_first_layer_pe
        else asked + layer.self_attn(q=placed, k=placed, v=asked)
    )
    return found


def _gathered(attention: Attention, asked: Tensor, placed: Tensor, cells: Tensor) -> Tensor:
    """What tokens (n, t, c) gather from the cells. The keys' bias moves all of a token's logits alike and is out."""
    heads, (count, number, _) = attention.num_heads, asked.shape
    query = _by_head(attention.q_proj(asked), heads)  # n h t d
    query = query @ attention.k_proj.weight.unflatten(0, (heads, -1)) / query.shape[-1] ** 0.5  # n h t c
    logits = query.flatten(1, 2) @ placed.transpose(1, 2)  # n ht 4096
    sums = (logits.softmax(dim=-1) @ cells).unflatten(1, (heads, number))  # n h t c
    values = sums @ attention.v_proj.weight.unflatten(0, (heads, -1)).transpose(1, 2)  # n h t d
    values = values.transpose(1, 2).reshape(count, number, -1) + attention.v_proj.bias
    found: Tensor = attention.out_proj(values)
    return found


def _spread(attention: Attention, cells: Tensor, placed: Tensor, asked: Tensor, said: Tensor) -> Tensor:
    """The cells, with what they take from tokens (n, t, c) added."""
    heads, number = attention.num_heads, asked.shape[1]
    key = _by_head(attention.k_proj(asked), heads) / (attention.internal_dim // heads) ** 0.5  # n h t d
    query = attention.q_proj.weight.unflatten(0, (heads, -1))  # h d c
    offset = key @ attention.q_proj.bias.unflatten(0, (heads, -1, 1))  # n h t 1
    logits = (key @ query).flatten(1, 2) @ placed.transpose(1, 2)  # n ht 4096
    shares = (logits.unflatten(1, (heads, number)) + offset).softmax(dim=2)
    value = _by_head(attention.v_proj(said), heads)  # n h t d
    out = attention.out_proj.weight.unflatten(1, (heads, -1)).permute(1, 2, 0)  # h d c
    given = value @ out + attention.out_proj.bias / heads  # n h t c; shares of each head add up to one
    return torch.baddbmm(cells, shares.flatten(1, 2).transpose(1, 2), given.flatten(1, 2))


def _by_head(values: Tensor, heads: int) -> Tensor:
    return values.reshape(*values.shape[:2], heads, -1).transpose(1, 2)


def draw(decoder: MaskDecoder, cells: Tensor, mixed: Tensor) -> Tensor:
    """Mask logits of one prompt: `output_upscaling`, and its product with what the tokens say.

    Args:
        decoder: the package's.
        cells: (v, u, 256) some of those from `attend`.
        mixed: (k, 32) from `output_hypernetworks_mlps`.

    Returns:
        (k, 4 v, 4 u).
    """
    first, norm, gelu, second, _ = decoder.output_upscaling
    drawn = _twice(first, cells.flatten(0, 1))
    drawn = gelu(functional.layer_norm(drawn, norm.weight.shape, norm.weight, norm.bias, norm.eps))
    drawn = gelu(_twice(second, drawn))  # sixteen pixels of each cell, 32
    split = (mixed @ drawn.T).unflatten(1, (*cells.shape[:2], 2, 2, 2, 2))  # k v u, halves and quarters down and right
    masks: Tensor = split.permute(0, 1, 3, 5, 2, 4, 6).reshape(len(mixed), 4 * cells.shape[0], 4 * cells.shape[1])
    return masks


def _twice(convolution: nn.ConvTranspose2d, values: Tensor) -> Tensor:
    """(m, c) as (4 m, d): every cell becomes two by two."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # 4d c
    bias = torch.cat([convolution.bias] * 4)  # type: ignore[list-item]  # it has one
    return functional.linear(values, weight, bias).reshape(-1, convolution.out_channels)
