# SPDX-License-Identifier: Apache-2.0
"""Child processes of the demo: a clean environment, a log file each, and an end that none of them outlives."""

from __future__ import annotations

import ctypes
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyseg_ros
from anyseg_ros.resources import share_path

# A sourced ROS shell, or the wheels' bootstrap of the parent process, would put other packages and libraries first.
CLEARED = ("PYTHONPATH", "PYTHONHOME", "AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "CYCLONEDDS_URI")
CLEARED_PREFIXES = ("ROS_", "_ROS_", "RMW_", "RCUTILS_", "FASTRTPS_", "FASTDDS_", "COLCON_", "CMAKE_PREFIX_PATH")
SEGMENT = re.compile(r"<segment_size>(\d+)</segment_size>")
DOMAINS = range(1, 102)  # the ports of higher ones collide with those of other programs
FIRST_PORT, PORTS_PER_DOMAIN = 7410, 250
PARTICIPANTS = 5  # three nodes, and room for somebody who looks on
TERM_S, KILL_S = 8.0, 4.0
PR_SET_PDEATHSIG = 1


class StageError(RuntimeError):
    """A child process failed or took too long; the message says which and shows the end of its log."""


def clean_environment(base: Mapping[str, str], domain: int, log_folder: Path, profile: Path) -> dict[str, str]:
    """The environment for a child process.

    Args:
        base: the environment at hand.
        domain: ROS_DOMAIN_ID, 1 to 101 (higher ones collide with the ports of other programs).
        log_folder: for the logs of ROS itself.
        profile: the Fast DDS profile.
    """
    kept = {
        name: value for name, value in base.items() if name not in CLEARED and not name.startswith(CLEARED_PREFIXES)
    }
    return {
        **kept,
        "ROS_DOMAIN_ID": str(domain),
        "ROS_LOG_DIR": str(log_folder),
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(profile),
        "PYTHONUNBUFFERED": "1",
    }


def random_domain() -> int:
    """A ROS domain that nobody on this machine is in, and a neighbour's robot is unlikely to be in.

    Raises:
        StageError: somebody is in each of them.
    """
    domains = list(DOMAINS)
    random.SystemRandom().shuffle(domains)
    for domain in domains:
        if _is_free(domain):
            return domain
    raise StageError(f"all ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are in use here; end some ROS programs")


def _is_free(domain: int) -> bool:
    """Whether no DDS participant of this machine is in a domain: each holds a port of its own (DDSI-RTPS, 9.6.2)."""
    for participant in range(PARTICIPANTS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", FIRST_PORT + PORTS_PER_DOMAIN * domain + 2 * participant))
            except OSError:
                return False
    return True


def dds_profile(folder: Path, free_bytes: int | None = None) -> Path:
    """The Fast DDS profile, with smaller shared-memory segments where /dev/shm is small (containers give it 64 MB).

    Args:
        folder: where an adapted profile is written.
        free_bytes: what shared memory is left; by default what /dev/shm has.
    """
    profile = share_path("config/fastdds.xml")
    if free_bytes is None:
        free_bytes = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
    text = profile.read_text(encoding="utf-8")
    wanted = max(int(size) for size in SEGMENT.findall(text))
    if free_bytes >= PARTICIPANTS * wanted:
        return profile.resolve()
    adapted = folder / "fastdds.xml"
    size = max(1_000_000, free_bytes // PARTICIPANTS)
    adapted.write_text(SEGMENT.sub(f"<segment_size>{size}</segment_size>", text), encoding="utf-8")
    return adapted.resolve()


def _die_with_parent() -> None:
    """Ask Linux to end this process when the demo dies, however it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """A running child process with its own log file; a lasting one is not to end by itself."""

    def __init__(self, name: str, process: subprocess.Popen, log: Path, lasting: bool) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.lasting = lasting

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def tail(self, lines: int = 12) -> str:
        """The last lines of its log, indented."""
        found = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        return "\n".join(f"    {line}" for line in found) or "    (nothing was logged)"

    def check(self) -> None:
        """Make sure that it did not fail.

        Raises:
            StageError: it ended with an error, or ended although it was to last.
        """
        code = self.process.poll()
        if code is not None and (code != 0 or self.lasting):
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise StageError(f"the {self.name} {how}. The end of {self.log}:\n{self.tail()}")


class Stage:
    """Starts child processes and ends all of them when it is left, whatever happens.

    Args:
        logs: folder for the log files.
        environment: for the children, see `clean_environment`.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self.logs = logs
        self.environment = dict(environment)
        self.children: list[Child] = []
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self, name: str, module: str, arguments: Sequence[str], lasting: bool = False) -> Child:
        """Start ``python -m module arguments``; its output goes to ``logs/name.log``."""
        log = self.logs / f"{name.replace(' ', '_')}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=Path(anyseg_ros.__file__).resolve().parent.parent,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        child = Child(name, process, log, lasting)
        self.children.append(child)
        return child

    def wait(self, done: Callable[[], bool], timeout_s: float, what: str, look: Callable[[], None]) -> None:
        """Wait until something holds, looking after the children meanwhile.

        Args:
            done: what is waited for.
            timeout_s: the longest wait.
            what: what is waited for, in words: "the segmentor to be ready".
            look: called about ten times a second, for a progress bar.

        Raises:
            StageError: a child failed, or the time ran out.
        """
        end = time.monotonic() + timeout_s
        while not done():
            for child in self.children:
                child.check()
            if time.monotonic() > end:
                tails = "\n".join(f"  {child.name} ({child.log}):\n{child.tail(6)}" for child in self.children)
                raise StageError(f"waited {timeout_s:.0f} s for {what}, in vain. The ends of the logs:\n{tails}")
            look()
            time.sleep(0.1)
        look()

    def stop(self, child: Child, sign: signal.Signals = signal.SIGINT) -> None:
        """Ask a child to end, then insist."""
        for one, patience in ((sign, TERM_S), (signal.SIGTERM, KILL_S), (signal.SIGKILL, KILL_S)):
            if not _group_alive(child.process):
                break
            _signal_group(child.process, one)
            end = time.monotonic() + patience
            while _group_alive(child.process) and time.monotonic() < end:
                time.sleep(0.05)
        if child in self.children:
            self.children.remove(child)

    def close(self) -> None:
        """End every child that is left, all at once, and wait for them."""
        for child in self.children:
            _signal_group(child.process, signal.SIGINT)
        for child in list(self.children):
            self.stop(child, signal.SIGTERM)


def _group_alive(process: subprocess.Popen) -> bool:
    """Whether the process or one that it started is left; also reaps it."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal_group(process: subprocess.Popen, sign: signal.Signals) -> None:
    try:
        os.killpg(process.pid, sign)
    except (ProcessLookupError, PermissionError):
        return  # it is gone already, which is what was wanted
