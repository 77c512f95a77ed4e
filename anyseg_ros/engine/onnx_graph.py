# SPDX-License-Identifier: Apache-2.0
"""The network with its folded head as an ONNX graph, written node by node.

Of torch's two exporters one is being retired and the other needs a torch newer than ours may be; the network has so few
kinds of operations that the graph is written directly. Then it can also be a better one: the hidden activations of a
Mix-FFN, four times as wide as the tokens, stay an image from the first 1x1 convolution to the last and are never
transposed.

Everything is of operator set 20: what ONNX Runtime 1.18 and TensorRT 10 know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.model.mit import Attention, Block, MiT, MixFFN, PatchEmbed, check_size

OPSET = 20
IR_VERSION = 9
INPUT, OUTPUT = "images", "logits"
MODALITIES = "modalities"
"""Name of the input's first dimension, the only one that is not fixed."""
ATTENTION_BYTES = 32 << 20
"""Attention shares of one image that exist at a time."""


class Graph:
    """Nodes in order and their weights; every value is known by the name of what made it."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output; returns that output's name."""
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def weight(self, value: Tensor | Sequence[int]) -> str:
        """A constant: float32 from a tensor, int64 from numbers."""
        array = value.detach().cpu().float().numpy() if isinstance(value, Tensor) else np.array(value, np.int64)
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def linear(self, x: str, weight: Tensor, bias: Tensor) -> str:
        """Tokens [M,N,C] -> [M,N,D] by a weight [D,C]."""
        return self.add("Add", self.add("MatMul", x, self.weight(weight.T)), self.weight(bias))

    def convolve(self, x: str, conv: nn.Conv2d) -> str:
        """A convolution with square kernel, stride and padding as torch's module has them."""
        assert conv.bias is not None  # all of the network's have one
        (pad_y, pad_x), weights = (
            cast(tuple[int, int], conv.padding),
            (self.weight(conv.weight), self.weight(conv.bias)),
        )
        pads = [pad_y, pad_x, pad_y, pad_x]
        return self.add("Conv", x, *weights, pads=pads, strides=list(conv.stride), group=conv.groups)

    def pointwise(self, x: str, weight: Tensor, *bias: Tensor) -> str:
        """Image [M,C,h,w] -> [M,D,h,w] by a weight [D,C]."""
        return self.add("Conv", x, self.weight(weight[:, :, None, None]), *(self.weight(b) for b in bias))

    def normalise(self, x: str, norm: nn.LayerNorm) -> str:
        """LayerNorm over the last axis."""
        weights = self.weight(norm.weight), self.weight(norm.bias)
        return self.add("LayerNormalization", x, *weights, axis=-1, epsilon=norm.eps)

    def reshape(self, x: str, *shape: int) -> str:
        """0 keeps a dimension, -1 is what is left."""
        return self.add("Reshape", x, self.weight(shape))

    def to_image(self, tokens: str, channels: int, size: tuple[int, int]) -> str:
        """Tokens [M,h*w,C] -> image [M,C,h,w]."""
        return self.reshape(self.add("Transpose", tokens, perm=[0, 2, 1]), 0, channels, *size)

    def to_tokens(self, image: str, channels: int) -> str:
        """Image [M,C,h,w] -> tokens [M,h*w,C]."""
        return self.add("Transpose", self.reshape(image, 0, channels, -1), perm=[0, 2, 1])


