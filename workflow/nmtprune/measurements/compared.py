"""Models beside the ones they were made from: the loss in BLEU, and what is saved in size and time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from nmtprune.experiment import own
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.run import Run
from nmtprune.measurements.measurements import WAYS, Measured
from nmtprune.speed.protocol import IDLE


@dataclass(frozen=True)
class Compared:
    """A model beside the one it is compared with, means over seeds.

    `against`: that one. `bleu` is a difference on the main test set; `size` and `speed` are ratios, None
    where one of the two was not measured. `seeds`: the number of seeds that both have BLEU for; `busy`:
    whether other processes kept the machine busy while one of the two was timed.
    """

    chain: Chain
    against: Chain
    bleu: float
    size: float | None
    speed: float | None
    seeds: int = 1
    busy: bool = False


def compared(run: Run, measured: Measured) -> list[Compared]:
    """Every scored model that can be compared, one entry for all its seeds.

    A model is compared with its dense parent, a model from scratch with the baseline of the row it is in.
    """
    baselines: dict[Chain, Chain] = {}
    for row in (row for item in run.items for row in item.rows):
        for ours, theirs in zip(row.chains, row.against.chains if row.against else (), strict=False):
            baselines.setdefault(ours, theirs)
    by_model: dict[tuple[str, str, str], list[tuple[Chain, Chain]]] = {}
    for chain in run.scored:
        parent = own.dense_parent(measured.config, chain)
        against = baselines.get(chain) if parent == chain else parent
        if against and against != chain and against.task == chain.task and chain.last.kind.name != "at":
            by_model.setdefault((chain.task, chain.recipe, chain.steps_text), []).append((chain, against))
    rows = (_compared(pairs, measured) for pairs in by_model.values())
    return [row for row in rows if row]


def _compared(pairs: list[tuple[Chain, Chain]], measured: Measured) -> Compared | None:
    differences = [each for pair in pairs if (each := _difference(*pair, measured)) is not None]
    if not differences:
        return None
    timed = [each for pair in pairs if (each := speed_ratio(*pair, measured))]
    return Compared(
        *pairs[0],
        fmean(differences),
        _mean(size_ratio(*pair, measured) for pair in pairs),
        _mean(ratio for ratio, _ in timed),
        len(differences),
        any(busy for _, busy in timed),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _difference(ours: Chain, theirs: Chain, measured: Measured) -> float | None:
    our_bleu, their_bleu = (measured.value(chain, "bleu") for chain in (ours, theirs))
    return None if our_bleu is None or their_bleu is None else our_bleu - their_bleu


def size_ratio(ours: Chain, theirs: Chain, measured: Measured) -> float | None:
    """The stored size of a model, times that of another."""
    our_size, their_size = (measured.stored_size(chain) for chain in (ours, theirs))
    return our_size / their_size if our_size and their_size else None


def speed_ratio(ours: Chain, theirs: Chain, measured: Measured) -> tuple[float, bool] | None:
    """How many times as fast a model translates, in the first way in which both were timed.

    The second value says whether other processes kept the machine busy meanwhile.
    """
    for way in WAYS:
        if (ratio := measured.speed_up(ours, theirs, way)) is not None:
            rows = [row for chain in (ours, theirs) if (row := measured.speed(chain, way))]
            return ratio, was_busy(rows)
    return None


def was_busy(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether other processes kept the machine busy in a row of a table of speeds."""
    return any(float(row["others_cpu"] or 0) > IDLE for row in rows)
