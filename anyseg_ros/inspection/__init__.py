# SPDX-License-Identifier: Apache-2.0
"""``anyseg inspect``: what a recording holds, whether its calibration and clocks fit, and what to do where not."""
