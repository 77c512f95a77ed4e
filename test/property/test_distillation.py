# SPDX-License-Identifier: Apache-2.0
"""What must hold of the distillation losses for any features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from anyseg_training.distillation import agreement_kl, cmd_loss, mad_loss, umd_loss
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

VALUES = st.floats(-50.0, 50.0, allow_nan=False)
MAPS = arrays(np.float64, (3, 4, 2, 2), elements=VALUES)
COSINES = st.floats(-1.0, 1.0)
SAMPLE = torch.tensor([0, 0, 0])


def losses(g: torch.Tensor, f: torch.Tensor) -> list[torch.Tensor]:
    found = [mad_loss(g, f, direction) for direction in ("teacher_to_student", "student_to_teacher")]
    found += [umd_loss([g], [f], 1, axis) for axis in ("channel", "space")]
    return [*found, cmd_loss([g], [f], SAMPLE, 1)]


@settings(max_examples=100, deadline=None)
@given(MAPS, MAPS)
def test_never_negative_and_always_finite_with_finite_gradients(a, b):
    g, f = torch.from_numpy(a).requires_grad_(), torch.from_numpy(b)
    for loss in losses(g, f):
        (gradient,) = torch.autograd.grad(loss, g, retain_graph=True)
        assert float(loss.detach()) >= -1e-12 and loss.isfinite() and gradient.isfinite().all()


@settings(max_examples=50, deadline=None)
@given(MAPS)
def test_zero_with_zero_gradient_for_equal_features(a):
    g, f = torch.from_numpy(a).requires_grad_(), torch.from_numpy(a.copy())
    for loss in losses(g, f):
        (gradient,) = torch.autograd.grad(loss, g, retain_graph=True)
        assert abs(float(loss.detach())) < 1e-12 and gradient.abs().max() < 1e-9


@settings(max_examples=200, deadline=None)
@given(COSINES, COSINES)
def test_cmd_is_positive_where_cosines_differ(one, other):
    loss = float(agreement_kl(torch.tensor(one, dtype=torch.float64), torch.tensor(other, dtype=torch.float64)))
    # Pinsker: KL >= 2 (p - q)^2.
    assert loss >= 2 * (0.45 * (one - other)) ** 2 - 1e-12


@settings(max_examples=50, deadline=None)
@given(MAPS, MAPS, st.permutations(range(3)))
def test_the_order_of_streams_does_not_matter(a, b, order):
    g, f = torch.from_numpy(a), torch.from_numpy(b)
    for one, other in zip(losses(g, f), losses(g[order], f[order]), strict=True):
        assert float(one) == pytest.approx(float(other), rel=1e-9, abs=1e-12)
