# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one network: torchrun starts them, ``torch.distributed`` carries what they share.

Without torchrun there is one process, and everything here is the identity.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

# The others wait this long while the first process scores the selection split or writes.
PATIENCE = timedelta(hours=2)


def local_rank() -> int:
    """Which process of this machine this is; torchrun says so."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def wanted_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Within it, the processes that torchrun started are connected: by nccl on GPUs, else by gloo."""
    if wanted_size() == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def is_connected() -> bool:
    """Whether there are several processes."""
    return dist.is_available() and dist.is_initialized()


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if is_connected() else 1


def rank() -> int:
    """Number of this process; 0 is the one that writes."""
    return dist.get_rank() if is_connected() else 0


def total(value: Tensor) -> Tensor:
    """The sum over the processes, without a gradient."""
    if size() == 1:
        return value
    out = value.detach().clone()
    dist.all_reduce(out)
    return out


def gathered(value: Tensor) -> Tensor:
    """[N] of each process -> [size * N]; N must be alike."""
    if size() == 1:
        return value
    out = [torch.empty_like(value) for _ in range(size())]
    dist.all_gather(out, value.contiguous())
    return torch.cat(out)


def anywhere(flag: bool, device: torch.device) -> bool:
    """Whether any process says so."""
    return flag if size() == 1 else bool(total(torch.tensor(float(flag), device=device)) > 0)


def agree(value: int, what: str, device: torch.device) -> None:
    """Refuse processes that differ in a number.

    Raises:
        ValueError: says which numbers they have.
    """
    found = gathered(torch.tensor([value], device=device)).tolist()
    if len(set(found)) > 1:
        raise ValueError(f"the processes have {what} {found}; all must read and write the same --out folder")


def wait() -> None:
    """Return when all processes have come here."""
    if is_connected():
        dist.barrier()


class _Total(torch.autograd.Function):
    """The sum over the processes; the gradient of what all of them make of it flows back to each."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return total(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return total(gradient)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm with the statistics of the batches of all processes, on CPU and GPU (torch's own is for GPUs alone).

    Mean first, then the mean square of what is left, as two sums over all processes: E[x^2] - E[x]^2 would lose digits.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B,E,h,w] -> [B,E,h,w]; every process must have the same number of values."""
        if not self.training or size() == 1:
            return super().forward(x)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        count = size() * x.numel() // x.shape[1]
        mean = _Total.apply(wide.sum((0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = _Total.apply(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * (count / (count - 1)))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)


def share_batch_norm(module: nn.Module) -> None:
    """Make every BatchNorm of a module one over all processes, in place; names and values stay."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            shared = SharedBatchNorm2d(child.num_features, child.eps, child.momentum).to(child.weight)
            shared.load_state_dict(child.state_dict())
            setattr(module, name, shared)
        else:
            share_batch_norm(child)
