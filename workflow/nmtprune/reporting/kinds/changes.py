"""Relative changes of probing accuracies against the baseline, by category (Wang et al. 2020, figure 3)."""

from __future__ import annotations

import itertools

import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.figure import Figure

from nmtprune.experiment.papers import Item
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.probing import changes
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made

HATCHES = ("", "////", "....", "xxxx")


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = changes(item, measured).drop(columns=["values", "noise"], errors="ignore")
    return Made(numbers, figures.missing(numbers), figure=bars(numbers), sentences=about(item, numbers))


def bars(numbers: pd.DataFrame) -> Figure:
    """One group of bars per category, with one bar and whisker per model; the paper's values are diamonds."""
    figure, axes = pyplot.subplots(figsize=(5.6, 3.4), layout="constrained")
    if not len(numbers) or numbers["change"].isna().all():
        figures.empty(axes)
        return figure
    categories, labels = list(dict.fromkeys(numbers["category"])), list(dict.fromkeys(numbers["label"]))
    palette = dict(zip(labels, itertools.cycle(figures.COLOURS), strict=False))
    place = {
        "x": "category",
        "order": categories,
        "hue": "label",
        "hue_order": labels,
        "ax": axes,
        "legend": False,
    }
    whiskers = {"errorbar": figures.SPAN, "capsize": 0.12, "err_kws": {"linewidth": 1, "color": "#333333"}}
    seaborn.barplot(
        figures.ends(numbers, "change", "half_width"),
        y="change",
        palette=palette,
        saturation=1,
        gap=0.08,
        **place,
        **whiskers,
    )
    for container, label, hatch in zip(axes.containers, labels, itertools.cycle(HATCHES), strict=False):
        container.set_label(label)
        for bar in container:
            bar.set_hatch(hatch)
    if numbers["change_published"].notna().any():
        diamond = {"marker": "D", "edgecolor": "black", "linewidth": 1, "zorder": 4}
        seaborn.stripplot(
            numbers,
            y="change_published",
            palette=["white"] * len(labels),
            dodge=True,
            jitter=False,
            size=5,
            **place,
            **diamond,
        )
        axes.scatter([], [], 25, "white", label="published", **diamond)
    axes.axhline(0, color="#333333", linewidth=0.9)
    axes.set(xlabel="", ylabel="Relative change of accuracy (%)")
    axes.set_xticks(range(len(categories)), [category.capitalize() for category in categories])
    axes.legend(loc="best")
    return figure


def about(item: Item, numbers: pd.DataFrame) -> list[str]:
    """Sentences that say what the bars are averages of, and what the whiskers mean."""
    drawn = numbers.dropna(subset="change") if len(numbers) else numbers
    if not len(drawn):
        return []
    averaged = drawn.drop_duplicates("category")
    over = "; ".join(
        f"{record['category']}: {', '.join(record['averaged'].split())}"
        for record in averaged.to_dict("records")
    )
    if len(item.rows[0].chains) > 1:
        whiskers = (
            "Whiskers: standard deviation, over seeds, of the change against the baseline of the same seed."
        )
    else:
        whiskers = (
            "Whiskers: 95 % intervals, which are conservative since both models are tested on the "
            "same sentences."
        )
    sentences = [f"Averages over {over}.", whiskers]
    return (
        [*sentences, "Diamonds: the paper's values."]
        if drawn["change_published"].notna().any()
        else sentences
    )
