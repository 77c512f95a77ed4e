# SPDX-License-Identifier: Apache-2.0
"""Makes the drives of an ablation and packs them; what is there already is left as it is."""

from __future__ import annotations

from pathlib import Path

from anyseg_training.ablation import AblationError, Plan, Split
from anyseg_training.data import INDEX, Pack
from anyseg_training.pack import make_pack

# Names of the splits in the layout of MUSES.
FOLDER_OF = {"train": "train", "selection": "val", "test": "test"}


def make_benchmark(plan: Plan, out: Path, workers: int = 2, bar: bool = True) -> dict[str, Pack]:
    """Simulate and pack every split; goes on where it was interrupted.

    Args:
        plan: which drives.
        out: the drives go to ``data`` below it, the packs to ``train``, ``selection`` and ``test``.
        workers: processes.
        bar: show progress.

    Raises:
        AblationError: the folder holds packs of other drives.
    """
    packs = {}
    for name, split in plan.splits.items():
        if not (out / name / INDEX).exists():
            simulate(out / "data", name, split, workers, bar)
            make_pack(out / "data", FOLDER_OF[name], plan.grid, out / name, workers, bar)
        packs[name] = open_split(plan, name, out)
    return packs


def open_benchmark(plan: Plan, out: Path) -> dict[str, Pack]:
    """The packs of every split; simulates and packs nothing.

    Raises:
        AblationError: one is missing, unfinished, or of other drives.
    """
    for name in plan.splits:
        if not (out / name / INDEX).exists():
            raise AblationError(
                f"{out / name} holds no finished pack of the split '{name}', and a report makes none; run the same "
                "command without --report-only, or name the folder of the runs"
            )
    return {name: open_split(plan, name, out) for name in plan.splits}


def open_split(plan: Plan, name: str, out: Path) -> Pack:
    """The pack of a split, which must be of the planned drives, see ``check_pack``."""
    pack = Pack(out / name)
    check_pack(pack, plan.splits[name], plan.grid)
    return pack


def simulate(root: Path, name: str, split: Split, workers: int, bar: bool) -> None:
    """Write the drives of a split in the layout of MUSES."""
    from anyseg_ros.simulation.dataset import plan_drives, write_muses_dataset  # needs the simulator's dependencies

    jobs = plan_drives(FOLDER_OF[name], split.drives, split.frames, split.first_seed)
    write_muses_dataset(root, jobs, workers, bar)


def drive_seed(drive: str) -> int:
    """The seed of a simulated drive, which is its name: REC10005 -> 10005."""
    return int(drive.removeprefix("REC"))


def check_pack(pack: Pack, split: Split, grid: tuple[int, int]) -> None:
    """Refuse a pack that is not of the planned drives.

    Raises:
        AblationError: it is of others, or of another number of samples or another grid.
    """
    seeds = {drive_seed(sample["drive"]) for sample in pack.samples}
    if seeds != set(split.seeds) or len(pack) != split.drives * split.frames or pack.grid != tuple(grid):
        raise AblationError(
            f"{pack.root} holds {len(pack)} samples of the drives {min(seeds)} to {max(seeds)} at {pack.grid}; "
            f"planned are {split.drives} drives of {split.frames} from {split.first_seed} at {tuple(grid)}; "
            "choose another folder"
        )
