"""What a run takes on disk, and how much more it will take: files with several names are counted once."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain, parse_step
from nmtprune.experiment.config import Config
from nmtprune.experiment.parameter_count import parameters
from nmtprune.foundation import commands
from nmtprune.foundation.errors import UserError
from nmtprune.planning.jobs import STEP, Job, Jobs
from nmtprune.planning.task_sizes import Task

BLOCK = 512  # bytes, of what a file system says a file takes
BYTES_A_WEIGHT = 4
BYTES_A_SENTENCE = 130  # of a hypothesis, and of its likelihood
STATES_OF = {"adam": 2, "sgd": 0}  # numbers that an optimiser keeps for each weight


@dataclass(frozen=True)
class Usage:
    """Bytes on disk: `outputs` are what a run is for, `state` is what it goes on from when it was stopped."""

    outputs: int = 0
    state: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.outputs + other.outputs, self.state + other.state)


def usage(folder: Path = paths.RESULTS) -> dict[Path, Usage]:
    """Bytes on disk by owner: the directory of a model, of a task's text or its data, or whatever else lies under results/.

    A file that several owners have, as a snapshot and the `at` that shows it, is the first one's, and an output where any of its names is.
    """
    seen: dict[tuple[int, int], tuple[Path, bool, int]] = {}
    for directory, folders, names in os.walk(folder):
        folders.sort()
        owner, is_state = _owner(Path(directory).relative_to(folder).parts, folder)
        for name in names:
            status = os.lstat(Path(directory) / name)
            file = (status.st_dev, status.st_ino)
            first, state, size = seen.get(file, (owner, True, status.st_blocks * BLOCK))
            seen[file] = (min(first, owner), state and is_state, size)
    found: dict[Path, Usage] = defaultdict(Usage)
    for owner, is_state, size in seen.values():
        found[owner] += Usage(state=size) if is_state else Usage(outputs=size)
    return dict(found)


def _owner(parts: tuple[str, ...], folder: Path) -> tuple[Path, bool]:
    """Whom a directory under results/ belongs to, and whether it is within state."""
    if parts[:1] == (paths.MODELS.name,):
        end = next((number for number in range(4, len(parts)) if not _is_step(parts[number])), len(parts))
    else:
        end = 3 if parts[:1] == ("data",) else 1
    return folder.joinpath(*parts[:end]), "state" in parts[end - 1 :]


def _is_step(name: str) -> bool:
    try:
        parse_step(name)
    except UserError:
        return False
    return True


def du(config: Config) -> str:
    """What `python -m nmtprune du` prints: space by table and figure, by kind of step, and of all that is under results/."""
    found, jobs = usage(), Jobs(config)
    of_items = {name: {folder for file in files for folder in jobs[file].folders} for name, files in jobs.of_items().items()}
    run = set().union(*of_items.values())
    shared = {folder for folder in run if sum(folder in folders for folders in of_items.values()) > 1}
    lines = [f"{config.heading}", ""]
    rows = [("table or figure", "all it needs", "its alone", "state")]
    for name, folders in of_items.items():
        whole = _total(found, folders)
        rows.append((name, *map(human, (whole.outputs, _total(found, folders - shared).outputs, whole.state))))
    lines += [*table(rows), ""]
    rows = [("step", "models", "outputs", "state")]
    for kind, folders in sorted(_by_kind(run).items()):
        there = [folder for folder in folders if folder in found]
        rows.append((kind, str(len(there)), *_row(_total(found, there))))
    rows.append(("the run, what is shared once", str(sum(folder in found for folder in run)), *_row(_total(found, run))))
    rest = {folder for folder in found if folder not in run}
    for what, folders in (
        ("models of other runs", {folder for folder in rest if paths.MODELS in folder.parents}),
        ("downloads", {folder for folder in rest if folder == paths.DOWNLOADS}),
    ):
        rest -= folders
        rows.append((what, str(sum(folder in found for folder in folders)), *_row(_total(found, folders))))
    rows += [("pages, logs, all else", "", *_row(_total(found, rest))), ("results/", "", *_row(_total(found, found)))]
    return "\n".join([*lines, *table(rows), "", f"free: {human(shutil.disk_usage('.').free)}"])


def _by_kind(folders: Iterable[Path]) -> dict[str, set[Path]]:
    kinds: dict[str, set[Path]] = defaultdict(set)
    for folder in folders:
        if paths.MODELS in folder.parents:
            kind = parse_step(folder.name).kind.name if _is_step(folder.name) else "shards"
        else:
            kind = {"text": "text of tasks", "speed": "speed"}.get(folder.parts[1] if folder.name != "text" else "text", "binarised data")
        kinds[kind].add(folder)
    return kinds


def _total(found: Mapping[Path, Usage], folders: Iterable[Path]) -> Usage:
    return sum((found[folder] for folder in folders if folder in found), Usage())


def _row(of: Usage) -> tuple[str, str]:
    return human(of.outputs), human(of.state)


def human(size: float) -> str:
    """`640 kB`, `1.2 GB`: in powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 99.5 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Rows under each other, the first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        numbers = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join([f"{first:<{widths[0]}}", *numbers]).rstrip()


