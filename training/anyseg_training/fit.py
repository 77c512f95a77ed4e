# SPDX-License-Identifier: Apache-2.0
"""The training loop of teacher and student.

Everything random is a function of (seed, step): batches, augmentation, subsets, drop path and dropout. So a run that
is stopped and resumed takes exactly the steps that an uninterrupted one takes.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from anyseg_ros.model.segmentor import AnySeg
from anyseg_training.config import Recipe
from anyseg_training.data import Batch, TrainingBatches
from anyseg_training.objective import Objective
from anyseg_training.state import TrainingState, load_state, save_state

LOG_EVERY_STEPS = 20


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the step it stands at, and whether that is the last."""

    step: int
    finished: bool


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up from a tenth, times polynomial decay to zero at the last step."""
    warm = min(1.0, 0.1 + 0.9 * step / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    return recipe.lr * warm * (1.0 - step / recipe.steps) ** recipe.power


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW without weight decay on vectors (biases and norms)."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)


class Trainer:
    """Trains one network; with a teacher, distils that one into it."""

    def __init__(
        self, model: AnySeg, recipe: Recipe, batches: TrainingBatches, counts: list[int], teacher: AnySeg | None = None
    ) -> None:
        """Prepare a run.

        Args:
            model: trained in place.
            recipe: how.
            batches: step -> Batch.
            counts: labelled pixels per class in the training set.
            teacher: frozen, sees every modality present; None to train without distillation.
        """
        self.recipe = recipe
        self.batches = batches
        self.objective = Objective(recipe, counts, teacher)
        optimizer = make_optimizer(model, recipe)
        self.state = TrainingState(model, optimizer, {k: v.clone() for k, v in model.state_dict().items()}, 0)

    def step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns the losses."""
        state, recipe = self.state, self.recipe
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + state.step)
        torch.manual_seed(recipe.seed * 1_000_003 + state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(state.step, recipe)
        state.model.train()
        total, parts = self.objective(state.model, batch, generator)
        state.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_norm)
        state.optimizer.step()
        state.step += 1
        self._average()
        return {name: float(value.detach()) for name, value in parts.items()}

    def _average(self) -> None:
        """Exponential moving average of the weights; short at first, so that the start is forgotten."""
        decay = min(self.recipe.ema, (1 + self.state.step) / (10 + self.state.step))
        with torch.no_grad():
            for name, value in self.state.model.state_dict().items():
                if value.is_floating_point():
                    self.state.average[name].lerp_(value, 1.0 - decay)
                else:
                    self.state.average[name].copy_(value)

    def run(self, folder: Path, budget_minutes: float | None = None, bar: bool = True) -> Outcome:
        """Train to the last step, the end of the budget or Ctrl-C; save in all three cases.

        Args:
            folder: holds ``state.safetensors`` (resumed from, when there) and ``log.jsonl``.
            budget_minutes: stop after this time; the schedule stays that of the recipe's steps.
            bar: show progress.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "state.safetensors"
        if path.exists():
            load_state(path, self.state, self.recipe)
        forget_after(folder / "log.jsonl", self.state.step)
        start = last_save = time.monotonic()
        with (
            interrupts() as asked_to_stop,
            progress(self.recipe.steps, self.state.step, bar) as show,
            (folder / "log.jsonl").open("a") as log,
        ):
            for batch in self._prefetched():
                began = time.monotonic()
                losses = self.step(batch)
                now = time.monotonic()
                show(losses)
                if self.state.step % LOG_EVERY_STEPS == 0:
                    entry = {"step": self.state.step, **losses, "step_s": round(now - began, 4)}
                    log.write(json.dumps(entry | {"elapsed_s": round(now - start, 1)}) + "\n")
                    log.flush()
                if asked_to_stop() or (budget_minutes is not None and now - start > budget_minutes * 60):
                    break
                if now - last_save > self.recipe.save_minutes * 60:
                    save_state(path, self.state, self.recipe)
                    last_save = now
        save_state(path, self.state, self.recipe)
        return Outcome(self.state.step, self.state.step >= self.recipe.steps)

    def _prefetched(self) -> Iterator[Batch]:
        """The remaining batches; the next one is made while the current one is used."""
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.batches, self.state.step)
            for step in range(self.state.step, self.recipe.steps):
                batch = ahead.result()
                if step + 1 < self.recipe.steps:
                    ahead = pool.submit(self.batches, step + 1)
                yield batch


def forget_after(log: Path, step: int) -> None:
    """Drop what a killed run logged of steps that will be done again, and a line that it left torn."""
    if not log.exists():
        return
    kept = []
    for line in log.read_text().splitlines():
        try:
            done = json.loads(line)["step"] <= step
        except ValueError:
            done = False
        if done:
            kept.append(line + "\n")
    log.write_text("".join(kept))


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM wait for the step's end, so that what is saved is whole; a second Ctrl-C does not wait."""
    asked = []

    def remember(number: int, _frame: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tqdm.write("stopping after this step; run the same command to go on")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress(total: int, initial: int, enabled: bool) -> Iterator[Callable[[dict[str, float]], None]]:
    """A progress bar; yields a function that takes the losses of a step."""
    with tqdm(total=total, initial=initial, disable=not enabled, unit="step", dynamic_ncols=True) as bar:

        def show(losses: dict[str, float]) -> None:
            bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()}, refresh=False)
            bar.update(1)

        yield show
