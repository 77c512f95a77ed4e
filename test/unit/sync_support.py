# SPDX-License-Identifier: Apache-2.0
"""A short way to write schedules in milliseconds for the synchroniser's tests."""

import numpy as np

from anyseg_ros.modality import Modality
from anyseg_ros.sync.synchronizer import Synchronizer
from anyseg_ros.sync.timing import MS, SECOND, SensorTiming, SyncConfig
from anyseg_ros.types import Events, Measurement

STAMP0 = 1_700_000_000 * SECOND
"""Zero of the stamps, on a multiple of every output period in use."""
NOW0 = 5_000 * SECOND
"""Zero of ``now``: another clock, as a steady clock is."""

MODALITIES = {"camera": Modality.CAMERA, "lidar": Modality.LIDAR, "event": Modality.EVENT, "depth": Modality.DEPTH}


def timing(name, period_ms=100, **others):
    """A sensor by the name of its modality, with times in ms: timing("lidar", 100, offset_ms=4)."""
    fields = {f"{key[:-3]}_ns" if key.endswith("_ms") else key: value for key, value in others.items()}
    fields = {key: round(value * MS) if key.endswith("_ns") else value for key, value in fields.items()}
    modality = MODALITIES[name.rstrip("0123456789")]
    return SensorTiming.from_period(name, modality, round(period_ms * MS), **fields)


def frame(name, ms, payload=b"frame"):
    """A frame with its stamp."""
    return Measurement(name, MODALITIES[name.rstrip("0123456789")], STAMP0 + round(ms * MS), payload, f"{name}_frame")


def chunk(after_ms, until_ms, at_ms=None, name="event", x=0):
    """An event chunk that covers (after, until], with an event at each of ``at_ms`` (default: each millisecond)."""
    times = np.arange(after_ms + 1, until_ms + 0.5) if at_ms is None else np.asarray(at_ms, dtype=float)
    t_ns = STAMP0 + np.round(times * MS).astype(np.int64)
    side = np.full(len(t_ns), x, np.uint16)
    events = Events(side, side, t_ns, np.ones(len(t_ns), np.uint8), 320, 180)
    stamp = STAMP0 + round(until_ms * MS)
    return Measurement(name, Modality.EVENT, stamp, events, f"{name}_frame", STAMP0 + round(after_ms * MS))


class Player:
    """A synchroniser with ``now`` in milliseconds; keeps every set it gives out."""

    def __init__(self, *timings, max_wait_ms=150, margin_ms=10, **others):
        config = SyncConfig(
            tuple(timings), max_wait_ns=round(max_wait_ms * MS), margin_ns=round(margin_ms * MS), **others
        )
        self.sync = Synchronizer(config)
        self.sets = []

    def add(self, ms, *measurements):
        """Hand measurements over without letting time pass; returns the sets."""
        given = [s for m in measurements for s in self.sync.add(m, NOW0 + round(ms * MS))]
        self.sets += given
        return given

    def advance(self, ms):
        """Let time pass; returns the sets."""
        given = self.sync.advance(NOW0 + round(ms * MS))
        self.sets += given
        return given

    def at(self, ms, *measurements):
        """Drain, then advance, as the node does; returns the sets."""
        return self.add(ms, *measurements) + self.advance(ms)

    @property
    def deadline_ms(self):
        """When advance has something to do."""
        deadline = self.sync.next_deadline_ns()
        return None if deadline is None else (deadline - NOW0) / MS

    def counts(self, name):
        """Counts of a sensor that are not 0."""
        return {key: value for key, value in self.sync.counts()[name].items() if value}


def play(player, arrivals):
    """Play (ms, measurement) in order of time, advancing at each deadline in between."""
    for ms, measurement in sorted(arrivals, key=lambda a: a[0]):
        passed = None
        while (deadline := player.deadline_ms) is not None and deadline <= ms:
            assert passed is None or deadline > passed, "advance at the deadline did nothing about it"
            player.advance(deadline)
            passed = deadline
        player.at(ms, measurement)


def frames(name, first_ms, last_ms, lag_ms=10, period_ms=100):
    """(ms, frame) for each period of a stretch of stamps, the last one included."""
    return [(ms + lag_ms, frame(name, ms)) for ms in range(first_ms, last_ms + 1, period_ms)]


def chunks(first_ms, last_ms, lag_ms=2, step_ms=10):
    """(ms, event chunk) for a stretch of the stream."""
    return [(ms + step_ms + lag_ms, chunk(ms, ms + step_ms)) for ms in range(first_ms, last_ms, step_ms)]


def stamp_ms(frame_set):
    """The stamp of a set."""
    return (frame_set.stamp_ns - STAMP0) / MS


def stamps_ms(sets):
    """The stamps of sets."""
    return [stamp_ms(s) for s in sets]


def partner_ms(frame_set, name):
    """The stamp of a sensor's measurement in a set."""
    return (frame_set.present[name].stamp_ns - STAMP0) / MS
