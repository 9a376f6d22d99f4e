"""Lines over a grid variable: quality against the share of pruned weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot

from nmtprune.papers import Item, Row
from nmtprune.reporting import tables
from nmtprune.reporting.figures import COLOURS, MARKERS, STYLE
from nmtprune.reporting.made import Made
from nmtprune.reporting.measured import Measured, interval


def make(item: Item, measured: Measured) -> Made:
    numbers = tables.frame(item, measured)
    return Made(numbers, tables.table(item, numbers).footnotes, figure=lines(item, numbers, measured))


def lines(item: Item, numbers: pd.DataFrame, measured: Measured) -> pyplot.Figure:
    """One line for each group and label, from the group's baseline at 0; the baseline itself as a thin horizontal line.

    The band around it is the noise a difference has to leave: its standard deviation over seeds, or with one seed the
    95 % bootstrap interval over sentences.
    """
    metric, heading = item.columns[0].metric, item.columns[0].heading
    points = _points(item, numbers)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(5.6, 3.6), layout="constrained")
        drawn = []
        for place, (_, group) in enumerate(points.groupby(["task", "recipe"], sort=False)):
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
            name = measured.config.task(group["task"].iloc[0])["title"]
            baseline = group[group["baseline"]].dropna(subset="y").head(1)
            for label, line in group[~group["baseline"]].groupby("label", sort=False):
                line = pd.concat([baseline, line.dropna(subset="y")]).sort_values("x")
                dashed = label in item.dashed
                drawn.append(
                    axes.errorbar(
                        line["x"],
                        line["y"],
                        yerr=line.get(f"{metric}_sd"),
                        color=colour,
                        linestyle="--" if dashed else "-",
                        linewidth=1.6,
                        marker=marker,
                        markersize=5.5,
                        markerfacecolor="white" if dashed else colour,
                        markeredgewidth=1.3,
                        capsize=2.5,
                        label=f"{name}, {label}",
                    )
                )
            for number, level in baseline["y"].items():
                style = {"color": colour, "linewidth": 1.0, "linestyle": (0, (1, 1.5)), "zorder": 1.5}
                drawn.append(axes.axhline(level, label=f"{name}, baseline", **style))
                if band := _band(item.rows[number], metric, baseline.loc[number], measured):
                    axes.axhspan(*band, color=colour, alpha=0.13, linewidth=0)
        axes.set(xlabel=item.x["heading"], ylabel=heading, xticks=sorted({*points["x"]}))
        axes.set_ylim(bottom=0)
        if points["y"].notna().any():
            axes.legend(handles=drawn, loc="best", fontsize=8, handlelength=3)
        else:
            axes.set_yticks([])
            axes.text(0.5, 0.5, "no scores yet", transform=axes.transAxes, ha="center", color="#666666")
    return figure


def _points(item: Item, numbers: pd.DataFrame) -> pd.DataFrame:
    """The frame with the axes' values as `x` (0 for rows outside the grid) and `y`, and which rows are baselines."""
    variable, metric = item.x["variable"], item.columns[0].metric
    x = [row.values.get(variable, 0) for row in item.rows]
    return numbers.assign(x=x, y=numbers[metric].astype(float), baseline=[row.baseline for row in item.rows])


def _band(row: Row, metric: str, record: pd.Series, measured: Measured) -> tuple[float, float] | None:
    """What a difference from the baseline has to leave behind it to be more than noise."""
    if len(row.chains) > 1:
        deviation = record[f"{metric}_sd"]
        return None if np.isnan(deviation) else (record["y"] - deviation, record["y"] + deviation)
    statistics = measured.statistics(row.chains[0]) if metric == "bleu" else None
    return None if statistics is None else interval(statistics)
