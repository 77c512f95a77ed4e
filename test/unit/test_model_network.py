# SPDX-License-Identifier: Apache-2.0
"""The network: shapes, subsets, the commuted head against the printed form."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from anyseg_ros.model.head import MLPHead
from anyseg_ros.model.mit import VARIANTS, MiT, attend
from anyseg_ros.model.segmentor import AnySeg, AnySegConfig


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def small(classes: int = 5) -> AnySeg:
    return AnySeg(AnySegConfig(classes, "b0-half", 24)).eval()


def printed_head(head: MLPHead, maps: list[torch.Tensor]) -> torch.Tensor:
    """The head as the paper prints it: linear, upsample, concatenate coarsest first, convolve."""
    linears = [head.linear_c1, head.linear_c2, head.linear_c3, head.linear_c4]
    size = maps[0].shape[-2:]
    projected = [
        F.interpolate(layer.proj(m.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), size, mode="bilinear", align_corners=False)
        for layer, m in zip(linears, maps, strict=True)
    ]
    x = head.linear_fuse.conv(torch.cat(projected[::-1], 1))
    return head.linear_pred(head.dropout(F.relu(head.linear_fuse.bn(x))))


def test_published_parameter_count():
    """METHOD: size B0 with a head of 768 has 6.10 M parameters on MUSES and DELIVER's class counts."""
    count = sum(p.numel() for p in AnySeg(AnySegConfig(25, "b0", 768)).parameters())
    assert 6.05e6 < count < 6.15e6


@pytest.mark.parametrize("size", [(32, 32), (36, 44), (64, 32), (48, 100)])
def test_scales(size):
    maps = MiT(VARIANTS["b0-half"]).eval()(torch.randn(2, 3, *size))
    height, width = size[0] // 4, size[1] // 4
    for m, dim in zip(maps, (16, 32, 80, 128), strict=True):
        assert m.shape == (2, dim, height, width)
        height, width = (height + 1) // 2, (width + 1) // 2


@pytest.mark.parametrize("size", [(30, 64), (64, 66), (28, 64)])
def test_sizes_that_do_not_fit_are_refused(size):
    with pytest.raises(ValueError, match="multiple of 4.*at least 32"):
        small()(torch.zeros(1, 1, 3, *size))


@pytest.mark.parametrize("training", [False, True])
def test_commuted_head_equals_the_printed_one(training):
    head = MLPHead((16, 32, 80, 128), 24, 7).train(training)
    head.linear_fuse.bn.running_mean.normal_()
    head.linear_fuse.bn.running_var.uniform_(0.5, 2.0)
    for layer in (head.linear_c1, head.linear_c2, head.linear_c3, head.linear_c4):
        torch.nn.init.normal_(layer.proj.bias)
    head.dropout.p = 0.0
    maps = [torch.randn(2, c, 12 // s, 20 // s) for c, s in zip((16, 32, 80, 128), (1, 2, 4, 4), strict=True)]
    expected, found = printed_head(head, maps), head(maps)
    assert (expected - found).abs().max() < 1e-5 * expected.abs().max().clamp(min=1.0)


@pytest.mark.parametrize("classes", [1, 2, 19, 25])
@pytest.mark.parametrize("batch", [1, 2])
def test_any_class_count_and_batch_size_trains(classes, batch):
    model = small(classes).train()
    out = model(torch.randn(batch, 2, 3, 32, 36))
    assert out.shape == (batch, classes, 8, 9)
    out.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_absent_modalities_are_left_out_exactly():
    """With a mask, each sample equals the network fed only what is present; absent images may hold anything."""
    model = small().double()
    x = torch.randn(7, 3, 3, 32, 32, dtype=torch.float64)
    present = torch.tensor([[n & 1, n & 2, n & 4] for n in range(1, 8)]) > 0
    x[~present] = float("nan")
    out = model(x, present)
    for i in range(7):
        alone = model(x[i : i + 1, present[i]])
        torch.testing.assert_close(out[i : i + 1], alone, rtol=1e-12, atol=1e-12)


def test_full_mask_equals_no_mask_and_order_does_not_matter():
    model = small().double()
    x = torch.randn(2, 3, 3, 32, 32, dtype=torch.float64)
    plain = model(x)
    torch.testing.assert_close(model(x, torch.ones(2, 3, dtype=torch.bool)), plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model(x[:, [2, 0, 1]]), plain, rtol=1e-12, atol=1e-12)


def test_features_and_decode_compose_to_forward():
    model = small()
    x = torch.randn(2, 3, 3, 32, 32)
    maps = model.features(x)
    assert [tuple(m.shape[:3]) for m in maps] == [(2, 3, c) for c in (16, 32, 80, 128)]
    torch.testing.assert_close(model.decode([m.mean(1) for m in maps]), model(x))


def test_only_present_images_are_encoded():
    model = small()
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[0]))
    model(torch.randn(2, 3, 3, 32, 32), torch.tensor([[True, False, False], [True, True, False]]))
    assert seen == [3]


def test_bad_masks_and_stacks_are_refused_with_a_sentence():
    model, x = small(), torch.zeros(2, 3, 3, 32, 32)
    with pytest.raises(ValueError, match=r"samples \[1\].*no modality"):
        model(x, torch.tensor([[True, True, True], [False, False, False]]))
    with pytest.raises(ValueError, match="expected bool"):
        model(x, torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"expected \[B,M,3,H,W\]"):
        model(x[0])


@pytest.mark.parametrize("arguments", [(0,), (256,), (5, "b9"), (5, "b0", 0)])
def test_impossible_architectures_are_refused(arguments):
    with pytest.raises(ValueError):
        AnySegConfig(*arguments)


def test_attention_is_softmax_of_scaled_products():
    q, k, v = (torch.randn(2, 3, n, 4, dtype=torch.float64) for n in (6, 5, 5))
    expected = (q @ k.transpose(-2, -1) / 2.0).softmax(-1) @ v
    torch.testing.assert_close(attend(q, k, v), expected)


def test_drop_path_keeps_the_expectation_and_is_off_in_evaluation():
    model = small().train()
    drop = model.encoder.block[3][1].drop_path
    assert drop.probability == pytest.approx(0.1)
    x = torch.ones(20_000, 1, 1)
    out = drop(x)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    assert float(out.mean()) == pytest.approx(1.0, abs=0.02)
    assert drop.eval()(x) is x
