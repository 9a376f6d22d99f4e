"""Lines over a grid variable: quality against the share of pruned weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot

from nmtprune.experiment.papers import Item, Row
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures, tables
from nmtprune.reporting.figures import COLOURS, MARKERS, STYLE
from nmtprune.reporting.rendition import Made
from nmtprune.scoring.significance import interval

OF_THE_BASELINE = "#444444"  # where it belongs to all lines


def make(item: Item, measured: Measured) -> Made:
    numbers = tables.frame(item, measured)
    return Made(numbers, figures.missing(numbers), figure=lines(item, numbers, measured), sentences=_published(item, numbers))


def lines(item: Item, numbers: pd.DataFrame, measured: Measured) -> pyplot.Figure:
    """One line for each group and label, from the group's baseline at 0; the baseline itself as a thin horizontal line. Rows of another
    variable than the axis' first one do not begin at the baseline.

    Of several tasks or recipes each has its colour and marker; of a single one each label. The band around a baseline is the noise
    a difference has to leave: its standard deviation over seeds, or with one seed the 95 % bootstrap interval over sentences.
    Published values are drawn where the data are the paper's: on others BLEU is on another scale.
    """
    metric, heading = item.columns[0].metric, item.columns[0].heading
    points = _points(item, numbers)
    groups = [group for _, group in points.groupby(["task", "recipe"], sort=False)]
    several = len(groups) > 1
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(5.6, 3.6), layout="constrained")
        drawn = []
        for place, group in enumerate(groups):
            name = f"{measured.config.task(group['task'].iloc[0])['title']}, " if several else ""
            baseline = group[group["baseline"]].dropna(subset="y").head(1)
            for number, (label, line) in enumerate(group[~group["baseline"]].groupby("label", sort=False)):
                look, dashed = place if several else number, label in item.dashed
                colour, marker = COLOURS[look % len(COLOURS)], MARKERS[look % len(MARKERS)]
                own = line[line["own"]]
                axes.plot(own["x"], own["published"], "*", markersize=12, color=colour, markerfacecolor="white", zorder=3)
                start = [baseline] if line["joined"].any() else []
                line = pd.concat([*start, line.dropna(subset="y")]).sort_values("x")
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
                        label=f"{name}{label}",
                    )
                )
            colour = COLOURS[place % len(COLOURS)] if several else OF_THE_BASELINE
            own = group[group["baseline"] & group["own"]]
            axes.plot(own["x"], own["published"], "*", markersize=12, color=colour, markerfacecolor="white", zorder=3)
            for number, level in baseline["y"].items():
                style = {"color": colour, "linewidth": 1.0, "linestyle": (0, (1, 1.5)), "zorder": 1.5}
                drawn.append(axes.axhline(level, label=f"{name}baseline" if several else item.rows[number].label, **style))
                if band := _band(item.rows[number], metric, baseline.loc[number], measured):
                    axes.axhspan(*band, color=colour, alpha=0.13, linewidth=0)
        axes.set(xlabel=item.x["heading"], ylabel=heading, xticks=sorted({*points["x"]}))
        axes.set_ylim(bottom=0)
        if points["y"].notna().any():
            axes.legend(handles=drawn, loc="best", fontsize=8, handlelength=3)
        else:
            figures.empty(axes)
    return figure


def _points(item: Item, numbers: pd.DataFrame) -> pd.DataFrame:
    """The frame with the axes' values as `x` (0 for rows outside the grid) and `y`, which rows are baselines, which are of the
    paper's `own` data, and the `published` values."""
    variables, metric = item.x["variables"], item.columns[0].metric
    x = [next((row.values[variable] for variable in variables if variable in row.values), 0) for row in item.rows]
    published = numbers.get(f"{metric}_published", pd.Series(np.nan, index=numbers.index))
    return numbers.assign(
        x=x,
        y=numbers[metric].astype(float),
        baseline=[row.baseline for row in item.rows],
        own=[row.paper_task == row.first.task for row in item.rows],
        joined=[variables[0] in row.values for row in item.rows],
        published=published,
    )


def _published(item: Item, numbers: pd.DataFrame) -> list[str]:
    """The paper's values in words, and whether they are drawn."""
    points = _points(item, numbers)
    printed = points.dropna(subset="published")
    if printed.empty:
        return []
    metric, heading = item.columns[0].metric, item.columns[0].heading
    values = [f"{row.label}{f' ({row.x})' if row.x else ''} {tables.number(metric, row.published)}" for row in printed.itertuples()]
    how = "hollow stars" if printed["own"].all() else "not drawn, since its data are others"
    return [f"Published {heading} ({how}): {', '.join(values)}."]


def _band(row: Row, metric: str, record: pd.Series, measured: Measured) -> tuple[float, float] | None:
    """What a difference from the baseline has to leave behind it to be more than noise."""
    if len(row.chains) > 1:
        deviation = record[f"{metric}_sd"]
        return None if np.isnan(deviation) else (record["y"] - deviation, record["y"] + deviation)
    statistics = measured.statistics(row.first) if metric == "bleu" else None
    return None if statistics is None else interval(statistics)
