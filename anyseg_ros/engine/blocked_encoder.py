# SPDX-License-Identifier: Apache-2.0
"""The encoder on a CPU, in blocks of rows that stay in the cache.

At full size a stage's hidden maps are a hundred times larger than a core's cache, and most of the time goes into
fetching them from memory and into asking the system for new pages. Every step of a block but the keys and values
is local to a few rows. So a block of rows goes through all steps before the next is touched, written back in place;
each thread has bands of rows of its own. The results are those of ``MiT.forward`` up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from anyseg_ros.engine.crew import Crew
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
"""Hidden activations of one block: about what a core's part of the caches holds."""
WHOLE_BYTES = 8 << 20
"""Up to so many hidden activations in all, operations are so short that threads would mostly wait for Python's lock;
torch's own threads share them better."""


def encode(encoder: MiT, images: Tensor, crew: Crew) -> list[Tensor]:
    """Encode the streams of one frame and average them.

    Args:
        encoder: its weights.
        images: float32 [M,3,H,W].
        crew: the threads.

    Returns:
        The means over the M streams at the four scales, each [h_i,w_i,C_i].

    Raises:
        ValueError: the image size does not fit.
    """
    return encode_sets(encoder, images, [len(images)], crew)[0]


def encode_sets(encoder: MiT, images: Tensor, counts: list[int], crew: Crew) -> list[list[Tensor]]:
    """Encode the streams of several frames at once and average those of each.

    Args:
        encoder: its weights.
        images: float32 [S,3,H,W], those of the first frame first.
        counts: how many each frame has; S in all.
        crew: the threads.

    Returns:
        For each frame what ``encode`` gives.

    Raises:
        ValueError: the image size does not fit.
    """
    check_size(images.shape[2], images.shape[3])
    fused: list[list[Tensor]] = [[] for _ in counts]
    x = images
    for embed, blocks, norm in zip(encoder.patch_embed, encoder.block, encoder.norm, strict=True):
        tokens, size = embed_each(cast(PatchEmbed, embed), x)
        for block in cast(Sequence[Block], blocks):
            tokens = run_block(block, tokens, size, crew)
        tokens = norm(tokens)
        x = tokens_to_map(tokens, size)
        for maps, own in zip(fused, tokens.split(counts), strict=True):
            maps.append(own.mean(0).unflatten(0, size) if len(own) > 1 else own[0].unflatten(0, size))
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


