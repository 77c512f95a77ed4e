# SPDX-License-Identifier: Apache-2.0
"""The encoder on a CPU, in blocks of rows that stay in the cache.

At full size a stage's hidden maps are a hundred times larger than a core's cache, and most of the time goes into
fetching them from memory and into asking the system for new pages. Every step of a block but the keys and values
is local to a few rows. So a block of rows goes through all steps before the next is touched, written back in place.
The results are those of ``MiT.forward`` up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from anyseg_ros.model.mit import (
    MLP_RATIO,
    Attention,
    Block,
    MiT,
    MixFFN,
    PatchEmbed,
    attend,
    check_size,
    map_to_tokens,
    tokens_to_map,
)

BLOCK_BYTES = 2 << 20
"""Hidden activations of one block: about what the second-level caches of two cores hold."""


def encode(encoder: MiT, images: Tensor) -> list[Tensor]:
    """Encode the streams of one frame and average them.

    Args:
        encoder: its weights.
        images: float32 [M,3,H,W].

    Returns:
        The means over the M streams at the four scales, each [h_i,w_i,C_i].

    Raises:
        ValueError: the image size does not fit.
    """
    check_size(images.shape[2], images.shape[3])
    fused, x = [], images
    for embed, blocks, norm in zip(encoder.patch_embed, encoder.block, encoder.norm, strict=True):
        tokens, size = embed_each(cast(PatchEmbed, embed), x)
        for block in cast(Sequence[Block], blocks):
            tokens = run_block(block, tokens, size)
        tokens = norm(tokens)
        x = tokens_to_map(tokens, size)
        fused.append(tokens.mean(0).unflatten(0, size) if len(tokens) > 1 else tokens[0].unflatten(0, size))
    return fused


def embed_each(embed: PatchEmbed, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Embed one image after another into one tensor: [S,C,H,W] -> tokens [S,h*w,dim] and (h, w)."""
    first, size = embed(images[:1])
    if len(images) == 1:
        return first, size
    tokens = first.new_empty(len(images), *first.shape[1:])
    tokens[0] = first[0]
    for index in range(1, len(images)):
        tokens[index] = embed(images[index : index + 1])[0][0]
    return tokens, size


def run_block(block: Block, tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Tokens [S,N,C] through one transformer block; large maps in place, image by image and in blocks of rows."""
    row_bytes = size[1] * tokens.shape[2] * MLP_RATIO * tokens.element_size()
    rows = max(1, BLOCK_BYTES // row_bytes)
    if rows >= size[0] * len(tokens):
        return block(tokens, size)
    for image in tokens:
        attend_in_blocks(block, image, size, rows)
        feed_forward_in_blocks(block, image, size, rows)
    return tokens


def attend_in_blocks(block: Block, tokens: Tensor, size: tuple[int, int], rows: int) -> None:
    """Adds the attention of one image to its tokens [N,C]; keys and values first, then queries in blocks of rows."""
    attention = block.attn
    keys, values = keys_and_values(block, tokens, size, rows)
    step = rows * size[1]
    for start in range(0, len(tokens), step):
        part = tokens[start : start + step]
        q = attention.q(block.norm1(part)).unflatten(1, (attention.heads, -1)).transpose(0, 1)[None]
        mixed = attend(q, keys, values)[0].transpose(0, 1).flatten(1)
        part.addmm_(mixed, attention.proj.weight.T).add_(attention.proj.bias)


def keys_and_values(block: Block, tokens: Tensor, size: tuple[int, int], rows: int) -> tuple[Tensor, Tensor]:
    """Tokens [N,C] of one image -> keys and values, [1,heads,N',C/heads] each."""
    attention = block.attn
    if attention.reduced:
        reduced = reduce_in_blocks(attention, block, tokens, size, rows)
        source = attention.norm(reduced)
    else:
        source = block.norm1(tokens)
    k, v = attention.kv(source).unflatten(1, (2, attention.heads, -1)).permute(1, 2, 0, 3)
    return k[None].contiguous(), v[None].contiguous()


def reduce_in_blocks(attention: Attention, block: Block, tokens: Tensor, size: tuple[int, int], rows: int) -> Tensor:
    """The spatially reduced map of one image [N,C] -> [N',C]; blocks of whole patches, which do not overlap."""
    patch, (height, width) = attention.sr.stride[0], size
    step = max(1, rows // patch) * patch
    parts = []
    for first in range(0, height - height % patch, step):
        last = min(first + step, height - height % patch)
        normed = block.norm1(tokens[first * width : last * width])
        parts.append(map_to_tokens(attention.sr(tokens_to_map(normed[None], (last - first, width))))[0])
    return torch.cat(parts)


def feed_forward_in_blocks(block: Block, tokens: Tensor, size: tuple[int, int], rows: int) -> None:
    """Adds the Mix-FFN of one image to its tokens [N,C].

    The 3x3 convolution reads a row above and a row below. Hidden rows are made once, in order; the convolution lags
    one row behind, and the last two hidden rows of a block are kept for the next. Above the first row and below the
    last stand rows of zeros.
    """
    ffn: MixFFN = block.mlp
    height, width = size
    hidden = tokens.new_zeros(rows + 2, width, ffn.fc1.out_features)
    for first in range(0, height + 1, rows):
        last = min(first + rows, height + 1)
        real = min(last, height) - first
        fresh = hidden[2 : 2 + last - first]
        fresh[real:].zero_()
        normed = block.norm2(tokens[first * width : (first + real) * width])
        torch.addmm(ffn.fc1.bias, normed, ffn.fc1.weight.T, out=fresh[:real].flatten(0, 1))
        begin = max(first - 1, 0)
        window = hidden[begin - first + 1 : last - first + 2]
        if last - 1 > begin:
            add_convolved(ffn, tokens[begin * width : (last - 1) * width], window)
        hidden[:2] = hidden[last - first : last - first + 2].clone()


def add_convolved(ffn: MixFFN, tokens: Tensor, window: Tensor) -> None:
    """Adds to tokens [R*w,C] what the rest of the Mix-FFN makes of hidden rows [R+2,w,4C]."""
    conv = ffn.dwconv
    # The batch axis comes before the permutation: a new axis in front of a permuted map gets a stride that is not
    # taken for channels-last, and the convolution takes thirty times as long.
    x = F.conv2d(window[None].permute(0, 3, 1, 2), conv.weight, conv.bias, padding=(0, 1), groups=conv.groups)
    x = map_to_tokens(x)[0]
    torch.ops.aten.gelu.out(x, out=x)
    tokens.addmm_(x, ffn.fc2.weight.T).add_(ffn.fc2.bias)
