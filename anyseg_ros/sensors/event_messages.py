# SPDX-License-Identifier: Apache-2.0
"""event_camera_msgs/EventPacket to events in host time, with the state that lives across packets."""

from __future__ import annotations

from typing import Any

import numpy as np

from anyseg_ros.sensors.evt3 import Evt3Decoder
from anyseg_ros.sensors.payload import PayloadError, byte_view, stamp_ns
from anyseg_ros.types import Events

OFFSET_GAIN = 0.01
OFFSET_JUMP_NS = 1_000_000_000


class EventStream:
    """Reads the packets of one event camera in order of arrival.

    The sensor's clock starts anywhere; its offset to the host's clock is (header stamp - time of the packet's first
    event), averaged exponentially, so that the jitter of arrival does not move the events against each other.

    Attributes:
        width, height: sensor size in pixels.
        offset_ns: host time minus sensor time, None before the first event.
        watermark_ns: host time up to which everything is decoded, None before the first time.
        packets: number of packets fed.
        lost_packets: sequence numbers that never came.
        resets: how often the sensor's or the host's time ran back or jumped and the estimate began anew.
    """

    def __init__(self, width: int, height: int):
        self.width, self.height = int(width), int(height)
        self.packets = self.lost_packets = self.resets = self.outside = 0
        self.offset_ns: int | None = None
        self.watermark_ns: int | None = None
        self._decoder = Evt3Decoder(width, height)
        self._last_seq: int | None = None
        self._last_ns: int | None = None

    @property
    def counters(self) -> dict[str, int]:
        """What went by or was dropped, by reason."""
        inner = self._decoder.counters
        inner["outside"] += self.outside
        own = {"packets": self.packets, "lost_packets": self.lost_packets, "resets": self.resets}
        return {**own, "torn_bytes": self._decoder.torn_bytes, **inner}

    def feed(self, packet: Any) -> Events:
        """Decode one event_camera_msgs/EventPacket.

        Returns:
            its events in host time, non-decreasing also against the packets before (except after a reset).

        Raises:
            PayloadError: an encoding that is not read, or a sensor size that is not the rig's.
        """
        encoding = str(packet.encoding)
        if encoding not in ("evt3", "mono"):
            raise PayloadError(
                f"event encoding '{encoding}' is not read, expected evt3 or mono; set the driver to evt3"
            )
        if (int(packet.width), int(packet.height)) != (self.width, self.height):
            raise PayloadError(
                f"the packet is of a {packet.width} x {packet.height} sensor, but the rig says {self.width} x "
                f"{self.height}: correct the rig or the driver"
            )
        self.packets += 1
        self._check_sequence(int(packet.seq))
        data = byte_view(packet.events)
        if encoding == "evt3":
            x, y, p, t_us = self._decoder.decode(data)
            t_ns, now_us = t_us * 1000, self._decoder.time_us
            sensor_now_ns = None if now_us is None else now_us * 1000
        else:
            x, y, p, t_ns = self._mono(data, int(packet.time_base), bool(packet.is_bigendian))
            sensor_now_ns = int(t_ns[-1]) if len(t_ns) else None
        t_ns = self._to_host(t_ns, sensor_now_ns, stamp_ns(packet.header))
        return Events(x, y, t_ns, p, self.width, self.height)

    def reset(self) -> None:
        """Begin anew, as after a clock jump; counters stay."""
        self.resets += 1
        self._decoder.reset()
        self.offset_ns = self.watermark_ns = self._last_ns = None

    def _check_sequence(self, seq: int) -> None:
        """Count lost packets; a number that runs back means that the driver started again."""
        last, self._last_seq = self._last_seq, seq
        if last is None or seq == last:
            return
        if seq < last:
            self.reset()
        elif seq > last + 1:
            self.lost_packets += seq - last - 1
            self._decoder.resync()

    def _mono(self, data: np.ndarray, time_base: int, big: bool) -> tuple[np.ndarray, ...]:
        """The deprecated encoding mono: 64-bit words, polarity 63, y 48-62, x 32-47, nanoseconds 0-31."""
        words = data[: len(data) // 8 * 8].view(">u8" if big else "<u8").astype(np.uint64)
        if len(data) % 8:
            self._decoder.torn_bytes += 1
        x = (words >> np.uint64(32) & np.uint64(0xFFFF)).astype(np.uint16)
        y = (words >> np.uint64(48) & np.uint64(0x7FFF)).astype(np.uint16)
        p = (words >> np.uint64(63)).astype(np.uint8)
        # time_base is any uint64 in a torn message: keep the sum within int64
        t_ns = (words & np.uint64(0xFFFFFFFF)).astype(np.int64) + min(time_base, 1 << 62)
        inside = (x < self.width) & (y < self.height)
        self.outside += int(len(x) - inside.sum())
        return x[inside], y[inside], p[inside], t_ns[inside]

    def _to_host(self, t_ns: np.ndarray, sensor_now_ns: int | None, header_ns: int) -> np.ndarray:
        """Sensor times in the host's clock; learns the offset from the packet's first event."""
        if len(t_ns):
            seen = header_ns - int(t_ns[0])
            if self.offset_ns is not None and abs(seen - self.offset_ns) > OFFSET_JUMP_NS:
                self.resets += 1
                self.offset_ns = self._last_ns = self.watermark_ns = None
            if self.offset_ns is None:
                self.offset_ns = seen
            self.offset_ns += round(OFFSET_GAIN * (seen - self.offset_ns))
        if self.offset_ns is None:
            return t_ns
        host = np.maximum.accumulate(t_ns + self.offset_ns)
        if self._last_ns is not None:
            host = np.maximum(host, self._last_ns)
        if len(host):
            self._last_ns = int(host[-1])
        if sensor_now_ns is not None:
            known = [sensor_now_ns + self.offset_ns, *(n for n in (self._last_ns, self.watermark_ns) if n is not None)]
            self.watermark_ns = max(known)
        return host
