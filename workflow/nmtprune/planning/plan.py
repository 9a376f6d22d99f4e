"""What the rest of a run will cost: jobs, hours and disk space, by table and figure and in all.

Hours come from the cost of earlier jobs here (results/costs), first of the same task and recipe. Without such
jobs they come from a calibration. Without either, the cost is unknown; nothing is guessed.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.experiment.chain import Chain, parse
from nmtprune.experiment.components import of_shape
from nmtprune.experiment.config import TRAINING_SAMPLE, Config, from_settings
from nmtprune.experiment.run import Run
from nmtprune.experiment.step_kinds import INT8_ENGINES
from nmtprune.fairseq_bridge import precision
from nmtprune.foundation import commands
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json, read_table, write_json
from nmtprune.foundation.known import known
from nmtprune.planning import calibration
from nmtprune.planning.calibration import Calibration
from nmtprune.planning.disk_usage import Needed, Sizes, human, table
from nmtprune.planning.jobs import STEP, Job, Jobs, counts, rule_of, takes_gpu, translates
from nmtprune.planning.status import duration
from nmtprune.planning.task_sizes import SENTENCES, TaskSizes
from nmtprune.runtime import devices
from nmtprune.speed.protocol import SINGLE_SENTENCES
from nmtprune.store import manifest

Key = tuple[str, ...]
IDLE = 0.01  # a job that works for a smaller share of its time has only waited for another process
SAVED = 3  # size of the files that a validation writes, in checkpoints: the best one and the resume file
OF_ITS_KIND = slice(2)  # the keys of jobs of the same kind and recipe, among all keys of a job
LOOKED_AT = {"score": paths.SCORES, "variants": paths.VARIANTS}


@dataclass(frozen=True)
class Cost:
    """The cost of a job in CPU seconds, or in wall-clock seconds if it takes a GPU."""

    seconds: float
    gpu: bool


class History:
    """The cost of earlier jobs per unit of work, by kind of job, task and recipe."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._sums: dict[Key, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        self.jobs = 0
        for file in sorted(paths.COSTS.rglob("*.json")):
            if (
                file not in (paths.CALIBRATIONS, paths.LEAST_COSTS)
                and (cost := read_json(file))["verb"] != "render"
            ):
                self._add(file, cost)

    def _add(self, file: Path, cost: Mapping[str, Any]) -> None:
        try:
            job, units = _past(self._config, file, cost["verb"])
        except (UserError, KeyError, OSError):
            return  # its task or recipe is gone, or it was not finished
        seconds = cost["seconds"] if "gpu" in cost else cost["cpu_seconds"]
        if seconds < IDLE * cost["seconds"]:
            return  # it waited for another process, which did the work
        if _trains(job):
            # the manifest counts all parts of a training that was interrupted
            trained = read_json(paths.manifest(job.subject))["wall_seconds"]
            seconds *= max(1.0, trained / max(cost["seconds"], 0.01))
        used = manifest.precision_of(read_json(paths.manifest(job.subject))) if _trains(job) else ""
        self.jobs += 1
        for key in _keys(job, "gpu" in cost, used):
            before = self._sums[key]
            self._sums[key] = before[0] + seconds, before[1] + units

    def seconds(self, job: Job, gpu: bool, units: float, keys: slice = slice(None)) -> float | None:
        """The estimated seconds of a job, from the most similar jobs that have run; None if there are none.

        `units`: the amount of its work, as `_units`. `keys`: which of the job's keys to look up.
        """
        to_use = (
            precision.of_schedule(self._config, job.subject.recipe, job.subject.last.schedule).used
            if _trains(job)
            else ""
        )
        known = (self._sums[key] for key in _keys(job, gpu, to_use)[keys] if key in self._sums)
        return next((units * seconds / work for seconds, work in known if work), None)


def _past(config: Config, file: Path, verb: str) -> tuple[Job, float]:
    """The job that a file of results/costs belongs to, and its amount of work."""
    made = file.relative_to(paths.COSTS).with_suffix("")
    if verb in ("text", "data", "shortlist"):
        return Job(verb, verb, file, file, made.parts[1]), 1
    if verb == "speed":
        return Job(verb, verb, file, file, made.name), _chains_in(paths.speed(made.parts[1], made.name))
    address = str(made.relative_to(paths.MODELS.name))
    if verb == "run":
        chain = parse(address)
        job = Job(chain.last.kind.rule, STEP, file, file, chain.task, chain=chain)
        return job, _updates_work(config, chain, read_json(paths.manifest(chain)).get("updates", 0))
    address, _, what = address.rpartition(".")
    does, chain = verb if verb in LOOKED_AT else what, parse(address)
    units = _chains_in(paths.model(chain) / paths.VARIANTS) if verb == "variants" else 1
    return Job(verb if verb == "shard" else rule_of(does), does, file, file, chain.task, chain=chain), units


