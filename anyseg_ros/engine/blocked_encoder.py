# SPDX-License-Identifier: Apache-2.0
"""The encoder on a CPU, in blocks of rows that stay in the cache.

At full size a stage's hidden maps are a hundred times larger than a core's cache, and most of the time goes into
fetching them from memory and into asking the system for new pages. Every step of a block but the keys and values
is local to a few rows. So a block of rows goes through all steps before the next is touched, written back in place;
each thread has bands of rows of its own, and keeps its memory from frame to frame. The images are one stack of rows.
The results are those of ``MiT.forward`` up to the order of sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from anyseg_ros.engine.crew import Crew
from anyseg_ros.engine.encoder_kernels import convolve_gelu, mean_of_streams, patches_of_images, patches_of_maps
from anyseg_ros.engine.layers import Layer, Norm, Patches, Stage
from anyseg_ros.model.mit import attend, check_size

BLOCK_BYTES = 1 << 20
"""Hidden activations, or patches, of one block: about what a core's part of the caches holds."""
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Tokens:
    """Images as one stack of rows.

    Attributes:
        rows: [S*h,w,C].
        height: h, rows per image.
    """

    rows: Tensor
    height: int

    @property
    def width(self) -> int:
        """Tokens in a row."""
        return self.rows.shape[1]

    @property
    def images(self) -> Tensor:
        """[S,h,w,C]."""
        return self.rows.unflatten(0, (-1, self.height))

    def flat(self, first: int, last: int) -> Tensor:
        """Some rows as [n,C]."""
        return self.rows[first:last].flatten(0, 1)


def encode(stages: list[Stage], images: Tensor, counts: list[int], crew: Crew) -> list[list[Tensor]]:
    """Encode the streams of one or several frames at once and average those of each.

    Args:
        stages: the encoder's.
        images: float32 [S,3,H,W], those of the first frame first.
        counts: how many each frame has; S in all.
        crew: the threads.

    Returns:
        For each frame the means over its streams at the four scales, each [h_i,w_i,C_i].

    Raises:
        ValueError: the image size does not fit.
    """
    check_size(images.shape[2], images.shape[3])
    fused: list[list[Tensor]] = [[] for _ in counts]
    source = images.contiguous()
    for index, stage in enumerate(stages):
        tokens = embed(stage.embed, source, index, crew)
        for layer in stage.layers:
            run_layer(layer, tokens, crew)
        source = tokens.images
        means = [source.new_empty(source.shape[1:]) for _ in counts]
        crew.run(
            partial(finish, stage.norm, own[:, slice(*band)], mean[slice(*band)])
            for own, mean in zip(source.split(counts), means, strict=True)
            for band in crew.bands(tokens.height)
        )
        for maps, mean in zip(fused, means, strict=True):
            maps.append(mean)
    return fused


def finish(norm: Norm, streams: Tensor, mean: Tensor) -> None:
    """Normalises some rows of the streams of one frame [M,r,w,C] in place and fills their mean [r,w,C]."""
    for rows in streams:
        norm.fill(rows.flatten(0, 1), rows.flatten(0, 1))
    mean_of_streams(streams.flatten(1, 2).numpy(), mean.flatten(0, 1).numpy())


