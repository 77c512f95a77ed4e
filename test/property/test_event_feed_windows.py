# SPDX-License-Identifier: Apache-2.0
"""Windows of a stream whose packets overtake each other: every event that nothing has overtaken, once, and no other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anyseg_ros.bags.event_feed import EventFeed
from anyseg_ros.real import event_rig
from anyseg_ros.sync.buffers import Buffer, Item
from anyseg_ros.sync.windows import cut_out, look_up
from anyseg_ros.types import Events

PACKET_NS = 1000
STAMP_NS = 1_700_000_000_000_000_000


def packet(number: int, times: list[int]) -> Events:
    """The events of one packet, at offsets in its span (0, PACKET_NS]; ``x`` counts them."""
    t_ns = np.array(sorted(STAMP_NS + number * PACKET_NS + t for t in {*times, PACKET_NS}), np.int64)
    zeros = np.zeros(len(t_ns), np.uint16)
    return Events(zeros, zeros, t_ns, zeros.astype(bool), 640, 480)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(1, PACKET_NS), max_size=3), st.integers(0, 5 * PACKET_NS)),
        min_size=1,
        max_size=12,
    ),
    st.integers(0, 12 * PACKET_NS),
    st.integers(1, 6 * PACKET_NS),
)
def test_a_window_holds_what_was_not_overtaken(packets, until, length):
    feed, buffer = EventFeed(event_rig(640, 480).sensors[0]), Buffer(100, 1 << 30)
    feed.joined(packet(-1, []), STAMP_NS, "dvs")  # before the first of all nothing is known, and nothing overtaken
    order = sorted(range(len(packets)), key=lambda n: (n + 1) * PACKET_NS + packets[n][1])  # each is delayed by its own
    kept, newest_ns = [], 0
    for n in order:
        events = packet(n, packets[n][0])
        measurement = feed.joined(events, int(events.t_ns[-1]), "dvs")
        buffer.add(Item(measurement, measurement.stamp_ns, measurement.start_ns, 1))
        if events.t_ns[-1] > newest_ns:
            newest_ns = int(events.t_ns[-1])
            kept += events.t_ns.tolist()
    after_ns, until_ns = STAMP_NS + until - length, STAMP_NS + until
    found = cut_out(look_up(buffer, after_ns, until_ns), after_ns, until_ns, 0)
    expected = sorted(t for t in kept if after_ns < t <= until_ns)
    assert ([] if found is None else found.payload.t_ns.tolist()) == expected