def _chains_in(table: Path) -> int:
    return len({row["chain"] for row in read_table(table)})


def _updates_work(config: Config, chain: Chain, updates: int) -> float:
    if not chain.last.kind.trains:
        return 1
    return updates * config.schedule(chain.recipe, chain.last.schedule).tokens_per_update


def _units(config: Config, job: Job) -> float:
    """The amount of work of a job: tokens that a training sees, models scored or timed together, else 1."""
    if _trains(job):
        return _updates_work(
            config, job.subject, config.schedule(job.subject.recipe, job.subject.last.schedule).updates
        )
    return max(1, len(job.models))


def _trains(job: Job) -> bool:
    return job.does == STEP and job.subject.last.kind.trains


def _keys(job: Job, gpu: bool, used: str) -> list[Key]:
    """The keys under which costs of similar jobs are kept, the most similar first.

    The first is for the same kind of job, task and recipe. `used`: the precision of a training; trainings in
    another precision count as different.
    """
    device = "gpu" if gpu else "cpu"
    if _trains(job):
        device = f"{device}, {used}"
        nearest = [
            (job.subject.last.schedule, job.task, job.subject.recipe),
            (job.rule, job.task, job.subject.recipe),
            (job.rule, job.subject.recipe),
        ]
        return [
            (device, *key)
            for key in (*nearest, ("trains", job.task, job.subject.recipe), ("trains", job.subject.recipe))
        ]
    if not job.chain:
        return [(device, job.does, job.task)]
    nearest = [(job.rule, job.does, job.task, job.subject.recipe), (job.rule, job.does, job.subject.recipe)]
    return [(device, *key) for key in (*nearest, (job.rule, job.does, "any"))]


