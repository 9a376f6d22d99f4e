"""What the rest of a run will cost: jobs, hours and disk space, by table and figure and in all."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nmtprune.experiment import paths
from nmtprune.experiment.chain import parse
from nmtprune.experiment.config import Config, from_settings
from nmtprune.experiment.run import Run
from nmtprune.foundation import commands
from nmtprune.foundation.files import write_json
from nmtprune.planning import calibration
from nmtprune.planning.disk_usage import Needed, Sizes, human, table
from nmtprune.planning.estimates import Cost, Estimates
from nmtprune.planning.jobs import STEP, Job, Jobs, counts, rule_of
from nmtprune.planning.status import duration
from nmtprune.planning.task_sizes import SENTENCES


def in_hours(seconds: float) -> str:
    """A duration as text, in hours from two days on."""
    return duration(seconds) if seconds < 172800 else f"{seconds / 3600:,.0f} h"


@dataclass(frozen=True)
class Sum:
    """The total cost of jobs: CPU and GPU seconds, and numbers of jobs with known and unknown cost."""

    cpu: float
    gpu: float
    known: int
    unknown: int

    def hours(self) -> tuple[str, str]:
        """CPU and GPU time as text, with a + if some jobs are not counted."""
        if self.unknown and not self.known:
            return "unknown", "unknown"
        more = "+" if self.unknown else ""
        cpu, gpu = (f"{in_hours(seconds)}{more}" for seconds in (self.cpu, self.gpu))
        return cpu, gpu


def together(costs: Iterable[Cost | None]) -> Sum:
    """The total of several costs; None among them is an unknown cost."""
    costs = list(costs)
    known = [cost for cost in costs if cost]
    cpu, gpu = (math.fsum(cost.seconds for cost in known if cost.gpu == on_gpu) for on_gpu in (False, True))
    return Sum(cpu, gpu, len(known), len(costs) - len(known))


def at_least(jobs: Mapping[Path, Job], costs: Mapping[Path, Cost | None], cores: int, gpus: int) -> float:
    """A lower bound of the wall-clock seconds that the jobs take, in any order.

    It is the larger of the work divided evenly, with speed measured alone on the machine, and the longest
    chain of jobs that wait for each other. `jobs` come after those that they need.
    """
    longest: dict[Path, float] = {}
    for file, cost in costs.items():
        before = max((longest[need] for need in jobs[file].needs if need in longest), default=0.0)
        longest[file] = before + (cost.seconds if cost else 0.0)
    alone = [cost for file, cost in costs.items() if jobs[file].rule == "speed"]
    others = together(cost for file, cost in costs.items() if jobs[file].rule != "speed")
    return max(
        others.cpu / cores + together(alone).cpu, others.gpu / gpus, max(longest.values(), default=0.0)
    )


def plan(run: Run, cores: int, gpus: int = 1) -> str:
    """The output of `python -m nmtprune plan`: the rest of a run by rule and by table and figure."""
    jobs, estimates, sizes = Jobs(run), Estimates(run.config), Sizes(run.config)
    left = {job.makes: job for job in jobs.to_do()}
    costs = {file: estimates.cost(job) for file, job in left.items()}
    lines = [run.config.heading, ""]

    whole, of_rule = counts(jobs.values()), counts(left.values())
    rows = [("rule", "jobs", "there", "left", "CPU time", "GPU time")]
    for rule, number in sorted(whole.items()):
        taken = together(costs[file] for file, job in left.items() if job.rule == rule)
        rows.append((rule, str(number), str(number - of_rule[rule]), str(of_rule[rule]), *taken.hours()))
    total = together(costs.values())
    numbers = (str(len(jobs)), str(len(jobs) - len(left)), str(len(left)))
    rows.append(("all", *numbers, *total.hours()))
    lines += [*table(rows), ""]

    rows = [("table or figure", "jobs", "there", "left", "CPU time", "GPU time", "disk")]
    for name, files in jobs.of_items().items():
        its = [file for file in files if file in left]
        taken = together(costs[file] for file in its).hours()
        rows.append(
            (
                name,
                str(len(files)),
                str(len(files) - len(its)),
                str(len(its)),
                *taken,
                _disk(sizes, [left[file] for file in its]),
            )
        )
    rows.append(("all, shared parts once", *numbers, *total.hours(), _disk(sizes, left.values())))
    lines += [*table(rows), ""]
    if not left:
        return "\n".join([*lines, "everything is there"])
    clock, needed = _by_the_clock(jobs, costs, cores, gpus), sizes.needed(left.values(), cores)
    return "\n".join([*lines, *clock, *_notes(left, costs, estimates, needed)])


def _disk(sizes: Sizes, jobs: Iterable[Job]) -> str:
    needed = sizes.needed(jobs)
    return f"{human(needed.left)}{'+' if needed.unknown else ''}"


def _by_the_clock(
    jobs: Mapping[Path, Job], costs: Mapping[Path, Cost | None], cores: int, gpus: int
) -> Iterator[str]:
    """A sentence on the wall-clock time of the rest of a run; none if no job has an estimate."""
    total = together(costs.values())
    if total.known:
        machine = f"{cores} cores" + (f" and {gpus} GPU(s)" if total.gpu else "")
        what = "jobs with an estimate take" if total.unknown else "the run takes"
        yield f"by the clock: with {machine}, {what} at least {duration(at_least(jobs, costs, cores, gpus))}"


def _notes(
    left: Mapping[Path, Job], costs: Mapping[Path, Cost | None], estimates: Estimates, needed: Needed
) -> Iterator[str]:
    """Sentences under the tables: disk space, and what the numbers leave out or assume."""
    unknown = [left[file] for file, cost in costs.items() if cost is None]
    available = human(shutil.disk_usage(".").free)
    yield (
        f"disk: about {human(needed.left)} more, "
        f"and {human(needed.running)} while trainings run; {available} are free"
    )
    if needed.unknown:
        yield f"disk, without an estimate: {_listed(needed.unknown)}"
    if unknown:
        yield f"hours, without an estimate since nothing similar has run here: {_listed(unknown)}"
    if estimates.uncalibrated(unknown):
        yield f"  measure this machine, some seconds a recipe: {commands.nmtprune('plan', '--calibrate')}"
    if assumed := sorted({job.task for job in left.values() if estimates.task(job.task).assumed}):
        yield f"sets of {SENTENCES:,} sentences are assumed for {', '.join(assumed)}, whose text is not there"
    yield f"hours are estimated by {estimates.history.jobs} earlier jobs here" + (
        ", otherwise by calibration" if estimates.is_calibrated else ""
    )


def _least(config: Config, main: Callable[[], int]) -> dict[str, float]:
    """For every kind of job, the seconds that a tiny model takes beyond what its calibration explains."""
    with tempfile.TemporaryDirectory(prefix="nmtprune-tiny-") as folder, contextlib.chdir(folder):
        took = calibration.run_tiny(config.settings["device"], main)
        chain = parse(calibration.TINY_MODEL)
        tiny = from_settings(
            {
                "own": "own",
                "device": config.settings["device"],
                "chains": [calibration.TINY_MODEL],
                "papers": [],
            }
        )
        estimates = Estimates(tiny)
        variant = parse(f"{chain}/{calibration.TINY_JOBS['variants'][-1]}")
        jobs = {
            name: Job(
                rule_of(name),
                STEP if name == "train" else name,
                Path(),
                Path(),
                chain.task,
                chain=variant if name == STEP else chain,
                models=(variant,) if name == "variants" else (),
            )
            for name in took
            if name not in ("text", "data")
        }
        model = jobs["train"]
        list(
            calibration.calibrate(
                tiny,
                [
                    (
                        estimates.identity(model),
                        chain,
                        estimates.task(chain.task).pieces(tiny.data_folder(chain)),
                    )
                ],
            )
        )
        estimates = Estimates(tiny)
        return {
            name: max(0.0, seconds - (estimates.parts(jobs[name]) or 0.0 if name in jobs else 0.0))
            for name, seconds in took.items()
        }


def _listed(jobs: Iterable[Job]) -> str:
    return ", ".join(f"{number} {rule}" for rule, number in sorted(counts(jobs).items()))


def calibrate(run: Run, main: Callable[[], int]) -> Iterator[str]:
    """Measure what a plan needs and does not know yet, and yield what has been measured.

    These are the least costs of all kinds of jobs, and recipes. `main`: as in `calibration.run_tiny`.
    """
    if not paths.LEAST_COSTS.exists():
        write_json(paths.LEAST_COSTS, _least(run.config, main))
        yield "the least cost of each kind of job"
    estimates = Estimates(run.config)
    wanted = estimates.uncalibrated(Jobs(run).to_do())
    for chain in calibration.calibrate(
        run.config, ((key, job.subject, pieces) for key, (job, pieces) in wanted.items())
    ):
        yield chain.recipe
