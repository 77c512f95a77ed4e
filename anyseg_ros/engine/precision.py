# SPDX-License-Identifier: Apache-2.0
"""Precisions that the network can compute in, and which of them a processor has."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What weights are brought to when a network is made."""
INT8 = "int8"
"""What ``anyseg-train quantise`` makes of a checkpoint: a file of its own."""
CHOICES = (*PRECISIONS, INT8)
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}
"""As Linux names them; the last two are Arm's."""
INT8_FLAGS = {"avx512_vnni", "avx_vnni", "asimddp"}
"""Sums of products of bytes in 32 bits; the last is Arm's. Older x86 sums pairs in 16 bits, which saturate."""
CPUINFO = Path("/proc/cpuinfo")


def cpu_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """What the processor can do, in Linux's words; nothing where that is not known."""
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return set()
    lines = (line.partition(":") for line in text.splitlines())
    return {flag for key, _, flags in lines if key.strip() in ("flags", "Features") for flag in flags.split()}


def check_known(precision: str) -> None:
    """Refuse what no weights can be brought to.

    Raises:
        ValueError: the precision is unknown, or is that of a file.
    """
    if precision == INT8:
        raise ValueError(
            "precision 'int8' is that of a quantised file, which needs the backend onnxruntime: "
            "anyseg-train quantise --checkpoint CHECKPOINT --pack TRAINING_PACK --out FILE.onnx"
        )
    if precision not in PRECISIONS:
        raise ValueError(f"precision '{precision}' is unknown; known are {', '.join(PRECISIONS)}")


def check_cpu_int8(flags: set[str] | None = None) -> None:
    """Refuse int8 on a processor whose sums of bytes saturate: it would be slow and answer otherwise than was checked.

    Args:
        flags: the processor's; None asks it.

    Raises:
        ValueError: says what is missing and what works.
    """
    if not INT8_FLAGS & (cpu_flags() if flags is None else flags):
        raise ValueError(
            f"precision 'int8' needs a processor with {', '.join(sorted(INT8_FLAGS))} in {CPUINFO}; this one "
            f"({platform.machine()}) does not say so, and sums of bytes would saturate: choose a file in fp32"
        )


def check_cpu_precision(precision: str, flags: set[str] | None = None) -> None:
    """Refuse a precision that a CPU would only imitate.

    Args:
        precision: one of ``PRECISIONS``.
        flags: the processor's; None asks it.

    Raises:
        ValueError: says what is missing and what works.
    """
    check_known(precision)
    if precision == "fp16":
        raise ValueError("precision 'fp16' needs a GPU and the network would run on the CPU; choose fp32 or bf16")
    if precision == "bf16" and not BF16_FLAGS & (cpu_flags() if flags is None else flags):
        raise ValueError(
            f"precision 'bf16' needs a processor that computes in bfloat16 ({', '.join(sorted(BF16_FLAGS))} in "
            f"{CPUINFO}); this one ({platform.machine()}) does not say so and would be slower: choose fp32"
        )
