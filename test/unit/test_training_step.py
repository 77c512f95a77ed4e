# SPDX-License-Identifier: Apache-2.0
"""One step by hand: the average, weight decay, clipping, what teacher and student see, the offset, and overflows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from anyseg_training import fit, objective
from anyseg_training.config import Recipe
from anyseg_training.data import Batch
from anyseg_training.fit import DivergedError, Trainer
from anyseg_training.objective import Objective
from anyseg_training.schedule import make_optimizer

from anyseg_ros.model.segmentor import AnySeg, AnySegConfig

CLASSES = 5
TINY = Recipe(backbone="b0-half", head_width=16, steps=50, batch=2, warmup_steps=0, mad_weight=0.0, device="cpu")


def network() -> AnySeg:
    torch.manual_seed(1)
    return AnySeg(AnySegConfig(CLASSES, "b0-half", 16))


def batch_of(fill: float | None = None) -> Batch:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, 3, 32, 32, generator=generator)
    if fill is not None:
        images = torch.full_like(images, fill)
    labels = torch.randint(0, CLASSES, (2, 32, 32), generator=generator)
    return Batch(images, labels, torch.ones(2, 3, dtype=torch.bool))


def trainer(recipe: Recipe) -> Trainer:
    return Trainer(network(), recipe, lambda _: batch_of(), [1] * CLASSES)


@pytest.mark.parametrize(("ema", "kept"), [(0.1, 0.1), (0.998, 2 / 11)], ids=["as the recipe says", "short at first"])
def test_the_average_after_one_step(ema, kept):
    """kept x before + (1 - kept) x after, ``kept`` being the smaller of the recipe's decay and (1 + 1) / (10 + 1)."""
    run = trainer(replace(TINY, ema=ema))
    before = {name: value.clone() for name, value in run.state.model.state_dict().items()}
    run.step(batch_of())
    moved = 0
    for name, after in run.state.model.state_dict().items():
        if after.is_floating_point():
            wanted = kept * before[name] + (1 - kept) * after
            torch.testing.assert_close(run.state.average[name], wanted, rtol=1e-5, atol=1e-7)
            moved += not torch.equal(before[name], after)
        else:
            assert torch.equal(run.state.average[name], after)
    assert moved > 10


def test_matrices_decay_and_vectors_do_not():
    """With gradients of zero all that AdamW does is p -> (1 - lr x decay) p."""
    model = network()
    optimizer = make_optimizer(model, replace(TINY, lr=0.1, weight_decay=0.5))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    vectors = [name for name, p in model.named_parameters() if p.dim() <= 1]
    assert 10 < len(vectors) < len(before)
    for name, parameter in model.named_parameters():
        wanted = before[name] if name in vectors else 0.95 * before[name]
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-6, atol=1e-8)


def test_gradients_above_the_norm_count_as_if_scaled_to_it():
    """AdamW's first moment is a tenth of the gradient after one step, so it shows what the optimiser was given."""
    moments, norms = [], []
    for clip in (1e9, 1e-3):
        run = trainer(replace(TINY, clip_norm=clip))
        norms.append(run.step(batch_of())["grad_norm"])
        states = run.state.optimizer.state
        moments.append(torch.cat([states[p]["exp_avg"].flatten() for p in run.state.model.parameters()]))
    assert norms[0] == norms[1] > 1e-2, "the norm is that before clipping"
    assert float(moments[0].norm()) == pytest.approx(0.1 * norms[0], rel=1e-4)
    assert float(moments[1].norm()) == pytest.approx(0.1 * 1e-3, rel=1e-2)
    torch.testing.assert_close(moments[1], moments[0] * 1e-3 / norms[0], rtol=1e-3, atol=1e-12)


def test_the_teacher_sees_every_modality_while_the_student_sees_a_subset():
    student, teacher = network(), network()
    batch = batch_of()
    batch = replace(batch, present=torch.tensor([[True, True, True], [True, False, True]]))
    seen: dict[str, list[int]] = {"student": [], "teacher": []}
    for name, model in (("student", student), ("teacher", teacher)):
        model.encoder.register_forward_pre_hook(lambda _, inputs, name=name: seen[name].append(len(inputs[0])))
    step = Objective(replace(TINY, mad_weight=1.0, modality_dropout="sample"), [1] * CLASSES, teacher)
    for seed in range(12):
        step(student, batch, torch.Generator().manual_seed(seed))
    assert seen["teacher"] == [5] * 12, "all that is present, whatever the student was left"
    assert set(seen["student"]) >= {2, 3} and max(seen["student"]) <= 5


def test_the_loss_is_taken_at_the_drawn_offset(monkeypatch):
    """Labels say where they lie in a block of 2 x 2: those scored are of one place, and every place has its turn."""
    scored = []

    def spy(logits, labels, *_):
        scored.append(labels.unique().tolist())
        return logits.sum() * 0

    monkeypatch.setattr(objective, "ohem_cross_entropy", spy)
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    batch = replace(batch_of(), labels=(2 * (y % 2) + x % 2).expand(2, -1, -1))
    step, model = Objective(replace(TINY, loss_stride=2), [1] * CLASSES), network()
    for seed in range(24):
        step(model, batch, torch.Generator().manual_seed(seed))
    assert all(len(labels) == 1 for labels in scored)
    assert {labels[0] for labels in scored} == {0, 1, 2, 3}


def scaled_trainer(recipe: Recipe) -> Trainer:
    """As in float16, where gradients are scaled; a CPU computes in float32."""
    run = trainer(recipe)
    run.state.scaler = torch.amp.GradScaler("cpu", enabled=True)
    return run


def test_a_step_that_overflows_changes_nothing_but_the_scale():
    run = scaled_trainer(TINY)
    run.step(batch_of())
    model, average = ({k: v.clone() for k, v in d.items()} for d in (run.state.model.state_dict(), run.state.average))
    scale = run.state.scaler.get_scale()
    run.step(batch_of(float("inf")))
    assert run.state.step == 2 and run.state.scaler.get_scale() == scale / 2
    for name, value in model.items():
        assert torch.equal(run.state.model.state_dict()[name], value), name
        assert torch.equal(run.state.average[name], average[name]), name
    run.step(batch_of())
    assert all(v.isfinite().all() for v in run.state.average.values())
    assert not torch.equal(run.state.average["head.linear_pred.weight"], average["head.linear_pred.weight"])


def test_overflows_in_a_row_end_the_run(monkeypatch):
    monkeypatch.setattr(fit, "LEFT_OUT_AT_MOST", 2)
    run = scaled_trainer(TINY)
    for fill in (float("inf"), float("inf"), None, float("inf"), float("inf")):
        run.step(batch_of(fill))
    with pytest.raises(DivergedError, match="in 3 steps in a row.*lower lr"):
        run.step(batch_of(float("inf")))
