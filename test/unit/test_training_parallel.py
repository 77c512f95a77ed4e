# SPDX-License-Identifier: Apache-2.0
"""A step whose batch is spread over processes or micro-batches is the step of the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from anyseg_training import parallel
from anyseg_training.config import Recipe
from anyseg_training.fit import Trainer
from safetensors.torch import load_file
from two_processes import batches_of, network, trained

ROOT = Path(__file__).parents[2]
LIMIT_S = 500
RECIPE = Recipe(
    batch=4, steps=5, lr=1e-3, warmup_steps=0, clip_norm=1e6, ema=0.5, seed=3, device="cpu", threads=1,
    mad_weight=50.0, mad_scale="pixel_and_class", umd_weight=5.0, cmd_weight=10.0, modality_dropout="sample",
)  # fmt: skip


def two(tmp_path: Path, recipe: Recipe, easy: bool = False) -> list[dict[str, torch.Tensor]]:
    """What each of two gloo processes found."""
    store, text = tmp_path / "store", json.dumps(asdict(recipe) | {"easy": easy})
    script, outs = Path(__file__).with_name("two_processes.py"), [tmp_path / "0", tmp_path / "1"]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "training", script.parent)))
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen([sys.executable, script, store, str(rank), "2", text, out], env=env, stderr=subprocess.PIPE)
        for rank, out in enumerate(outs)
    ]
    try:
        for process in started:
            error = process.communicate(timeout=LIMIT_S)[1]
            assert process.returncode == 0, error.decode()
    finally:
        for process in started:
            process.kill()
    return [load_file(out) for out in outs]


def assert_alike(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Losses and gradients to 1e-9. Weights to 1e-7: AdamW divides gradients that should be zero by their own size."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        atol = 1e-7 if name.startswith("state/") else 1e-9
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(
    ("changes", "easy"),
    [
        pytest.param({}, False, id="a subset per sample"),
        pytest.param({"modality_dropout": "batch", "umd_axis": "space", "mad_scale": "pixel"}, False, id="per batch"),
        pytest.param({"modality_dropout": "batch"}, True, id="few hard pixels"),
    ],
)
def test_two_processes_take_the_step_of_one(tmp_path, changes, easy):
    """Float64, BatchNorm over all processes: all losses and gradients to 1e-9, and the weights that follow."""
    recipe = replace(RECIPE, **changes)
    one, (first, second) = trained(recipe, 1, easy), two(tmp_path, recipe, easy)
    assert {"supervised", "mad", "umd", "cmd"} <= {name.rsplit("/", 1)[-1] for name in one}
    assert_alike(first, one)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_two_processes_with_accumulation_take_the_step_of_one_process_with_it(tmp_path):
    """Two processes of two samples and two micro-batches; BatchNorm sees two samples at a time in both."""
    whole = trained(replace(RECIPE, accumulate=2), 1)
    first, _ = two(tmp_path, replace(RECIPE, accumulate=2))
    assert_alike(first, whole)


@pytest.mark.parametrize("easy", [False, True])
@pytest.mark.parametrize("accumulate", [2, 4])
def test_micro_batches_add_up_to_the_batch(accumulate, easy):
    """With BatchNorm frozen, gradients of micro-batches are those of the batch: one OHEM count, one draw."""
    recipe = replace(RECIPE, modality_dropout="batch")
    whole = trained(recipe, 1, easy, frozen=True)
    assert_alike(trained(replace(recipe, accumulate=accumulate), 1, easy, frozen=True), whole)


def test_looking_for_hard_pixels_leaves_batch_norm_alone():
    """Two micro-batches count as two batches, although each is looked at twice."""
    found = trained(replace(RECIPE, accumulate=2), 1)
    assert int(found["state/head.linear_fuse.bn.num_batches_tracked"]) == 4


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="batch is 4; accumulate, 3, must divide it"):
        replace(RECIPE, accumulate=3)
    trainer = Trainer(
        network(1), replace(RECIPE, mad_weight=0, umd_weight=0, cmd_weight=0), batches_of(2, False), [1] * 5
    )
    with pytest.raises(ValueError, match=r"micro-batches have \[2\] samples; expected 1 of 4"):
        trainer.step(*trainer._load(0))


def test_shared_batch_norm_keeps_names_and_values_and_is_plain_when_alone():
    model, shared = network(1), network(1)
    parallel.share_batch_norm(shared)
    assert isinstance(shared.head.linear_fuse.bn, parallel.SharedBatchNorm2d)
    assert shared.state_dict().keys() == model.state_dict().keys()
    batch = batches_of(2, False)(0)
    assert torch.equal(model(batch.images, batch.present), shared(batch.images, batch.present))
