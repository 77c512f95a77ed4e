# SPDX-License-Identifier: Apache-2.0
"""What was found of one row of the campaign."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass
class Verdict:
    """What was found of one row. Times in seconds of the drive, from the begin of the fault.

    Attributes:
        act, name, must: the row.
        due, answered: frames from the begin of the fault to the end of the row; unanswered_s: when the others were due.
        counted: frames that the segmentor counted as dropped, failed, left with nothing or reset meanwhile, and those
            that were due while it was inactive.
        partners: share of the due frames with at least the expected subset, ``fault`` and ``after``.
        latency_ms: from the moment at which an answer was owed to its receipt, ``p50`` and ``p99``; and the limit.
        wait_ms: median wait of the sets that lack the late sensor, in the second half of the fault; None: no such row.
        gap_s: longest silence of the output; gap_limit_s: what was promised, None for nothing.
        wrong: sentences about outputs that are wrong.
        said: what diagnostics said, and when: changes of level or text.
        recovery_s: from when the cause went away to the receipt of the first answer, owed after that, that is of the
            full rig; None: it did not come.
        deaths: processes that died during the act.
        broken: promises that were not kept, in words; empty where the row holds.
        skipped: why the row was not played; empty where it was.
    """

    act: str
    name: str
    must: str
    due: int = 0
    answered: int = 0
    unanswered_s: list[float] = field(default_factory=list)
    counted: int = 0
    partners: dict[str, float] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)
    latency_limit_ms: float | None = None
    wait_ms: float | None = None
    gap_s: float = 0.0
    gap_limit_s: float | None = None
    wrong: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    recovery_s: float | None = None
    deaths: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    skipped: str = ""

    def as_dict(self) -> dict[str, object]:
        """For the JSON."""
        return asdict(self)
