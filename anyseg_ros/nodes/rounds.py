# SPDX-License-Identifier: Apache-2.0
"""One round of the worker: the frame sets of several rigs encoded, one run of the network, each answered on its own."""

from __future__ import annotations

from collections.abc import Sequence

from anyseg_ros.nodes.frame_processor import FrameProcessor
from anyseg_ros.pipeline import segment_together
from anyseg_ros.types import FrameSet

Due = tuple[FrameProcessor, FrameSet]


def answer(due: Sequence[Due]) -> list[Exception | None]:
    """Answers the frame sets of one round.

    Args:
        due: at most one set of each rig; the rigs share one network.

    Returns:
        For each set the exception on which it failed, or None. What fails in one rig's encoding or publishing fails
        for that rig alone; the network fails for all.
    """
    errors: list[Exception | None] = [None] * len(due)
    ready = []
    for at, (processor, frame_set) in enumerate(due):
        try:
            prepared = processor.prepare(frame_set)
        except Exception as error:  # the other rigs outlive it
            errors[at] = error
            continue
        if prepared is not None:
            ready.append((at, processor, prepared))
    if not ready:
        return errors
    try:
        found = segment_together([(processor.pipeline, one.stack, one.frame_set) for _, processor, one in ready])
    except Exception as error:
        for at, _, _ in ready:
            errors[at] = error
        return errors
    for (at, processor, prepared), segmentation in zip(ready, found, strict=True):
        try:
            processor.finish(prepared, segmentation)
        except Exception as error:
            errors[at] = error
    return errors
