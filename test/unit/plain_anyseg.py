# SPDX-License-Identifier: Apache-2.0
"""AnySeg as the paper and SegFormer's print it, on a state dict with the release's names: the reference for ours.

Samples and modalities one by one, full attention matrices, and a head that upsamples, concatenates and then convolves.
Nothing of the package is used. Sources: arXiv 2105.15203, section 3, and arXiv 2411.17141, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]
DIMS, DEPTHS, HEADS, REDUCTIONS = (32, 64, 160, 256), (2, 2, 2, 2), (1, 2, 5, 8), (8, 4, 2, 1)


def release_shapes(classes: int, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a MiT-B0 with the head, as the release stores them."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *weight: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, weight[:1]

    for i, (dim, depth, reduction) in enumerate(zip(DIMS, DEPTHS, REDUCTIONS, strict=True)):
        stage, before, kernel = i + 1, 3 if i == 0 else DIMS[i - 1], 7 if i == 0 else 3
        layer(f"encoder.patch_embed{stage}.proj", dim, before, kernel, kernel)
        layer(f"encoder.patch_embed{stage}.norm", dim)
        for j in range(depth):
            block = f"encoder.block{stage}.{j}"
            for name in ("norm1", "norm2"):
                layer(f"{block}.{name}", dim)
            for name, out, inside in (("q", dim, dim), ("kv", 2 * dim, dim), ("proj", dim, dim)):
                layer(f"{block}.attn.{name}", out, inside)
            layer(f"{block}.mlp.fc1", 4 * dim, dim)
            layer(f"{block}.mlp.fc2", dim, 4 * dim)
            layer(f"{block}.mlp.dwconv.dwconv", 4 * dim, 1, 3, 3)
            if reduction > 1:
                layer(f"{block}.attn.sr", dim, dim, reduction, reduction)
                layer(f"{block}.attn.norm", dim)
        layer(f"encoder.norm{stage}", dim)
        layer(f"decoder.linear_c{stage}.proj", width, dim)
    shapes["decoder.linear_fuse.conv.weight"] = (width, 4 * width, 1, 1)
    layer("decoder.linear_fuse.bn", width)
    shapes["decoder.linear_fuse.bn.running_mean"] = shapes["decoder.linear_fuse.bn.running_var"] = (width,)
    shapes["decoder.linear_fuse.bn.num_batches_tracked"] = ()
    layer("decoder.linear_pred", classes, width, 1, 1)
    shapes["classifier.weight"] = (classes, DIMS[3], 1, 1)
    return shapes


def random_release(classes: int, width: int, seed: int = 0) -> Weights:
    """Random weights of a size that keeps the activations alive; norms near one, variances positive."""
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    for name, shape in release_shapes(classes, width).items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            weights[name] = 0.5 + noise.abs()
        elif len(shape) == 1:
            weights[name] = 0.2 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        else:
            weights[name] = noise * (1.5 / torch.tensor(shape[1:]).prod().sqrt())
    return weights


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(w: Weights, name: str, x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def convolve(w: Weights, name: str, x: Tensor, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
    return F.conv2d(x[None], w[f"{name}.weight"], w.get(f"{name}.bias"), stride, padding, groups=groups)[0]


def attention(w: Weights, name: str, x: Tensor, size: tuple[int, int], heads: int, reduction: int) -> Tensor:
    """[N,C] -> [N,C] by the whole matrix of every head."""
    source = x
    if reduction > 1:
        reduced = convolve(w, f"{name}.sr", x.T.reshape(-1, *size), reduction)
        source = layer_norm(w, f"{name}.norm", reduced.flatten(1).T, 1e-5)
    q = linear(w, f"{name}.q", x)
    k, v = linear(w, f"{name}.kv", source).chunk(2, 1)
    width = x.shape[1] // heads
    parts = []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        matrix = (q[:, part] @ k[:, part].T / width**0.5).softmax(1)
        parts.append(matrix @ v[:, part])
    return linear(w, f"{name}.proj", torch.cat(parts, 1))


def encode(w: Weights, image: Tensor) -> list[Tensor]:
    """[3,H,W] -> maps [C_i,h_i,w_i] of the four stages."""
    maps, x = [], image
    for i, (depth, heads, reduction) in enumerate(zip(DEPTHS, HEADS, REDUCTIONS, strict=True)):
        stage = i + 1
        x = convolve(w, f"encoder.patch_embed{stage}.proj", x, 4 if i == 0 else 2, 3 if i == 0 else 1)
        size = (x.shape[1], x.shape[2])
        tokens = layer_norm(w, f"encoder.patch_embed{stage}.norm", x.flatten(1).T, 1e-5)
        for j in range(depth):
            block = f"encoder.block{stage}.{j}"
            tokens = tokens + attention(
                w, f"{block}.attn", layer_norm(w, f"{block}.norm1", tokens, 1e-6), size, heads, reduction
            )
            hidden = linear(w, f"{block}.mlp.fc1", layer_norm(w, f"{block}.norm2", tokens, 1e-6))
            hidden = hidden.T.reshape(-1, *size)
            hidden = convolve(w, f"{block}.mlp.dwconv.dwconv", hidden, padding=1, groups=len(hidden))
            tokens = tokens + linear(w, f"{block}.mlp.fc2", F.gelu(hidden.flatten(1).T))
        x = layer_norm(w, f"encoder.norm{stage}", tokens, 1e-6).T.reshape(-1, *size)
        maps.append(x)
    return maps


def plain_logits(w: Weights, images: Tensor) -> Tensor:
    """Images [M,3,H,W] of what is present -> logits [K,H/4,W/4] of one sample."""
    streams = [encode(w, image) for image in images]
    fused = [sum(maps) / len(streams) for maps in zip(*streams, strict=True)]
    size = fused[0].shape[-2:]
    projected = []
    for stage in (4, 3, 2, 1):
        x = fused[stage - 1]
        x = linear(w, f"decoder.linear_c{stage}.proj", x.flatten(1).T).T.reshape(-1, *x.shape[1:])
        projected.append(F.interpolate(x[None], size, mode="bilinear", align_corners=False)[0])
    x = convolve(w, "decoder.linear_fuse.conv", torch.cat(projected))
    bn = {k: w[f"decoder.linear_fuse.bn.{k}"][:, None, None] for k in ("weight", "bias", "running_mean", "running_var")}
    x = (x - bn["running_mean"]) / (bn["running_var"] + 1e-5).sqrt() * bn["weight"] + bn["bias"]
    return convolve(w, "decoder.linear_pred", x.relu())
