# SPDX-License-Identifier: Apache-2.0
"""Networks for the engine's tests."""

from __future__ import annotations

import torch

from anyseg_ros.model.segmentor import AnySeg, AnySegConfig
from benchmarks.published import PublishedAnySeg


def randomised(backbone: str = "b0-half", width: int = 24, classes: int = 6, by: float = 0.1) -> AnySeg:
    """A network whose every parameter and statistic matters."""
    torch.manual_seed(11)
    model = AnySeg(AnySegConfig(classes, backbone, width)).eval().requires_grad_(False)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.2, 3.0)
        elif value.is_floating_point():
            value.add_(torch.randn_like(value), alpha=by)
    return model


MODEL = randomised()
PLAIN = PublishedAnySeg(MODEL)
