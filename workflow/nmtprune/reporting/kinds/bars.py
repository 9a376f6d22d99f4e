"""Bars: one measure by weight class, with one panel for each group of rows."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nmtprune.experiment.papers import Item
from nmtprune.measurements.frame import frame
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures, tables
from nmtprune.reporting.rendition import Made


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = frame(item, measured)
    return Made(numbers, figures.missing(numbers), figure=bars(item, numbers))


def bars(item: Item, numbers: pd.DataFrame) -> Figure:
    """A bar for each label, one panel for each group of rows, side by side on one axis.

    Bars are the values of the first column, without baselines.
    """
    metric, heading = item.columns[0].metric, item.columns[0].heading
    points = numbers.loc[[not row.baseline for row in item.rows]].astype({metric: float})
    points = points.assign(label=points["label"].str.replace("_", " "))
    labels = list(dict.fromkeys(points["label"]))
    groups = list(points.groupby("group", sort=False)) or [("", points)]
    height = 0.9 + 0.24 * max(len(labels), 4)
    figure, panels = pyplot.subplots(
        1,
        len(groups),
        figsize=(1.6 + 1.9 * len(groups), height),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, (group, rows), colour in zip(panels[0], groups, itertools.cycle(figures.COLOURS), strict=False):
        bars = figures.ends(rows, metric, f"{metric}_sd")
        whiskers = {"errorbar": figures.SPAN, "err_kws": {"linewidth": 0.9}}
        seaborn.barplot(
            bars,
            x=metric,
            y="label",
            order=labels,
            color=colour,
            saturation=1,
            width=0.72,
            ax=axes,
            **whiskers,
        )
        axes.set(title=group, xlabel="", ylabel="")
        axes.tick_params(axis="y", length=0)
        axes.axvline(0, color="#444444", linewidth=0.8)
        if rows[metric].notna().any():
            _tell(axes, rows.set_index("label").reindex(labels), metric)
        else:
            axes.text(0.5, 0.5, "no scores yet", transform=axes.transAxes, ha="center", color="#666666")
    first = panels[0][0]
    figures.fit(first, "x", points[metric])
    _make_room(first, points[metric].dropna())
    figure.supxlabel(heading, fontsize="medium")
    return figure


def _make_room(axes: Axes, values: pd.Series) -> None:
    """Leave room for a number beside the longest bar on each side that has bars."""
    if values.empty:
        return
    scale = axes.xaxis.get_transform()
    low, high = scale.transform([min(values.min(), 0), max(values.max(), 0)])
    left, right = (0.4 if side else 0.03 for side in (values.min() < 0, values.max() > 0))
    ends = scale.inverted().transform([low - left * (high - low), high + right * (high - low)])
    axes.set_xlim(ends[0], ends[1])


def _tell(axes: Axes, rows: pd.DataFrame, metric: str) -> None:
    """Write each bar's value at its end, or that the value is missing."""
    ends = rows[metric].abs() + rows.get(f"{metric}_sd", pd.Series(0.0, rows.index)).fillna(0)
    for place, (value, end) in enumerate(zip(rows[metric], ends, strict=True)):
        at = 0 if np.isnan(value) else np.copysign(end, value)
        text = "not there" if np.isnan(value) else tables.number(metric, value)
        note = axes.annotate(
            text,
            (at, place),
            (3 if at >= 0 else -3, 0),
            textcoords="offset points",
            va="center",
            ha="left" if at >= 0 else "right",
            fontsize=6.5,
            color="#888888" if np.isnan(value) else "#222222",
        )
        note.set_in_layout(False)  # panels stay equal
