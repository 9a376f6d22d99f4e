"""Estimates of what jobs will cost.

They come from the cost of earlier jobs here, first of the same task and recipe. Without such jobs they come
from a calibration. Without either, the cost is unknown; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.experiment.components import of_shape
from nmtprune.experiment.config import TRAINING_SAMPLE, Config
from nmtprune.experiment.step_kinds import INT8_ENGINES
from nmtprune.foundation.files import read_json
from nmtprune.foundation.known import known
from nmtprune.planning import calibration
from nmtprune.planning.calibration import Calibration
from nmtprune.planning.history import OF_ITS_KIND, History, units_of
from nmtprune.planning.jobs import STEP, Job, takes_gpu, translates
from nmtprune.planning.task_sizes import TaskSizes
from nmtprune.runtime import devices
from nmtprune.speed.protocol import SINGLE_SENTENCES

SAVED = 3  # size of the files that a validation writes, in checkpoints: the best one and the resume file


@dataclass(frozen=True)
class Cost:
    """The cost of a job in CPU seconds, or in wall-clock seconds if it takes a GPU."""

    seconds: float
    gpu: bool


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
        gpu, units = self._on_gpu and takes_gpu(self.config, job), units_of(self.config, job)
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
            return self._training(job, parts) if job.trains else parts.open + 2 * parts.save
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
    return "train" if job.trains else job.does


def _can_calibrate(job: Job) -> bool:
    """Whether a calibration of the recipe tells a job's cost.

    An imported model's shape is unknown before it is read, and most analyses neither train nor translate.
    """
    return job.subject.root.kind.trains and (
        job.does in (STEP, "speed") or translates(job.does) or job.rule == "distil"
    )
