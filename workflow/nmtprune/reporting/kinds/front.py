"""A Pareto front: quality against cost, with one panel for each measure of cost; dominated models are hollow.

Behnke and Heafield 2021, section 6.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nmtprune.experiment.metrics import METRICS
from nmtprune.experiment.papers import Column, Item
from nmtprune.measurements.frame import reasons
from nmtprune.measurements.front import front
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made

GREY = "#555555"


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = front(item, measured)
    sentences = [_leaders(item, numbers, cost) for cost in item.columns[1:] if len(numbers)]
    footnotes = [*figures.missing(numbers), *_unplaced(item, numbers, measured)]
    return Made(numbers, footnotes, figure=_figure(item, numbers), sentences=list(filter(None, sentences)))


def _leaders(item: Item, numbers: pd.DataFrame, cost: Column) -> str:
    """A sentence on how many models are on a front: in all, by group and by family.

    The family of a model is the part of its label before the comma.
    """
    placed = numbers.dropna(subset=[item.columns[0].key, cost.key])
    if placed.empty:
        return ""
    leads = placed[f"front_{cost.key}"]
    parts = [placed["group"], placed["label"].map(_family)]
    counts = [
        ", ".join(
            f"{name} {leading.sum()} of {len(leading)}" for name, leading in leads.groupby(part, sort=False)
        )
        for part in parts
        if part.nunique() > 1
    ]
    heading = f"{cost.heading[0].lower()}{cost.heading[1:]}"
    return f"On the front by {heading}: {'; '.join([f'{leads.sum()} of {len(leads)} models', *counts])}."


def _unplaced(item: Item, numbers: pd.DataFrame, measured: Measured) -> list[str]:
    """A footnote on why some scored models are not in every panel."""
    scored = set(numbers.loc[numbers["missing"] == "", "row"]) if len(numbers) else set()
    of_cells = reasons(item, measured).items()
    lacking = list(dict.fromkeys(reason for (row, _), reason in of_cells if row in scored))
    more = f"; and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    return [f"Not in every panel: {'; '.join(lacking[:3])}{more}."] if lacking else []


def _figure(item: Item, numbers: pd.DataFrame) -> Figure:
    """One panel for each column after the first; a colour stands for a group and a marker for a family."""
    costs = item.columns[1:]
    groups, families = (
        {name: figures.look(place) for place, name in enumerate(dict.fromkeys(names))}
        for names in ([row.group for row in item.rows], [_family(row.label) for row in item.rows])
    )
    many = len(costs) > 1
    rows, columns = (math.ceil(len(costs) / 2), 2) if many else (1, 1)
    size = (9.0, 3.9 * rows) if many else (7.2, 4.6)
    figure, panels = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axes, cost in zip(panels.flat, costs, strict=False):
        _draw(axes, item, numbers, cost, groups, families)
    for axes in panels.flat[len(costs) :]:
        axes.set_axis_off()
    handles = _legend(groups, families)
    if len(costs) < panels.size:
        panels.flat[-1].legend(handles=handles, loc="center", ncols=2)
    elif many:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    else:
        figure.legend(handles=handles, loc="outside right upper")
    figure.draw_without_rendering()  # labels are placed in the final layout
    figure.set_layout_engine("none")
    for axes, cost in zip(panels.flat, costs, strict=False):
        figures.label(axes, _points(item, numbers, cost))
        for text in axes.texts:  # legible on the line
            text.set_bbox({"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5})
    return figure


def _family(label: str) -> str:
    return label.partition(",")[0]


def _points(item: Item, numbers: pd.DataFrame, cost: Column) -> pd.DataFrame:
    """The points of a panel: `x`, `y`, `y_sd`, `group`, `family`, `leads` (on the front) and `label`.

    Only points on the front have a label.
    """
    quality = item.columns[0].key
    points = pd.DataFrame(
        {
            "x": numbers[cost.key].astype(float) / METRICS[cost.metric].axis,
            "y": numbers[quality].astype(float),
            "y_sd": numbers.get(f"{quality}_sd", pd.Series(math.nan, index=numbers.index)).astype(float),
            "group": numbers["group"],
            "family": numbers["label"].map(_family),
            "leads": numbers[f"front_{cost.key}"].astype(bool),
        }
    )
    short = numbers["label"].map(lambda label: label.partition(", ")[2] or label)
    return points.assign(label=short.where(points["leads"], "")).dropna(subset=["x", "y"])


def _draw(
    axes: Axes,
    item: Item,
    numbers: pd.DataFrame,
    cost: Column,
    groups: figures.Looks,
    families: figures.Looks,
) -> None:
    axes.set(xlabel=cost.heading, ylabel=item.columns[0].heading)
    points = _points(item, numbers, cost)
    if points.empty:
        figures.empty(axes)
        return
    axes.margins(0.09)
    leading = points[points["leads"]].sort_values("x")
    axes.plot(leading["x"], leading["y"], color=GREY, linewidth=1.1, zorder=1.5)
    axes.errorbar(
        points["x"], points["y"], points["y_sd"], fmt="none", ecolor=GREY, elinewidth=0.8, alpha=0.4
    )
    points = points.sort_values("leads", kind="stable")  # above the dominated
    told = figures.told_by("group", groups) | {
        "style": "family",
        "markers": {name: each.marker for name, each in families.items()},
    }
    seaborn.scatterplot(points, x="x", y="y", **told, s=40, linewidth=1.2, zorder=2, legend=False, ax=axes)
    (drawn,) = axes.collections[-1:]
    colours = drawn.get_facecolor()
    drawn.set(edgecolor=colours, facecolor=np.where(points[["leads"]], colours, 1.0))


def _legend(groups: figures.Looks, families: figures.Looks) -> list[Line2D]:
    """The entries of the legend: colours of groups, markers of families, and the meaning of hollow points."""

    def entry(label: str, colour: str, marker: str, filled: bool = True) -> Line2D:
        look: dict[str, Any] = {
            "marker": marker,
            "linestyle": "none",
            "color": colour,
            "markerfacecolor": colour if filled else "white",
        }
        return Line2D([], [], label=label, **look)

    coloured = [entry(name, each.colour, "s") for name, each in groups.items() if name]
    marked = [entry(name, GREY, each.marker) for name, each in families.items()]
    return [*coloured, *marked, entry("hollow: dominated", GREY, "o", filled=False)]
