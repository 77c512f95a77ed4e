# SPDX-License-Identifier: Apache-2.0
"""event_camera_msgs/EventPacket to events in host time, with the state that lives across packets."""

from __future__ import annotations

from collections import Counter
from typing import Any

from anyseg_ros.sensors.event_clock import SensorClock
from anyseg_ros.sensors.evt3 import Evt3Decoder
from anyseg_ros.sensors.libcaer import LibcaerDecoder
from anyseg_ros.sensors.mono import MonoDecoder
from anyseg_ros.sensors.payload import PayloadError, byte_view, stamp_ns
from anyseg_ros.types import Events

ENCODINGS = ("evt3", "libcaer_cmp", "libcaer", "mono")
# What every decoder counts, whether or not its encoding knows it.
COUNTED = ("outside", "untimed", "unknown_words", "invalid", "triggers_rising", "triggers_falling", "torn_bytes")


class EventStream:
    """Reads the packets of one event camera in order of arrival.

    Attributes:
        width, height: sensor size in pixels.
        clock: takes the sensor's times to the host's clock.
        packets: number of packets fed.
        lost_packets: sequence numbers that never came.
    """

    def __init__(self, width: int, height: int):
        self.width, self.height = int(width), int(height)
        self.packets = self.lost_packets = 0
        self.clock = SensorClock()
        self._decoders: dict[str, Evt3Decoder | LibcaerDecoder | MonoDecoder] = {}
        self._encoding: str | None = None
        self._last_seq: int | None = None

    @property
    def watermark_ns(self) -> int | None:
        """Host time up to which everything is decoded, None before the first time."""
        return self.clock.watermark_ns

    @property
    def counters(self) -> dict[str, int]:
        """What went by or was dropped, by reason; ``resets``: how often the estimate of the clocks began anew."""
        inner: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        for decoder in self._decoders.values():
            inner.update({"torn_bytes": decoder.torn_bytes, **decoder.counters})
        own = {"packets": self.packets, "lost_packets": self.lost_packets, "resets": self.clock.resets}
        return {**own, "held_back": self.clock.held_back, **inner}

    def feed(self, packet: Any) -> Events:
        """Decode one event_camera_msgs/EventPacket.

        Returns:
            its events in host time, non-decreasing also against the packets before (except after a reset).

        Raises:
            PayloadError: an encoding that is not read, or a sensor size that is not the rig's.
        """
        encoding = str(packet.encoding)
        check_size(packet.width, packet.height, self.width, self.height)
        decoder = self._decoder(encoding)
        data = byte_view(packet.events)
        self.packets += 1
        self._check_sequence(int(packet.seq))
        now_ns = None
        if isinstance(decoder, Evt3Decoder):
            x, y, p, t_us = decoder.decode(data)
            t_ns = t_us * 1000
            now_ns = None if decoder.time_us is None else decoder.time_us * 1000
        else:
            x, y, p, t_ns = decoder.decode(data, int(packet.time_base), bool(packet.is_bigendian))
        host_ns = self.clock.to_host(t_ns, now_ns, stamp_ns(packet.header))
        return Events(x, y, host_ns, p, self.width, self.height)

    def reset(self) -> None:
        """Begin anew, as after a clock jump; counters stay."""
        self.clock.reset()
        for decoder in self._decoders.values():
            if isinstance(decoder, Evt3Decoder):
                decoder.reset()

    def _decoder(self, encoding: str) -> Evt3Decoder | LibcaerDecoder | MonoDecoder:
        """The decoder of an encoding; a camera that changes it has been started anew."""
        if encoding not in ENCODINGS:
            what = "carries triggers and no events" if encoding == "trigger" else "is not read"
            raise PayloadError(
                f"event encoding '{encoding}' {what}, expected {', '.join(ENCODINGS)}; set the driver to evt3 "
                "(Prophesee) or libcaer_cmp (iniVation)"
            )
        if self._encoding not in (None, encoding):
            self.reset()
        self._encoding = encoding
        if encoding not in self._decoders:
            if encoding == "evt3":
                self._decoders[encoding] = Evt3Decoder(self.width, self.height)
            elif encoding == "mono":
                self._decoders[encoding] = MonoDecoder(self.width, self.height)
            else:
                self._decoders[encoding] = LibcaerDecoder(self.width, self.height, encoding == "libcaer_cmp")
        return self._decoders[encoding]

    def _check_sequence(self, seq: int) -> None:
        """Count lost packets; a number that runs back means that the driver started again."""
        last, self._last_seq = self._last_seq, seq
        if last is None or seq == last:
            return
        if seq < last:
            self.reset()
        elif seq > last + 1:
            self.lost_packets += seq - last - 1
            for decoder in self._decoders.values():
                if isinstance(decoder, Evt3Decoder):
                    decoder.resync()


def warm_up() -> None:
    """Compile the decoders of every encoding, so that no first packet has to wait for it."""
    Evt3Decoder(1, 1).decode(b"")
    MonoDecoder(1, 1).decode(b"", 0, False)
    for compressed in (False, True):
        LibcaerDecoder(1, 1, compressed).decode(b"", 0, False)


def check_size(width: int, height: int, rig_width: int, rig_height: int) -> None:
    """Compare a message's sensor with the rig's.

    Raises:
        PayloadError: they differ.
    """
    if (int(width), int(height)) != (rig_width, rig_height):
        raise PayloadError(
            f"the packet is of a {width} x {height} sensor, but the rig says {rig_width} x {rig_height}: "
            "correct the rig or the driver"
        )
