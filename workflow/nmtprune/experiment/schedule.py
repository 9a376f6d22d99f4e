"""Training schedules: the settings of a recipe in numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from nmtprune.experiment import schemas
from nmtprune.experiment.validation import validate
from nmtprune.experiment.views import View
from nmtprune.foundation.errors import UserError

TOKENS_OF_A_SENTENCE = 30  # approximately; for batches that are counted in sentences


@dataclass(frozen=True, kw_only=True)
class Optimizer(View):
    """An optimiser and its constants; `betas` and `eps` are Adam's."""

    SCHEMA: ClassVar[str] = "schedule#/$defs/keys/properties/optimizer"

    name: str
    betas: tuple[float, float]
    eps: float
    weight_decay: float


@dataclass(frozen=True, kw_only=True)
class PeakRate(View):
    """A linear warm-up to a peak, then a decay.

    The decay is `inverse_sqrt` (Vaswani et al. 2017, section 5.3, scaled to its peak), `constant`, or
    `linear` to zero at `updates`. The first `begin` updates of both are skipped.
    """

    SCHEMA: ClassVar[str] = "schedule#/$defs/keys/properties/learning_rate/oneOf/0"

    peak: float
    warm_up: int
    decay: str
    updates: int | None
    begin: int

    @property
    def highest(self) -> float:
        """The highest rate."""
        return self.peak

    def at(self, update: int) -> float:
        """The rate used for an update (the first is 1)."""
        update += self.begin
        if update < self.warm_up:
            return self.peak * update / self.warm_up
        if self.decay == "inverse_sqrt":
            return self.peak * (max(self.warm_up, 1) / update) ** 0.5
        if self.updates is not None and self.decay == "linear":
            return self.peak * max(0.0, self.updates - update) / (self.updates - self.warm_up)
        return self.peak


@dataclass(frozen=True, kw_only=True)
class Phase(View):
    """A number of updates at a constant rate."""

    SCHEMA: ClassVar[str] = "schedule#/$defs/keys/properties/learning_rate/oneOf/1/properties/phases/items"

    updates: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class PhasedRate(View):
    """Constant rates one after the other; the last one continues."""

    SCHEMA: ClassVar[str] = "schedule#/$defs/keys/properties/learning_rate/oneOf/1"
    PARTS: ClassVar = {"phases": lambda phases: tuple(map(Phase.over, phases))}

    phases: tuple[Phase, ...]

    @property
    def highest(self) -> float:
        """The highest rate."""
        return max(phase.rate for phase in self.phases)

    def at(self, update: int) -> float:
        """The rate used for an update (the first is 1)."""
        for phase in self.phases:
            if update <= phase.updates:
                return phase.rate
            update -= phase.updates
        return self.phases[-1].rate


LearningRate = PeakRate | PhasedRate


def learning_rate(said: Mapping[str, Any]) -> LearningRate:
    """The learning rate that a schedule states."""
    return (PhasedRate if "phases" in said else PeakRate).over(said)


@dataclass(frozen=True, kw_only=True)
class Schedule(View):
    """A training schedule, complete and in numbers.

    `said` has only what differs from the schema's defaults.
    """

    SCHEMA: ClassVar[str] = "schedule#/$defs/keys"
    PARTS: ClassVar = {"optimizer": Optimizer.over, "learning_rate": learning_rate}

    updates: int
    batch_tokens: int
    batch_sentences: int | None
    accumulate: int
    precision: str
    optimizer: Optimizer
    learning_rate: LearningRate
    reset_after: tuple[int, ...]
    exponential_moving_average: float
    label_smoothing: float
    sentence_average: bool
    clip_norm: float
    max_length: int | None
    validate_every: int
    select: str
    patience: int | None
    snapshots: tuple[float, ...]

    @property
    def tokens_per_batch(self) -> int:
        """Approximate number of tokens on each side of a batch on one device, padding included."""
        if not self.batch_sentences:
            return self.batch_tokens
        return min(self.batch_tokens, self.batch_sentences * TOKENS_OF_A_SENTENCE)

    @property
    def tokens_per_update(self) -> int:
        """Approximate number of tokens on each side of an update on one device, padding included."""
        return self.tokens_per_batch * self.accumulate


def update_at(percent: float | str, updates: int) -> int:
    """The update at which a snapshot after `percent` of a training is saved."""
    return math.ceil(Fraction(str(percent)) * updates / 100)


def rest_of(schedule: Schedule, percent: float | str) -> Schedule:
    """The part of a schedule after this percentage of its updates, with their rates and no snapshots."""
    done = update_at(percent, schedule.updates)
    return Schedule.over(
        _beyond_defaults(
            {
                **schedule.said,
                "updates": schedule.updates - done,
                "learning_rate": _rates_after(schedule.learning_rate, done),
                "reset_after": [update - done for update in schedule.reset_after if update > done],
                "snapshots": [],
            }
        )
    )


