# SPDX-License-Identifier: Apache-2.0
"""What a network is expected to take of a device's memory, against what its operations hold on a CPU."""

from __future__ import annotations

import weakref

import pytest
import torch
from engine_kit import randomised
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from anyseg_ros.engine.cuda_network import CudaNetwork, load_of
from anyseg_ros.engine.folded import FoldedHead
from anyseg_ros.engine.memory import LIBRARIES_BYTES, MIB, DeviceMemoryError, check_free, check_memory

CPU = torch.device("cpu")


class Held(TorchDispatchMode):
    """Adds up the storages that operations make, until they are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        old = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in old | self._known:
                self._add(tensor.untyped_storage())
        return found

    def _add(self, storage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@pytest.mark.parametrize("backbone", ["b0", "b2"])
@pytest.mark.parametrize(("count", "size"), [(1, (64, 96)), (3, (128, 192))])
def test_a_frame_holds_no_more_than_expected(backbone, count, size, monkeypatch):
    for name in ("memory", "row_blocks"):
        monkeypatch.setattr(f"anyseg_ros.engine.{name}.BLOCK_BYTES", 1 << 16)  # blocks as small beside these frames
    model = randomised(backbone, 64, 19)
    head = FoldedHead(model.head)
    network = CudaNetwork(model.encoder, head, CPU, "fp32", count, [size], progress=lambda text: None)
    images = torch.randn(count, 3, *size)
    with torch.no_grad(), Held() as held:
        logits = network._logits(images)
    assert logits.shape == (19, size[0] // 4, size[1] // 4)
    expected = load_of(model.encoder, head, torch.float32).activations_bytes(count, size)
    assert expected / 4 < held.most < expected


def test_the_sum_has_all_parts():
    model = randomised("b0", 64, 19)
    head = FoldedHead(model.head)
    full, half = (load_of(model.encoder, head, dtype) for dtype in (torch.float32, torch.float16))
    parameters = sum(p.numel() for p in (*model.encoder.parameters(), *head.parameters()))
    assert full.weights_bytes == 4 * parameters and half.weights_bytes == 2 * parameters
    size = (1024, 1024)
    assert full.buffers_bytes(3, size) == 3 * 3 * 1024 * 1024 * 4 + 5 * 1024 * 1024
    one, three = (full.needed_bytes(m, [size]) for m in (1, 3))
    assert LIBRARIES_BYTES + full.weights_bytes < one < three < 3 * one
    assert three > half.needed_bytes(3, [size]), "half the precision, less memory"
    assert full.needed_bytes(3, [size, (512, 512)]) == three + full.buffers_bytes(3, (512, 512)), "one frame at a time"


def test_too_little_is_said_in_a_sentence():
    with pytest.raises(
        DeviceMemoryError, match="needs about 101 MiB of cuda:0, of which 99 MiB are free; choose a sma"
    ):
        check_free(100 * MIB + 1, 99 * MIB, torch.device("cuda:0"))
    check_free(100, 100, torch.device("cuda:0"))
    check_memory(1 << 60, CPU)


def test_a_gpu_is_asked_before_anything_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (MIB, 8 * MIB))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: pytest.fail("something was made on the device"))
    model = randomised()
    with pytest.raises(DeviceMemoryError, match="of which 1 MiB are free"):
        CudaNetwork(model.encoder, FoldedHead(model.head), torch.device("cuda:0"), "fp16", 3, [(64, 64)])
