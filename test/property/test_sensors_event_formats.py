# SPDX-License-Identifier: Apache-2.0
"""EVT2, EVT2.1, libcaer(_cmp), mono: any bytes decode like the plain references; what is encoded comes back."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from event_codecs import (
    as_rows,
    encode_evt2,
    encode_libcaer,
    encode_libcaer_cmp,
    encode_mono,
    evt2_reference,
    libcaer_cmp_reference,
    libcaer_reference,
    mono_reference,
    random_events,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anyseg_ros.sensors.event_array import event_array_from_cdr
from anyseg_ros.sensors.event_messages import ENCODINGS as EVENT_ENCODINGS
from anyseg_ros.sensors.event_messages import EventStream
from anyseg_ros.sensors.evt2 import ENCODINGS, Evt2Decoder
from anyseg_ros.sensors.libcaer import LibcaerDecoder
from anyseg_ros.sensors.mono import MonoDecoder
from anyseg_ros.sensors.payload import PayloadError
from anyseg_ros.sensors.raw_files import read_header

EXAMPLES = settings(max_examples=100)
WIDTH, HEIGHT = 700, 500
seeds, orders = st.integers(0, 10**6), st.sampled_from("<>")
bases = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 1 << 61))


def same(rows, expected):
    """Whether they are equal; bare, ``==`` would have pytest work minutes on the difference of long lists."""
    return rows == expected


def coded(codes, payload_bits):
    """Words whose code is one that matters, so that random ones come to events."""
    return st.builds(
        lambda c, v: c << payload_bits | v, st.sampled_from(codes), st.integers(0, (1 << payload_bits) - 1)
    )


def flip(data, rng, share):
    """Some bytes overwritten, and perhaps the tail torn off."""
    data = bytearray(data)
    for place in rng.integers(0, max(len(data), 1), int(len(data) * share)):
        data[place] = rng.integers(0, 256)
    return bytes(data[: len(data) - int(rng.integers(0, 9))] if share else data)


@EXAMPLES
@given(st.lists(st.lists(coded([0, 0, 1, 1, 8, 10, 15, 3], 28), max_size=40), max_size=5), st.sampled_from(ENCODINGS))
def test_any_evt2_words(calls, encoding):
    calls = [np.array(words, "<u4").tobytes() for words in calls]
    decoder = Evt2Decoder(WIDTH, HEIGHT, encoding)
    rows = [row for data in calls for row in as_rows(decoder.decode(data))]
    assert same(rows, evt2_reference(calls, WIDTH, HEIGHT, encoding))


@EXAMPLES
@example(0, "evt21_legacy", 0.0, (1 << 36) - 1)
@given(seeds, st.sampled_from(ENCODINGS), st.sampled_from([0.0, 0.0, 0.01]), st.integers(0, 1 << 36))
def test_evt2_streams_cut_anywhere(seed, encoding, damage, start):
    rng = np.random.default_rng(seed)
    events = random_events(rng, 300, WIDTH, HEIGHT, start, 40_000)
    data = flip(encode_evt2(events, encoding), rng, damage)
    size = 4 if encoding == "evt2" else 8
    cuts = size * np.sort(rng.integers(0, len(data) // size + 1, 4))
    calls = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    decoder = Evt2Decoder(WIDTH, HEIGHT, encoding)
    rows = [row for part in calls for row in as_rows(decoder.decode(part))]
    assert same(rows, evt2_reference([data], WIDTH, HEIGHT, encoding))
    assert decoder.torn_bytes == (len(data) % size != 0)
    if not damage:
        first = events[0][3] >> 34 << 34  # the wraps before the first event cannot be known
        assert same(rows, [(x, y, p, t - first) for x, y, p, t in events])


@EXAMPLES
@given(st.one_of(st.binary(max_size=200), st.lists(coded(range(8), 12), max_size=80)), bases, orders)
def test_any_libcaer_cmp_packet(words, base, order):
    data = words if isinstance(words, bytes) else np.array(words, f"{order}u2").tobytes()
    decoder = LibcaerDecoder(WIDTH, HEIGHT, compressed=True)
    rows = as_rows(decoder.decode(data, base, order == ">"))
    assert same(rows, libcaer_cmp_reference(data, min(base, 1 << 62), WIDTH, HEIGHT, order))
    assert decoder.torn_bytes == len(data) % 2


@EXAMPLES
@given(st.binary(max_size=200), st.lists(st.integers(0, 2**32 - 1), max_size=40), bases, st.booleans())
def test_any_libcaer_packet(tail, words, base, big):
    data = np.array(words, "<u4").tobytes() + tail
    decoder = LibcaerDecoder(40_000, 40_000, compressed=False)
    rows = as_rows(decoder.decode(data, base, big))
    assert same(rows, libcaer_reference(data, min(base, 1 << 62), 40_000, 40_000))
    assert decoder.torn_bytes == (len(data) % 8 != 0)
    assert len(rows) + sum(decoder.counters.values()) == len(data) // 8, "every event has its fate"


@EXAMPLES
@given(st.binary(max_size=200), bases, orders)
def test_any_mono_packet(data, base, order):
    decoder = MonoDecoder(40_000, 20_000)
    rows = as_rows(decoder.decode(data, base, order == ">"))
    assert same(rows, mono_reference(data, min(base, 1 << 62), 40_000, 20_000, order))
    assert decoder.torn_bytes == (len(data) % 8 != 0) and len(rows) + decoder.outside == len(data) // 8


@pytest.mark.parametrize(
    "make, encode, reference",
    [
        (lambda: LibcaerDecoder(WIDTH, HEIGHT, True), encode_libcaer_cmp, libcaer_cmp_reference),
        (lambda: LibcaerDecoder(WIDTH, HEIGHT, False), lambda e, b, _: encode_libcaer(e, b), None),
        (lambda: MonoDecoder(WIDTH, HEIGHT), encode_mono, mono_reference),
    ],
    ids=["libcaer_cmp", "libcaer", "mono"],
)
@EXAMPLES
@given(seed=seeds, base=st.integers(0, 1 << 61), order=orders, damage=st.sampled_from([0.0, 0.0, 0.01]))
def test_what_is_encoded_comes_back(make, encode, reference, seed, base, order, damage):
    rng, decoder = np.random.default_rng(seed), make()
    for _ in range(2):  # two packets in a row: nothing of the first may leak into the second
        events = [(x, y, p, base + 1000 * t) for x, y, p, t in random_events(rng, 200, WIDTH, HEIGHT, 0, 40_000)]
        data = flip(encode(events, base, order), rng, damage)
        rows = as_rows(decoder.decode(data, base, order == ">"))
        expected = reference(data, base, WIDTH, HEIGHT, order) if reference else None
        assert rows == (expected if expected is not None else libcaer_reference(data, base, WIDTH, HEIGHT))
        assert damage or rows == events


headers = st.builds(
    lambda sec, nanosec: SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=""),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**32 - 1),
)
packets = st.builds(
    SimpleNamespace,
    header=headers,
    seq=st.integers(0, 2**64 - 1),
    time_base=bases,
    encoding=st.sampled_from(EVENT_ENCODINGS),
    is_bigendian=st.booleans(),
    events=st.one_of(
        st.binary(max_size=120),
        st.lists(coded(range(9), 12), max_size=60).map(lambda words: np.array(words, "<u2").tobytes()),
    ),
    width=st.just(WIDTH),
    height=st.just(HEIGHT),
)


@EXAMPLES
@given(st.lists(packets, max_size=8))
def test_any_packets_of_any_encodings_in_a_row(stream_of):
    stream, last_ns, resets = EventStream(WIDTH, HEIGHT), None, 0
    for packet in stream_of:
        events = stream.feed(packet)
        assert len(events.x) == len(events.y) == len(events.p) == len(events.t_ns)
        if not len(events):
            continue
        assert events.x.max() < WIDTH and events.y.max() < HEIGHT and events.p.max() <= 1
        assert np.all(np.diff(events.t_ns) >= 0) and stream.watermark_ns >= events.t_ns[-1]
        assert last_ns is None or stream.clock.resets > resets or events.t_ns[0] >= last_ns
        last_ns, resets = int(events.t_ns[-1]), stream.clock.resets
    assert stream.counters["packets"] == len(stream_of)


@settings(max_examples=400)
@given(st.sampled_from([b"", b"\0\1\0\0", b"\0\0\0\0", b"\0\7\0\0"]), st.binary(max_size=200), st.booleans())
def test_any_bytes_as_an_event_array(start, data, sized):
    """Events or a sentence; with a header that fits, events are what is whole."""
    if sized:
        order = "<" if start[1:2] in (b"\1", b"\7") else ">"
        data = struct.pack(f"{order}iII", 5, 6, 0) + struct.pack(f"{order}III", HEIGHT, WIDTH, len(data)) + data
    try:
        array = event_array_from_cdr(start + data, WIDTH, HEIGHT)
    except PayloadError as error:
        assert len(str(error)) > 20 and not (sized and start)
        return
    events = array.events
    assert 16 * len(events) <= len(data) + 3 and np.all(np.diff(events.t_ns) >= 0)
    assert not len(events) or (events.x.max() < WIDTH and events.y.max() < HEIGHT and events.p.max() <= 1)


@settings(max_examples=400)
@given(
    st.sampled_from(["% evt 3.0\n% geometry 70x50\n", "% evt 2.0\n% geometry 70x50\n", "% ", ""]),
    st.binary(max_size=200),
)
def test_any_bytes_as_a_raw_file(start, data):
    try:
        header = read_header(start.encode() + data, "x.raw")
    except PayloadError as error:
        assert "x.raw" in str(error)
        return
    assert (header.width, header.height) == (70, 50) and header.data_offset <= len(start) + len(data)
