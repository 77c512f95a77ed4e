# SPDX-License-Identifier: Apache-2.0
"""Reads every file of a split before anything is trained on it, and lists what is missing or broken by path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from anyseg_training.layouts import open_source
from anyseg_training.muses import DatasetError, TornFile
from anyseg_training.samples import Source


@dataclass(frozen=True)
class Findings:
    """What is wrong with a split.

    Attributes:
        files: number of files looked at.
        fatal: a sentence for each file that packing would stop at: missing, or labels that cannot be used.
        torn: a sentence for each sensor file that is broken; its sample does without that sensor.
    """

    files: int
    fatal: list[str]
    torn: list[str]

    def text(self) -> str:
        """All findings, a line each, and the counts."""
        counts = f"{self.files} files: {len(self.fatal)} missing or unusable, {len(self.torn)} broken sensor files"
        return "\n".join([*self.fatal, *self.torn, counts])


def check_split(root: Path, split: str, bar: bool = True) -> Findings:
    """Read every file of a split, whatever its layout (see ``open_source``).

    Raises:
        DatasetError: there is no such split, no calibration, or not one picture to take the size from.
    """
    return check_source(open_source(root, split), bar)


def check_source(source: Source, bar: bool = True) -> Findings:
    """Read every file of a source; ``bar`` shows progress.

    Raises:
        DatasetError: as ``check_split``.
    """
    fatal: list[str] = []
    torn: list[str] = []
    files = 0
    samples = tqdm(
        source.checks(), total=len(source.entries), unit="sample", disable=not bar, desc=f"check {source.split}"
    )
    for reads in samples:
        for read in reads:
            files += 1
            try:
                read()
            except TornFile as error:
                torn.append(str(error))
            except DatasetError as error:
                fatal.append(str(error))
    return Findings(files, fatal, torn)
