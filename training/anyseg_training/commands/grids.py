# SPDX-License-Identifier: Apache-2.0
"""Network grids on the command line."""

from __future__ import annotations

import argparse

from anyseg_ros.model.mit import check_size


def grid_from(text: str) -> tuple[int, int]:
    """``160x288`` -> (160, 288).

    Raises:
        argparse.ArgumentTypeError: it is not HEIGHTxWIDTH, or no network takes it.
    """
    try:
        height, width = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no grid; write HEIGHTxWIDTH, such as 160x288") from None
    try:
        check_size(height, width)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return height, width
