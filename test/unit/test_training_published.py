# SPDX-License-Identifier: Apache-2.0
"""The published rows, number by number: C is the frame camera or RGB, E event, L lidar, D depth."""

from __future__ import annotations

import pytest
from anyseg_training.published import DELIVER, MUSES, Row

MUSES_TABLE = """
method,C,E,L,CE,CL,EL,CEL,mean
CMX,2.52,2.35,3.01,41.15,41.25,2.56,42.27,19.30
CMNeXt,3.50,2.77,2.64,6.63,10.28,3.14,46.66,10.80
MAGIC,43.22,2.68,22.95,43.51,49.05,22.98,49.02,33.34
Any2Seg,44.40,3.17,22.33,44.51,49.96,22.63,50.00,33.86
AnySeg,46.01,19.57,32.13,46.29,51.25,35.21,51.14,40.23
MAGIC++,45.56,17.93,29.92,40.58,46.07,28.10,40.58,35.53
"""
DELIVER_TABLE = """
method,C,D,E,L,CD,CE,CL,DE,DL,EL,CDE,CDL,CEL,DEL,CDEL,mean
CMNeXt,0.86,0.49,0.66,0.37,47.06,9.97,13.75,2.63,1.73,2.85,59.03,59.18,14.73,59.18,39.07,20.77
MAGIC,32.60,55.06,0.52,0.39,63.32,33.02,33.12,55.16,55.17,0.26,63.37,63.36,33.32,55.26,63.40,40.49
AnySeg,47.11,52.17,17.33,19.01,60.37,47.49,48.13,52.82,52.29,21.47,60.16,60.60,47.98,52.44,60.26,46.64
Any2Seg (B2),39.02,60.11,2.07,0.31,68.21,39.11,39.04,60.92,60.15,1.99,68.24,68.22,39.06,60.95,68.25,45.04
MAGIC++,48.67,52.83,19.03,18.67,61.82,49.38,49.76,54.39,53.18,18.67,61.76,61.87,50.19,54.25,61.67,47.74
RobustSeg,-,-,-,-,-,-,-,-,-,33.01,-,-,-,-,61.85,49.91
CHARM (B2),-,-,-,-,-,-,-,-,-,-,-,-,-,-,-,54.96
"""


@pytest.mark.parametrize(("rows", "table"), [(MUSES, MUSES_TABLE), (DELIVER, DELIVER_TABLE)], ids=["MUSES", "DELIVER"])
def test_every_number_stands_at_its_method_and_subset(rows: dict[str, Row], table: str):
    (_, *subsets), *lines = ([cell.strip() for cell in line.split(",")] for line in table.strip().splitlines())
    wanted = {
        method: {s: None if v == "-" else float(v) for s, v in zip(subsets, values, strict=True)}
        for method, *values in lines
    }
    assert rows == wanted
