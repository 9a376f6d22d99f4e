"""Relative change of probing accuracies against the baseline, by category (Wang et al. 2020, figure 3)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot

from nmtprune.experiment.papers import Item
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.probing import changes
from nmtprune.reporting import figures
from nmtprune.reporting.figures import COLOURS, STYLE
from nmtprune.reporting.rendition import Made

HATCHES = ("", "////", "....", "xxxx")


def make(item: Item, measured: Measured) -> Made:
    numbers = changes(item, measured).drop(columns=["values", "noise"], errors="ignore")
    return Made(numbers, figures.missing(numbers), figure=bars(numbers), sentences=about(item, numbers))


def bars(numbers: pd.DataFrame) -> pyplot.Figure:
    """A group of bars a category, a bar a model with its whisker, the paper's value as a diamond."""
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(5.6, 3.4), layout="constrained")
        if not len(numbers) or numbers["change"].isna().all():
            figures.empty(axes)
            return figure
        categories, labels = list(dict.fromkeys(numbers["category"])), list(dict.fromkeys(numbers["label"]))
        width = 0.72 / len(labels)
        for place, label in enumerate(labels):
            model = numbers[numbers["label"] == label]
            x = [categories.index(category) + (place - (len(labels) - 1) / 2) * width for category in model["category"]]
            axes.bar(
                x,
                model["change"],
                width * 0.92,
                yerr=model["half_width"],
                capsize=3,
                color=COLOURS[place],
                edgecolor="white",
                hatch=HATCHES[place % len(HATCHES)],
                error_kw={"elinewidth": 1, "ecolor": "#333333"},
                label=label,
            )
            printed = model["change_published"].notna()
            if printed.any():
                style = {"color": "white", "edgecolors": "black", "marker": "D", "s": 26, "zorder": 4}
                axes.scatter(np.array(x)[printed], model["change_published"][printed], label=None if place else "published", **style)
        axes.axhline(0, color="#333333", linewidth=0.9)
        axes.set(ylabel="Relative change of accuracy (%)", xticks=range(len(categories)))
        axes.set_xticklabels([category.capitalize() for category in categories])
        axes.grid(visible=False, axis="x")
        axes.legend(loc="best", fontsize=8)
    return figure


def about(item: Item, numbers: pd.DataFrame) -> list[str]:
    """What the bars are averages of, and what their whiskers say."""
    there = numbers.dropna(subset="change") if len(numbers) else numbers
    if not len(there):
        return []
    averaged = there.drop_duplicates("category")
    over = "; ".join(f"{record['category']}: {', '.join(record['averaged'].split())}" for record in averaged.to_dict("records"))
    if len(item.rows[0].chains) > 1:
        whiskers = "Whiskers: standard deviation over seeds of the change against the baseline of the same seed."
    else:
        whiskers = "Whiskers: 95 % intervals, wider than need be since both models are tested on the same sentences."
    sentences = [f"Averages over {over}.", whiskers]
    return [*sentences, "Diamonds: the paper's values."] if there["change_published"].notna().any() else sentences