def _rates_after(rates: LearningRate, done: int) -> dict[str, Any]:
    """A learning rate, as a schedule states it, without its first `done` updates."""
    if isinstance(rates, PeakRate):
        return {**rates.said, "begin": rates.begin + done}
    ends = itertools.accumulate(phase.updates for phase in rates.phases)
    left = [
        {**phase.said, "updates": min(phase.updates, end - done)}
        for phase, end in zip(rates.phases, ends, strict=True)
        if end > done
    ]
    return {"phases": left}


def decay_length(updates: int) -> int:
    """The update at which a linear decay ends if the recipe does not say it: a tenth beyond the schedule's.

    The last update has about a tenth of the peak, at which the steps that follow go on.
    """
    return math.ceil(Fraction(11, 10) * updates)


def unstated(schedules: Mapping[str, Any]) -> dict[str, Any]:
    """The schedules `continue-short` and `cut` for a recipe without them; empty if `train` has no updates.

    `continue-short` trains for a fifth of the updates of `train` more at its last rate, to show whether a
    baseline is done. `cut` is as `continue-short`, the recipe's own where it states one.
    """
    short, updates = schedules.get("continue-short"), schedules.get("train", {}).get("updates")
    if short is None and isinstance(updates, int) and updates > 0:
        more = math.ceil(updates / 5)
        short = {"updates": more, "learning_rate": {"phases": [{"updates": more, "rate": "last"}]}}
    return {"continue-short": short, "cut": short} if short else {}


def resolve(stated: Mapping[str, Any], where: str, train: Callable[[], Schedule] | None) -> Schedule:
    """The schedule that a recipe states, with the schema's defaults filled in and its rates in numbers.

    `where`: the place of the schedule, as messages begin. `train`: the recipe's schedule `train`, of which
    rates may speak; None if that is the one to resolve. Raises UserError.
    """
    validate(stated, "schedule", where)
    rates = _in_numbers(stated["learning_rate"], stated["updates"], where, train)
    schedule = Schedule.over(_beyond_defaults({**stated, "learning_rate": rates}))
    _check(schedule, where)
    return schedule


def _beyond_defaults(stated: Mapping[str, Any]) -> dict[str, Any]:
    """What a schedule states that is not the schema's default."""
    defaults = schemas.defaults(Schedule.SCHEMA)
    return {key: value for key, value in stated.items() if key not in defaults or value != defaults[key]}


def _in_numbers(
    stated: Mapping[str, Any], updates: int, where: str, train: Callable[[], Schedule] | None
) -> dict[str, Any]:
    """A stated learning rate with the end of its decay and the rates of its phases in numbers."""
    if "phases" in stated:
        phases = [{**phase, "rate": _rate(phase["rate"], where, train)} for phase in stated["phases"]]
        return {"phases": phases}
    ends = stated["decay"] == "linear" and "updates" not in stated
    return {**stated, "updates": decay_length(stated.get("begin", 0) + updates)} if ends else dict(stated)


def _rate(value: float | str, where: str, train: Callable[[], Schedule] | None) -> float:
    """A rate in numbers: `peak`, `last` and parts of them, as `peak/10`, speak of the schedule `train`."""
    if not isinstance(value, str):
        return float(value)
    if train is None:
        raise UserError(f"{where}: the rate `{value}` refers to this schedule itself; give a number")
    schedule = train()
    rates = schedule.learning_rate
    whole, _, parts = value.partition("/")
    rate = rates.at(schedule.updates) if whole == "last" else rates.highest
    return rate / float(parts or 1)


def _check(schedule: Schedule, where: str) -> None:
    """What the schema cannot say of a schedule. Raises UserError."""
    rates, updates = schedule.learning_rate, schedule.updates
    if isinstance(rates, PeakRate) and rates.decay == "linear" and (rates.updates or 0) <= rates.warm_up:
        raise UserError(f"{where}: a linear decay needs `updates` beyond its warm_up {rates.warm_up}")
    if (late := max(schedule.reset_after, default=0)) >= updates:
        raise UserError(f"{where}: reset_after: {late} is not before the last update {updates}")
    if schedule.reset_after and schedule.patience:
        raise UserError(f"{where}: reset_after and patience exclude each other; give one of them")
    if isinstance(rates, PhasedRate) and (made := sum(phase.updates for phase in rates.phases)) != updates:
        raise UserError(
            f"{where}: the phases of its learning rate make {made} updates and `updates` says {updates}"
        )
