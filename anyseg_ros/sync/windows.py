# SPDX-License-Identifier: Apache-2.0
"""Windows of an event stream: which part of a window has arrived, and its events as one piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anyseg_ros.sync.buffers import Buffer, Item
from anyseg_ros.types import Events, Measurement


@dataclass(frozen=True)
class Window:
    """What is known of a window of the stream.

    Attributes:
        covered_ns: how much of the window lies inside chunks that have arrived.
        until_ns: corrected time up to which it is covered.
        chunks: the chunks that overlap it, by their start.
    """

    covered_ns: int
    until_ns: int
    chunks: tuple[Item, ...]


def look_up(buffer: Buffer, after_ns: int, until_ns: int) -> Window:
    """The state of the window (after_ns, until_ns], both in corrected time. Chunks may overlap."""
    overlapping = [item for item in buffer.after(after_ns) if item.start_ns < until_ns]
    overlapping.sort(key=lambda item: item.start_ns)
    covered = 0
    reached = after_ns
    for item in overlapping:
        end = min(item.corrected_ns, until_ns)
        covered += max(0, end - max(item.start_ns, reached))
        reached = max(reached, end)
    return Window(covered, reached, tuple(overlapping))


def cut_out(window: Window, after_ns: int, until_ns: int, offset_ns: int) -> Measurement | None:
    """The events in (after_ns, until_ns] as one measurement; None where there is not a single one.

    Args:
        window: what ``look_up`` said about it.
        after_ns: start, corrected.
        until_ns: end, corrected.
        offset_ns: the sensor's offset, which leads back to its own stamps.
    """
    parts = []
    reached = after_ns
    for item in window.chunks:
        end = min(item.corrected_ns, until_ns)
        if end <= reached:
            continue
        part = item.measurement.payload.between(reached + offset_ns, end + offset_ns)
        reached = end
        if len(part.t_ns):
            parts.append(part)
    if not parts:
        return None
    newest = window.chunks[-1].measurement
    return Measurement(
        sensor=newest.sensor,
        modality=newest.modality,
        stamp_ns=window.until_ns + offset_ns,
        payload=join_events(parts),
        frame_id=newest.frame_id,
        start_ns=after_ns + offset_ns,
    )


def join_events(parts: Sequence[Events]) -> Events:
    """Chunks of one sensor, in time order, as one; a single chunk is passed on as it is.

    Raises:
        ValueError: there are no chunks.
    """
    if not parts:
        raise ValueError("there are no event chunks to join; expected at least one")
    if len(parts) == 1:
        return parts[0]
    return Events(
        x=np.concatenate([part.x for part in parts]),
        y=np.concatenate([part.y for part in parts]),
        t_ns=np.concatenate([part.t_ns for part in parts]),
        p=np.concatenate([part.p for part in parts]),
        width=parts[0].width,
        height=parts[0].height,
    )
