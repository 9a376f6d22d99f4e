"""Free files that no page and no later step of a run needs, and make them again if they are needed after all.

Manifests, scores, hypotheses, histories, masks and analyses stay. Rules know a model by its manifest, so that
nothing is made again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.experiment.chain import Chain, parse
from nmtprune.experiment.run import Run
from nmtprune.foundation import commands
from nmtprune.foundation.errors import UserError
from nmtprune.planning.disk_usage import BLOCK, human, table
from nmtprune.planning.jobs import STEP, Job, Jobs
from nmtprune.store.state import is_locked, outputs_of

TEMPORARY = "*.tmp"
UNFINISHED, OTHERS, TRIED = (
    "resume files and partial files",
    "models of earlier settings",
    "trials and shards of finished analyses",
)
LATEST, FIRST, PART, INTERMEDIATE = (
    "latest checkpoints",
    "first weights",
    "snapshots",
    "intermediate models, not scored",
)
SCORED = "scored models"


@dataclass(frozen=True)
class Spare:
    """A file that may be removed, and what kind of file it is."""

    what: str
    file: Path


def weights_read(job: Job) -> set[Path]:
    """The checkpoints that a job reads of models made before it, without masks, which are never freed."""
    if job.rule == "speed":
        return {paths.checkpoint_of(each) for each in job.models}
    if not job.chain:
        return set()
    if job.does == STEP:
        return job.chain.last.kind.reads(job.chain)
    looks_back = (
        job.does in ANALYSIS_KINDS
        and ANALYSIS_KINDS[job.does].reads_first_weights
        and job.chain.root.kind.trains
    )
    return {paths.checkpoint_of(job.chain), *([paths.first_weights(job.chain)] if looks_back else ())}


def _read(jobs: Jobs, job: Job) -> set[Path]:
    return (
        {paths.checkpoint_of(each) for each in jobs.kept.teachers(job.task)}
        if job.rule == "distil"
        else weights_read(job)
    )


def spare(run: Run, scored_too: bool = False) -> list[Spare]:
    """The files of a run's finished models that may be removed.

    A file may go once everything in the run that reads it is done. Models that a process works on are left
    alone. `scored_too`: include the weights of scored models, which `export` needs.
    """
    jobs = Jobs(run)
    left = jobs.to_do()
    unfinished, needed = {job.makes for job in left}, {file for job in left for file in _read(jobs, job)}
    wanted = set(run.chains)
    spares: dict[Path, Spare] = {}
    for file, job in jobs.items():
        state = paths.state(file.parent)
        if file in unfinished or is_locked(state):
            continue
        if job.does == STEP:
            made = [
                each for each in job.subject.of_its_job() if not is_locked(paths.state(paths.model(each)))
            ]
            candidates = (
                spare for each in made for spare in _of_model(paths.model(each), each in wanted, scored_too)
            )
        elif job.does in ANALYSIS_KINDS and ANALYSIS_KINDS[job.does].translates:
            candidates = ((TRIED, each) for each in state.glob(f"{job.does}/*/{paths.TRIALS}"))
        else:
            candidates = ((TRIED, each) for each in state.glob("*/shard-*.json"))
        for what, each in candidates:
            if each.is_file() and each not in needed:
                spares[each] = Spare(what, each)
    return list(spares.values())


def _of_model(directory: Path, wanted: bool, scored_too: bool) -> Iterator[tuple[str, Path]]:
    """The kinds and paths of a finished model's files that may go if no remaining job reads them."""
    state = paths.state(directory)
    for torn in (*directory.glob(f".{TEMPORARY}"), *state.rglob(f".{TEMPORARY}"), state / paths.RESUME):
        yield UNFINISHED, torn
    for kept in (state / paths.KEPT).rglob("*"):
        yield OTHERS, kept
    yield LATEST, directory / paths.LAST
    yield FIRST, directory / paths.INITIAL
    for snapshot in paths.snapshots(directory).glob("*.pt"):
        yield PART, snapshot
    if scored_too or not wanted:
        yield SCORED if wanted else INTERMEDIATE, directory / paths.MODEL


def _names(file: Path) -> list[Path]:
    """A file of a model and, if there is one, its link in `state/`, from which the step is restored."""
    folder = paths.folder_of(file)
    kept = outputs_of(paths.state(folder)) / file.relative_to(folder)
    return [file, *([kept] if kept.exists() else [])]


