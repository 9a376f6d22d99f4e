"""What a run will cost before it has begun: jobs, hours and disk, by table and figure and in all.

Hours come from what earlier jobs have cost here (results/costs), of the same task and recipe first; where
there are none, from a calibration; where there is neither, nothing is guessed.
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

from nmtprune.experiment import paths, shapes
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.experiment.chain import Chain, parse
from nmtprune.experiment.components import of_shape
from nmtprune.experiment.config import TRAINING_SAMPLE, Config, from_settings
from nmtprune.experiment.step_kinds import INT8_ENGINES
from nmtprune.fairseq_bridge import precision
from nmtprune.foundation import commands
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json, read_table, write_json
from nmtprune.planning import calibration
from nmtprune.planning.calibration import Calibration
from nmtprune.planning.disk_usage import Sizes, human, table
from nmtprune.planning.jobs import STEP, Job, Jobs, counts, rule_of, takes_gpu, translates
from nmtprune.planning.status import duration
from nmtprune.planning.task_sizes import SENTENCES, Task
from nmtprune.runtime import devices
from nmtprune.speed.protocol import SINGLE_SENTENCES
from nmtprune.store import manifest

Key = tuple[str, ...]
IDLE = 0.01  # the share of its time that a job works at the least, however busy the machine is
# checkpoints, about, that a validation writes: the best one, and with the optimiser what a training resumes
# from
SAVED = 3
OF_ITS_KIND = slice(2)  # of the keys of a job: those of jobs of the same kind and recipe
LOOKED_AT = {"score": paths.SCORES, "variants": paths.VARIANTS}


@dataclass(frozen=True)
class Cost:
    """What a job takes: CPU seconds, or where it takes a GPU seconds of that."""

    seconds: float
    gpu: bool


class History:
    """What earlier jobs have cost for each unit of their work, by kind of job, task and recipe."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._sums: dict[Key, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        self.jobs = 0
        for file in sorted(paths.COSTS.rglob("*.json")):
            if (
                file not in (paths.CALIBRATIONS, paths.LEAST_COSTS)
                and (found := read_json(file))["verb"] != "render"
            ):
                self._add(file, found)

    def _add(self, file: Path, found: Mapping[str, Any]) -> None:
        try:
            job, units = _past(self._config, file, found["verb"])
        except (UserError, KeyError, OSError):
            return  # of a task or a recipe that is no longer there, or not made to the end
        seconds = found["seconds"] if "gpu" in found else found["cpu_seconds"]
        if seconds < IDLE * found["seconds"]:
            return  # it waited for another process, which did the work
        if _trains(job):
            trained = read_json(paths.manifest(job.chain))[
                "wall_seconds"
            ]  # of all its parts, where it was stopped and went on
            seconds *= max(1.0, trained / max(found["seconds"], 0.01))
        used = manifest.precision_of(read_json(paths.manifest(job.chain))) if _trains(job) else ""
        self.jobs += 1
        for key in _keys(job, "gpu" in found, used):
            before = self._sums[key]
            self._sums[key] = before[0] + seconds, before[1] + units

    def seconds(self, job: Job, gpu: bool, units: float, keys: slice = slice(None)) -> float | None:
        """What a job will take by the nearest that has run; None where nothing like it has."""
        to_use = (
            precision.of_schedule(self._config, job.chain.recipe, job.chain.last.schedule).used
            if _trains(job)
            else ""
        )
        known = (self._sums[key] for key in _keys(job, gpu, to_use)[keys] if key in self._sums)
        return next((units * seconds / work for seconds, work in known if work), None)


def _past(config: Config, file: Path, verb: str) -> tuple[Job, float]:
    """The job that a file of results/costs is of, and how much work it was."""
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
    """How much work a job is: tokens that a training sees, models that are scored or timed in one go; else
    one.
    """
    if _trains(job):
        return _updates_work(
            config, job.chain, config.schedule(job.chain.recipe, job.chain.last.schedule).updates
        )
    return max(1, len(job.models))


def _trains(job: Job) -> bool:
    return job.does == STEP and job.chain.last.kind.trains


def _keys(job: Job, gpu: bool, used: str) -> list[Key]:
    """What a job is like, the nearest first; the first is a job of the same kind on the same task and recipe.
    `used`: the precision that a training computes in; trainings in another one are nothing like it.
    """
    device = "gpu" if gpu else "cpu"
    if _trains(job):
        device = f"{device}, {used}"
        nearest = [
            (job.chain.last.schedule, job.task, job.chain.recipe),
            (job.rule, job.task, job.chain.recipe),
            (job.rule, job.chain.recipe),
        ]
        return [
            (device, *key)
            for key in (*nearest, ("trains", job.task, job.chain.recipe), ("trains", job.chain.recipe))
        ]
    if not job.chain:
        return [(device, job.does, job.task)]
    nearest = [(job.rule, job.does, job.task, job.chain.recipe), (job.rule, job.does, job.chain.recipe)]
    return [(device, *key) for key in (*nearest, (job.rule, job.does, "any"))]


