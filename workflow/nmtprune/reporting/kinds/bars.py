"""Bars: one measure by weight class, a panel for each group of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot

from nmtprune.experiment.papers import Item
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures, tables
from nmtprune.reporting.figures import COLOURS, STYLE
from nmtprune.reporting.rendition import Made


def make(item: Item, measured: Measured) -> Made:
    numbers = tables.frame(item, measured)
    return Made(numbers, figures.missing(numbers), figure=bars(item, numbers))


def bars(item: Item, numbers: pd.DataFrame) -> pyplot.Figure:
    """The first column's values, baselines left out: a panel a group, side by side on one axis, a bar a label from the top down."""
    metric, heading = item.columns[0].metric, item.columns[0].heading
    points = numbers.loc[[not row.baseline for row in item.rows]]
    labels = list(dict.fromkeys(points["label"]))
    groups = list(points.groupby("group", sort=False)) or [("", points)]
    height = 0.9 + 0.24 * max(len(labels), 4)
    with pyplot.rc_context(STYLE):
        figure, panels = pyplot.subplots(
            1, len(groups), figsize=(1.6 + 1.9 * len(groups), height), sharex=True, sharey=True, squeeze=False, layout="constrained"
        )
        for place, (axes, (group, rows)) in enumerate(zip(panels[0], groups, strict=True)):
            values = rows.set_index("label")[metric].reindex(labels).astype(float)
            deviations = rows.set_index("label")[f"{metric}_sd"].reindex(labels) if f"{metric}_sd" in rows else None
            axes.barh(
                range(len(labels)), values, xerr=deviations, height=0.72, color=COLOURS[place % len(COLOURS)], error_kw={"elinewidth": 0.9}
            )
            axes.set_title(group, fontsize=9)
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0)
            axes.axvline(0, color="#444444", linewidth=0.8)
            if values.notna().any():
                _tell(axes, values, deviations, metric)
            else:
                axes.text(0.5, 0.5, "no scores yet", transform=axes.transAxes, ha="center", color="#666666")
        first = panels[0][0]
        first.set_yticks(range(len(labels)), [label.replace("_", " ") for label in labels])
        first.invert_yaxis()
        figures.fit(first, "x", points[metric].astype(float))
        _make_room(first, points[metric].dropna())
        figure.supxlabel(heading, fontsize=9)
    return figure


def _make_room(axes: pyplot.Axes, values: pd.Series) -> None:
    """Leave room for a number beside the longest bar on each side that has bars."""
    if values.empty:
        return
    scale = axes.xaxis.get_transform()
    low, high = scale.transform([min(values.min(), 0), max(values.max(), 0)])
    left, right = (0.4 if side else 0.03 for side in (values.min() < 0, values.max() > 0))
    axes.set_xlim(scale.inverted().transform([low - left * (high - low), high + right * (high - low)]))


def _tell(axes: pyplot.Axes, values: pd.Series, deviations: pd.Series | None, metric: str) -> None:
    """Each bar's value at its end; where there is none, that it is missing."""
    ends = values.abs() + (0 if deviations is None else deviations.fillna(0))
    for place, (value, end) in enumerate(zip(values, ends, strict=True)):
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
