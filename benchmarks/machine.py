# SPDX-License-Identifier: Apache-2.0
"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import torch

LIBRARIES = (
    "anyseg_ros", "numpy", "numba", "torch", "opencv-python-headless", "opencv-python", "open3d", "open3d-cpu", "evt3",
    "onnxruntime",
)  # fmt: skip
BUSY_SHARE = 0.25
"""With a larger load average than this share of the cores before the run, the figures are not to be trusted."""


def limit_threads(threads: int) -> None:
    """Let every library use so many threads; OMP_NUM_THREADS must be set before they are loaded (``__main__``)."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def describe() -> dict[str, Any]:
    """CPU, cores, threads, accelerator, libraries and the load at this moment."""
    return {
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": {
            "torch": torch.get_num_threads(),
            "opencv": cv2.getNumThreads(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        },
        "libraries": versions(),
        "load_average": load_average(),
    }


def cpu_model() -> str:
    """The CPU's name as the kernel gives it, or what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of the libraries that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def load_average() -> list[float] | None:
    """Over 1, 5 and 15 minutes; None where the system has none."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def busy(machine: dict[str, Any]) -> bool:
    """Whether something else kept the machine busy when the run began."""
    load = machine["load_average"]
    return load is not None and load[0] > BUSY_SHARE * machine["cores_usable"]
