# SPDX-License-Identifier: Apache-2.0
"""Ways to say whether two results are the same."""

from __future__ import annotations

import numpy as np

from benchmarks.cases import Agreement


def same_images(ours: np.ndarray, theirs: np.ndarray, atol: float, allowed_share: float = 0.0) -> Agreement:
    """Compare sparse images.

    Args:
        ours: [C,H,W].
        theirs: the same.
        atol: values this close are equal.
        allowed_share: so many of the pixels that either of them fills may differ (other arithmetic rounds some
            points to the neighbouring pixel).
    """
    if ours.shape != theirs.shape:
        return Agreement(False, f"ours is {list(ours.shape)}, theirs {list(theirs.shape)}")
    filled = int(np.count_nonzero((ours != 0).any(0) | (theirs != 0).any(0)))
    different = int(np.count_nonzero(~np.isclose(ours, theirs, rtol=0, atol=atol).all(0)))
    same = filled > 0 and different <= allowed_share * filled
    return Agreement(same, f"{different} of {filled} filled pixels differ by more than {atol:g}")


def same_logits(ours: np.ndarray, theirs: np.ndarray, relative: float) -> Agreement:
    """Compare class scores [K,h,w]: the largest difference must be below ``relative`` standard deviations of ours."""
    if ours.shape != theirs.shape:
        return Agreement(False, f"ours is {list(ours.shape)}, theirs {list(theirs.shape)}")
    spread = float(ours.std())
    off = float(np.abs(ours - theirs).max())
    classes = float((ours.argmax(0) == theirs.argmax(0)).mean())
    detail = f"largest difference {off:.1e} at a standard deviation of {spread:.2g}; {classes:.3%} of the classes equal"
    return Agreement(bool(spread > 0 and off <= relative * spread), detail)


def both(*agreements: Agreement) -> Agreement:
    """All of them at once."""
    return Agreement(all(a.same for a in agreements), "; ".join(a.detail for a in agreements))
