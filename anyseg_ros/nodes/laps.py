# SPDX-License-Identifier: Apache-2.0
"""A bag as one long drive: lap after lap, with stamps that go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

from anyseg_ros.nodes.playlist import Item, Playlist
from anyseg_ros.sensors.rig import Rig


def onward(playlist: Playlist, rig: Rig, stop: threading.Event) -> Iterator[Item]:
    """The items of a bag again and again, each lap later than the one before; the first lap stays in memory.

    A lap is as long as the bag in whole periods of the rig's best sensor that the bag holds, so that its pace does not
    stumble from lap to lap; what the bag holds after that is left out.

    Raises:
        ValueError: the bag holds too little for a lap.
    """
    lap = list(playlist.items(stop))
    names = {item.track.sensor.name for item in lap if item.track.sensor}
    best = next((sensor for sensor in rig.sensors if sensor.name in names), None)
    times = [item.bag_ns for item in lap if best and item.track.sensor and item.track.sensor.name == best.name]
    if best is None or len(times) < 2:
        raise ValueError("the bag holds fewer than two measurements of the rig's best sensor; play a longer one")
    length_ns = round((times[-1] - times[0]) / best.period_ns + 1) * best.period_ns
    lap = [item for item in lap if item.bag_ns - playlist.start_ns < length_ns]
    past_ns = 0
    while not stop.is_set():
        for item in lap:
            if past_ns and item.track.latched:
                continue
            yield replace(item, bag_ns=item.bag_ns + past_ns, moved_ns=past_ns)
        past_ns += length_ns
