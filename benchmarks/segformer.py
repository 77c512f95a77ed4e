# SPDX-License-Identifier: Apache-2.0
"""transformers' SegformerForSemanticSegmentation with the weights of one of our networks, for one modality."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anyseg_ros.model.mit import VARIANTS
from anyseg_ros.model.segmentor import AnySeg

NAME = "transformers' SegformerForSemanticSegmentation"
ENCODER = (
    ("norm1.", "layernorm_before."), ("norm2.", "layernorm_after."), ("attn.q.", "attention.q_proj."),
    ("attn.proj.", "attention.o_proj."), ("attn.sr.", "attention.sequence_reduction.sequence_reduction."),
    ("attn.norm.", "attention.sequence_reduction.layer_norm."), ("mlp.dwconv.", "mlp.dwconv.dwconv."),
)  # fmt: skip
HEAD = (("linear_fuse.conv.", "linear_fuse."), ("linear_fuse.bn.", "batch_norm."), ("linear_pred.", "classifier."))


def why_not() -> str | None:
    """Why it cannot be run here; None when it can."""
    if find_spec("transformers") is None:
        return "transformers is not installed (pip install transformers)"
    import transformers

    version = transformers.__version__
    return None if version.startswith("5.") else f"transformers {version} names parameters otherwise; 5.x is expected"


def parameters(model: AnySeg) -> dict[str, Tensor]:
    """Our weights under the names of transformers 5."""
    found = {}
    for name, value in model.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "head":
            found["decode_head." + head_name(rest)] = value
            continue
        kind, stage, rest = rest.split(".", 2)
        prefix = f"segformer.stages.{stage}."
        if kind == "patch_embed":
            found[prefix + "patch_embeddings." + rest.replace("norm.", "layer_norm.")] = value
        elif kind == "norm":
            found[prefix + "layer_norm." + rest] = value
        else:
            prefix += "blocks." + rest.split(".", 1)[0] + "."
            rest = rest.split(".", 1)[1]
            if rest.startswith("attn.kv."):
                for letter, half in zip("kv", value.chunk(2), strict=True):
                    found[f"{prefix}attention.{letter}_proj.{rest.rsplit('.', 1)[1]}"] = half
                continue
            found[prefix + renamed(rest, ENCODER)] = value
    return found


def head_name(name: str) -> str:
    """A name of our head, theirs."""
    if name.startswith("linear_c"):
        return f"linear_projections.{int(name[8]) - 1}{name[9:]}"
    return renamed(name, HEAD)


def renamed(name: str, table: tuple[tuple[str, str], ...]) -> str:
    """The name with its beginning replaced where the table has it."""
    for ours, theirs in table:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def runner(model: AnySeg) -> Callable[[np.ndarray], np.ndarray]:
    """A function from a stack [1,3,H,W] to labels uint8 [H,W], by the model and post-processing of transformers."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    variant, config = VARIANTS[model.config.backbone], model.config
    network = SegformerForSemanticSegmentation(
        SegformerConfig(
            hidden_sizes=list(variant.dims),
            depths=list(variant.depths),
            decoder_hidden_size=config.head_width,
            num_labels=config.classes,
            layer_norm_eps=1e-6,
        )
    ).eval()
    network.load_state_dict(parameters(model))

    @torch.inference_mode()
    def run(stack: np.ndarray) -> np.ndarray:
        logits = network(pixel_values=torch.from_numpy(stack)).logits
        full = F.interpolate(logits, stack.shape[2:], mode="bilinear", align_corners=False)
        return full.argmax(dim=1)[0].to(torch.uint8).numpy()

    return run
