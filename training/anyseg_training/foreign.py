# SPDX-License-Identifier: Apache-2.0
"""Weights that others trained, under the names of this package: MiT encoders and the AnySeg release.

Three namings of the same tensors are read: NVIDIA's SegFormer code (``block1.0.attn.q.weight``), Hugging Face's files
(``encoder.block.0.0.attention.self.query.weight``, keys and values apart) and the AnySeg release (NVIDIA's below
``encoder.``, and a head below ``decoder.``). A file that holds anything else is refused; nothing is unpickled.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

import anyseg_ros
from anyseg_ros.labels import CITYSCAPES
from anyseg_ros.model.checkpoint import CheckpointError, CheckpointMeta, check_tensors, read_safetensors
from anyseg_ros.model.mit import VARIANTS
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from anyseg_ros.sensors.presets import PRESETS
from anyseg_training.samples import MODALITIES

# Where training scripts keep the tensors inside what they save.
WRAPPERS = ("state_dict", "model_state_dict", "model")
# What the ImageNet models hold beside the encoder: the classifier of 1000 classes.
IMAGENET_CLASSIFIER = r"(head|classifier)\.(weight|bias)"
# The release's network keeps an unused classifier of the last stage.
RELEASE_UNUSED = r"classifier\.(weight|bias)"
RELEASE_HEAD = (
    r"linear_c[1-4]\.proj\.(weight|bias)|linear_fuse\.conv\.weight|linear_pred\.(weight|bias)"
    r"|linear_fuse\.bn\.(weight|bias|running_mean|running_var|num_batches_tracked)"
)

END = r"(?P<end>weight|bias)"
NVIDIA_BLOCK = r"norm[12]|attn\.(?:q|kv|proj|sr|norm)|mlp\.fc[12]"
HUGGING_FACE_BLOCK = {
    "layer_norm_1": "norm1",
    "layer_norm_2": "norm2",
    "attention.self.query": "attn.q",
    "attention.self.key": "attn.kv:0",
    "attention.self.value": "attn.kv:1",
    "attention.self.sr": "attn.sr",
    "attention.self.layer_norm": "attn.norm",
    "attention.output.dense": "attn.proj",
    "mlp.dense1": "mlp.fc1",
    "mlp.dense2": "mlp.fc2",
    "mlp.dwconv.dwconv": "mlp.dwconv",
}


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of what torch.save wrote, by name.

    Raises:
        CheckpointError: the file is missing, cannot be read without running code, or holds more than named tensors.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}; give the path of a .safetensors, .pth or .bin file")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} cannot be read as plain tensors ({str(error).splitlines()[0]}); nothing in it was run. "
            "Save its state dict as safetensors where you trust the file"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise CheckpointError(f"{path} holds no state dict; expected tensors by name, or such below 'state_dict'")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def our_mit_name(name: str) -> str | None:
    """Our name of an encoder's tensor, from NVIDIA's or Hugging Face's; None for a name of neither.

    Halves of our ``attn.kv`` end in ``:0`` (keys) and ``:1`` (values) before the last part.
    """
    if m := re.fullmatch(rf"patch_embed([1-4])\.(proj|norm)\.{END}", name):
        return f"patch_embed.{int(m[1]) - 1}.{m[2]}.{m['end']}"
    if m := re.fullmatch(rf"norm([1-4])\.{END}", name):
        return f"norm.{int(m[1]) - 1}.{m['end']}"
    if m := re.fullmatch(rf"block([1-4])\.(\d+)\.({NVIDIA_BLOCK}|mlp\.dwconv\.dwconv)\.{END}", name):
        part = m[3].replace("dwconv.dwconv", "dwconv")
        return f"block.{int(m[1]) - 1}.{m[2]}.{part}.{m['end']}"
    name = name.removeprefix("segformer.").removeprefix("encoder.")
    if m := re.fullmatch(rf"patch_embeddings\.([0-3])\.(proj|layer_norm)\.{END}", name):
        return f"patch_embed.{m[1]}.{m[2].replace('layer_norm', 'norm')}.{m['end']}"
    if m := re.fullmatch(rf"layer_norm\.([0-3])\.{END}", name):
        return f"norm.{m[1]}.{m['end']}"
    if (m := re.fullmatch(rf"block\.([0-3])\.(\d+)\.(.+)\.{END}", name)) and m[3] in HUGGING_FACE_BLOCK:
        return f"block.{m[1]}.{m[2]}.{HUGGING_FACE_BLOCK[m[3]]}.{m['end']}"
    return None


def mit_weights(path: str | Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """An encoder's tensors under our names; keys and values that come apart are joined.

    Raises:
        CheckpointError: a name is unknown, or one of a key and value pair is missing.
    """
    ours: dict[str, Tensor] = {}
    halves: dict[str, dict[int, Tensor]] = {}
    for name, value in tensors.items():
        mine = our_mit_name(name)
        if mine is None:
            raise CheckpointError(
                f"{path} holds tensor '{name}', which no MiT has by the names of NVIDIA or Hugging Face; "
                "give an encoder of SegFormer's"
            )
        if ":" in mine:
            joined = re.sub(r":[01]", "", mine)
            halves.setdefault(joined, {})[int(mine[mine.index(":") + 1])] = value
        else:
            ours[mine] = value
    for name, pair in halves.items():
        if len(pair) != 2 or pair[0].shape != pair[1].shape:
            raise CheckpointError(f"{path} has no pair of key and value of one shape for '{name}'")
        ours[name] = torch.cat([pair[0], pair[1]])
    return ours


def backbone_of(path: str | Path, encoder: dict[str, Tensor]) -> str:
    """Which MiT variant tensors under our names are of.

    Raises:
        CheckpointError: of none.
    """
    first = [encoder.get(f"patch_embed.{i}.proj.weight", torch.empty(0)) for i in range(4)]
    dims = tuple(len(weight) for weight in first)
    blocks = {tuple(name.split(".")[1:3]) for name in encoder if name.startswith("block.")}
    depths = tuple(sum(1 for stage, _ in blocks if stage == str(i)) for i in range(4))
    for name, variant in VARIANTS.items():
        if (variant.dims, variant.depths) == (dims, depths):
            return name
    raise CheckpointError(f"{path} has widths {dims} and depths {depths}; no MiT of {', '.join(VARIANTS)} has these")


def load_backbone(path: str | Path, model: AnySeg) -> None:
    """Put a pretrained encoder into a model; an ImageNet classifier in the file is left out.

    Raises:
        CheckpointError: it does not fit; the message says what does not.
    """
    tensors = {n: v for n, v in read_weights(path).items() if not re.fullmatch(IMAGENET_CLASSIFIER, n)}
    encoder = mit_weights(path, tensors)
    found = backbone_of(path, encoder)
    if found != model.config.backbone:
        raise CheckpointError(
            f"{path} is a MiT {found}, the recipe wants {model.config.backbone}; choose with --set backbone={found}"
        )
    check_tensors(path, encoder, model.encoder.state_dict())
    model.encoder.load_state_dict(encoder)


def convert_release(path: str | Path, grid: tuple[int, int]) -> tuple[AnySeg, CheckpointMeta]:
    """The AnySeg release's checkpoint for MUSES as ours; it wants the encoding ``release``.

    Args:
        path: .safetensors, .pth or .bin with the release's names.
        grid: (height, width) in pixels that it is to be run at; it was trained at 1024 x 1024.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape, or the classes are not those of MUSES.
    """
    encoder, ours = {}, {}
    for name, value in read_weights(path).items():
        part, _, rest = name.partition(".")
        if part == "encoder":
            encoder[rest] = value
        elif part == "decoder" and re.fullmatch(RELEASE_HEAD, rest):
            ours[f"head.{rest}"] = value
        elif not re.fullmatch(RELEASE_UNUSED, name):
            raise CheckpointError(f"{path} holds tensor '{name}', which the AnySeg release does not have")
    if "head.linear_pred.weight" not in ours:
        raise CheckpointError(f"{path} lacks 'decoder.linear_pred.weight', which the AnySeg release has")
    encoder = mit_weights(path, encoder)
    ours |= {f"encoder.{name}": value for name, value in encoder.items()}
    classes, width = ours["head.linear_pred.weight"].shape[:2]
    if classes != len(CITYSCAPES):
        raise CheckpointError(
            f"{path} tells {classes} classes apart; only weights for MUSES, with {len(CITYSCAPES)}, are converted"
        )
    model = AnySeg(AnySegConfig(classes, backbone_of(path, encoder), width))
    # A counter of training batches, which no answer depends on and not every file keeps.
    ours.setdefault("head.linear_fuse.bn.num_batches_tracked", torch.tensor(0))
    check_tensors(path, ours, model.state_dict())
    model.load_state_dict(ours)
    encoding = PRESETS["release"]
    neutral = {"mean": [0.0] * 3, "std": [1.0] * 3}
    meta = CheckpointMeta(
        asdict(model.config), list(CITYSCAPES.names), [list(colour) for colour in CITYSCAPES.palette],
        list(MODALITIES), encoding.fingerprint, {name: neutral for name in MODALITIES}, list(grid),
        {"role": "converted", "source": f"AnySeg release, {Path(path).name}"}, anyseg_ros.__version__,
        encoding_parameters=encoding.parameters(),
    )  # fmt: skip
    return model.eval(), meta
