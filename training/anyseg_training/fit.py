# SPDX-License-Identifier: Apache-2.0
"""The training loop of teacher and student.

Everything random is a function of (seed, step): batches, augmentation, subsets, drop path and dropout. So a run that
is stopped and resumed takes exactly the steps that an uninterrupted one takes. A step's global batch may be spread over
processes and micro-batches; what is drawn for a sample depends on its place in the global batch (drop path and dropout,
which each part draws for itself, excepted).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from anyseg_ros.model.segmentor import AnySeg
from anyseg_training import parallel
from anyseg_training.config import Recipe
from anyseg_training.console import interrupts, progress
from anyseg_training.data import Batch
from anyseg_training.logbook import Entry, Logbook
from anyseg_training.losses import HardPixels
from anyseg_training.objective import Objective, Part, Seeing
from anyseg_training.precision import check_precision, device_of
from anyseg_training.schedule import learning_rate, make_optimizer
from anyseg_training.selection import Selection
from anyseg_training.state import TrainingState, copied_buffers, load_state, restore_buffers, save_state

LOG_EVERY_STEPS = 20
STATE = "state.safetensors"
# Steps in a row that may overflow in float16: from 2**16 the scale is then at 2**-8, and no gradient is too large.
LEFT_OUT_AT_MOST = 24
# Distance between the seeds of the parts of a step; far above any seed of a first part.
PART_STRIDE = 1 << 44


class DivergedError(ValueError):
    """The gradients are no numbers any more."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the step it stands at, and whether that is the last."""

    step: int
    finished: bool


def samples_at_once(recipe: Recipe) -> int:
    """Samples of a micro-batch in one process.

    Raises:
        ValueError: the batch cannot be split evenly.
    """
    parts = recipe.accumulate * parallel.size()
    if recipe.batch % parts:
        raise ValueError(
            f"recipe: batch is {recipe.batch}; {parallel.size()} processes with accumulate {recipe.accumulate} "
            f"need a multiple of {parts}"
        )
    return recipe.batch // parts