class Estimates:
    """The estimated costs of jobs."""

    def __init__(self, config: Config) -> None:
        self.config, self.history = config, History(config)
        self._tasks: dict[str, TaskSizes] = {}
        self._on_gpu = devices.on_gpu(config.settings["device"])
        self._calibrations = calibration.read()
        self._least: Mapping[str, float] = read_json(paths.LEAST_COSTS) if paths.LEAST_COSTS.exists() else {}

    def task(self, name: str) -> TaskSizes:
        """The sizes of a task, read once."""
        return self._tasks.setdefault(name, TaskSizes(self.config, name))

    def identity(self, job: Job) -> str:
        """The identity of the calibration for a job's model."""
        gpu = self._on_gpu
        return calibration.identity(
            self.config, job.subject, gpu, self.task(job.task).pieces(self.config.data_folder(job.subject))
        )

    def cost(self, job: Job) -> Cost | None:
        """The estimated cost of a job; None if it is unknown."""
        gpu, units = self._on_gpu and takes_gpu(self.config, job), _units(self.config, job)
        seconds = self.history.seconds(job, gpu, units, OF_ITS_KIND)
        if seconds is None:
            parts = self.parts(job)
            seconds = None if parts is None else parts + self._least.get(_named(job), 0.0)
        if seconds is None:
            seconds = self.history.seconds(job, gpu, units)
        if seconds is None:
            seconds = self._at_least(job)
        return None if seconds is None else Cost(seconds, gpu)

    def _at_least(self, job: Job) -> float | None:
        """The seconds of such a job for a tiny model; None if unknown, as for text from elsewhere.

        For generated text, the seconds are scaled by the number of sentences.
        """
        least = self._least.get(_named(job))
        if job.does not in ("text", "data") or least is None:
            return least
        if self.task(job.task).downloads or job.rule == "distil":
            return None
        splits = ("train", "dev")
        tiny = sum(
            source["toy"]["sentences"] for split in splits for source in calibration.TINY["tasks"][split]
        )
        return least * sum(map(self.task(job.task).sentences, splits)) / tiny if job.does == "text" else least

    @property
    def is_calibrated(self) -> bool:
        """Whether any recipe has been calibrated on this machine."""
        return bool(self._calibrations)

    def uncalibrated(self, jobs: Iterable[Job]) -> dict[str, tuple[Job, float]]:
        """Missing calibrations that would tell a job's cost, by identity: a job and pieces per sentence."""
        wanted = {}
        for job in jobs:
            gpu = self._on_gpu and takes_gpu(self.config, job)
            if (
                self.history.seconds(job, gpu, 1, OF_ITS_KIND) is None
                and (model := self._model_of(job))
                and _can_calibrate(model)
            ):
                wanted[self.identity(model)] = (
                    model,
                    self.task(model.task).pieces(self.config.data_folder(model.subject)),
                )
        return {key: model for key, model in wanted.items() if key not in self._calibrations}

    def parts(self, job: Job) -> float | None:
        """The seconds of a job's translating, training and writing, by calibration.

        None if the job does none of these, or its recipe is not calibrated.
        """
        model = self._model_of(job)
        if not model or not _can_calibrate(model):
            return None
        parts = self._calibrations.get(self.identity(model))
        if parts is None:
            return None
        if job.does == STEP:
            return self._training(job, parts) if job.subject.last.kind.trains else parts.open + 2 * parts.save
        if job.rule == "distil":
            return self._distillation(job, parts)
        task, main = self.task(job.task), self.task(job.task).tests[0]
        translated = parts.decode + parts.likelihood + parts.judge
        match job.does:
            case "score":
                sets = sum(task.sentences(split) for split in ("dev", *task.tests))
                return (
                    parts.open
                    + min(TRAINING_SAMPLE, task.sentences("train")) * parts.likelihood
                    + sets * translated
                )
            case "variants":
                by_likelihood = sum(bool(each.last.get("class")) for each in job.models)
                sentences = task.sentences(main)
                whole = (len(job.models) - by_likelihood) * translated + by_likelihood * parts.likelihood
                return parts.open * len(job.models) + sentences * whole
            case analysis if analysis in ANALYSIS_KINDS and ANALYSIS_KINDS[analysis].translates:
                return self._trials(job, parts)
            case "speed":
                return self._speed(job, parts)
        return None

    def _model_of(self, job: Job) -> Job | None:
        """The job itself if it has a chain, otherwise one with the first timed model or the first teacher."""
        if job.chain:
            return job
        models = self.config.teachers(job.task) if job.rule == "distil" else job.models
        return (
            Job(job.rule, job.does, job.makes, job.log, models[0].task, chain=models[0]) if models else None
        )

    def _distillation(self, job: Job, parts: Calibration) -> float | None:
        """The seconds in which teachers translate the training sources; None if their number is unknown."""
        distilled = known(self.config.task(job.task).distilled)
        sources = self.task(distilled.from_)
        if sources.assumed:
            return None
        sentences = min(sources.sentences("train"), distilled.sample or math.inf)
        beam = self.config.recipe(distilled.recipe).decoding.beam
        return parts.open + len(distilled.seeds) * sentences * parts.decode * distilled.beam / beam

    def _training(self, job: Job, parts: Calibration) -> float:
        schedule = self.config.schedule(job.subject.recipe, job.subject.last.schedule)
        updates = schedule.updates
        validations = math.ceil(updates / schedule.validate_every) + 1
        development = self.task(job.task).sentences("dev")
        of_one = development * parts.validate + SAVED * parts.save
        if schedule.select == "bleu":
            of_one += parts.open + development * parts.decode
        root = self.config.schedule(job.subject.recipe, job.subject.root.schedule)
        update = parts.update * schedule.tokens_per_update / root.tokens_per_batch
        return parts.start + updates * update + validations * of_one + len(schedule.snapshots) * parts.save

    def _trials(self, job: Job, parts: Calibration) -> float | None:
        """The seconds of an analysis' trials, or of one shard of them; None if the components are unknown."""
        shape = self.config.recipe(job.subject.recipe).architecture.shape
        if not shape:
            return None
        importance, components = self.config.recipe(job.subject.recipe).importance, len(of_shape(shape))
        task = self.task(job.task)
        dev, main = (
            min(task.sentences(each), importance.sentences or math.inf) for each in ("dev", task.tests[0])
        )
        translated, count = (
            parts.trial + parts.likelihood,
            known(ANALYSIS_KINDS[job.does].trials)(components, importance),
        )
        seconds = count.on_dev * (parts.open + dev * translated) + count.on_test * main * translated
        seconds += count.by_likelihood * dev * parts.likelihood
        return seconds / (self.config.settings["shards"] if job.rule == "shard" else 1)

    def _speed(self, job: Job, parts: Calibration) -> float:
        """The seconds of timing every model in both engines: batches and single sentences, in all rounds."""
        sentences = self.task(job.task).sentences(self.task(job.task).tests[0])
        rounds = (
            self.config.preset.speed_rounds * (sentences + min(sentences, SINGLE_SENTENCES)) * parts.decode
        )
        return len(job.models) * len(INT8_ENGINES) * (parts.start + parts.open + rounds)


def _named(job: Job) -> str:
    """The name of the corresponding job of a tiny model."""
    return ("train" if job.subject.last.kind.trains else STEP) if job.does == STEP else job.does


def _can_calibrate(job: Job) -> bool:
    """Whether a calibration of the recipe tells a job's cost.

    An imported model's shape is unknown before it is read, and most analyses neither train nor translate.
    """
    return job.subject.root.kind.trains and (
        job.does in (STEP, "speed") or translates(job.does) or job.rule == "distil"
    )


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
