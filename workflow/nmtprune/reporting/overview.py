"""The picture that sums a run up: quality against size and speed, for all methods.

Each model is compared with another: the difference is what the method costs, the ratios what it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean

from nmtprune.experiment import own
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.run import Run
from nmtprune.measurements.measurements import WAYS, Measured
from nmtprune.reporting import plots
from nmtprune.reporting.plots import Panel, Point
from nmtprune.reporting.tables import number

METHODS: tuple[tuple[str, Callable[[Chain], bool]], ...] = (  # the first that fits
    ("8 bits", lambda chain: bool(chain.quantised_for)),
    ("group lasso", lambda chain: any(step.get("groups") for step in chain.steps)),
    ("components removed", lambda chain: _has(chain, "ablate", "drop", "rewind")),
    ("another training of the pruned shape", lambda chain: _has(chain, "restart")),
    ("weights pruned and trained on", lambda chain: _has(chain, "prune") and chain.last.kind.trains),
    ("weights pruned", lambda chain: _has(chain, "prune")),
    ("trained on", lambda chain: len(chain.steps) > 1),
    ("another model from scratch", lambda chain: True),
)
LOWEST = -10.0  # BLEU: models that lose more lie on the lower edge
LITTLE = 0.5  # BLEU that a model to deploy may lose
LARGEST, FASTEST = 1.5, 6.0  # times the model that it is compared with


@dataclass(frozen=True)
class Compared:
    """A model beside the one it is compared with, means over seeds.

    `bleu` is a difference; `size` and `speed` are ratios, None where one of the two was not measured.
    """

    chain: Chain
    method: int
    bleu: float
    size: float | None
    speed: float | None


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
    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return fmean(known) if known else None

    bleu = mean(_difference(*pair, measured) for pair in pairs)
    if bleu is None:
        return None
    chain = pairs[0][0]
    method = next(place for place, (_, fits) in enumerate(METHODS) if fits(chain))
    return Compared(
        chain,
        method,
        bleu,
        mean(_size(*pair, measured) for pair in pairs),
        mean(_speed(*pair, measured) for pair in pairs),
    )


def _difference(ours: Chain, theirs: Chain, measured: Measured) -> float | None:
    our_bleu, their_bleu = (measured.value(chain, "bleu") for chain in (ours, theirs))
    return None if our_bleu is None or their_bleu is None else our_bleu - their_bleu


def _size(ours: Chain, theirs: Chain, measured: Measured) -> float | None:
    our_size, their_size = (measured.stored_size(chain) for chain in (ours, theirs))
    return our_size / their_size if our_size and their_size else None


def _speed(ours: Chain, theirs: Chain, measured: Measured) -> float | None:
    """How many times as fast a model translates, in the first way in which both were timed."""
    ratios = (measured.speed_up(ours, theirs, way) for way in WAYS)
    return next((ratio for ratio in ratios if ratio is not None), None)


def _has(chain: Chain, *kinds: str) -> bool:
    return any(step.kind.name in kinds for step in chain.steps)


@dataclass(frozen=True)
class Overview:
    """The picture: a panel for size and one for speed.

    `methods`: number, name and count of models; `said`: a description; `picks`: the smallest and the fastest
    of the models that lose little, each with a sentence, its chain and the address of its page.
    """

    panels: list[Panel]
    methods: list[tuple[int, str, int]]
    said: str
    picks: list[tuple[str, str, str]]


def overview(rows: list[Compared], link: Callable[[Chain], str]) -> Overview:
    """The picture of compared models; `link` leads to a model's page."""
    left, right, top, bottom = 40, 352, 10, 218
    drawn = [row for row in rows if row.size is not None or row.speed is not None]
    y = plots.axis(
        "BLEU, difference from the dense model",
        [max(row.bleu, LOWEST) for row in drawn] + [0.0],
        bottom,
        top,
    )

    def panel(label: str, measure: Callable[[Compared], float | None], most: float, unit: str) -> Panel:
        placed = [(row, value) for row in drawn if (value := measure(row)) is not None]
        values = [min(value, most) for _, value in placed]
        x = plots.axis(label, [*values, 1.0], left, right)
        points = [
            Point(
                x(value),
                y(row.bleu),
                f"{row.chain}: {number('delta', row.bleu)} BLEU, {value:.2f} {unit}",
                link(row.chain),
                row.method,
                row.bleu < y.low or value > most,
            )
            for row, value in placed
        ]
        return Panel(x, y, points)

    panels = [
        panel("Size on disk, times the dense model's", lambda row: row.size, LARGEST, "times its size"),
        panel("Speed, times the dense model's", lambda row: row.speed, FASTEST, "times as fast"),
    ]
    used = [row.method for row in drawn]
    methods = [(place, name, used.count(place)) for place, (name, _) in enumerate(METHODS) if place in used]
    return Overview([each for each in panels if each.points], methods, _said(rows), _picks(rows, link))


def _said(rows: list[Compared]) -> str:
    """What is seen, in words."""
    timed, good = sum(row.speed is not None for row in rows), _good(rows)
    within = f"{len(good)} within {LITTLE:g} BLEU of the dense model, or better"
    unseen = sum(row.size is None and row.speed is None for row in rows)
    unplaced = f"; {unseen} without size and speed are not drawn" if unseen else ""
    return f"{len(rows)} models, {timed} of them timed; {within}{unplaced}."


def _good(rows: list[Compared]) -> list[Compared]:
    return [row for row in rows if row.bleu >= -LITTLE]


def _picks(rows: list[Compared], link: Callable[[Chain], str]) -> list[tuple[str, str, str]]:
    """The smallest and the fastest of the models that lose little, where they save anything."""

    def pick(row: Compared, said: str) -> tuple[str, str, str]:
        return f"{said}, {number('delta', row.bleu)} BLEU", str(row.chain), link(row.chain)

    sizes = [(row.size, row) for row in _good(rows) if row.size is not None and row.size < 1]
    speeds = [(row.speed, row) for row in _good(rows) if row.speed is not None and row.speed > 1]
    picks = []
    if sizes:
        size, row = min(sizes, key=lambda pair: pair[0])
        picks.append(pick(row, f"Smallest: {size:.0%} of the size"))
    if speeds:
        speed, row = max(speeds, key=lambda pair: pair[0])
        picks.append(pick(row, f"Fastest: {speed:.2f} times as fast"))
    return picks