@dataclass(frozen=True)
class Needed:
    """Bytes that jobs will leave, and the most that trainings keep beside that while they run; `unknown`: jobs of unknown size."""

    left: int
    running: int
    unknown: tuple[Job, ...]


class Sizes:
    """How large what jobs leave will be: by the files that are there, by the recipe's arithmetic before."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def weights(self, chain: Chain) -> int | None:
        """Bytes of a model in single precision; None where the recipe leaves a width to fairseq. A sliced model takes less."""
        if chain.root.kind.imports:
            return Path(self.config.imported(chain.root["name"])["checkpoint"]).stat().st_size
        recipe = self.config.recipe(chain.recipe)
        size = recipe["subwords"].get("size")
        if not size:
            return None
        found = parameters(recipe["architecture"], (size, size))
        return None if found is None else BYTES_A_WEIGHT * found

    def left_by(self, job: Job) -> int | None:
        """Bytes that a job leaves; None where nothing is known of it: a text before it is fetched."""
        if job.does in ("score", "variants"):
            task = Task(self.config, job.task)
            sets = ["dev", *task.tests] if job.does == "score" else task.tests[:1]
            return max(1, len(job.models)) * sum(map(task.sentences, sets)) * BYTES_A_SENTENCE
        if job.does != STEP:
            return None if job.does in ("text", "data", "shortlist") else 0
        whole = self.weights(job.chain)
        if whole is None:
            return None
        masks = sum(each.last.kind.selects for each in job.chain.of_its_job())
        return self._checkpoints(job.chain) * whole + masks * (whole // (8 * BYTES_A_WEIGHT))

    def _checkpoints(self, chain: Chain) -> int:
        """How many checkpoints the last step of a chain leaves: a snapshot that is named `at` is none, and a mask is none."""
        kind = chain.last.kind
        if not kind.trains:
            return 0 if kind.selects or kind.snapshot else 1
        return 2 + (chain.parent is None) + len(self.config.schedule(chain.recipe, chain.last.schedule)["snapshots"])

    def while_running(self, job: Job) -> int:
        """Bytes of a training's resume file, once more while it is replaced."""
        if job.does != STEP or not job.chain.last.kind.trains:
            return 0
        schedule = self.config.schedule(job.chain.recipe, job.chain.last.schedule)
        copies = 1 + STATES_OF[schedule["optimizer"]["name"]] + bool(schedule["exponential_moving_average"])
        return 2 * copies * (self.weights(job.chain) or 0)

    def needed(self, jobs: Iterable[Job], at_once: int = 1) -> Needed:
        """What jobs will take, `at_once` of which run at a time."""
        jobs = list(jobs)
        left = {job.makes: self.left_by(job) for job in jobs}
        largest = sorted((self.while_running(job) for job in jobs), reverse=True)
        unknown = tuple(job for job in jobs if left[job.makes] is None)
        return Needed(sum(size or 0 for size in left.values()), sum(largest[:at_once]), unknown)


def check_room(config: Config, at_once: int = 1, free: Callable[[], int] = lambda: shutil.disk_usage(".").free) -> None:
    """Raises UserError where the jobs that are left need more than the file system has, `at_once` running at a time; `check_space: false`
    lets them begin."""
    if not config.settings["check_space"]:
        return
    needed, there = Sizes(config).needed(Jobs(config).to_do(), at_once), free()
    if needed.left + needed.running > there:
        raise UserError(
            f"the run will leave about {human(needed.left)} and take {human(needed.running)} more while trainings run, and "
            f"{human(there)} are free here; make room: {commands.nmtprune('free')}; "
            f"or begin all the same: {commands.snakemake(settings=['check_space=false'])}"
        )
