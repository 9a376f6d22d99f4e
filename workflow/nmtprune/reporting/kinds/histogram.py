"""Histograms of the norms of weight groups when a model was sliced, with cuts below which groups are dead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nmtprune.experiment.papers import Item, Row
from nmtprune.measurements.frame import columns_of
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made

# For each column of panels, the matrices whose groups it shows.
PANELS = {
    "FFN": {"fc1": "W1, rows", "fc2": "W2, columns"},
    "Attention": {"q_proj": "Q", "k_proj": "K", "v_proj": "V", "out_proj": "O"},
}
SMALLEST = 1e-12  # where a group of zeros is drawn on the logarithmic axis
BINS = 60
COLUMNS = (
    "row",
    "label",
    "task",
    "recipe",
    "seed",
    "chain",
    "matrix",
    "groups",
    "cut",
    "below",
    "zero",
    "median",
    "missing",
)


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = pd.DataFrame(
        [record for number, row in enumerate(item.rows, 1) for record in _records(number, row, measured)],
        columns=COLUMNS,
    )
    return Made(numbers, figures.missing(numbers[numbers["missing"] != ""]), figure=histogram(item, measured))


def _records(number: int, row: Row, measured: Measured) -> Iterator[dict[str, Any]]:
    """One record for each model and matrix (all layers together): its groups, and those below the cut.

    A missing model has one record that says why.
    """
    for chain in row.chains:
        about = {"row": number, "label": row.label, "seed": chain.seed, **columns_of(chain), "missing": ""}
        norms = measured.norms(chain)
        if norms is None:
            yield {**about, "missing": measured.reason(chain, "norms")}
            continue
        for name in (name for matrices in PANELS.values() for name in matrices if name in norms):
            cut = _cut(norms, name)
            facts = {
                "groups": len(norms[name]),
                "zero": int((norms[name] == 0).sum()),
                "median": float(np.median(norms[name])),
            }
            yield {
                **about,
                "matrix": name,
                **facts,
                "cut": cut,
                "below": None if cut is None else int((norms[name] < cut).sum()),
            }


def _cut(norms: Mapping[str, np.ndarray], name: str) -> float | None:
    return float(norms[f"{name}_cut"]) if f"{name}_cut" in norms else None


def histogram(item: Item, measured: Measured) -> Figure:
    """The numbers of groups by root mean square, one line for each matrix, with cuts as dashed lines.

    There is one row of panels for each model (its first seed).
    """
    of_models = [measured.norms(row.first) for row in item.rows] or [None]
    shown = [
        title
        for title, names in PANELS.items()
        if any(each and names.keys() & each.keys() for each in of_models)
    ] or list(PANELS)[:1]
    figure, panels = pyplot.subplots(
        len(of_models),
        len(shown),
        figsize=(3.7 * max(len(shown), 1.5), 0.6 + 1.9 * len(of_models)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for place, (line, norms) in enumerate(zip(panels, of_models, strict=True)):
        for axes, title in zip(line, shown, strict=True):
            label = item.rows[place].label if item.rows else ""
            axes.set_title(f"{label}: {title}", fontsize=9)
            if norms is None:
                figures.empty(axes)
            elif PANELS[title].keys() & norms.keys():
                _draw(axes, norms, PANELS[title])
            else:
                axes.set_yticks([])
                axes.text(0.5, 0.5, "not regularised", transform=axes.transAxes, ha="center", color="#666666")
        line[0].set_ylabel("Groups")
    for axes in panels[-1]:
        axes.set_xlabel("Root mean square of a group's weights")
    return figure


def _draw(axes: Axes, norms: Mapping[str, np.ndarray], names: Mapping[str, str]) -> None:
    shown = [name for name in names if name in norms]
    values = pd.concat(
        [pd.DataFrame({"norm": np.maximum(norms[name], SMALLEST), "matrix": names[name]}) for name in shown]
    )
    colours = dict(zip(names.values(), figures.COLOURS, strict=False))
    seaborn.histplot(
        values,
        x="norm",
        hue="matrix",
        palette=colours,
        bins=BINS,
        log_scale=True,
        element="step",
        fill=False,
        ax=axes,
    )
    figures.number_powers(axes.xaxis)
    for name in shown:
        if (cut := _cut(norms, name)) is not None:
            axes.axvline(cut, color=colours[names[name]], linestyle="--", linewidth=1)
    axes.set(xlabel="", ylabel="")
    seaborn.move_legend(axes, "best", title="", handlelength=1.5)
