# SPDX-License-Identifier: Apache-2.0
"""What others report: mIoU in percent on validation splits, protocol ``skip``, absent classes counted as 0.

Sources: the tables of arXiv 2411.17141 (AnySeg, and what it compares with) and of its follow-ups MAGIC++, RobustSeg
and CHARM. Networks are MiT-B0 unless a name says otherwise. A dash where a source prints nothing.
"""

from __future__ import annotations

Row = dict[str, float | None]


def _rows(subsets: str, table: dict[str, str]) -> dict[str, Row]:
    names = [*subsets.split(), "mean"]
    return {
        method: {name: None if v == "-" else float(v) for name, v in zip(names, values.split(), strict=True)}
        for method, values in table.items()
    }


# C is the frame camera, E the event camera, L the lidar; 19 classes, 1024 x 1024.
MUSES = _rows(
    "C E L CE CL EL CEL",
    {
        "CMX": "2.52 2.35 3.01 41.15 41.25 2.56 42.27 19.30",
        "CMNeXt": "3.50 2.77 2.64 6.63 10.28 3.14 46.66 10.80",
        "MAGIC": "43.22 2.68 22.95 43.51 49.05 22.98 49.02 33.34",
        "Any2Seg": "44.40 3.17 22.33 44.51 49.96 22.63 50.00 33.86",
        "AnySeg": "46.01 19.57 32.13 46.29 51.25 35.21 51.14 40.23",
        "MAGIC++": "45.56 17.93 29.92 40.58 46.07 28.10 40.58 35.53",
    },
)

# C is RGB, D depth, E event, L lidar; 25 classes, 1024 x 1024.
DELIVER = _rows(
    "C D E L CD CE CL DE DL EL CDE CDL CEL DEL CDEL",
    {
        "CMNeXt": "0.86 0.49 0.66 0.37 47.06 9.97 13.75 2.63 1.73 2.85 59.03 59.18 14.73 59.18 39.07 20.77",
        "MAGIC": "32.60 55.06 0.52 0.39 63.32 33.02 33.12 55.16 55.17 0.26 63.37 63.36 33.32 55.26 63.40 40.49",
        "AnySeg": "47.11 52.17 17.33 19.01 60.37 47.49 48.13 52.82 52.29 21.47 60.16 60.60 47.98 52.44 60.26 46.64",
        "Any2Seg (B2)": "39.02 60.11 2.07 0.31 68.21 39.11 39.04 60.92 60.15 1.99 68.24 68.22 39.06 60.95 68.25 45.04",
        "MAGIC++": "48.67 52.83 19.03 18.67 61.82 49.38 49.76 54.39 53.18 18.67 61.76 61.87 50.19 54.25 61.67 47.74",
        "RobustSeg": "- - - - - - - - - 33.01 - - - - 61.85 49.91",
        "CHARM (B2)": "- - - - - - - - - - - - - - - 54.96",
    },
)

# By the modalities and the number of classes that are scored.
DATASETS = {("CEL", 19): ("MUSES val", MUSES), ("CDEL", 25): ("DELIVER val", DELIVER)}
