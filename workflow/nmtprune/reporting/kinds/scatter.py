"""A scatter plot of two measures with one labelled point per row, and their rank correlation."""

from __future__ import annotations

import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.figure import Figure

from nmtprune.experiment.papers import Item
from nmtprune.measurements.correlation import rank_correlation
from nmtprune.measurements.frame import frame
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made
from nmtprune.scoring.significance import p_as_text


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = frame(item, measured)
    points = _points(item, numbers)
    return Made(
        numbers, figures.missing(numbers), figure=scatter(item, points), sentences=_correlation(points)
    )


def _points(item: Item, numbers: pd.DataFrame) -> pd.DataFrame:
    """`x`, `y`, `y_sd` over seeds and `label` of every row that has both values, without baselines.

    `x` and `y` are the first two columns.
    """
    x, y = (column.metric for column in item.columns[:2])
    chosen = numbers.loc[[not row.baseline for row in item.rows]]
    points = pd.DataFrame(
        {"label": chosen["label"], "x": chosen[x], "y": chosen[y], "y_sd": chosen.get(f"{y}_sd")}
    )
    return points.dropna(subset=["x", "y"]).astype({"x": float, "y": float, "y_sd": float})


def _correlation(points: pd.DataFrame) -> list[str]:
    """A sentence with Spearman's rank correlation and its p-value; none if it is not defined."""
    found = rank_correlation(points["x"], points["y"])
    if found is None:
        return []
    said = f"Spearman's rank correlation over {found.points} points: {found.rho:.2f}, {p_as_text(found.p)}."
    return [said.replace("-", "−")]


def scatter(item: Item, points: pd.DataFrame) -> Figure:
    """The values of the second column against those of the first, with labels that do not overlap.

    Bars show the standard deviation over seeds.
    """
    figure, axes = pyplot.subplots(figsize=(5.6, 3.8))
    axes.set(xlabel=item.columns[0].heading, ylabel=item.columns[1].heading)
    if points.empty:
        figures.empty(axes)
        return figure
    figures.fit(axes, "y", points["y"])
    axes.margins(0.14)
    kinds = points["label"].str.replace(r"_?\d+$", "", regex=True)
    looks = {kind: figures.look(place) for place, kind in enumerate(kinds.unique())}
    axes.errorbar(
        points["x"], points["y"], points["y_sd"], fmt="none", ecolor="#888888", elinewidth=0.9, capsize=2
    )
    told = figures.told_by("kind", looks)
    seaborn.scatterplot(
        points.assign(kind=kinds), x="x", y="y", **told, s=36, linewidth=0.3, zorder=3, legend=False, ax=axes
    )
    figure.tight_layout()  # labels are placed in the final layout
    figures.label(axes, points)
    return figure
