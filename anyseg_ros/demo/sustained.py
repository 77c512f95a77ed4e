# SPDX-License-Identifier: Apache-2.0
"""Measures how many label images a second this machine sustains; ``python -m anyseg_ros.demo.sustained --help``.

A process of its own, so that the demo itself holds neither the network nor its threads.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

from anyseg_ros.bags.reader import BagReader
from anyseg_ros.bags.replay import answers
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.rig_timing import timings_from_rig
from anyseg_ros.sensors.rig import load_rig
from anyseg_ros.sync.synchronizer import Synchronizer

WARM_UP, MEASURED = 6, 24


def measure(bag: Path, rig_path: Path, checkpoint: Path | None, device: str) -> dict[str, object]:
    """Answer the first frames of a bag as fast as possible.

    Returns:
        hz: label images a second; device; checkpoint's file name, class names, palette, validated mIoU by subset.

    Raises:
        ValueError: the bag is shorter than what is to be measured.
    """
    rig = load_rig(rig_path)
    pipeline = Pipeline(rig, checkpoint, device=device)
    with BagReader(bag) as reader:
        stream = answers(reader, pipeline, Synchronizer(timings_from_rig(rig, pipeline.encoding)))
        if len(list(itertools.islice(stream, WARM_UP))) < WARM_UP:
            raise ValueError(f"{bag} gave fewer than {WARM_UP} frames; simulate a longer drive")
        began = time.perf_counter()
        count = len(list(itertools.islice(stream, MEASURED)))
        spent = time.perf_counter() - began
    meta = pipeline.meta
    return {
        "hz": round(count / spent, 2),
        "device": str(pipeline.engine.device),
        "classes": list(meta.classes),
        "palette": [list(colour) for colour in meta.palette],
        "validated_miou": dict(meta.miou),
    }


def main() -> int:
    """Print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bag", type=Path)
    parser.add_argument("--rig", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.bag, arguments.rig, arguments.checkpoint, arguments.device)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
