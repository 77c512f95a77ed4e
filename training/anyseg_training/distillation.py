# SPDX-License-Identifier: Apache-2.0
"""What a student learns from a frozen teacher that sees every modality: MAD, UMD and CMD (arXiv 2411.17141).

Predictions (MAD), the features of each modality (UMD), and how alike the features of two modalities are (CMD). Where
the paper prints something that cannot work, the docstrings say what, and what is done instead.

A stream is one modality of one sample. ``student`` and ``teacher`` are the unfused maps of the same streams, one
tensor [S,C_i,h_i,w_i] per scale. All three take the plain mean over positions, sum over scales and over a sample's
streams (as printed), and take the mean over samples. Sums are made in float32 or better whatever the inputs are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

DIRECTIONS = ("teacher_to_student", "student_to_teacher")
MAD_SCALES = ("pixel", "pixel_and_class")
UMD_AXES = ("channel", "space")

# Cosines c become probabilities (1 + COSINE_SHRINK * c) / 2, so 0.05 to 0.95: no logarithm of zero, and the
# derivative of CMD with respect to a cosine is at most 2 s^2 / (1 - s^2) = 8.6 in size.
COSINE_SHRINK = 0.9
# Added to squared lengths. Features are LayerNorm's, of squared length near their width, so this moves no cosine
# that matters, and keeps the derivative at the zero vector below 1 / sqrt(LENGTH_FLOOR).
LENGTH_FLOOR = 1e-4


def kl(log_p: Tensor, log_q: Tensor, dim: int) -> Tensor:
    """Kullback-Leibler divergence KL(p || q) in nats over one dimension; zero where p is zero."""
    return (log_p.exp() * (log_p - log_q)).sum(dim)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precisions become float32; float32 and float64 stay."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def mad_loss(
    student_logits: Tensor, teacher_logits: Tensor, direction: str = "teacher_to_student", scale: str = "pixel"
) -> Tensor:
    """Multimodal-to-anymodal distillation of the predictions, T = 1.

    The paper prints KL(P_am, P_mm), student first, and a weight of 50; the training code of its authors' follow-up
    computes KL(teacher || student) and averages over pixels and classes, which makes 50 a weight of 50 / K per pixel.
    Both directions and both scalings are here. The default makes the student cover what the teacher considers
    possible, per pixel.

    Args:
        student_logits: [B,K,h,w].
        teacher_logits: [B,K,h,w]; no gradient flows into it.
        direction: ``teacher_to_student``, KL(teacher || student), or ``student_to_teacher``, as printed.
        scale: ``pixel``, the mean over pixels, or ``pixel_and_class``, divided by K as well.
    """
    check_choice("direction", direction, DIRECTIONS)
    check_choice("scale", scale, MAD_SCALES)
    log_student = F.log_softmax(at_least_float32(student_logits), 1)
    log_teacher = F.log_softmax(at_least_float32(teacher_logits.detach()), 1)
    forward = direction == "teacher_to_student"
    loss = kl(log_teacher, log_student, 1) if forward else kl(log_student, log_teacher, 1)
    return loss.mean() / (student_logits.shape[1] if scale == "pixel_and_class" else 1)


def umd_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], samples: int, axis: str = "channel") -> Tensor:
    """Unimodal distillation: each modality's features in the student follow the same modality's in the teacher.

    The paper prints KL(f, g) of the features and leaves open over what they are distributions; a KL of raw features
    is undefined, for they may be negative. The follow-up's code takes a softmax over the image's height, most likely a
    slip. Here, per stream and scale, KL(softmax f || softmax g), normalised

    - over the channels of a position (``channel``), mean over positions: which channels answer here, or
    - over the positions of a channel (``space``), mean over channels: where this channel answers (the form of
      Shu et al., arXiv 2011.13256).

    A softmax does not see a constant added along its axis, so neither does the loss.

    Args:
        student: per scale [S,C_i,h_i,w_i], S at least 1.
        teacher: the same streams; no gradient flows into it.
        samples: number of samples B that the streams belong to.
        axis: ``channel`` or ``space``.
    """
    check_choice("axis", axis, UMD_AXES)
    total = student[0].new_zeros((), dtype=at_least_float32(student[0]).dtype)
    for g, f in zip(student, teacher, strict=True):
        dim = 2 if axis == "channel" else 1  # of [S,h*w,C], which is how the encoder's maps lie in memory
        log_g = F.log_softmax(at_least_float32(g).flatten(2).transpose(1, 2), dim)
        log_f = F.log_softmax(at_least_float32(f.detach()).flatten(2).transpose(1, 2), dim)
        total = total + kl(log_f, log_g, dim).mean(1).sum()
    return total / samples


def cmd_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], sample: Tensor, samples: int) -> Tensor:
    """Cross-modal distillation: two modalities are as alike in the student as they are in the teacher.

    The paper prints a divergence x log(x / y) of the cosine similarities x, y between two modalities' features. That
    is undefined for negative cosines and no divergence even for positive ones, since cosines do not sum to 1: it can be
    negative, and its minimum is not at x = y. The follow-up's variant gives 0.3623 for identical and 0.3627 for random
    features. Here a cosine c becomes the probability p = (1 + 0.9 c) / 2 that the two features agree, and the loss is
    KL(p_teacher || p_student) of these two-way distributions: zero if and only if the cosines are equal, positive
    otherwise, with a bounded gradient for every cosine, -1 and 1 included, and at the zero vector. The cosine is
    taken over the channels of each position; mean over positions, sum over a sample's pairs of streams.

    Args:
        student: per scale [S,C_i,h_i,w_i].
        teacher: the same streams; no gradient flows into it.
        sample: int64 [S], which sample each stream belongs to.
        samples: number of samples B.

    Returns:
        A scalar; zero (with a gradient of zero) when no sample has two streams.
    """
    one, other = pairs_of(sample)
    total = student[0].new_zeros((), dtype=at_least_float32(student[0]).dtype)
    for g, f in zip(student, teacher, strict=True):
        here = cosine(at_least_float32(g), one, other)
        there = cosine(at_least_float32(f.detach()), one, other)
        total = total + agreement_kl(there, here).sum() / (g.shape[2] * g.shape[3])
    return total / samples


def pairs_of(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Index pairs (a, b), a < b, of streams of one sample: two int64 [P]."""
    same = sample[:, None] == sample[None, :]
    one, other = same.triu(1).nonzero(as_tuple=True)
    return one, other


def cosine(x: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Cosine over the channels between streams ``one`` and ``other`` of [S,C,h,w]: [P,h,w], smooth everywhere."""
    unit = x * (x.square().sum(1, keepdim=True) + LENGTH_FLOOR).rsqrt()
    return (unit[one] * unit[other]).sum(1)


def agreement_kl(teacher_cosine: Tensor, student_cosine: Tensor) -> Tensor:
    """KL between the two-way distributions (p, 1 - p) with p = (1 + COSINE_SHRINK * cosine) / 2, elementwise."""
    p, q = (0.5 + 0.5 * COSINE_SHRINK * c for c in (teacher_cosine, student_cosine))
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a word that means nothing.

    Raises:
        ValueError: names the words that do.
    """
    if value not in known:
        raise ValueError(f"{name} '{value}' is unknown; known are {', '.join(known)}")
