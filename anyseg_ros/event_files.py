# SPDX-License-Identifier: Apache-2.0
"""Opens HDF5 files of events in DSEC's layout, which MUSES has too, with the codec that both are compressed with."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = ("x", "y", "t", "p")


class CodecError(ValueError):
    """The file is compressed, and what unpacks it is not installed; every file of its dataset would fail alike."""


class EventFileError(ValueError):
    """The file is broken, or not laid out so."""


@dataclass(frozen=True)
class EventColumns:
    """What an event file holds, as it holds it.

    Attributes:
        x, y: pixel columns and rows [N].
        t_us: times in microseconds [N], to which ``offset_us`` is to be added.
        p: polarities [N].
        offset_us: ``t_offset`` of the file; 0 where it has none.
    """

    x: np.ndarray
    y: np.ndarray
    t_us: np.ndarray
    p: np.ndarray
    offset_us: int


def read_event_columns(path: Path) -> EventColumns:
    """``events/{x,y,t,p}`` and ``t_offset`` of an HDF5 file (https://dsec.ifi.uzh.ch/data-format).

    Raises:
        CodecError: it needs hdf5plugin, which is not installed.
        EventFileError: it cannot be read, or lacks a column.
        ModuleNotFoundError: h5py is not installed.
    """
    import h5py

    with contextlib.suppress(ModuleNotFoundError):  # files without compression need none
        import hdf5plugin  # noqa: F401  its import registers Blosc with HDF5
    try:
        with h5py.File(path, "r") as file:
            datasets = [file["events"][name] for name in COLUMNS]
            used = {number for dataset in datasets for number in _filters(dataset)}
            missing = [str(number) for number in sorted(used) if not h5py.h5z.filter_avail(number)]
            if missing:
                raise CodecError(
                    f"{path} is compressed with HDF5 filter {', '.join(missing)} (32001 is Blosc), "
                    "which is not installed; pip install hdf5plugin"
                )
            x, y, t_us, p = (np.asarray(dataset[:]) for dataset in datasets)
            offset_us = int(file["t_offset"][()]) if "t_offset" in file else 0
    except CodecError:
        raise
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise EventFileError(f"{path} is no event file with events/x, y, t, p ({error})") from error
    return EventColumns(x, y, t_us, p, offset_us)


def _filters(dataset: Any) -> list[int]:
    """Numbers of the HDF5 filters that its chunks went through."""
    plist = dataset.id.get_create_plist()
    return [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
