# SPDX-License-Identifier: Apache-2.0
"""The part of cv_bridge that the nodes use: ``CvBridge.cv2_to_imgmsg`` for unpadded images.

Interface: https://docs.ros.org/en/jazzy/p/cv_bridge/; encodings: sensor_msgs/image_encodings.
"""

from __future__ import annotations

import array
import sys

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

_LAYOUT = {
    "mono8": (np.uint8, 1),
    "mono16": (np.uint16, 1),
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "rgba8": (np.uint8, 4),
    "bgra8": (np.uint8, 4),
}
_DEPTHS = {"8U": np.uint8, "8S": np.int8, "16U": np.uint16, "16S": np.int16, "32S": np.int32, "32F": np.float32}
_DEPTHS["64F"] = np.float64
_LAYOUT.update({f"{depth}C{n}": (dtype, n) for depth, dtype in _DEPTHS.items() for n in range(1, 5)})


class CvBridgeError(TypeError):
    """An image and an encoding that do not go together."""


class CvBridge:
    """Turns OpenCV images (numpy arrays) into sensor_msgs/Image."""

    def cv2_to_imgmsg(self, cvim: np.ndarray, encoding: str = "passthrough", header: Header | None = None) -> Image:
        """An Image message with a copy of the pixels.

        Args:
            cvim: array [H,W] or [H,W,C].
            encoding: an encoding of image_encodings whose type and channel count are the array's, or
                ``passthrough`` for the generic name such as 8UC3.
            header: put into the message as it is.

        Raises:
            TypeError: ``cvim`` is no array.
            CvBridgeError: the array's type or channels are not the encoding's.
        """
        if not isinstance(cvim, np.ndarray):
            raise TypeError(f"an image must be a numpy array, not {type(cvim).__name__}")
        channels = cvim.shape[2] if cvim.ndim == 3 else 1
        if encoding == "passthrough":
            encoding = _generic_encoding(cvim.dtype, channels)
        if encoding not in _LAYOUT:
            raise CvBridgeError(f"unknown encoding '{encoding}'; known are {', '.join(sorted(_LAYOUT))}")
        dtype, expected = _LAYOUT[encoding]
        if cvim.ndim not in (2, 3) or cvim.dtype.newbyteorder("=") != dtype or channels != expected:
            wanted = f"{np.dtype(dtype)} with {expected} channel(s)"
            raise CvBridgeError(f"encoding '{encoding}' needs {wanted}, but the array is {cvim.dtype} {cvim.shape}")
        msg = Image()
        if header is not None:
            msg.header = header
        msg.height, msg.width = int(cvim.shape[0]), int(cvim.shape[1])
        msg.encoding = encoding
        msg.is_bigendian = int(cvim.dtype.byteorder == ">" or (cvim.dtype.byteorder == "=" and sys.byteorder == "big"))
        msg.step = msg.width * channels * cvim.dtype.itemsize
        data = array.array("B")
        data.frombytes(np.ascontiguousarray(cvim).reshape(-1).view(np.uint8))
        msg.data = data
        return msg


def _generic_encoding(dtype: np.dtype, channels: int) -> str:
    native = dtype.newbyteorder("=")
    for depth, known in _DEPTHS.items():
        if native == known and 1 <= channels <= 4:
            return f"{depth}C{channels}"
    raise CvBridgeError(f"no image encoding holds {dtype} with {channels} channel(s)")