def _bytes(files: Iterable[Path]) -> int:
    """Bytes that removing these files would free; a file counts only if no other link to it remains."""
    status = [file.lstat() for file in files]
    gone = Counter((each.st_dev, each.st_ino) for each in status)
    sizes = {(each.st_dev, each.st_ino): (each.st_nlink, each.st_blocks * BLOCK) for each in status}
    return sum(size for file, (names, size) in sizes.items() if names <= gone[file])


def free(run: Run, do: bool = False, scored_too: bool = False) -> str:
    """The output of `python -m nmtprune free`; with `do`, the files are removed."""
    kinds: dict[str, list[Path]] = defaultdict(list)
    for each in spare(run, scored_too):
        kinds[each.what] += _names(each.file)
    everything = [file for files in kinds.values() for file in files]
    total = _bytes(everything)
    rows = [(what, str(len(files)), human(_bytes(files))) for what, files in kinds.items()]
    lines = [
        *table([("", "files", "space"), *rows, ("all together", str(len(everything)), human(total))]),
        "",
    ]
    if not everything:
        return f"{run.name}: every file is needed by a page or a later step of the run"
    if not do:
        models = ["--models"] if scored_too else []
        hints = [f"Nothing is removed yet. Remove these files: {commands.nmtprune('free', *models, '--yes')}"]
        hints += (
            []
            if scored_too
            else [
                "Remove also the weights of scored models, which export needs: "
                f"{commands.nmtprune('free', '--models', '--yes')}"
            ]
        )
        return "\n".join([*lines, *hints])
    for file in everything:
        file.unlink(missing_ok=True)
    for folder in sorted(
        {file.parent for file in everything if paths.KEPT in file.parts}, key=lambda path: -len(path.parts)
    ):
        _remove_empty(folder)
    return "\n".join(
        [*lines, f"{human(total)} freed. To make needed models again: {commands.nmtprune('restore')}"]
    )


def _remove_empty(folder: Path) -> None:
    while paths.KEPT in folder.parts and folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def missing(jobs: Jobs, within: Iterable[Path] | None = None) -> list[Chain]:
    """Models whose weights were freed and that remaining jobs will read, parents first.

    `within`: only jobs that make these files.
    """
    left = {job.makes: job for job in jobs.to_do()}
    chosen = left if within is None else {file: left[file] for file in within if file in left}
    return _gone(jobs, set(left), (file for job in chosen.values() for file in _read(jobs, job)))


def _gone(jobs: Jobs, left: set[Path], read: Iterable[Path]) -> list[Chain]:
    """Models whose checkpoints are missing, among those of the files `read` and of what restoring them reads.

    `left`: the manifests of models that have not been made yet.
    """
    gone: set[Path] = set()
    waiting = list(read)
    while waiting:
        file = waiting.pop()
        owner = jobs[paths.manifest(_owner(file))]
        if not file.exists() and owner.makes not in left | gone:
            gone.add(owner.makes)
            waiting += _read(jobs, owner)
    return [job.subject for file, job in jobs.items() if file in gone]


def _owner(file: Path) -> Chain:
    folder = paths.folder_of(file)
    return parse(paths.chain_text(str(folder)))


def check_weights(jobs: Jobs, within: Iterable[Path] | None = None) -> None:
    """Raises UserError if remaining jobs need weights that were freed."""
    if gone := missing(jobs, within):
        these = f"{gone[0]}" if len(gone) == 1 else f"{len(gone)} models, {gone[0]} the first of them"
        raise UserError(
            f"the run needs the weights of {these}, which were freed; make them again: "
            f"{commands.nmtprune('restore')}"
        )


def restore(run: Run, wanted: Iterable[Chain] = ()) -> Iterator[Chain]:
    """Make freed models again, and yield each: those `wanted`, or all that the rest of the run needs.

    Their own steps make the same tensors again, so that nothing that was made from them is made again.
    """
    from nmtprune.steps.run import run as make  # noqa: PLC0415 - PyTorch takes seconds

    jobs, wanted = Jobs(run), list(wanted)
    for chain in wanted:
        jobs.model(chain)  # the chain may belong to another run
    gone = _gone(jobs, set(), map(paths.checkpoint_of, wanted)) if wanted else missing(jobs)
    for chain in gone:
        make(run.config, chain)
        yield chain