def embed(patches: Patches, source: Tensor, index: int, crew: Crew) -> Tokens:
    """Images [S,C,H,W] (for the first stage) or maps [S,H,W,C] -> tokens."""
    full = source.shape[2:4] if index == 0 else source.shape[1:3]
    height, width = (-(-side // patches.stride) for side in full)
    # Two stages' tokens are there at once: those that are read and those that are made.
    tokens = Tokens(crew.memory(f"tokens {index % 2}", len(source) * height, width, patches.dense.width), height)
    crew.run(partial(embed_rows, patches, source, index, tokens, crew, band) for band in crew.bands(len(tokens.rows)))
    return tokens


def embed_rows(patches: Patches, source: Tensor, index: int, tokens: Tokens, crew: Crew, band: tuple[int, int]) -> None:
    """Makes a band of tokens."""
    size = patches.kernel**2 * (source.shape[1] if index == 0 else source.shape[3])
    step = block_rows(tokens.width * size)
    for first in range(*band, step):
        last = min(first + step, band[1])
        read = crew.memory("patches", last - first, tokens.width, size)
        if index == 0:
            patches_of_images(source.numpy(), first, tokens.height, read.numpy())
        else:
            sizes = patches.kernel, patches.stride, patches.padding
            patches_of_maps(source.numpy(), first, tokens.height, *sizes, read.numpy())
        made = patches.dense.fill(read.flatten(0, 1), tokens.flat(first, last))
        patches.norm.fill(made, made)


def block_rows(row_size: int) -> int:
    """How many rows of so many numbers make a block."""
    return max(1, BLOCK_BYTES // (row_size * FLOAT_BYTES))


def run_layer(layer: Layer, tokens: Tokens, crew: Crew) -> None:
    """Tokens through one transformer block, in place."""
    patch = layer.reduce.kernel if layer.reduce else 1
    streams, height, width = len(tokens.images), tokens.height // patch, tokens.width // patch
    heard = Tokens(crew.memory("keys and values", streams * height, width, layer.kv.width), height)
    crew.run(partial(keys_and_values, layer, tokens, heard, crew, band) for band in crew.bands(len(heard.rows)))
    bands = crew.bands(len(tokens.rows))
    crew.run(partial(add_attention, layer, tokens, heard, crew, band) for band in bands)
    # In place: the rows beside a band are kept as they are before any band is changed.
    beside = [(tokens.rows[max(a - 1, 0)].clone(), tokens.rows[min(b, len(tokens.rows) - 1)].clone()) for a, b in bands]
    crew.run(partial(add_feed_forward, layer, tokens, crew, *rows) for rows in zip(bands, beside, strict=True))


def keys_and_values(layer: Layer, tokens: Tokens, heard: Tokens, crew: Crew, band: tuple[int, int]) -> None:
    """Makes a band of keys and values, [n,w',2C], of patches of tokens, which do not overlap."""
    channels, patch = tokens.rows.shape[2], layer.reduce.kernel if layer.reduce else 1
    step = block_rows(heard.width * channels * patch**2)
    for first in range(*band, step):
        last = min(first + step, band[1])
        # Where patches fill the images, those of the stack are as regular as those of one image.
        whole = tokens.height % patch == 0
        for image, top, bottom in [(0, first, last)] if whole else parts_of_images(first, last, heard.height):
            start = image * tokens.height
            rows = tokens.flat(start + top * patch, start + bottom * patch)
            normed = layer.norm1.fill(rows, crew.memory("normed", *rows.shape))
            out = heard.flat(image * heard.height + top, image * heard.height + bottom)
            if layer.reduce:
                normed = reduced(layer.reduce, normed.unflatten(0, (-1, tokens.width)), len(out), crew)
            layer.kv.fill(normed, out)


def reduced(patches: Patches, normed: Tensor, count: int, crew: Crew) -> Tensor:
    """Rows of one image [R,w,C] -> [count,C]."""
    height = len(normed) // patches.kernel
    read = crew.memory("patches", height, count // height, patches.kernel**2 * normed.shape[2])
    patches_of_maps(normed[None].numpy(), 0, height, patches.kernel, patches.stride, patches.padding, read.numpy())
    made = patches.dense.fill(read.flatten(0, 1), crew.memory("reduced", count, patches.dense.width))
    return patches.norm.fill(made, made)


def parts_of_images(first: int, last: int, height: int) -> list[tuple[int, int, int]]:
    """Rows of a stack by image: its number, and its own first row and the one after its last."""
    images = range(first // height, (last - 1) // height + 1)
    return [(i, max(first - i * height, 0), min(last - i * height, height)) for i in images]


def add_attention(layer: Layer, tokens: Tokens, heard: Tokens, crew: Crew, band: tuple[int, int]) -> None:
    """Adds the attention to a band of tokens, queries in blocks of rows."""
    pairs = heard.images.flatten(1, 2).unflatten(2, (2, layer.heads, -1)).permute(0, 2, 3, 1, 4)
    step = block_rows(tokens.width * layer.fc1.width)
    for first in range(*band, step):
        last = min(first + step, band[1])
        rows = tokens.flat(first, last)
        normed = layer.norm1.fill(rows, crew.memory("normed", *rows.shape))
        queries = layer.q.fill(normed, crew.memory("queries", *rows.shape))
        mixed, begin = normed, 0
        for image, top, bottom in parts_of_images(first, last, tokens.height):
            end = begin + (bottom - top) * tokens.width
            q = queries[begin:end].unflatten(1, (layer.heads, -1)).transpose(0, 1)[None]
            heads = attend(q, pairs[image, :1], pairs[image, 1:])[0]
            mixed[begin:end].unflatten(1, (layer.heads, -1)).copy_(heads.transpose(0, 1))
            begin = end
        layer.proj.add(mixed, rows)


def add_feed_forward(
    layer: Layer, tokens: Tokens, crew: Crew, band: tuple[int, int], beside: tuple[Tensor, Tensor]
) -> None:
    """Adds the Mix-FFN to a band of tokens.

    The 3x3 convolution reads a row above and a row below. Hidden rows are made once, in order; the convolution lags
    one row behind, and the last two hidden rows of a block are kept for the next.

    Args:
        layer: its weights.
        tokens: changed in place.
        crew: gives memory.
        band: first row and the one after the last.
        beside: the rows [w,C] above and below the band as they were; copies of any where there is none.
    """
    width, channels = tokens.rows.shape[1:]
    step = min(block_rows(width * layer.fc1.width), band[1] - band[0])
    normed = crew.memory("normed", step + 2, width, channels)
    hidden = crew.memory("hidden", step + 2, width, layer.fc1.width)
    made = crew.memory("made", step, width, layer.fc1.width)
    for first in range(*band, step):
        last = min(first + step, band[1])
        # Row i of the window is row first - 1 + i of the stack; how many of them are there already:
        begin, count = 0 if first == band[0] else 2, last - first + 2
        if begin == 0:
            layer.norm2.fill(beside[0], normed[0])
        fresh = tokens.rows[first + begin // 2 : min(last + 1, band[1])]
        there = max(begin, 1)
        layer.norm2.fill(fresh.flatten(0, 1), normed[there : there + len(fresh)].flatten(0, 1))
        if last == band[1]:
            layer.norm2.fill(beside[1], normed[count - 1])
        layer.fc1.fill(normed[begin:count].flatten(0, 1), hidden[begin:count].flatten(0, 1))
        out = made[: last - first]
        convolve_gelu(hidden[:count].numpy(), first, tokens.height, layer.kernel, layer.offset, out.numpy())
        layer.fc2.add(out.flatten(0, 1), tokens.flat(first, last))
        hidden[:2] = hidden[count - 2 : count].clone()
