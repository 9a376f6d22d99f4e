"""A run while it goes on: a bar for each running training, and one for the whole run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nmtprune.experiment.chain import Chain
from nmtprune.planning.estimates import Cost, Estimates
from nmtprune.planning.jobs import Jobs
from nmtprune.planning.status import duration, is_alive, progress_of

SECONDS_BETWEEN_COUNTS = 20  # between two counts of the whole run's jobs, which read many files
BAR_WIDTH = 24


@dataclass(frozen=True)
class RunningTraining:
    """A training that runs now.

    `loss`: per target token, in nats; `words_per_second`: of the target. Both since the last validation, and
    None before the first report after it.
    """

    chain: Chain
    update: int
    updates: int
    loss: float | None
    words_per_second: float | None
    seconds_left: float


@dataclass(frozen=True)
class WholeRun:
    """How far a run is. `share`: of its estimated time, or of its jobs where no job's time is known."""

    share: float
    jobs_done: int
    jobs: int
    seconds_left: float | None
    unknown: int

    @property
    def is_done(self) -> bool:
        """Whether no job of the run is left."""
        return self.jobs_done == self.jobs


def running(jobs: Jobs) -> list[RunningTraining]:
    """The trainings of a run that report progress and whose process is alive."""
    trainings = []
    for job in jobs.values():
        if not job.trains:
            continue
        progress = progress_of(job.subject)
        if progress and is_alive(job.subject, progress):
            trainings.append(
                RunningTraining(
                    job.subject,
                    progress["update"],
                    progress["updates"],
                    progress.get("loss"),
                    progress.get("words_per_second"),
                    progress["seconds_left"],
                )
            )
    return sorted(trainings, key=lambda training: str(training.chain))


def whole(jobs: Jobs, trainings: Sequence[RunningTraining]) -> WholeRun:
    """How far a run is, the done part of running trainings included."""
    estimates, to_do = Estimates(jobs.config), {job.makes for job in jobs.to_do()}
    costs: dict[Path, Cost | None] = {file: estimates.cost(job) for file, job in jobs.items()}
    known = {file: cost.seconds for file, cost in costs.items() if cost}
    total, left = sum(known.values()), sum(known.get(file, 0.0) for file in to_do)
    for training in trainings:
        file = jobs.model(training.chain)
        if file in to_do:
            left -= known.get(file, 0.0) * training.update / training.updates
    done = len(jobs) - len(to_do)
    share = 1 - left / total if total else done / max(len(jobs), 1)
    unknown = sum(file not in known for file in to_do)
    return WholeRun(share if to_do else 1.0, done, len(jobs), left if total else None, unknown)


def drawn(run: WholeRun, trainings: Sequence[RunningTraining]) -> RenderableType:
    """The bars as rich draws them."""
    table = Table.grid(padding=(0, 2))
    for training in trainings:
        table.add_row(
            Text(str(training.chain), overflow="fold"),
            ProgressBar(total=training.updates, completed=training.update, width=BAR_WIDTH),
            f"{training.update:,} of {training.updates:,} updates",
            f"loss {training.loss:.3f}" if training.loss is not None else "",
            f"{training.words_per_second:,.0f} words/s" if training.words_per_second is not None else "",
            f"{duration(training.seconds_left)} left",
        )
    if not trainings:
        table.add_row("no training reports progress")
    return Group(_of_the_run(run), table)


def _of_the_run(run: WholeRun) -> Table:
    table = Table.grid(padding=(0, 2))
    measure = "of the jobs" if run.seconds_left is None else "of the estimated time"
    cells = [f"{run.share:.0%} {measure}", f"{run.jobs_done:,} of {run.jobs:,} jobs"]
    if run.seconds_left is not None and not run.is_done:
        cells.append(f"{duration(run.seconds_left)} of one core left")
    if run.unknown and run.seconds_left is not None:
        cells.append(f"without an estimate: {run.unknown:,}")
    table.add_row(Text("whole run", style="bold"), ProgressBar(1.0, run.share, width=BAR_WIDTH), *cells)
    return table


def watch(
    jobs: Jobs,
    seconds: float,
    console: Console | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Draw the bars every few seconds until the run is done or the user stops (Ctrl-C)."""
    trainings = running(jobs)
    run, counted = whole(jobs, trainings), time.monotonic()
    with Live(drawn(run, trainings), console=console or Console(), auto_refresh=False) as live:
        while not run.is_done:
            try:
                wait(seconds)
            except KeyboardInterrupt:
                return
            trainings = running(jobs)
            if time.monotonic() - counted >= SECONDS_BETWEEN_COUNTS or not trainings:
                run, counted = whole(jobs, trainings), time.monotonic()
            live.update(drawn(run, trainings), refresh=True)