def run_block(block: Block, tokens: Tensor, size: tuple[int, int], crew: Crew) -> Tensor:
    """Tokens [S,N,C] through one transformer block; those of large maps are changed in place."""
    if tokens.numel() * MLP_RATIO * tokens.element_size() <= WHOLE_BYTES:
        return block(tokens, size)
    rows = max(1, BLOCK_BYTES // (size[1] * tokens.shape[2] * MLP_RATIO * tokens.element_size()))
    bands = crew.bands(size[0])
    sources = crew.run(
        partial(reduce_in_blocks, block, image, size, rows, band)
        for image in tokens
        for band in crew.bands(*reducible(block.attn, size[0]))
    )
    parts = len(sources) // len(tokens)
    heard = [keys_and_values(block.attn, sources[i : i + parts]) for i in range(0, len(sources), parts)]
    crew.run(
        partial(attend_in_blocks, block, image, size, rows, band, *pair)
        for image, pair in zip(tokens, heard, strict=True)
        for band in bands
    )
    # In place: the rows beside a band are kept as they are before any band is changed.
    beside = [(band, *rows_beside(image, size, band)) for image in tokens for band in bands]
    images = [image for image in tokens for _ in bands]
    crew.run(
        partial(feed_forward_in_blocks, block, image, size, rows, *around)
        for image, around in zip(images, beside, strict=True)
    )
    return tokens


def reducible(attention: Attention, height: int) -> tuple[int, int]:
    """The rows that are reduced to keys and values, and the height of a patch; a rest below the last patch is not."""
    patch = attention.sr.stride[0] if attention.reduced else 1
    return height - height % patch, patch


def reduce_in_blocks(block: Block, tokens: Tensor, size: tuple[int, int], rows: int, band: tuple[int, int]) -> Tensor:
    """A band of one image's tokens [N,C] -> what its keys and values are made of [N',C]; patches do not overlap."""
    attention, width = block.attn, size[1]
    if not attention.reduced:
        return block.norm1(tokens[band[0] * width : band[1] * width])
    patch = attention.sr.stride[0]
    step = max(1, rows // patch) * patch
    parts = []
    for first in range(*band, step):
        last = min(first + step, band[1])
        normed = block.norm1(tokens[first * width : last * width])
        parts.append(map_to_tokens(attention.sr(tokens_to_map(normed[None], (last - first, width))))[0])
    return attention.norm(torch.cat(parts))


def keys_and_values(attention: Attention, sources: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The bands of one image, each [n,C] -> keys and values, [1,heads,N',C/heads] each."""
    k, v = attention.kv(torch.cat(list(sources))).unflatten(1, (2, attention.heads, -1)).permute(1, 2, 0, 3)
    return k[None].contiguous(), v[None].contiguous()


def attend_in_blocks(
    block: Block, tokens: Tensor, size: tuple[int, int], rows: int, band: tuple[int, int], keys: Tensor, values: Tensor
) -> None:
    """Adds the attention of a band of one image to its tokens [N,C], queries in blocks of rows."""
    attention, width = block.attn, size[1]
    for first in range(*band, rows):
        part = tokens[first * width : min(first + rows, band[1]) * width]
        q = attention.q(block.norm1(part)).unflatten(1, (attention.heads, -1)).transpose(0, 1)[None]
        mixed = attend(q, keys, values)[0].transpose(0, 1).flatten(1)
        part.addmm_(mixed, attention.proj.weight.T).add_(attention.proj.bias)


def rows_beside(tokens: Tensor, size: tuple[int, int], band: tuple[int, int]) -> tuple[Tensor | None, Tensor | None]:
    """Copies of the token rows [w,C] above and below a band; None at the border of the image."""
    (height, width), (first, last) = size, band
    above = tokens[(first - 1) * width : first * width].clone() if first > 0 else None
    below = tokens[last * width : (last + 1) * width].clone() if last < height else None
    return above, below


def feed_forward_in_blocks(
    block: Block,
    tokens: Tensor,
    size: tuple[int, int],
    rows: int,
    band: tuple[int, int],
    above: Tensor | None,
    below: Tensor | None,
) -> None:
    """Adds the Mix-FFN of a band of one image to its tokens [N,C].

    The 3x3 convolution reads a row above and a row below. Hidden rows are made once, in order; the convolution lags
    one row behind, and the last two hidden rows of a block are kept for the next.
    """
    ffn: MixFFN = block.mlp
    width = size[1]
    hidden = tokens.new_empty(rows + 2, width, ffn.fc1.out_features)
    expand(block, above, hidden[1])
    for first in range(band[0], band[1] + 1, rows):
        last = min(first + rows, band[1] + 1)
        fresh = hidden[2 : 2 + last - first]
        inside = min(last, band[1]) - first
        expand(block, tokens[first * width : (first + inside) * width], fresh[:inside].flatten(0, 1))
        if inside < len(fresh):
            expand(block, below, fresh[inside])
        begin = max(first - 1, band[0])
        if last - 1 > begin:
            window = hidden[begin - first + 1 : last - first + 2]
            add_convolved(ffn, tokens[begin * width : (last - 1) * width], window)
        hidden[:2] = hidden[last - first : last - first + 2].clone()


def expand(block: Block, tokens: Tensor | None, hidden: Tensor) -> None:
    """Fills hidden activations [n,4C] from tokens [n,C]; zeros stand beyond the border of the image."""
    if tokens is None:
        hidden.zero_()
    elif len(tokens):
        fc1 = block.mlp.fc1
        torch.addmm(fc1.bias, block.norm2(tokens), fc1.weight.T, out=hidden)


def add_convolved(ffn: MixFFN, tokens: Tensor, window: Tensor) -> None:
    """Adds to tokens [R*w,C] what the rest of the Mix-FFN makes of hidden rows [R+2,w,4C]."""
    conv = ffn.dwconv
    # The batch axis comes before the permutation: a new axis in front of a permuted map gets a stride that is not
    # taken for channels-last, and the convolution takes thirty times as long.
    x = F.conv2d(window[None].permute(0, 3, 1, 2), conv.weight, conv.bias, padding=(0, 1), groups=conv.groups)
    x = map_to_tokens(x)[0]
    torch.ops.aten.gelu.out(x, out=x)
    tokens.addmm_(x, ffn.fc2.weight.T).add_(ffn.fc2.bias)
