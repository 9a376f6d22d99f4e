"""Encoder representations through the phases of training, projected to two dimensions.

Wang et al. 2020, figure 2.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nmtprune.experiment.papers import Item
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.trajectory import COORDINATES, SHARES, of_seed, phases_of
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made

PANELS = 3
METHOD = (
    "Truncated SVD to two dimensions of all models of a seed together, not centred: the first component is "
    "mostly what all models "
    "have in common."
)


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    seeds = len(item.rows[0].chains) if item.rows else 0
    frames = [of_seed(item, measured, place) for place in range(seeds)]
    numbers = (
        pd.concat(frames, ignore_index=True)
        if frames
        else pd.DataFrame(columns=["seed", "phase", "label", "chain"])
    )
    footnotes = figures.missing(numbers)
    if seeds > PANELS:
        footnotes.append(f"Drawn for the first {PANELS} seeds; the others are in the CSV file.")
    return Made(
        numbers,
        footnotes,
        figure=_figure(item, frames[:PANELS]),
        sentences=[METHOD, *_sentences(item, numbers)],
    )


def _sentences(item: Item, numbers: pd.DataFrame) -> list[str]:
    """Sentences on how far and in which direction the phases lead, in all dimensions; means over seeds."""
    if numbers.empty or numbers["distance"].isna().all():
        return []
    first, *others = phases_of(item)
    by_phase = numbers.groupby(["seed", "phase"], sort=False)
    began, ended = (
        dict(iter(rows.groupby("phase", sort=False))) for rows in (by_phase.head(1), by_phase.tail(1))
    )
    distances = {phase: ended[phase]["distance"] for phase in others}
    cosines = {
        f"{later} with {earlier}": ended[later][f"cosine_{earlier}"]
        for earlier, later in itertools.combinations(phases_of(item), 2)
    }
    ways = {first: began[first]["distance"]} | distances
    still = {phase: ended[phase]["seed"][(way == 0).to_numpy()] for phase, way in ways.items()}
    unmoved = [
        f"{phase} of seed {', '.join(map(str, seeds))}" for phase, seeds in still.items() if len(seeds)
    ]
    return [
        f"Distances from the end of {first}, in all dimensions: {_listed(distances)}; {first} itself, from "
        "its first checkpoint here: "
        f"{_mean(began[first]['distance'])}.",
        f"Cosines between the directions from there to the ends of the phases ({first}: of its own change): "
        f"{_listed(cosines)}.",
        *(
            [
                "No direction and no cosine, since the first checkpoint itself was selected: "
                f"{'; '.join(unmoved)}."
            ]
            if unmoved
            else []
        ),
    ]


def _listed(values: dict[str, pd.Series]) -> str:
    return ", ".join(f"{name} {_mean(each)}" for name, each in values.items())


def _mean(values: pd.Series) -> str:
    """The mean over the seeds that have a value, and the number of these seeds if others have none."""
    known = values.dropna()
    if known.empty:
        return "not known"
    part = f" (of {len(known)} of {len(values)} seeds)" if len(known) < len(values) else ""
    return f"{known.mean():.3g}".replace("-", "−") + part


def _figure(item: Item, frames: list[pd.DataFrame]) -> Figure:
    """One panel per seed."""
    panels = max(1, len(frames))
    figure, grid = pyplot.subplots(
        1, panels, figsize=(1.2 + 4.4 * panels, 3.8), layout="constrained", squeeze=False
    )
    for axes, frame in zip(grid[0], frames, strict=False):
        _panel(axes, item, frame)
        if len(frames) > 1:
            axes.set_title(f"seed {frame['seed'][0]}", fontsize=9)
    if not any(axes.has_data() for axes in grid[0]):
        grid[0][0].text(
            0.5, 0.5, "no representations yet", transform=grid[0][0].transAxes, ha="center", color="#666666"
        )
    return figure


def _panel(axes: Axes, item: Item, frame: pd.DataFrame) -> None:
    """Draw the models of a seed.

    Each phase has a colour and a marker, and arrows follow the order of training.
    """
    points = frame[COORDINATES].to_numpy(float)
    phases = phases_of(item)
    looks = {phase: figures.look(place) for place, phase in enumerate(phases)}
    seaborn.scatterplot(
        frame, x=COORDINATES[0], y=COORDINATES[1], **figures.told_by("phase", looks), s=34, zorder=3, ax=axes
    )
    for phase, numbers in phases.items():
        colour = looks[phase].colour
        for start, end in itertools.pairwise(numbers):
            _arrow(axes, points[start], points[end], colour, "-")
        if (origin := _origin(item, numbers[0])) is not None:
            _arrow(axes, points[origin], points[numbers[0]], colour, (0, (1, 1.8)))
    if axes.has_data():
        one, other = (f"{100 * frame[name][0]:.0f} % of the variance" for name in SHARES)
        axes.set(xlabel=f"component 1 ({one})", ylabel=f"component 2 ({other})")
        axes.margins(0.08)
        axes.legend(loc="best")


def _arrow(axes: Axes, start: np.ndarray, end: np.ndarray, colour: str, line: object) -> None:
    if not np.isnan([start, end]).any():
        style = {
            "arrowstyle": "-|>",
            "color": colour,
            "linestyle": line,
            "linewidth": 1.3,
            "shrinkA": 3,
            "shrinkB": 3,
            "mutation_scale": 9,
        }
        axes.annotate("", xy=(end[0], end[1]), xytext=(start[0], start[1]), arrowprops=style)


def _origin(item: Item, number: int) -> int | None:
    """The row of the model that a phase begins with.

    This is the nearest ancestor of the phase's first model that is in another phase.
    """
    begins = item.rows[number]
    others = {row.first: place for place, row in enumerate(item.rows) if row.group != begins.group}
    return next((others[ancestor] for ancestor in begins.first.ancestors() if ancestor in others), None)
