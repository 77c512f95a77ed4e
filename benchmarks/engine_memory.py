# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.engine_memory engine|plain HEIGHT WIDTH``: peak memory of one frame, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch


def peak_mb() -> float:
    """The most resident memory that this process ever held.

    Linux alone: getrusage's ru_maxrss is no use, because a process inherits it from the one that started it.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmHWM; peak memory is measured on Linux only")


def main(way: str, height: str, width: str) -> None:
    """Load everything and answer a small frame, then one of the size asked for."""
    from anyseg_ros.engine.engine import Engine
    from anyseg_ros.engine.torch_networks import TorchNetworks
    from benchmarks.engine import PUBLISHED_WIDTH, meta_of, random_model
    from benchmarks.engine_tables import STREAMS
    from benchmarks.published import PublishedAnySeg

    model = random_model(PUBLISHED_WIDTH)
    if way == "engine":
        network = Engine(TorchNetworks(model), meta_of(model, (64, 64)), device="cpu")
    else:
        network = PublishedAnySeg(model)
    network.infer(torch.randn(STREAMS, 3, 64, 64).numpy())
    stack = torch.randn(STREAMS, 3, int(height), int(width)).numpy()
    before = peak_mb()
    network.infer(stack)
    peak = peak_mb()
    print(json.dumps({"before_mb": before, "peak_mb": peak, "grown_mb": peak - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
