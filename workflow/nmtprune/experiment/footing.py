"""Equal footing: what models must share in their training to be compared.

These are updates, fresh optimisers, selection, precision and batches.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.schedule import Schedule, update_at
from nmtprune.experiment.step_kinds import LATE


@dataclass(frozen=True)
class Footing:
    """How the weights of a chain were trained since they were drawn.

    `lengths`: the largest numbers of updates from one fresh optimiser to the next. `selection`: what
    selected the last checkpoint, and the checkpoints that later trainings began with, each once.
    `precision`: number formats, each once. `batches`: sizes of the batches of an update, each once; if
    they are equal, models of one seed and one text in subwords have seen the same batches in the same
    order.
    """

    lengths: tuple[int, ...]
    selection: tuple[str, ...]
    precision: tuple[str, ...]
    batches: tuple[Any, ...]

    @property
    def updates(self) -> int:
        """The total number of updates."""
        return sum(self.lengths)


SIZES = ("batch_tokens", "batch_sentences", "accumulate")  # keys of a schedule for the size of batches


def of(config: Config, chain: Chain) -> Footing:
    """The footing of a chain's weights."""
    lengths: list[int] = []
    schedules = []
    for schedule, updates in _trainings(config, chain):
        resets = [reset for reset in schedule.reset_after if reset < updates]
        lengths += [after - before for before, after in zip([0, *resets], [*resets, updates], strict=True)]
        schedules.append(schedule)

    def distinct(*keys: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(operator.attrgetter(*keys)(schedule) for schedule in schedules))

    return Footing(tuple(lengths), distinct("select"), distinct("precision"), distinct(*SIZES))


def updates_before(config: Config, chain: Chain) -> int:
    """The number of updates between newly drawn weights and the beginning of a chain's last training.

    The numbers are those of the schedules; an import counts as 0.
    """
    return sum(updates for _, updates in [*_trainings(config, chain)][:-1])


def _trainings(config: Config, chain: Chain) -> Iterator[tuple[Schedule, int]]:
    """The trainings since a chain's weights were drawn: the schedule and number of updates of each."""
    trainings: list[tuple[Schedule, int]] = []
    for step in chain.steps:
        if step.kind.draws:
            trainings = []
        if step.get("weights") == LATE:
            trainings.append(_part(config.schedule(chain.recipe, chain.root.schedule), step["percent"]))
        if step.kind.trains:
            schedule = config.schedule(chain.recipe, step.schedule)
            trainings.append((schedule, schedule.updates))
        elif step.kind.snapshot:
            trainings.append(_part(trainings.pop()[0], step["percent"]))
    yield from trainings


def _part(schedule: Schedule, percent: str) -> tuple[Schedule, int]:
    """A training up to a snapshot: its schedule, and how many of the updates it has."""
    return schedule, update_at(percent, schedule.updates)