class Trainer:
    """Trains one network; with a teacher, distils that one into it."""

    def __init__(
        self,
        model: AnySeg,
        recipe: Recipe,
        batches: Callable[[int], Batch],
        counts: list[int],
        teacher: AnySeg | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            model: trained in place, on the recipe's device.
            recipe: how.
            batches: number -> Batch of ``samples_at_once(recipe)``; step s takes those of numbers s * n to
                (s + 1) * n - 1, n being processes times ``accumulate``.
            counts: labelled pixels per class in the training set.
            teacher: frozen, sees every modality present; None to train without distillation.

        Raises:
            ValueError: the recipe does not fit this machine or the number of processes.
        """
        self.recipe = recipe
        self.batches = batches
        self.device = device_of(recipe.device)
        check_precision(self.device, recipe.precision)
        self._samples = samples_at_once(recipe)
        self.objective = Objective(recipe, counts, teacher, self.device)
        self._model: nn.Module = model.to(self.device)
        self._wrapped: DistributedDataParallel | None = None
        if parallel.is_connected():
            parallel.share_batch_norm(model)
            gpu = [self.device] if self.device.type == "cuda" else None
            self._wrapped = DistributedDataParallel(Seeing(model), device_ids=gpu, broadcast_buffers=False)
            self._model = self._wrapped
        optimizer = make_optimizer(model, recipe)
        scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "float16")
        average = {k: v.clone() for k, v in model.state_dict().items()}
        self.state = TrainingState(model, optimizer, average, 0, scaler)
        self._left_out = 0

    def step(self, *batches: Batch) -> dict[str, float]:
        """One optimiser step on this process's micro-batches.

        Returns:
            The losses of the global batch, ``grad_norm`` before clipping, and ``lr``.

        Raises:
            DivergedError: the gradient is not finite (in float16: of too many steps in a row); no weight was changed.
            ValueError: there are more or fewer samples than the recipe says.
        """
        state, recipe = self.state, self.recipe
        sizes = [len(batch.labels) for batch in batches]
        if sizes != [self._samples] * recipe.accumulate:
            raise ValueError(f"micro-batches have {sizes} samples; expected {recipe.accumulate} of {self._samples}")
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(state.step, recipe)
        state.model.train()
        before = copied_buffers(state.model)
        hard = self._hard_pixels(batches) if len(batches) > 1 else None
        state.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for number, batch in enumerate(batches):
            for name, value in self._learn(number, batch, hard).items():
                sums[name] = sums[name] + value if name in sums else value
        losses = {name: float(parallel.total(value)) for name, value in sums.items()}
        norm = self._update(losses)
        state.step += 1
        if math.isfinite(norm):
            self._average()
        else:  # the scaler left the weights alone; what the overflow did to BatchNorm goes, too
            restore_buffers(state.model, before)
        return losses | {"grad_norm": norm, "lr": state.optimizer.param_groups[0]["lr"]}

    def _learn(self, number: int, batch: Batch, hard: HardPixels | None) -> dict[str, Tensor]:
        """Add the gradients of a micro-batch; returns its share of the losses."""
        last = number + 1 == self.recipe.accumulate
        with nullcontext() if last or self._wrapped is None else self._wrapped.no_sync():
            generator = self._seeded(number)
            loss, parts = self.objective(self._model, self._moved(batch), generator, self._part(number), hard)
            # DistributedDataParallel takes the mean over processes, the losses are shares of a sum.
            self.state.scaler.scale(loss * parallel.size()).backward()
        return {name: value.detach() for name, value in parts.items()}

    def _hard_pixels(self, batches: tuple[Batch, ...]) -> HardPixels:
        """One count of hard pixels for all micro-batches; leaves the statistics of BatchNorm as they were."""
        model, numbers = self.state.model, range(len(batches))
        before = copied_buffers(model)
        parts = [self._part(n) for n in numbers]
        hard = self.objective.hard_pixels(model, map(self._moved, batches), self._seeded, parts)
        restore_buffers(model, before)
        return hard

    def _part(self, number: int) -> Part:
        """Which part of the global batch a micro-batch of this process is."""
        return Part(number * parallel.size() + parallel.rank(), self.recipe.accumulate * parallel.size())

    def _seeded(self, number: int) -> torch.Generator:
        """The step's generator, alike for all parts; drop path and dropout are seeded for each."""
        seed = self.recipe.seed * 1_000_003 + self.state.step
        torch.manual_seed(seed + PART_STRIDE * self._part(number).index)
        return torch.Generator().manual_seed(seed)

    def _moved(self, batch: Batch) -> Batch:
        """Images and labels on the device."""
        if self.device.type == "cpu":
            return batch
        images, labels = (t.to(self.device, non_blocking=True) for t in (batch.images, batch.labels))
        return replace(batch, images=images, labels=labels)

    def _update(self, losses: dict[str, float]) -> float:
        """Change the weights by their gradients; returns the norm that these had."""
        state = self.state
        state.scaler.unscale_(state.optimizer)
        norm = float(nn.utils.clip_grad_norm_(state.model.parameters(), self.recipe.clip_norm))
        self._left_out = 0 if math.isfinite(norm) else self._left_out + 1
        # The scaler leaves such a step out by itself, and halves the scale, until nothing overflows.
        if self._left_out > (LEFT_OUT_AT_MOST if state.scaler.is_enabled() else 0):
            raise DivergedError(
                f"step {state.step}: the gradient's norm is {norm} in {self._left_out} steps in a row, with losses "
                f"{losses}; lower lr, raise warmup_steps, or choose precision float32; the last saved state is whole"
            )
        state.scaler.step(state.optimizer)
        state.scaler.update()
        return norm

    def _average(self) -> None:
        """Exponential moving average of the weights; short at first, so that the start is forgotten."""
        decay = min(self.recipe.ema, (1 + self.state.step) / (10 + self.state.step))
        with torch.no_grad():
            for name, value in self.state.model.state_dict().items():
                if value.is_floating_point():
                    self.state.average[name].lerp_(value, 1.0 - decay)
                else:
                    self.state.average[name].copy_(value)

    def run(
        self,
        folder: Path,
        budget_minutes: float | None = None,
        bar: bool = True,
        selection: Selection | None = None,
        started: Callable[[int], None] | None = None,
    ) -> Outcome:
        """Train to the last step, the end of the budget or Ctrl-C; save in all three cases.

        Args:
            folder: holds ``state.safetensors`` (resumed from, when there) and the log; the same for all processes.
            budget_minutes: stop after this time; the schedule stays that of the recipe's steps.
            bar: show progress.
            selection: keeps the best averaged weights; None when nothing selects.
            started: told the step that the run starts or goes on from, in the process that writes.
        """
        writes = parallel.rank() == 0
        self._resume(folder, selection)
        start = last_save = time.monotonic()
        with ExitStack() as stack:
            asked_to_stop = stack.enter_context(interrupts())
            show = stack.enter_context(progress(self.recipe.steps, self.state.step, bar and writes))
            log = stack.enter_context(Logbook(folder, self.state.step)) if writes else None
            if started is not None and writes:
                started(self.state.step)
            for batches in self._prefetched():
                began = time.monotonic()
                losses = self.step(*batches)
                now = time.monotonic()
                show(losses)
                if log is not None:
                    self._report(log, selection, losses, now - began, now - start)
                over = asked_to_stop() or (budget_minutes is not None and now - start > budget_minutes * 60)
                if parallel.anywhere(over, self.device):
                    break
                if writes and now - last_save > self.recipe.save_minutes * 60:
                    save_state(folder / STATE, self.state, self.recipe)
                    last_save = now
            if writes:
                save_state(folder / STATE, self.state, self.recipe)
        parallel.wait()
        return Outcome(self.state.step, self.state.step >= self.recipe.steps)

    def _resume(self, folder: Path, selection: Selection | None) -> None:
        """Go on from the state in a folder, if there is one."""
        self.state.selection = None if selection is None else selection.record
        if (folder / STATE).exists():
            load_state(folder / STATE, self.state, self.recipe)
        if selection is not None and self.state.selection is not None:
            selection.record = self.state.selection
        parallel.agree(self.state.step, "resumed at steps", self.device)
        folder.mkdir(parents=True, exist_ok=True)

    def _report(
        self, log: Logbook, selection: Selection | None, losses: dict[str, float], step_s: float, elapsed_s: float
    ) -> None:
        """Log every so many steps, and when the selection split was scored."""
        step, recipe = self.state.step, self.recipe
        entry: Entry = {**losses, "step_s": round(step_s, 4), "samples_per_s": round(recipe.batch / step_s, 2)}
        entry["elapsed_s"] = round(elapsed_s, 1)
        scored = selection is not None and (step % recipe.select_every == 0 or step == recipe.steps)
        if selection is not None and scored:
            entry["selection_miou"] = selection(self.state.average, step)
            self.state.selection = selection.record
        if scored or step % LOG_EVERY_STEPS == 0:
            log.write(step, entry)

    def _prefetched(self) -> Iterator[list[Batch]]:
        """The remaining steps' micro-batches; as many steps as there are workers are made ahead."""
        steps = iter(range(self.state.step, self.recipe.steps))
        with ThreadPoolExecutor(self.recipe.workers) as pool:
            ahead = deque(pool.submit(self._load, step) for step in islice(steps, self.recipe.workers))
            while ahead:
                batches = ahead.popleft().result()
                ahead.extend(pool.submit(self._load, step) for step in islice(steps, 1))
                yield batches

    def _load(self, step: int) -> list[Batch]:
        """This process's micro-batches of a step, in memory that a GPU reads directly."""
        parts = [self._part(number) for number in range(self.recipe.accumulate)]
        found = [self.batches(step * part.count + part.index) for part in parts]
        if self.device.type == "cpu":
            return found
        return [replace(b, images=b.images.pin_memory(), labels=b.labels.pin_memory()) for b in found]
