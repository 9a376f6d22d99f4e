"""The picture that sums a run up: quality against size and speed, for all methods.

Each model is compared with another: the difference is what the method costs, the ratios what it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.known import known
from nmtprune.measurements.compared import Compared
from nmtprune.measurements.payoff import Offer, before_mask, sentences, zeros
from nmtprune.reporting import plots
from nmtprune.reporting.plots import Panel, Point
from nmtprune.reporting.tables import number

METHODS: tuple[tuple[str, Callable[[Chain], bool]], ...] = (  # the first that fits
    ("8 bits", lambda chain: bool(chain.quantised_for)),
    ("group lasso", lambda chain: any(step.get("groups") for step in chain.steps)),
    ("components removed", lambda chain: _has(chain, "ablate", "drop", "cut", "rewind")),
    ("another training of the pruned shape", lambda chain: _has(chain, "restart")),
    ("weights pruned and trained further", lambda chain: _has(chain, "prune") and chain.last.kind.trains),
    ("weights pruned", lambda chain: _has(chain, "prune")),
    ("trained further", lambda chain: len(chain.steps) > 1),
    ("another model from scratch", lambda chain: True),
)
LOWEST = -10.0  # BLEU: models that lose more lie on the lower edge
LITTLE = 0.5  # BLEU that a model to deploy may lose
BUSY = "; timed beside other processes, so speeds are rough and decide no claim"
CostOf = Callable[[Compared], tuple[float, str] | None]  # a cost, positive, and the same in words
LARGEST, FASTEST = 1.5, 6.0  # times the model that it is compared with


def method(chain: Chain) -> int:
    """The place in METHODS of the method that a model was made by."""
    return next(place for place, (_, fits) in enumerate(METHODS) if fits(chain))


def _has(chain: Chain, *kinds: str) -> bool:
    return any(step.kind.name in kinds for step in chain.steps)


@dataclass(frozen=True)
class Pick:
    """A model worth a look: why, its chain, the address of its page, and whether pruning pays at its cost."""

    said: str
    chain: str
    address: str
    payoff: list[str]


@dataclass(frozen=True)
class Overview:
    """The picture: a panel for size and one for speed.

    `methods`: number, name and count of models; `said`: a description; `picks`: the smallest and the fastest
    of the models that lose little; `zeros`: what zeroed weights buy.
    """

    panels: list[Panel]
    methods: list[tuple[int, str, int]]
    said: str
    picks: list[Pick]
    zeros: str | None


def overview(rows: list[Compared], link: Callable[[Chain], str], config: Config) -> Overview:
    """The picture of compared models; `link` leads to a model's page."""
    left, right, top, bottom = 40, 352, 10, 218
    drawn = [row for row in rows if row.size is not None or row.speed is not None]
    y = plots.axis(
        "BLEU on the main test set, difference from the dense model",
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
                f"{row.chain}: {number('delta', row.bleu)} BLEU, {value:.2f} {unit}{_seeds(row)}",
                link(row.chain),
                method(row.chain),
                row.bleu < y.low or value > most,
            )
            for row, value in placed
        ]
        return Panel(x, y, points)

    panels = [
        panel("Size on disk, times the dense model's", lambda row: row.size, LARGEST, "times its size"),
        panel("Speed, times the dense model's", lambda row: row.speed, FASTEST, "times as fast"),
    ]
    used = [method(row.chain) for row in drawn]
    methods = [(place, name, used.count(place)) for place, (name, _) in enumerate(METHODS) if place in used]
    shown = [each for each in panels if each.points]
    return Overview(shown, methods, _said(rows), _picks(rows, link, config), _zeros(rows))


def _said(rows: list[Compared]) -> str:
    """What is seen, in words."""
    timed, good = sum(row.speed is not None for row in rows), _good(rows)
    within = f"{len(good)} within {LITTLE:g} BLEU of the dense model, or better"
    unseen = sum(row.size is None and row.speed is None for row in rows)
    unplaced = f"; {unseen} without size and speed are not drawn" if unseen else ""
    return f"{len(rows)} models, {timed} of them timed; {within}{unplaced}."


def _good(rows: list[Compared]) -> list[Compared]:
    return [row for row in rows if row.bleu >= -LITTLE]


def _picks(rows: list[Compared], link: Callable[[Chain], str], config: Config) -> list[Pick]:
    """The smallest and the fastest of the models that lose little, where they save anything."""

    def pick(row: Compared, which: str, noun: str, cost_of: CostOf, more: str = "") -> Pick:
        offers = [_offer(each, *cost) for each in _beside(row, rows) if (cost := cost_of(each))]
        _, saves = known(cost_of(row))
        said = f"{which} within {LITTLE:g} BLEU of its dense model: {saves}, {number('delta', row.bleu)} BLEU"
        leads = f" (the link leads to seed {row.chain.seed})" if row.seeds > 1 else ""
        payoff = sentences(config, offers, noun, bool(more))
        return Pick(f"{said}{_seeds(row)}{leads}{more}", str(row.chain), link(row.chain), payoff)

    sizes = [(row.size, row) for row in _good(rows) if row.size is not None and row.size < 1]
    speeds = [(row.speed, row) for row in _good(rows) if row.speed is not None and row.speed > 1]
    picks = []
    if sizes:
        _, row = min(sizes, key=lambda pair: pair[0])
        picks.append(pick(row, "Smallest", "size", _by_size))
    if speeds:
        _, row = max(speeds, key=lambda pair: pair[0])
        picks.append(pick(row, "Fastest", "speed", _by_speed, BUSY if row.busy else ""))
    return picks


def _beside(row: Compared, rows: Iterable[Compared]) -> list[Compared]:
    """The dense model that one is compared with, and all that are compared with the same."""

    def model(chain: Chain) -> tuple[str, str, str]:
        return (chain.task, chain.recipe, chain.steps_text)

    dense = Compared(row.against, row.against, 0.0, 1.0, 1.0)
    return [dense, *(each for each in rows if model(each.against) == model(row.against))]


def _by_size(row: Compared) -> tuple[float, str] | None:
    return (row.size, f"{row.size:.0%} of the size") if row.size else None


def _by_speed(row: Compared) -> tuple[float, str] | None:
    return (1 / row.speed, f"{row.speed:.2f} times as fast") if row.speed else None


def _offer(row: Compared, cost: float, numbers: str) -> Offer:
    enough = row.bleu >= -LITTLE
    return Offer(row.chain, row.bleu, cost, enough, f"{number('delta', row.bleu)} BLEU, {numbers}")


def _zeros(rows: Iterable[Compared]) -> str | None:
    """What zeros buy, where a sparse model is compared with the same model before its weights were zeroed."""
    sparse = [row for row in rows if before_mask(row.chain) == row.against]
    return zeros([(row.size, row.speed) for row in sparse if row.size and row.speed and not row.busy])


def _seeds(row: Compared) -> str:
    """Over how many seeds the numbers are means; empty for one."""
    return f", mean of {row.seeds} seeds" if row.seeds > 1 else ""
