# SPDX-License-Identifier: Apache-2.0
"""EVT2, EVT2.1, libcaer(_cmp), mono: any bytes decode like the plain references; what is encoded comes back."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from anyseg_ros.sensors.evt2 import ENCODINGS, Evt2Decoder
from anyseg_ros.sensors.libcaer import LibcaerDecoder
from anyseg_ros.sensors.mono import MonoDecoder

EXAMPLES = settings(max_examples=100, deadline=None)
WIDTH, HEIGHT = 700, 500
seeds, orders = st.integers(0, 10**6), st.sampled_from("<>")
bases = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 1 << 61))


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
    assert rows == evt2_reference(calls, WIDTH, HEIGHT, encoding)


@EXAMPLES
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
    assert rows == evt2_reference([data], WIDTH, HEIGHT, encoding)
    assert decoder.torn_bytes == (len(data) % size != 0)
    if not damage:
        first = start >> 34 << 34  # the wraps before the first event cannot be known
        assert rows == [(x, y, p, t - first) for x, y, p, t in events]


@EXAMPLES
@given(st.one_of(st.binary(max_size=200), st.lists(coded(range(8), 12), max_size=80)), bases, orders)
def test_any_libcaer_cmp_packet(words, base, order):
    data = words if isinstance(words, bytes) else np.array(words, f"{order}u2").tobytes()
    decoder = LibcaerDecoder(WIDTH, HEIGHT, compressed=True)
    rows = as_rows(decoder.decode(data, base, order == ">"))
    assert rows == libcaer_cmp_reference(data, min(base, 1 << 62), WIDTH, HEIGHT, order)
    assert decoder.torn_bytes == len(data) % 2


@EXAMPLES
@given(st.binary(max_size=200), st.lists(st.integers(0, 2**32 - 1), max_size=40), bases, st.booleans())
def test_any_libcaer_packet(tail, words, base, big):
    data = np.array(words, "<u4").tobytes() + tail
    decoder = LibcaerDecoder(40_000, 40_000, compressed=False)
    rows = as_rows(decoder.decode(data, base, big))
    assert rows == libcaer_reference(data, min(base, 1 << 62), 40_000, 40_000)
    assert decoder.torn_bytes == (len(data) % 8 != 0)
    assert len(rows) + sum(decoder.counters.values()) == len(data) // 8, "every event has its fate"


@EXAMPLES
@given(st.binary(max_size=200), bases, orders)
def test_any_mono_packet(data, base, order):
    decoder = MonoDecoder(40_000, 20_000)
    rows = as_rows(decoder.decode(data, base, order == ">"))
    assert rows == mono_reference(data, min(base, 1 << 62), 40_000, 20_000, order)
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
