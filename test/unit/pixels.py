# SPDX-License-Identifier: Apache-2.0
"""One small picture in several forms, for the tests of image messages."""

import numpy as np

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[..., 0]
ALPHA = np.full((5, 7, 1), 9, np.uint8)
BGR = np.ascontiguousarray(RGB[..., ::-1])
RGBA, BGRA = np.concatenate([RGB, ALPHA], axis=2), np.concatenate([BGR, ALPHA], axis=2)
GREYS = np.repeat(GREY[..., None], 3, axis=2)


def wide(pixels):
    """16-bit samples whose high byte is the 8-bit sample."""
    return (pixels.astype(np.uint16) << 8) + 0x7F


def mosaic(pattern, colours):
    """What a sensor with this pattern (rggb: first row R G, second G B) reads of an image [H,W,3]."""
    channel = np.array(["rgb".index(letter) for letter in pattern]).reshape(2, 2)
    rows, columns = np.mgrid[: colours.shape[0], : colours.shape[1]]
    return np.take_along_axis(colours, channel[rows % 2, columns % 2][..., None], axis=2)[..., 0]