class Estimates:
    """What jobs will take."""

    def __init__(self, config: Config) -> None:
        self.config, self.history = config, History(config)
        self._tasks: dict[str, Task] = {}
        self._on_gpu = devices.on_gpu(config.settings["device"])
        self._calibrations = calibration.read()
        self._least: Mapping[str, float] = read_json(paths.LEAST_COSTS) if paths.LEAST_COSTS.exists() else {}

    def task(self, name: str) -> Task:
        return self._tasks.setdefault(name, Task(self.config, name))

    def identity(self, job: Job) -> str:
        """Which calibration speaks of a job's model."""
        gpu = self._on_gpu
        return calibration.identity(
            self.config, job.chain, gpu, self.task(job.task).pieces(self.config.data_folder(job.chain))
        )

    def cost(self, job: Job) -> Cost | None:
        """None where nothing is known of it."""
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
        """What a job of this kind took of a tiny model: of generated text for each sentence; of text from
        elsewhere nothing is known.
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
        return bool(self._calibrations)

    def uncalibrated(self, jobs: Iterable[Job]) -> dict[str, tuple[Job, float]]:
        """The calibrations without which some job's cost is not known: a job that it speaks of, and the
        pieces of a sentence.
        """
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
                    self.task(model.task).pieces(self.config.data_folder(model.chain)),
                )
        return {key: found for key, found in wanted.items() if key not in self._calibrations}

    def parts(self, job: Job) -> float | None:
        """What a job's translating, training and writing takes by calibration; None where it has none of
        these, or is not calibrated.
        """
        model = self._model_of(job)
        if not model or not _can_calibrate(model):
            return None
        parts = self._calibrations.get(self.identity(model))
        if parts is None:
            return None
        if job.does == STEP:
            return self._training(job, parts) if job.chain.last.kind.trains else parts.open + 2 * parts.save
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
        """The job itself, or one that speaks of the first model that is timed, or of the teacher that
        translates.
        """
        if job.chain:
            return job
        models = self.config.teachers(job.task) if job.rule == "distil" else job.models
        return (
            Job(job.rule, job.does, job.makes, job.log, models[0].task, chain=models[0]) if models else None
        )

    def _distillation(self, job: Job, parts: Calibration) -> float | None:
        """The training sources translated by the teachers; None before it is known how many there are."""
        settings = self.config.distilled(job.task)
        sources = self.task(settings["from"])
        if sources.assumed:
            return None
        sentences = min(sources.sentences("train"), settings["sample"] or math.inf)
        beam = self.config.search(settings["recipe"]).get("beam", settings["beam"])
        return parts.open + len(settings["seeds"]) * sentences * parts.decode * settings["beam"] / beam

    def _training(self, job: Job, parts: Calibration) -> float:
        schedule = self.config.schedule(job.chain.recipe, job.chain.last.schedule)
        updates = schedule.updates
        validations = math.ceil(updates / schedule.validate_every) + 1
        development = self.task(job.task).sentences("dev")
        of_one = development * parts.validate + SAVED * parts.save
        if schedule.select == "bleu":
            of_one += parts.open + development * parts.decode
        root = self.config.schedule(job.chain.recipe, job.chain.root.schedule)
        update = parts.update * schedule.tokens_per_update / root.tokens_per_batch
        return parts.start + updates * update + validations * of_one + len(schedule.snapshots) * parts.save

    def _trials(self, job: Job, parts: Calibration) -> float | None:
        """What the trials of an analysis take, or a job's share of them; None where the components are not
        known.
        """
        shape = shapes.uniform(self.config.recipe(job.chain.recipe)["architecture"])
        if not shape:
            return None
        settings, components = self.config.importance(job.chain.recipe), len(of_shape(shape))
        task = self.task(job.task)
        dev, main = (
            min(task.sentences(each), settings["sentences"] or math.inf) for each in ("dev", task.tests[0])
        )
        translated, count = (
            parts.trial + parts.likelihood,
            ANALYSIS_KINDS[job.does].trials(components, settings),
        )
        seconds = count.on_dev * (parts.open + dev * translated) + count.on_test * main * translated
        seconds += count.by_likelihood * dev * parts.likelihood
        return seconds / (self.config.settings["shards"] if job.rule == "shard" else 1)

    def _speed(self, job: Job, parts: Calibration) -> float:
        """Every model in both engines: batches, single sentences, round by round."""
        sentences = self.task(job.task).sentences(self.task(job.task).tests[0])
        rounds = self.config.speed_rounds * (sentences + min(sentences, SINGLE_SENTENCES)) * parts.decode
        return len(job.models) * len(INT8_ENGINES) * (parts.start + parts.open + rounds)


def _named(job: Job) -> str:
    """What a job is called among those of a tiny model."""
    return ("train" if job.chain.last.kind.trains else STEP) if job.does == STEP else job.does


def _can_calibrate(job: Job) -> bool:
    """An imported model's shape is not known before it is read, and looking inside a model is another thing
    than training it.
    """
    return job.chain.root.kind.trains and (
        job.does in (STEP, "speed") or translates(job.does) or job.rule == "distil"
    )


def in_hours(seconds: float) -> str:
    """Below two days as it is said of a clock, else in hours."""
    return duration(seconds) if seconds < 172800 else f"{seconds / 3600:,.0f} h"


@dataclass(frozen=True)
class Sum:
    """What jobs take together: seconds of CPUs and of GPUs; how many jobs these are of, and of how many the
    cost is not known.
    """

    cpu: float
    gpu: float
    known: int
    unknown: int

    def hours(self) -> tuple[str, str]:
        """CPU and GPU time; with a + where something is not counted."""
        if self.unknown and not self.known:
            return "unknown", "unknown"
        more = "+" if self.unknown else ""
        return tuple(f"{in_hours(seconds)}{more}" for seconds in (self.cpu, self.gpu))


def together(costs: Iterable[Cost | None]) -> Sum:
    costs = list(costs)
    known = [cost for cost in costs if cost]
    cpu, gpu = (math.fsum(cost.seconds for cost in known if cost.gpu == on_gpu) for on_gpu in (False, True))
    return Sum(cpu, gpu, len(known), len(costs) - len(known))


def at_least(jobs: Mapping[Path, Job], costs: Mapping[Path, Cost | None], cores: int, gpus: int) -> float:
    """Seconds by the clock that no order of the jobs goes below: the work shared out evenly, speed alone on
    the machine; or the longest row of jobs that wait for each other. `jobs` come after those that they
    need.
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


