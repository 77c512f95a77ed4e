# SPDX-License-Identifier: Apache-2.0
"""Encodings and their fingerprints."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from anyseg_ros.sensors.presets import (
    DEFAULT,
    PRESETS,
    CameraEncoding,
    CloudEncoding,
    Encoding,
    EncodingError,
    EventEncoding,
    encoding_of,
)

CHANGED = {
    "camera": {"full_scale": 255.0},
    "cloud": {"fill": "none", "min_range_m": 2.0, "max_range_m": None},
    "event": {"representation": "voxel_grid", "window_ns": 1, "max_events": 9, "saturation": 5, "decay_ns": 7},
}


def test_the_fingerprint_follows_every_parameter():
    found = {DEFAULT.fingerprint, replace(DEFAULT, fit="crop").fingerprint}
    for part, values in CHANGED.items():
        for name, value in values.items():
            changed = replace(DEFAULT, **{part: replace(getattr(DEFAULT, part), **{name: value})})
            found.add(changed.fingerprint)
    found |= {preset.fingerprint for preset in PRESETS.values()}
    assert len(found) == 2 + sum(map(len, CHANGED.values())) + 2 and all(len(one) == 64 for one in found)
    assert replace(DEFAULT, name="other").fingerprint == DEFAULT.fingerprint


def test_no_parameter_is_forgotten_by_this_test():
    kinds = {"camera": CameraEncoding, "cloud": CloudEncoding, "event": EventEncoding}
    of_presets = {"cloud": {"projection"}, "event": {"dilate"}, "camera": {"resize"}}
    for part, kind in kinds.items():
        assert {field.name for field in fields(kind)} == CHANGED[part].keys() | of_presets[part]


@pytest.mark.parametrize("encoding", [*PRESETS.values(), replace(DEFAULT, event=EventEncoding("time_surface"))])
def test_an_encoding_is_known_again_from_what_a_checkpoint_carries(encoding):
    carried = json.loads(json.dumps(encoding.parameters()))
    assert encoding_of(encoding.fingerprint, carried, "it") == encoding


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({}, "what it was made of is not recorded"),
        (PRESETS["release"].parameters() | {"version": "v0"}, "'release' is .*: version is v0, expected v1; use"),
        (DEFAULT.parameters() | {"event": {"window_ms": 30}}, "event.window_ms is 30, expected none"),
        (DEFAULT.parameters() | {"fit": "by hand"}, "fit is by hand, expected letterbox"),
        (DEFAULT.parameters(), "the parameters are the same, but not the code"),
    ],
)
def test_an_unknown_encoding_is_refused_and_the_difference_named(parameters, sentence):
    with pytest.raises(EncodingError, match=f"old.safetensors was made with the encoding 123.*{sentence}"):
        encoding_of("123", parameters, "old.safetensors")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: CameraEncoding("nearest"), "resize 'nearest' is unknown, expected one of: area, bicubic"),
        (lambda: CameraEncoding(full_scale=0), "full_scale is 0"),
        (lambda: CloudEncoding("painter"), "projection 'painter'"),
        (lambda: CloudEncoding(fill="all"), "fill of z_buffer 'all'"),
        (lambda: CloudEncoding(min_range_m=5, max_range_m=4), "5 to 4 m"),
        (lambda: EventEncoding("tore"), "representation 'tore'"),
        (lambda: EventEncoding(window_ns=0), "window_ns is 0, expected at least 1"),
        (lambda: EventEncoding(max_events=-1), "max_events is -1"),
        (lambda: EventEncoding(saturation=0), "saturation is 0"),
        (lambda: EventEncoding(dilate=True), "dilate goes with"),
        (lambda: Encoding("x", fit="squeeze"), "fit 'squeeze'"),
        (lambda: Encoding("x", cloud=CloudEncoding("muses_sdk", "none")), "both be drawn"),
        (lambda: Encoding("x", through_png=True), "go together"),
        (lambda: replace(PRESETS["release"], camera=CameraEncoding("bicubic")), "and full_scale 255"),
        (lambda: replace(PRESETS["muses_sdk"], fit="crop"), "want fit stretch"),
        (lambda: CloudEncoding("muses_sdk"), "fill of muses_sdk 'nearest_3x3' is unknown, expected one of: none, dil"),
    ],
)
def test_encodings_that_cannot_be(make, sentence):
    with pytest.raises(EncodingError, match=sentence):
        make()
