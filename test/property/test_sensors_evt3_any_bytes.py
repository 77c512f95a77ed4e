# SPDX-License-Identifier: Apache-2.0
"""EVT3: any bytes decode like the plain decoder, and what is encoded comes back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anyseg_ros.sensors.evt3 import LONGEST_GAP_US, Evt3Decoder, decode_reference, encode_evt3

EXAMPLES = settings(max_examples=150, deadline=None)
# Random words rarely keep time and row valid: mix them with words of the codes that matter.
words = st.one_of(
    st.integers(0, 0xFFFF),
    st.builds(
        lambda code, payload: code << 12 | payload, st.sampled_from([0, 2, 3, 4, 5, 6, 8]), st.integers(0, 0xFFF)
    ),
)
packets = st.lists(st.lists(words, max_size=40), max_size=6)


def compare(stream):
    decoder = Evt3Decoder(700, 500)
    events = [tuple(map(int, e)) for packet in stream for e in zip(*decoder.decode(packet), strict=True)]
    assert events == decode_reference(stream, 700, 500)


@EXAMPLES
@given(packets)
def test_any_words_decode_like_the_reference(stream):
    compare(
        [np.array([0x8001, 0x6001, 0x0001], dtype="<u2").tobytes()]
        + [np.array(p, dtype="<u2").tobytes() for p in stream]
    )


@EXAMPLES
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_decode_like_the_reference(stream):
    compare(stream)


@EXAMPLES
@given(
    st.integers(0, 1 << 40),
    st.lists(
        st.tuples(
            st.integers(0, 699),
            st.integers(0, 499),
            st.integers(0, 1),
            st.one_of(st.integers(0, 3), st.integers(0, LONGEST_GAP_US)),
        ),
        max_size=60,
    ),
    st.integers(0, 60),
)
def test_what_is_encoded_comes_back(start_us, rows, cut):
    x, y, p, steps = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    t_us = start_us + np.cumsum(steps)
    decoder = Evt3Decoder(700, 500)
    parts = [decoder.decode(encode_evt3(*(a[s] for a in (x, y, p, t_us)))) for s in (slice(cut), slice(cut, None))]
    back = [np.concatenate(part) for part in zip(*parts, strict=True)]
    for found, expected in zip(back[:3], (x, y, p), strict=True):
        assert np.array_equal(found, expected)
    if len(t_us):
        assert np.array_equal(back[3] - back[3][0], t_us - t_us[0])
        assert back[3][0] == t_us[0] % (1 << 24)
