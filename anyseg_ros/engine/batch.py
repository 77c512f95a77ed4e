# SPDX-License-Identifier: Apache-2.0
"""The sets of several rigs in one run of the network, where that is cheaper than one after another.

On a CPU that is while the grid is small: operations are then so short that starting them and sharing them among
threads costs as much as they do; docs/engine.md says what was measured. On a large grid the first set would only wait
for the last. On a GPU a set is the replay of one recorded graph, and an ONNX file is for one set: both go set by set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from anyseg_ros.engine.network import Network

MOST_SETS = 8
"""Of one run: its memory grows with them."""
MOST_PIXELS = 512 * 512
"""Of a grid whose sets are run together."""

Answer = tuple[np.ndarray, np.ndarray]


@runtime_checkable
class BatchingNetwork(Network, Protocol):
    """A network that can run several sets at once."""

    def labels_of_sets(self, sets: Sequence[Tensor]) -> list[Answer]:
        """Sets of images, each float32 [M_i,3,H,W] of one size, -> what ``labels`` gives for each."""


def sets_at_once(network: Network, height: int, width: int) -> int:
    """How many sets of a grid should be run together."""
    return MOST_SETS if isinstance(network, BatchingNetwork) and height * width <= MOST_PIXELS else 1


def labels_of(network: Network, sets: Sequence[Tensor]) -> list[Answer]:
    """Answer sets of images, each float32 [M_i,3,H,W] of one size, together where that is cheaper."""
    at_once = sets_at_once(network, *sets[0].shape[2:]) if len(sets) > 1 else 1
    if at_once == 1 or not isinstance(network, BatchingNetwork):
        return [network.labels(images) for images in sets]
    parts = [sets[first : first + at_once] for first in range(0, len(sets), at_once)]
    return [answer for part in parts for answer in network.labels_of_sets(part)]