def plan(config: Config, cores: int, gpus: int = 1) -> str:
    """What `python -m nmtprune plan` prints: what is left of a run by rule and by table and figure, in hours
    and on disk.
    """
    jobs, estimates, sizes = Jobs(config), Estimates(config), Sizes(config)
    left = {job.makes: job for job in jobs.to_do()}
    costs = {file: estimates.cost(job) for file, job in left.items()}
    lines = [f"{config.heading}", ""]

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
    rows.append(("all, what is shared once", *numbers, *total.hours(), _disk(sizes, left.values())))
    lines += [*table(rows), ""]
    return "\n".join([*lines, *_notes(config, jobs, left, costs, estimates, sizes, cores, gpus)])


def _disk(sizes: Sizes, jobs: Iterable[Job]) -> str:
    needed = sizes.needed(jobs)
    return f"{human(needed.left)}{'+' if needed.unknown else ''}"


def _notes(
    config: Config,
    jobs: Jobs,
    left: Mapping[Path, Job],
    costs: Mapping[Path, Cost | None],
    estimates: Estimates,
    sizes: Sizes,
    cores: int,
    gpus: int,
) -> Iterator[str]:
    """Sentences under the tables: how long by the clock, how much room, and what the numbers leave out or
    assume.
    """
    if not left:
        yield "everything is there"
        return
    unknown = [left[file] for file, cost in costs.items() if cost is None]
    on = f"{cores} cores" + (
        f" and {gpus} GPU(s)" if any(cost and cost.gpu for cost in costs.values()) else ""
    )
    if len(unknown) < len(left):
        what = "what is known of takes" if unknown else "it takes"
        yield f"by the clock: with {on} {what} at least {duration(at_least(jobs, costs, cores, gpus))}"
    needed, there = sizes.needed(left.values(), cores), human(shutil.disk_usage(".").free)
    yield (
        f"disk: about {human(needed.left)} more, "
        f"and {human(needed.running)} while trainings run; {there} are free"
    )
    if needed.unknown:
        yield f"disk leaves out: {_listed(needed.unknown)}"
    if unknown:
        yield f"hours leave out, since nothing like it has run here: {_listed(unknown)}"
    if estimates.uncalibrated(unknown):
        yield f"  measure this machine, some seconds a recipe: {commands.nmtprune('plan', '--calibrate')}"
    if assumed := sorted({job.task for job in left.values() if estimates.task(job.task).assumed}):
        yield f"sets of {SENTENCES:,} sentences are assumed of {', '.join(assumed)}, whose text is not there"
    yield f"hours are by {estimates.history.jobs} earlier jobs here" + (
        ", else by calibration" if estimates.is_calibrated else ""
    )


def _least(config: Config, main: Callable[[], int]) -> dict[str, float]:
    """Of every kind of job what is not explained by its parts: what it took of a tiny model beyond them."""
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


def calibrate(config: Config, main: Callable[[], int]) -> Iterator[str]:
    """Measure what is needed for a plan and not known yet: what jobs take at least, and recipes, which it
    yields. `main`: as in `calibration.run_tiny`.
    """
    if not paths.LEAST_COSTS.exists():
        write_json(paths.LEAST_COSTS, _least(config, main))
        yield "what every job takes at least"
    estimates = Estimates(config)
    wanted = estimates.uncalibrated(Jobs(config).to_do())
    for chain in calibration.calibrate(
        config, ((key, job.chain, pieces) for key, (job, pieces) in wanted.items())
    ):
        yield chain.recipe
