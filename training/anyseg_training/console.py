# SPDX-License-Identifier: Apache-2.0
"""A long run's manners on a terminal: it stops where nothing is lost, and shows how far it is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


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