def network_graph(encoder: MiT, head: FoldedHead, size: tuple[int, int]) -> onnx.ModelProto:
    """The whole network: images float32 [modalities,3,H,W] -> logits float32 [K,ceil(H/4),ceil(W/4)].

    Args:
        encoder: its weights.
        head: folded.
        size: H and W, fixed in the graph.

    Raises:
        ValueError: the size does not fit the encoder.
    """
    check_size(*size)
    graph, maps, image, here = Graph(), [], INPUT, size
    sizes = []
    for embed, blocks, norm in zip(encoder.patch_embed, encoder.block, encoder.norm, strict=True):
        tokens, here = _embed(graph, cast(PatchEmbed, embed), image, here)
        dim = cast(nn.LayerNorm, norm).weight.numel()
        for block in cast(Sequence[Block], blocks):
            tokens = _block(graph, block, tokens, here)
        image = graph.to_image(graph.normalise(tokens, cast(nn.LayerNorm, norm)), dim, here)
        maps.append(graph.add("ReduceMean", image, graph.weight([0]), keepdims=1))
        sizes.append(here)
    logits = _head(graph, head, maps, sizes[0])
    graph.nodes.append(helper.make_node("Squeeze", [logits, graph.weight([0])], [OUTPUT], OUTPUT))
    classes = head.linear_pred.out_channels
    described = helper.make_graph(
        graph.nodes,
        "anyseg",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [MODALITIES, 3, *size])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [classes, *sizes[0]])],
        graph.weights,
    )
    return helper.make_model(described, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _embed(graph: Graph, embed: PatchEmbed, image: str, size: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    """Image -> tokens, and the size of the map that they make."""
    stride = embed.proj.stride[0]
    tokens = graph.to_tokens(graph.convolve(image, embed.proj), embed.proj.out_channels)
    return graph.normalise(tokens, embed.norm), (-(-size[0] // stride), -(-size[1] // stride))


def _block(graph: Graph, block: Block, tokens: str, size: tuple[int, int]) -> str:
    attended = _attention(graph, block.attn, graph.normalise(tokens, block.norm1), size)
    tokens = graph.add("Add", tokens, attended)
    return graph.add("Add", tokens, _mix_ffn(graph, block.mlp, graph.normalise(tokens, block.norm2), size))


def _attention(graph: Graph, attention: Attention, x: str, size: tuple[int, int]) -> str:
    """Tokens [M,N,C] -> [M,N,C]; the scale 1/sqrt(d) is in the weight of the queries."""
    dim, heads = attention.q.in_features, attention.heads
    width, source = dim // heads, x
    if attention.reduced:
        reduced = graph.convolve(graph.to_image(x, dim, size), attention.sr)
        source = graph.normalise(graph.to_tokens(reduced, dim), attention.norm)

    def by_head(values: str, order: list[int]) -> str:
        return graph.add("Transpose", graph.reshape(values, 0, -1, heads, width), perm=order)

    weights, biases = attention.kv.weight.chunk(2), attention.kv.bias.chunk(2)
    scale = width**-0.5
    q = by_head(graph.linear(x, attention.q.weight * scale, attention.q.bias * scale), [0, 2, 1, 3])
    k = by_head(graph.linear(source, weights[0], biases[0]), [0, 2, 3, 1])
    v = by_head(graph.linear(source, weights[1], biases[1]), [0, 2, 1, 3])
    stride = attention.sr.stride[0] if attention.reduced else 1
    keys = (size[0] // stride) * (size[1] // stride)
    answers = [
        graph.add("MatMul", graph.add("Softmax", graph.add("MatMul", part, k), axis=-1), v)
        for part in _parts(graph, q, size[0] * size[1], heads * keys * 4)
    ]
    whole = graph.add("Concat", *answers, axis=2) if len(answers) > 1 else answers[0]
    mixed = graph.add("Transpose", whole, perm=[0, 2, 1, 3])
    return graph.linear(graph.reshape(mixed, 0, -1, dim), attention.proj.weight, attention.proj.bias)


def _parts(graph: Graph, queries: str, count: int, bytes_each: int) -> list[str]:
    """Queries [M,heads,count,d] in parts whose shares of all keys stay below ``ATTENTION_BYTES``; mostly one."""
    step = max(1, ATTENTION_BYTES // bytes_each)
    if step >= count:
        return [queries]
    return [
        graph.add("Slice", queries, *(graph.weight([n]) for n in (first, min(first + step, count), 2)))
        for first in range(0, count, step)
    ]


def _mix_ffn(graph: Graph, ffn: MixFFN, x: str, size: tuple[int, int]) -> str:
    """Tokens [M,N,C] -> [M,N,C], as an image between."""
    dim = ffn.fc1.in_features
    hidden = graph.pointwise(graph.to_image(x, dim, size), ffn.fc1.weight, ffn.fc1.bias)
    hidden = graph.add("Gelu", graph.convolve(hidden, ffn.dwconv))
    return graph.to_tokens(graph.pointwise(hidden, ffn.fc2.weight, ffn.fc2.bias), dim)


def _head(graph: Graph, head: FoldedHead, maps: list[str], size: tuple[int, int]) -> str:
    """Maps [1,C_i,h_i,w_i], finest first -> logits [1,K,h_1,w_1]."""
    width = len(head.bias)
    total = graph.pointwise(maps[0], head.weights[0], head.bias)
    for features, weight in zip(maps[1:], list(head.weights)[1:], strict=True):
        projected = graph.pointwise(features, weight)
        sizes = graph.weight([1, width, *size])
        resized = graph.add(
            "Resize", projected, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel"
        )
        total = graph.add("Add", total, resized)
    return graph.convolve(graph.add("Relu", total), head.linear_pred)
