# SPDX-License-Identifier: Apache-2.0
"""MAD, UMD and CMD with hand-computed answers, their gradients, and the step that puts them together."""

from __future__ import annotations

import math

import pytest
import torch
from anyseg_training.config import Recipe
from anyseg_training.data import Batch, draw_subset
from anyseg_training.distillation import COSINE_SHRINK, agreement_kl, cmd_loss, mad_loss, pairs_of, umd_loss
from anyseg_training.objective import Objective

from anyseg_ros.model.segmentor import AnySeg, AnySegConfig


def logits_of(probabilities: list[float]) -> torch.Tensor:
    """[1,2,1,N]: class 0 has these probabilities."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([p.log(), (1 - p).log()])[None, :, None, :]


def rand(*shape: int, grad: bool = False) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_mad_in_both_directions_and_scales_by_hand():
    teacher, student = logits_of([0.8, 0.5]), logits_of([0.4, 0.5])
    forward = (0.8 * math.log(0.8 / 0.4) + 0.2 * math.log(0.2 / 0.6)) / 2
    backward = (0.4 * math.log(0.4 / 0.8) + 0.6 * math.log(0.6 / 0.2)) / 2
    assert float(mad_loss(student, teacher)) == pytest.approx(forward)
    assert float(mad_loss(student, teacher, "student_to_teacher")) == pytest.approx(backward)
    assert float(mad_loss(student, teacher, scale="pixel_and_class")) == pytest.approx(forward / 2)
    assert float(mad_loss(teacher, teacher)) == pytest.approx(0.0, abs=1e-12)


def test_mad_per_pixel_does_not_depend_on_the_number_of_classes_as_such():
    """Classes that neither model considers possible change nothing."""
    teacher, student = logits_of([0.8]), logits_of([0.4])
    pad = torch.full((1, 5, 1, 1), -100.0, dtype=torch.float64)
    padded = mad_loss(torch.cat([student, pad], 1), torch.cat([teacher, pad], 1))
    assert float(padded) == pytest.approx(float(mad_loss(student, teacher)))


def test_umd_by_hand_over_channels_and_over_space():
    """Two channels at two positions, in logarithms of weights, so that each softmax is a simple fraction."""
    student = [torch.tensor([[[[1.0, 1.0]], [[1.0, 3.0]]]], dtype=torch.float64).log()]
    teacher = [torch.tensor([[[[3.0, 1.0]], [[1.0, 1.0]]]], dtype=torch.float64).log()]
    # Position 0: teacher (3/4, 1/4), student (1/2, 1/2); position 1: teacher (1/2, 1/2), student (1/4, 3/4).
    first = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    second = 0.5 * math.log(2.0) + 0.5 * math.log(2 / 3)
    assert float(umd_loss(student, teacher, 1)) == pytest.approx((first + second) / 2)
    # Channel 0: teacher (3/4, 1/4), student (1/2, 1/2); channel 1: teacher (1/2, 1/2), student (1/4, 3/4).
    assert float(umd_loss(student, teacher, 1, "space")) == pytest.approx((first + second) / 2)
    teacher[0] = torch.tensor([[[[3.0, 1.0]], [[1.0, 3.0]]]], dtype=torch.float64).log()
    third = 0.25 * math.log(0.25 / 0.25) + 0.75 * math.log(0.75 / 0.75)
    assert float(umd_loss(student, teacher, 1)) == pytest.approx((first + third) / 2)


def test_umd_axes_differ_where_they_should():
    """A constant per position is invisible over channels, a constant per channel over space."""
    f = [rand(1, 4, 2, 3)]
    per_position, per_channel = [f[0] + rand(1, 1, 2, 3)], [f[0] + rand(1, 4, 1, 1)]
    assert float(umd_loss(per_position, f, 1)) == pytest.approx(0.0, abs=1e-12)
    assert float(umd_loss(per_position, f, 1, "space")) > 1e-3
    assert float(umd_loss(per_channel, f, 1)) > 1e-3
    assert float(umd_loss(per_channel, f, 1, "space")) == pytest.approx(0.0, abs=1e-12)


def test_umd_sums_streams_and_scales_and_averages_samples():
    g, f = [rand(3, 4, 2, 2), rand(3, 5, 1, 2)], [rand(3, 4, 2, 2), rand(3, 5, 1, 2)]
    one_by_one = sum(
        float(umd_loss([a[i : i + 1]], [b[i : i + 1]], 1)) for a, b in zip(g, f, strict=True) for i in range(3)
    )
    assert float(umd_loss(g, f, 2)) == pytest.approx(one_by_one / 2)


def streams_with_cosines(*cosines: float) -> list[torch.Tensor]:
    """Two streams of one sample whose features have these cosines at the positions; lengths differ."""
    c = torch.tensor(cosines, dtype=torch.float64)
    one = torch.stack([torch.full_like(c, 3e3), torch.zeros_like(c)])
    other = 2e3 * torch.stack([c, (1 - c * c).sqrt()])
    return [torch.stack([one, other])[:, :, None, :]]


def test_cmd_by_hand():
    p, q = 0.5 + 0.45 * 0.2, 0.5 - 0.45 * 0.6
    first = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    p, q = 0.95, 0.05
    second = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    found = cmd_loss(streams_with_cosines(-0.6, -1.0), streams_with_cosines(0.2, 1.0), torch.tensor([0, 0]), 1)
    assert float(found) == pytest.approx((first + second) / 2, rel=1e-9)


def test_cmd_pairs_streams_of_one_sample_only():
    """Samples of three, one and two streams have three, no and one pair."""
    sample = torch.tensor([0, 0, 0, 1, 2, 2])
    one, other = pairs_of(sample)
    assert torch.stack([one, other], 1).tolist() == [[0, 1], [0, 2], [1, 2], [4, 5]]
    g, f = [rand(6, 4, 2, 3)], [rand(6, 4, 2, 3)]
    by_pair = sum(
        float(cmd_loss([g[0][[a, b]]], [f[0][[a, b]]], torch.tensor([0, 0]), 1))
        for a, b in [(0, 1), (0, 2), (1, 2), (4, 5)]
    )
    assert float(cmd_loss(g, f, sample, 3)) == pytest.approx(by_pair / 3)


def test_cmd_without_pairs_is_zero_with_a_gradient():
    g = rand(2, 4, 2, 2, grad=True)
    loss = cmd_loss([g], [rand(2, 4, 2, 2)], torch.tensor([0, 1]), 2)
    loss.backward()
    assert float(loss.detach()) == 0.0 and torch.equal(g.grad, torch.zeros_like(g))


def test_cmd_has_signal_where_the_printed_form_and_its_variant_have_none():
    """Random features cost far more than equal ones (0.3627 and 0.3623 in the follow-up's variant)."""
    f = [rand(2, 32, 8, 8)]
    sample = torch.tensor([0, 0])
    assert float(cmd_loss(f, f, sample, 1)) == pytest.approx(0.0, abs=1e-15)
    assert float(cmd_loss([rand(2, 32, 8, 8)], f, sample, 1)) > 1e-2


@pytest.mark.parametrize("teacher", [-1.0, -0.5, 0.0, 0.7, 1.0])
def test_the_gradient_of_cmd_is_bounded_for_every_cosine(teacher):
    student = torch.linspace(-1.0, 1.0, 41, dtype=torch.float64, requires_grad=True)
    agreement_kl(torch.full((41,), teacher, dtype=torch.float64), student).sum().backward()
    assert float(student.grad.abs().max()) <= 2 * COSINE_SHRINK**2 / (1 - COSINE_SHRINK**2) + 1e-9
    apart = (student.detach() - teacher).abs() > 1e-9
    assert torch.equal(student.grad.sign()[apart], (student.detach() - teacher).sign()[apart])


@pytest.mark.parametrize("case", ["zero", "equal", "opposite", "same direction as another", "random"])
def test_gradients_of_the_features_in_float64(case):
    g, f = rand(3, 4, 2, 2), rand(3, 4, 2, 2)
    if case == "zero":
        g[0], f[1] = 0.0, 0.0
    elif case == "equal":
        g = f.clone()
    elif case == "opposite":
        g[1] = -2 * g[0]
    elif case == "same direction as another":
        g[1] = 3 * g[0]
    g, f = g.requires_grad_(), f.requires_grad_()
    sample = torch.tensor([0, 0, 0])
    # At the zero vector the cosine bends on a scale of 0.01, so steps there must be much shorter.
    assert torch.autograd.gradcheck(lambda x: cmd_loss([x], [f], sample, 1), g, eps=1e-7, atol=1e-5)
    for axis in ("channel", "space"):
        assert torch.autograd.gradcheck(lambda x, a=axis: umd_loss([x], [f], 1, a), g)
    assert f.grad is None


@pytest.mark.parametrize("direction", ["teacher_to_student", "student_to_teacher"])
@pytest.mark.parametrize("scale", ["pixel", "pixel_and_class"])
def test_gradients_of_mad_in_float64(direction, scale):
    student, teacher = rand(2, 3, 4, 5, grad=True), rand(2, 3, 4, 5, grad=True)
    assert torch.autograd.gradcheck(lambda s: mad_loss(s, teacher, direction, scale), student)
    mad_loss(student, teacher, direction, scale).backward()
    assert teacher.grad is None


def test_half_precision_is_summed_in_float32():
    g, f = [rand(2, 8, 4, 4).bfloat16()], [rand(2, 8, 4, 4).bfloat16()]
    for half, full in [
        (umd_loss(g, f, 1), umd_loss([g[0].double()], [f[0].double()], 1)),
        (cmd_loss(g, f, torch.tensor([0, 0]), 1), cmd_loss([g[0].double()], [f[0].double()], torch.tensor([0, 0]), 1)),
        (mad_loss(g[0], f[0]), mad_loss(g[0].double(), f[0].double())),
    ]:
        assert half.dtype == torch.float32 and float(half) == pytest.approx(float(full), rel=1e-5)


def test_unknown_words_are_refused():
    x = rand(1, 2, 2, 2)
    with pytest.raises(ValueError, match="direction 'sideways' is unknown; known are teacher_to_student"):
        mad_loss(x, x, "sideways")
    with pytest.raises(ValueError, match="scale 'image' is unknown; known are pixel"):
        mad_loss(x, x, scale="image")
    with pytest.raises(ValueError, match="axis 'height' is unknown; known are channel, space"):
        umd_loss([x], [x], 1, "height")


def test_one_draw_per_batch_is_one_subset_for_all():
    generator = torch.Generator().manual_seed(0)
    codes = []
    for _ in range(6000):
        subset = draw_subset(torch.ones(4, 3, dtype=torch.bool), generator, per_batch=True)
        assert (subset == subset[0]).all()
        codes.append(int((subset[0] * torch.tensor([1, 2, 4])).sum()))
    share = torch.bincount(torch.tensor(codes), minlength=8).double() / len(codes)
    assert share[0] == 0 and float(share[7]) == pytest.approx(1 / 3, abs=0.03)
    assert all(float(share[c]) == pytest.approx(1 / 9, abs=0.02) for c in range(1, 7))


def test_one_draw_per_batch_leaves_no_sample_blind():
    present = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        subset = draw_subset(present, generator, per_batch=True)
        assert subset.any(1).all() and not (subset & ~present).any()
        assert subset[2].sum() >= max(int(subset[0].sum()), 1)


def batch_of(present: list[list[bool]]) -> Batch:
    mask = torch.tensor(present)
    return Batch(torch.randn(*mask.shape, 3, 32, 32), torch.randint(0, 5, (len(mask), 32, 32)), mask)


RECIPE = Recipe(
    umd_weight=5.0, cmd_weight=10.0, mad_weight=50.0, mad_scale="pixel_and_class", modality_dropout="sample"
)


def test_the_step_compares_the_same_streams_in_student_and_teacher():
    """With the student equal to the teacher, and in evaluation mode, UMD and CMD vanish whatever is drawn."""
    model = AnySeg(AnySegConfig(5, "b0-half", 16)).eval()
    teacher = AnySeg(model.config)
    teacher.load_state_dict(model.state_dict())
    batch = batch_of([[True, True, True], [True, False, True], [True, True, True]])
    objective = Objective(RECIPE, [1] * 5, teacher)
    for seed in range(5):
        total, parts = objective(model, batch, torch.Generator().manual_seed(seed))
        assert set(parts) == {"supervised", "mad", "umd", "cmd"}
        assert float(parts["umd"].detach()) < 1e-9 and abs(float(parts["cmd"].detach())) < 1e-6
        expected = parts["supervised"] + 50 * parts["mad"] + 5 * parts["umd"] + 10 * parts["cmd"]
        torch.testing.assert_close(total, expected)


def test_parts_of_weight_zero_are_not_computed_and_the_teacher_gets_no_gradient():
    model, teacher = AnySeg(AnySegConfig(5, "b0-half", 16)), AnySeg(AnySegConfig(5, "b0-half", 16))
    batch = batch_of([[True, True, True]])
    generator = torch.Generator().manual_seed(0)
    plain = Recipe(mad_weight=0.0)
    asked = []
    teacher.encoder.register_forward_pre_hook(lambda *_: asked.append(1))
    assert set(Objective(plain, [1] * 5, teacher)(model, batch, generator)[1]) == {"supervised"} and not asked
    total, _ = Objective(RECIPE, [1] * 5, teacher)(model, batch, generator)
    total.backward()
    assert asked and not teacher.training and all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_recipes_refuse_words_and_weights_that_mean_nothing():
    for change in (
        {"modality_dropout": "sometimes"},
        {"umd_axis": "height"},
        {"mad_direction": "x"},
        {"mad_scale": "x"},
    ):
        with pytest.raises(ValueError, match="unknown; known are"):
            Recipe(**change)
    with pytest.raises(ValueError, match="umd_weight is -1.0; it must be at least 0"):
        Recipe(umd_weight=-1.0)
