# SPDX-License-Identifier: Apache-2.0
"""The stamp of a serialised message that begins with a std_msgs/Header, read and replaced without deserialising.

A serialised message is four bytes of encapsulation, whose second byte is odd for little-endian (OMG DDS-RTPS 2.5,
section 10), then the fields: for a header int32 seconds and uint32 nanoseconds come first.
"""

from __future__ import annotations

import struct

NS_PER_S = 1_000_000_000
HEAD = 12  # bytes up to the end of the stamp


def stamp_ns(raw: bytes) -> int:
    """The stamp in nanoseconds.

    Raises:
        ValueError: the message is too short to begin with a header.
    """
    seconds, nanoseconds = struct.unpack_from(_layout(raw), raw, 4)
    return int(seconds) * NS_PER_S + int(nanoseconds)


def with_stamp(raw: bytes, to_ns: int) -> bytes:
    """The message with another stamp.

    Args:
        raw: the message.
        to_ns: at least 0; seconds have to fit 31 bits.

    Raises:
        ValueError: the message is too short, or the stamp does not fit.
    """
    layout = _layout(raw)
    seconds, nanoseconds = divmod(to_ns, NS_PER_S)
    if not 0 <= seconds < 1 << 31:
        raise ValueError(f"a stamp of {to_ns} ns does not fit the header; expected 0 to {1 << 31} s")
    return raw[:4] + struct.pack(layout, seconds, nanoseconds) + raw[HEAD:]


def without_stamp(raw: bytes) -> bytes:
    """The message with a stamp of zero: equal for messages that differ in nothing else."""
    return with_stamp(raw, 0)


def _layout(raw: bytes) -> str:
    if len(raw) < HEAD:
        raise ValueError(f"a message of {len(raw)} bytes cannot begin with a header, which takes {HEAD}")
    return "<iI" if raw[1] & 1 else ">iI"
