# SPDX-License-Identifier: Apache-2.0
"""Where a run computes, and in which precision."""

from __future__ import annotations

import torch

from anyseg_training import parallel

PRECISIONS = ("float32", "bfloat16", "float16")
_AUTOCAST = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def check_device_name(name: str) -> None:
    """Refuse words that name no device.

    Raises:
        ValueError: says which do.
    """
    kind, _, number = name.partition(":")
    if name not in ("auto", "cpu", "cuda") and not (kind == "cuda" and number.isdigit()):
        raise ValueError(f"device '{name}' is unknown; known are auto, cpu, cuda and cuda:N")


def device_of(name: str) -> torch.device:
    """The device that a recipe names: ``auto`` is a GPU where there is one.

    Of several processes each takes the GPU of its LOCAL_RANK.

    Raises:
        ValueError: there is no such GPU, or one was named for several processes.
    """
    check_device_name(name)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and gpus == 0):
        return torch.device("cpu")
    several = parallel.wanted_size() > 1
    if several and ":" in name:
        raise ValueError(
            f"device '{name}' with {parallel.wanted_size()} processes: each takes a GPU of its own; write device=cuda"
        )
    number = int(name.partition(":")[2] or (parallel.local_rank() if several else 0))
    if number >= gpus:
        raise ValueError(f"device '{name}' wants GPU {number}, torch sees {gpus} on this machine; write device=cpu")
    return torch.device("cuda", number)


def check_precision(device: torch.device, precision: str) -> None:
    """Refuse what a device cannot do.

    Raises:
        ValueError: says what to choose instead.
    """
    if precision == "float16" and device.type == "cpu":
        raise ValueError("precision float16 is for GPUs; on a CPU choose bfloat16 or float32")
    if precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError(f"{torch.cuda.get_device_name(device)} has no bfloat16; choose precision float16 or float32")


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Within it, matrix products and convolutions run in the precision."""
    return torch.autocast(device.type, _AUTOCAST[precision], enabled=precision != "float32")
