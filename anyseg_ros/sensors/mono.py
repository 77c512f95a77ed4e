# SPDX-License-Identifier: Apache-2.0
"""The deprecated encoding mono (event_camera_msgs): one 64-bit word an event, in the sender's byte order.

Source: the decoder of event_camera_codecs. Polarity (bit 63), row (48-62), column (32-47), nanoseconds after the
packet's ``time_base`` (0-31).
"""

from __future__ import annotations

import numpy as np
from numba import njit

LATEST_NS = 1 << 62  # of a time base, which is any uint64 in a torn message, so that sums stay within int64


class MonoDecoder:
    """Decodes the packets of one camera.

    Args:
        width: of the sensor in pixels; events outside are dropped and counted.
        height: of the sensor in pixels.

    Attributes:
        torn_bytes: packets so far whose bytes ended within a word (the rest is dropped).
        outside: events outside the sensor.
    """

    def __init__(self, width: int, height: int):
        self.width, self.height = int(width), int(height)
        self.torn_bytes = self.outside = 0

    @property
    def counters(self) -> dict[str, int]:
        """Events outside the sensor."""
        return {"outside": self.outside}

    def decode(
        self, data: bytes | np.ndarray, time_base_ns: int, is_bigendian: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Decode one packet.

        Returns:
            x uint16 [N], y uint16 [N], p uint8 [N] (1 = ON), t_ns int64 [N] (may step back where the camera's does).
        """
        raw = np.frombuffer(data, dtype=np.uint8)
        if len(raw) % 8:
            self.torn_bytes += 1
            raw = raw[: len(raw) - len(raw) % 8]
        words = raw.view(">u8" if is_bigendian else "<u8").astype(np.uint64)
        x, y = np.empty(len(words), dtype=np.uint16), np.empty(len(words), dtype=np.uint16)
        p, t_ns = np.empty(len(words), dtype=np.uint8), np.empty(len(words), dtype=np.int64)
        n = _decode(words, min(time_base_ns, LATEST_NS), self.width, self.height, x, y, p, t_ns)
        self.outside += len(words) - n
        return x[:n], y[:n], p[:n], t_ns[:n]


@njit(cache=True, nogil=True)
def _decode(words, time_base, width, height, x, y, p, t_ns):
    n = 0
    for i in range(words.shape[0]):
        word = np.int64(words[i])  # arithmetic shifts of the sign are masked away
        column, row = word >> 32 & 0xFFFF, word >> 48 & 0x7FFF
        if column < width and row < height:
            x[n], y[n], p[n], t_ns[n] = column, row, word < 0, time_base + (word & 0xFFFFFFFF)
            n += 1
    return n
