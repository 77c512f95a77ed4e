# SPDX-License-Identifier: Apache-2.0
"""A few steps of a Trainer in float64, alone or as one of two processes; what they found goes to a file.

Run as a script by ``test_training_parallel``: store, rank, size, recipe as JSON, file to write.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from anyseg_training.config import Recipe
from anyseg_training.data import Batch
from anyseg_training.fit import Trainer
from safetensors.torch import save_file

from anyseg_ros.model.mit import DropPath
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig

CLASSES = 5
STEPS = 2


def network(seed: int) -> AnySeg:
    """Float64, without drop path and dropout."""
    torch.manual_seed(seed)
    model = AnySeg(AnySegConfig(CLASSES, "b0-half", 16)).double()
    for module in model.modules():
        if isinstance(module, DropPath):
            module.probability = 0.0
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    return model


def sample(draw: int, easy: bool) -> Batch:
    """One sample; some lack a modality or labels, all alike whoever asks."""
    generator = torch.Generator().manual_seed(draw)
    images = torch.randn(1, 3, 3, 32, 64, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, CLASSES, (1, 32, 64), generator=generator)
    labels[:, : draw % 3 * 8] = 255
    if easy:
        labels[labels != 255] = 0
    present = torch.ones(1, 3, dtype=torch.bool)
    present[0, draw % 4 : draw % 4 + 1] = False
    return Batch(images, labels, present)


def batches_of(count: int, easy: bool):
    """Number of a micro-batch -> its samples."""

    def batch(number: int) -> Batch:
        found = [sample(draw, easy) for draw in range(number * count, (number + 1) * count)]
        return Batch(*(torch.cat([getattr(b, name) for b in found]) for name in ("images", "labels", "present")))

    return batch


def trained(recipe: Recipe, size: int, easy: bool = False, frozen: bool = False) -> dict[str, torch.Tensor]:
    """Losses, gradients and weights after each of a few steps."""
    model = network(1)
    if easy:  # so sure of class 0 that few pixels are hard
        with torch.no_grad():
            model.head.linear_pred.bias[0] += 9.0
    batches = batches_of(recipe.batch // recipe.accumulate // size, easy)
    trainer = Trainer(model, recipe, batches, [9, 5, 3, 2, 1], network(2))
    if frozen:
        model.head.linear_fuse.bn.train = lambda mode=True: None
        model.head.linear_fuse.bn.training = False
    found = {}
    for step in range(STEPS):
        losses = trainer.step(*trainer._load(step))
        found |= {f"{step}/loss/{k}": torch.tensor(v, dtype=torch.float64) for k, v in losses.items()}
        found |= {f"{step}/gradient/{k}": p.grad.clone() for k, p in model.named_parameters()}
    return found | {f"state/{k}": v.clone() for k, v in model.state_dict().items()}


if __name__ == "__main__":
    store, rank, size, text, out = sys.argv[1:]
    options = json.loads(text)
    easy = options.pop("easy")
    dist.init_process_group("gloo", init_method=Path(store).as_uri(), rank=int(rank), world_size=int(size))
    torch.set_num_threads(1)
    save_file(trained(replace(Recipe(), **options), int(size), easy), out)
    dist.destroy_process_group()
