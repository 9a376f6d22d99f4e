"""The disk space that a run takes, and how much more it will need; a hard-linked file counts once."""

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
from nmtprune.experiment.run import Run
from nmtprune.foundation import commands
from nmtprune.foundation.errors import UserError
from nmtprune.planning.jobs import STEP, Job, Jobs
from nmtprune.planning.task_sizes import TaskSizes

BLOCK = 512  # bytes: the unit of `st_blocks`
BYTES_A_WEIGHT = 4
BYTES_A_SENTENCE = 130  # of a hypothesis and its likelihood together
STATES_OF = {"adam": 2, "sgd": 0}  # how many numbers an optimiser keeps for each weight


@dataclass(frozen=True)
class Usage:
    """Bytes on disk: `outputs` are results of a run, `state` is what an interrupted run continues from."""

    outputs: int = 0
    state: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.outputs + other.outputs, self.state + other.state)


def usage(folder: Path = paths.RESULTS) -> dict[Path, Usage]:
    """Bytes on disk by owner.

    An owner is the directory of a model, of a task's text or data, or another directory or file under
    results/. A hard-linked file (as a snapshot and the `at` that shows it) counts once, for its first owner;
    as output if any of its links is an output.
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
    by_owner: dict[Path, Usage] = defaultdict(Usage)
    for owner, is_state, size in seen.values():
        by_owner[owner] += Usage(state=size) if is_state else Usage(outputs=size)
    return dict(by_owner)


def _owner(parts: tuple[str, ...], folder: Path) -> tuple[Path, bool]:
    """The owner of a directory under results/, and whether the directory holds state."""
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


def du(run: Run) -> str:
    """The output of `python -m nmtprune du`: space by table and figure, by kind of step, and in all."""
    by_owner, jobs = usage(), Jobs(run)
    of_items = {
        name: {folder for file in files for folder in jobs[file].folders}
        for name, files in jobs.of_items().items()
    }
    of_run = set().union(*of_items.values())
    shared = {folder for folder in of_run if sum(folder in folders for folders in of_items.values()) > 1}
    lines = [run.config.heading, ""]
    rows: list[tuple[str, ...]] = [("table or figure", "all it needs", "not shared", "state")]
    for name, folders in of_items.items():
        total = _total(by_owner, folders)
        rows.append(
            (name, *map(human, (total.outputs, _total(by_owner, folders - shared).outputs, total.state)))
        )
    lines += [*table(rows), ""]
    rows = [("step", "models", "outputs", "state")]
    for kind, folders in sorted(_by_kind(of_run).items()):
        made = [folder for folder in folders if folder in by_owner]
        rows.append((kind, str(len(made)), *_row(_total(by_owner, made))))
    rows.append(
        (
            "the run, what is shared once",
            str(sum(folder in by_owner for folder in of_run)),
            *_row(_total(by_owner, of_run)),
        )
    )
    rest = {folder for folder in by_owner if folder not in of_run}
    for what, folders in (
        ("models of other runs", {folder for folder in rest if paths.MODELS in folder.parents}),
        ("downloads", {folder for folder in rest if folder == paths.DOWNLOADS}),
    ):
        rest -= folders
        rows.append(
            (what, str(sum(folder in by_owner for folder in folders)), *_row(_total(by_owner, folders)))
        )
    rows += [
        ("pages, logs, all else", "", *_row(_total(by_owner, rest))),
        ("results/", "", *_row(_total(by_owner, by_owner))),
    ]
    return "\n".join([*lines, *table(rows), "", f"free: {human(shutil.disk_usage('.').free)}"])


def _by_kind(folders: Iterable[Path]) -> dict[str, set[Path]]:
    kinds: dict[str, set[Path]] = defaultdict(set)
    for folder in folders:
        if paths.MODELS in folder.parents:
            kind = parse_step(folder.name).kind.name if _is_step(folder.name) else "shards"
        else:
            kind = {"text": "text of tasks", "speed": "speed"}.get(
                folder.parts[1] if folder.name != "text" else "text", "binarised data"
            )
        kinds[kind].add(folder)
    return kinds


def _total(by_owner: Mapping[Path, Usage], folders: Iterable[Path]) -> Usage:
    return sum((by_owner[folder] for folder in folders if folder in by_owner), Usage())


def _row(of: Usage) -> tuple[str, str]:
    return human(of.outputs), human(of.state)


def human(size: float) -> str:
    """A size in bytes as text, in powers of 1,000: `640 kB`, `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 99.5 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a text table: the first column is aligned to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        numbers = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join([f"{first:<{widths[0]}}", *numbers]).rstrip()


@dataclass(frozen=True)
class Needed:
    """The space that jobs need in bytes.

    `left`: what they leave when they are done; `running`: the most that they need in addition while trainings
    run; `unknown`: jobs whose size is unknown.
    """

    left: int
    running: int
    unknown: tuple[Job, ...]


class Sizes:
    """Estimates of the space that jobs need, from numbers of parameters and of sentences."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def weights(self, chain: Chain) -> int | None:
        """Bytes of a model in single precision; None if the recipe leaves a width to fairseq.

        A sliced model takes less.
        """
        if chain.root.kind.imports:
            return self.config.imported(chain.root["name"]).weights.stat().st_size
        recipe = self.config.recipe(chain.recipe)
        size = recipe.subwords["size"]
        if not size:
            return None
        count = recipe.architecture.parameter_count((size, size))
        return None if count is None else BYTES_A_WEIGHT * count

    def left_by(self, job: Job) -> int | None:
        """Bytes that a job leaves; None if they cannot be estimated, as for a text before it is fetched."""
        if job.does in ("score", "variants"):
            task = TaskSizes(self.config, job.task)
            sets = ["dev", *task.tests] if job.does == "score" else task.tests[:1]
            return max(1, len(job.models)) * sum(map(task.sentences, sets)) * BYTES_A_SENTENCE
        if job.does != STEP:
            return None if job.does in ("text", "data", "shortlist") else 0
        model = self.weights(job.subject)
        if model is None:
            return None
        masks = sum(each.last.kind.selects for each in job.subject.of_its_job())
        return self._checkpoints(job.subject) * model + masks * (model // (8 * BYTES_A_WEIGHT))

    def _checkpoints(self, chain: Chain) -> int:
        """The number of checkpoints that the last step of a chain leaves.

        It is 0 for a mask, and for `at`, which links a snapshot.
        """
        kind = chain.last.kind
        if not kind.trains:
            return 0 if kind.selects or kind.snapshot else 1
        return (
            2
            + (chain.parent is None)
            + len(self.config.schedule(chain.recipe, chain.last.schedule).snapshots)
        )

    def while_running(self, job: Job) -> int:
        """Bytes of a training's resume file, which exists twice while it is replaced."""
        if not job.trains:
            return 0
        schedule = self.config.schedule(job.subject.recipe, job.subject.last.schedule)
        copies = 1 + STATES_OF[schedule.optimizer.name] + bool(schedule.exponential_moving_average)
        return 2 * copies * (self.weights(job.subject) or 0)

    def needed(self, jobs: Iterable[Job], at_once: int = 1) -> Needed:
        """The space that jobs need if `at_once` of them run at a time."""
        jobs = list(jobs)
        left = {job.makes: self.left_by(job) for job in jobs}
        largest = sorted((self.while_running(job) for job in jobs), reverse=True)
        unknown = tuple(job for job in jobs if left[job.makes] is None)
        return Needed(sum(size or 0 for size in left.values()), sum(largest[:at_once]), unknown)


def check_room(
    jobs: Jobs, at_once: int = 1, free: Callable[[], int] = lambda: shutil.disk_usage(".").free
) -> None:
    """Raises UserError if the remaining jobs, `at_once` of them at a time, need more space than is free.

    With `check_space: false`, nothing is checked.
    """
    if not jobs.config.settings["check_space"]:
        return
    needed, available = Sizes(jobs.config).needed(jobs.to_do(), at_once), free()
    if needed.left + needed.running > available:
        raise UserError(
            f"the run will leave about {human(needed.left)} and need {human(needed.running)} more while "
            "trainings run, and "
            f"{human(available)} are free here; free some space: {commands.nmtprune('free')}; "
            f"or start it anyway: {commands.snakemake(settings=['check_space=false'])}"
        )
