# SPDX-License-Identifier: Apache-2.0
"""The supervised loss with hand-computed answers."""

from __future__ import annotations

import math

import pytest
import torch
from anyseg_training.losses import HARD_LOSS, ohem_cross_entropy


def two_class_logits(probabilities: list[float]) -> torch.Tensor:
    """[1,2,1,N]: class 0 has these probabilities."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([p.log(), (1 - p).log()])[None, :, None, :]


def test_ohem_keeps_only_hard_pixels():
    logits = two_class_logits([0.9, 0.5, 0.6, 0.8])
    labels = torch.zeros(1, 1, 4, dtype=torch.long)
    expected = (-math.log(0.5) - math.log(0.6)) / 2
    assert float(ohem_cross_entropy(logits, labels)) == pytest.approx(expected)


def test_ohem_keeps_a_sixteenth_when_all_is_easy():
    probabilities = [0.99] * 30 + [0.8, 0.9]
    labels = torch.zeros(1, 1, 32, dtype=torch.long)
    expected = (-math.log(0.8) - math.log(0.9)) / 2
    assert float(ohem_cross_entropy(two_class_logits(probabilities), labels)) == pytest.approx(expected)


def test_ohem_ignores_unlabelled_pixels_and_counts_only_valid_ones():
    probabilities = [0.99] * 16 + [0.01] * 16
    labels = torch.tensor([0] * 16 + [255] * 16).view(1, 1, 32)
    assert float(ohem_cross_entropy(two_class_logits(probabilities), labels)) == pytest.approx(-math.log(0.99))


def test_ohem_with_fewer_than_sixteen_easy_pixels_averages_them():
    labels = torch.zeros(1, 1, 2, dtype=torch.long)
    expected = -(math.log(0.9) + math.log(0.8)) / 2
    assert float(ohem_cross_entropy(two_class_logits([0.9, 0.8]), labels)) == pytest.approx(expected)


def test_ohem_without_labels_is_zero_with_a_gradient():
    logits = two_class_logits([0.5, 0.5]).requires_grad_()
    loss = ohem_cross_entropy(logits, torch.full((1, 1, 2), 255))
    loss.backward()
    assert float(loss.detach()) == 0.0 and torch.equal(logits.grad, torch.zeros_like(logits))


def test_class_weights_multiply_after_the_choice():
    logits = two_class_logits([0.5, 0.4])
    labels = torch.tensor([0, 1]).view(1, 1, 2)
    expected = (3 * -math.log(0.5) + 1 * -math.log(0.6)) / 2
    weights = torch.tensor([3.0, 1.0], dtype=torch.float64)
    assert float(ohem_cross_entropy(logits, labels, weights)) == pytest.approx(expected)


def test_the_threshold_is_a_probability_of_seven_tenths():
    assert pytest.approx(0.7) == math.exp(-HARD_LOSS)


def test_gradients_in_float64():
    torch.manual_seed(0)
    student = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 4, 5))
    assert torch.autograd.gradcheck(lambda s: ohem_cross_entropy(s, labels), student)
