# SPDX-License-Identifier: Apache-2.0
"""Fuzzes the message readers for a bounded time: ``make fuzz SECONDS=60``.

Each target runs in a process of its own with numba's bounds checks on. With atheris (coverage-guided; wheels for
Linux x86, Python 3.11 to 3.13) where it is installed, else with plain random mutations. An input that raises what it
must not, takes over 10 s, or kills the process is a finding: it is kept in the output folder, and
``fuzz_run.py --target NAME --replay FILE`` runs it alone.
"""

import argparse
import faulthandler
import os
import random
import re
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType

LIMIT_S = 10  # of processor time, for one input
HANG_S = 60
LONGEST = 4096  # bytes of an input
REPOSITORY = Path(__file__).resolve().parents[2]
TARGET_NAMES = ("image", "compressed_image", "cloud", "event_packets", "event_array", "event_words")
# Whose branches guide the search, where atheris does it. Compiled kernels cannot be instrumented.
INSTRUMENTED = (
    "image_messages", "compressed_messages", "rvl", "point_messages", "payload", "event_messages", "event_array",
    "evt2", "evt3", "libcaer", "mono", "raw_files",
)  # fmt: skip
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(data, others, rng):
    """The bytes after one to four random changes."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            value, size = rng.choice(INTERESTING), rng.choice((1, 2, 4))
            data[at : at + size] = (value & (256**size - 1)).to_bytes(size, rng.choice(("little", "big")))
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 16))
        elif kind == 3:
            del data[at : at + rng.randint(1, 16)]
        elif kind == 4:
            data[at : at + 16] = rng.randbytes(rng.randint(0, 16))
        else:
            other = rng.choice(others)
            data[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(data[:LONGEST])


def search(target, seeds, seed, last_input=None, seconds=None, runs=None):
    """Runs a target on mutated seeds.

    Args:
        target: takes bytes.
        seeds: byte strings to begin with; each is run as it is first.
        seed: of the random numbers.
        last_input: file object that each input is written to before it is run.
        seconds: when to stop, counted from after the seeds, in which kernels are compiled.
        runs: after how many runs to stop.

    Returns:
        (number of runs, seconds).

    Raises:
        AssertionError: an input took over 10 s of processor time.
        Exception: whatever the target raises.
    """
    rng, count = random.Random(seed), 0
    for data in seeds:
        _run(target, data, last_input)
    begin = time.perf_counter()
    while (runs is None or count < runs) and (seconds is None or time.perf_counter() - begin < seconds):
        data = mutated(rng.choice(seeds), seeds, rng)
        started = time.process_time()  # on a busy machine the wall clock says nothing about the input
        _run(target, data, last_input)
        assert time.process_time() - started < LIMIT_S, f"an input of {len(data)} bytes takes over {LIMIT_S} s"
        count += 1
    return count, time.perf_counter() - begin


def _run(target, data, last_input):
    if last_input is not None:
        last_input.seek(0)
        last_input.write(data)
        last_input.truncate()
        last_input.flush()
    target(data)


def fuzz_plain(name, seconds, seed, out):
    from fuzz_seeds import seeds
    from fuzz_targets import TARGETS

    faulthandler.enable()
    path = out / f"finding-{name}"
    with path.open("wb") as last_input:
        count, took = search(TARGETS[name], seeds(name), seed, last_input, seconds)
    path.unlink()
    print(f"Done {count} runs in {took:.1f} second(s)", flush=True)


def plain_functions(module):
    """The functions and methods that a module defines, compiled kernels left out."""
    defined = [thing for thing in vars(module).values() if getattr(thing, "__module__", "") == module.__name__]
    methods = [method for thing in defined if isinstance(thing, type) for method in vars(thing).values()]
    return [thing for thing in defined + methods if isinstance(thing, FunctionType)]


def fuzz_atheris(name, seconds, seed, out):
    import atheris
    from fuzz_seeds import seeds
    from fuzz_targets import TARGETS

    for module in INSTRUMENTED:
        for function in plain_functions(import_module(f"anyseg_ros.sensors.{module}")):
            atheris.instrument_func(function)
    corpus = out / f"corpus-{name}"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds(name)):
        TARGETS[name](data)  # compiles the kernels, which must not count as a slow input
        (corpus / f"seed-{number:03d}").write_bytes(data)
    options = {
        "max_total_time": seconds, "timeout": HANG_S, "max_len": LONGEST, "seed": seed, "rss_limit_mb": 4096,
        "artifact_prefix": str(out / f"finding-{name}-"), "verbosity": 0, "print_final_stats": 1,
    }  # fmt: skip
    arguments = [f"-{key}={value}" for key, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], TARGETS[name], enable_python_coverage=True)
    atheris.Fuzz()


def fuzz_all(names, seconds, seed, out):
    """Runs each target for its share of the time; the number of targets with a finding."""
    out.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(out / "numba")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    driver = "atheris" if find_spec("atheris") else "plain"
    share, failed, total, total_s = max(1, round(seconds / len(names))), 0, 0, 0.0
    for name in names:
        log = out / f"{name}.log"
        arguments = [
            "--driver",
            driver,
            "--target",
            name,
            "--seconds",
            str(share),
            "--seed",
            str(seed),
            "--out",
            str(out),
        ]
        code = None
        with log.open("wb") as file, suppress(subprocess.TimeoutExpired):
            code = subprocess.run(
                [sys.executable, str(Path(__file__).resolve()), *arguments],
                env=environment, stdout=file, stderr=subprocess.STDOUT, timeout=share + 10 * HANG_S,
            ).returncode  # fmt: skip
        said = log.read_text(errors="replace")
        result = re.findall(r"Done (\d+) runs in ([\d.]+) second|number_of_executed_units: (\d+)", said)
        runs = max((int(a or c) for a, _, c in result), default=0)
        verdict = "no finding" if code == 0 else f"FINDING, see {log} and {out}/finding-{name}*"
        failed += code != 0
        total, total_s = total + runs, total_s + share
        print(f"{name}: {runs} runs in {share} s, {runs / share:.0f} runs/s, {verdict}", flush=True)
    print(
        f"total ({driver}): {total} runs, {total / total_s:.0f} runs/s, {failed} of {len(names)} targets with a finding"
    )
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--target", choices=TARGET_NAMES, action="append", help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "out/fuzz", help="logs, corpus, findings")
    parser.add_argument("--replay", type=Path, help="run this input alone")
    parser.add_argument("--driver", choices=("plain", "atheris"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.target or list(TARGET_NAMES)
    if args.replay:
        from fuzz_targets import TARGETS

        TARGETS[names[0]](args.replay.read_bytes())
        print(f"{names[0]}: no finding")
    elif args.driver:
        {"plain": fuzz_plain, "atheris": fuzz_atheris}[args.driver](names[0], args.seconds, args.seed, args.out)
    else:
        sys.exit(min(1, fuzz_all(names, args.seconds, args.seed, args.out.resolve())))


if __name__ == "__main__":
    main()
