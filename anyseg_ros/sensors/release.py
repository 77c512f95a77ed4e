# SPDX-License-Identifier: Apache-2.0
"""What the AnySeg release feeds its network: the MUSES SDK's PNG files, read with 8 bits and squashed by Pillow.

Pillow keeps the high byte of a 16-bit colour PNG. The SDK wrote the file with OpenCV, which takes its first channel for
blue: so red is the height, green the intensity, blue the range, and an empty pixel is (58, 58, 58).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from anyseg_ros.sensors.presets import EncodingError


def read_png16(numbers: np.ndarray) -> np.ndarray:
    """uint16 [H,W,3] as OpenCV wrote it -> uint8 [H,W,3] as Pillow reads it: the high byte, channels reversed."""
    return np.ascontiguousarray((numbers >> 8).astype(np.uint8)[..., ::-1])


def read_png8(numbers: np.ndarray) -> np.ndarray:
    """uint8 [H,W,3] as OpenCV wrote it -> as Pillow reads it: channels reversed."""
    return np.ascontiguousarray(numbers[..., ::-1])


def pillow() -> Any:
    """The module PIL.Image, which no other encoding needs.

    Raises:
        EncodingError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise EncodingError("the encoding 'release' resizes with Pillow: install it (pip install pillow)") from error
    return Image


def squash(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pillow's bicubic resize, which is not OpenCV's: uint8 [h,w,3] -> float32 [3,height,width], values 0..255.

    Raises:
        EncodingError: Pillow is not installed.
    """
    Image = pillow()
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1)).astype(np.float32)
