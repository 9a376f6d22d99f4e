"""Lines over a grid variable: quality against the share of pruned weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from nmtprune.experiment.papers import Item, Row
from nmtprune.foundation.known import known
from nmtprune.measurements.frame import frame
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures, tables
from nmtprune.reporting.rendition import Made

OF_THE_BASELINE = "#444444"  # the colour of a baseline that belongs to all lines


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = frame(item, measured)
    return Made(
        numbers,
        figures.missing(numbers),
        figure=lines(item, numbers, measured),
        sentences=_published(item, numbers),
    )


def lines(item: Item, numbers: pd.DataFrame, measured: Measured) -> Figure:
    """One line for each group and label, which starts from the group's baseline at 0.

    Lines over another variable than the first one of the axis do not start from the baseline. The
    baseline is also a thin horizontal line. If there are several tasks or recipes, each has a colour and
    each label a marker; otherwise each label has both. The band around a baseline shows how much noise
    to expect: its standard deviation over seeds, or with one seed the 95 % bootstrap interval over
    sentences. Published values are drawn only on the paper's own data, since BLEU has another scale on
    other data.
    """
    metric, heading = item.columns[0].metric, item.columns[0].heading
    points = _points(item, numbers)
    groups = [group for _, group in points.groupby(["task", "recipe"], sort=False)]
    several = len(groups) > 1
    figure, axes = pyplot.subplots(figsize=(5.6, 3.6), layout="constrained")
    for place, group in enumerate(groups):
        title = f"{measured.config.task(group['task'].iloc[0]).title}, " if several else ""
        baseline = group[group["baseline"]].dropna(subset="y").head(1)
        looks, drawn = {}, []
        for number, (label, line) in enumerate(group[~group["baseline"]].groupby("label", sort=False)):
            if line["y"].isna().all():
                continue  # the legend would speak of a line that is not there
            look = figures.look(number, figures.DASHED if label in item.dashed else "")
            looks[f"{title}{label}"] = (
                look._replace(colour=figures.COLOURS[place % len(figures.COLOURS)]) if several else look
            )
            drawn += [
                part.assign(name=f"{title}{label}")
                for part in ([baseline, line] if line["joined"].any() else [line])
            ]
        if drawn:
            figures.lines(axes, figures.ends(pd.concat(drawn), "y", f"{metric}_sd"), looks)
        colour = figures.COLOURS[place % len(figures.COLOURS)] if several else OF_THE_BASELINE
        own = group[group["own"]].assign(name=title + group["label"])
        edges = [looks[name].colour if name in looks else colour for name in own["name"]]
        axes.scatter(own["x"], own["published"], 144, "white", marker="*", edgecolors=edges, zorder=3)
        for number, level in baseline["y"].items():
            style = {"color": colour, "linewidth": 1.0, "linestyle": (0, figures.DOTTED), "zorder": 1.5}
            axes.axhline(level, label=f"{title}baseline" if several else item.rows[number].label, **style)
            if band := _band(item.rows[number], metric, baseline.loc[number]):
                axes.axhspan(*band, color=colour, alpha=0.13, linewidth=0)
    axes.set(xlabel=known(item.x)["heading"], ylabel=heading, xticks=sorted({*points["x"]}))
    axes.set_ylim(bottom=0)
    if points["y"].notna().any():
        axes.legend(loc="best", handlelength=3)
    else:
        figures.empty(axes)
    return figure


def _points(item: Item, numbers: pd.DataFrame) -> pd.DataFrame:
    """The frame with columns for plotting: `x`, `y`, `baseline`, `own`, `joined` and `published`.

    `x` is 0 for rows outside the grid, `own` says whether the data are the paper's own, and `joined`
    whether the line starts from the baseline.
    """
    variables, metric = known(item.x)["variables"], item.columns[0].metric
    x = [
        next((row.values[variable] for variable in variables if variable in row.values), 0)
        for row in item.rows
    ]
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
    """A sentence with the paper's values that says whether they are drawn."""
    points = _points(item, numbers)
    printed = points.dropna(subset="published")
    if printed.empty:
        return []
    metric, heading = item.columns[0].metric, item.columns[0].heading
    values = [
        f"{row.label}{f' ({row.x})' if row.x else ''} {tables.number(metric, row.published)}"
        for row in printed.itertuples()
    ]
    how = "hollow stars" if printed["own"].all() else "not drawn, since its data are others"
    return [f"Published {heading} ({how}): {', '.join(values)}."]


def _band(row: Row, metric: str, record: pd.Series) -> tuple[float, float] | None:
    """The interval of values around a baseline that can be noise; None if it is unknown."""
    if len(row.chains) > 1:
        low, high = (record["y"] + side * record[f"{metric}_sd"] for side in (-1, 1))
    else:
        low, high = (record.get(f"{metric}_{end}", np.nan) for end in ("low", "high"))
    return None if np.isnan(low) else (low, high)
