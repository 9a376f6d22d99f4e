"""BLEU against the number of ablated components, and the order in which they are ablated.

Wang and Tu 2020, figure 9.
"""

from __future__ import annotations

import math
import string
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nmtprune.experiment.components import read_component
from nmtprune.experiment.papers import Item
from nmtprune.measurements import ablations
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures
from nmtprune.reporting.kinds.heatmaps import (
    LAYER,
    PRINTED,
    ROOM,
    TALL,
    WIDEST,
    WIDTH,
    absent,
    draw_components,
    text_size,
)
from nmtprune.reporting.rendition import Made
from nmtprune.store.ablation_order import ITERATIVE

SHADES = ["#ffffff", "#a9c8e6"]  # of components that are ablated, and of those that are kept
GREY = "#555555"
MAPS = 4  # maps beside each other, below the lines
MUCH = 0.6  # the axis begins at 0 if less than this share of the largest BLEU is left somewhere


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = ablations.orders(item, measured)
    footnotes = figures.missing(numbers)
    sentences = [*_spared(item, numbers, measured), *_groups(item, numbers)]
    return Made(numbers, footnotes, figure=removal(item, numbers, measured), sentences=sentences)


def removal(item: Item, numbers: pd.DataFrame, measured: Measured) -> Figure:
    """The lines of all models, and beside or below them a map for each model.

    A map shows the order in which the model's components are ablated.
    """
    maps = [(place, row, ablations.order(numbers, place + 1, row)) for place, row in enumerate(item.rows)]
    layers = {
        place: max((read_component(name).layer for name in known), default=0)
        for place, row, _ in maps
        for known in [ablations.components(row, measured)]
    }
    beside = 1 <= len(maps) <= 2
    tall = max([TALL + 0.45, *(LAYER * each for each in layers.values())])
    size = (WIDTH, tall + 0.75) if beside else (WIDTH, 2.6 + (tall + 0.6) * math.ceil(len(maps) / MAPS))
    figure = pyplot.figure(figsize=size, layout="constrained")
    if beside:
        ratios = [WIDTH - ROOM + 0.4 - WIDEST * len(maps), *[WIDEST] * len(maps)]
        grid = figure.add_gridspec(1, 1 + len(maps), width_ratios=ratios)
        lines, places = figure.add_subplot(grid[0, 0]), [grid[0, 1 + number] for number in range(len(maps))]
    else:
        down = math.ceil(len(maps) / MAPS)
        grid = figure.add_gridspec(1 + down, MAPS, height_ratios=[2.1, *[tall] * down])
        lines, places = (
            figure.add_subplot(grid[0, :]),
            [grid[1 + number // MAPS, number % MAPS] for number in range(len(maps))],
        )
    _lines(lines, item, numbers)
    lines.set_title("(a)" if len(maps) else "", fontsize=7.5, loc="left")
    for (place, row, order), where in zip(maps, places, strict=True):
        axes = figure.add_subplot(where)
        axes.set_title(f"({string.ascii_lowercase[1 + place % 25]}) {row.name}", fontsize=7.5, loc="left")
        _map(axes, order, ablations.components(row, measured), (WIDEST - 0.2, tall))
        axes.set_ylabel("Layer" if place % MAPS == 0 else "", fontsize=7.5)
    return figure


def _lines(axes: Axes, item: Item, numbers: pd.DataFrame) -> None:
    """Draw BLEU on the test set (solid: iterative, dashed: one-shot).

    In a lighter shade, BLEU on the development set is drawn for the iterative order.
    """
    looks, drawn = {}, []
    for place, row in enumerate(item.rows):
        for method, curve in ablations.curves(numbers, place + 1):
            name = f"{row.name}, {method}"
            looks[name] = figures.look(place, "" if method == ITERATIVE else figures.DASHED)
            drawn.append(curve.reset_index(names="x").assign(name=name))
            if method == ITERATIVE:
                colour = looks[name].colour
                axes.plot(curve.index, curve["dev_bleu"], color=colour, linewidth=0.9, alpha=0.45, zorder=1.6)
                axes.axhline(
                    curve["test_bleu"].iloc[0],
                    color=colour,
                    linewidth=1.0,
                    linestyle=(0, figures.DOTTED),
                    zorder=1.5,
                )
    if not drawn:
        figures.empty(axes)
        return
    points = pd.concat(drawn).rename(columns={"test_bleu": "y"})
    figures.lines(axes, figures.ends(points, "y", "test_bleu_sd"), looks, linewidth=1.4, markersize=3.6)
    axes.set_xlabel("Components ablated", fontsize=7.5)
    axes.set_ylabel("BLEU", fontsize=7.5)
    axes.tick_params(labelsize=7)
    locator: Any = axes.xaxis.get_major_locator()
    locator.set_params(integer=True)
    left = numbers[["test_bleu", "dev_bleu"]].to_numpy()
    if np.nanmin(left) < MUCH * np.nanmax(left):
        axes.set_ylim(bottom=0)
    axes.plot([], [], color=GREY, linestyle=(0, figures.DOTTED), linewidth=1.0, label="nothing ablated")
    axes.plot([], [], color=GREY, linewidth=0.9, alpha=0.5, label="development set, iterative")
    axes.legend(loc="best", fontsize=6.3, handlelength=2.6)


def _map(axes: Axes, order: dict[str, int], known: list[str], size: tuple[float, float]) -> None:
    """Draw the components of a model; ablated ones are white and have their numbers."""
    if not order:
        absent(axes)
        return
    layers = max(read_component(name).layer for name in {*known, *order})
    values = dict.fromkeys(known, 1.0) | dict.fromkeys(order, 0.0)
    bold = {"weight": "bold", "fontsize": 1 + (text_size(size, layers) or 4.0)}
    draw_components(
        axes,
        values,
        {name: str(number) for name, number in order.items()},
        layers,
        size[0],
        cmap=SHADES,
        annot_kws=bold,
    )


def _spared(item: Item, numbers: pd.DataFrame, measured: Measured) -> list[str]:
    """A sentence on how many components can be ablated before epsilon BLEU is lost on the test set."""
    said = []
    for place, row in enumerate(item.rows):
        epsilon = measured.config.recipe(row.first.recipe).importance.epsilon
        counts = []
        for method, curve in ablations.curves(numbers, place + 1):
            if curve["test_bleu"].iloc[0] < epsilon:
                continue  # a model that does not translate has nothing to lose
            count = ablations.spared(curve["test_bleu"], epsilon)
            counts.append(f"{f'all {curve.index[-1]}' if count is None else count} ({method})")
        if counts:
            said.append(f"{row.name} before {epsilon:g} is lost: {', '.join(counts)}")
    return (
        [f"Components that can be ablated together, by BLEU on the test set: {'; '.join(said)}."]
        if said
        else []
    )


def _groups(item: Item, numbers: pd.DataFrame) -> list[str]:
    """A sentence with the names of the ablated components in their order."""
    said = []
    for place, row in enumerate(item.rows):
        ablated = map(read_component, ablations.order(numbers, place + 1, row))
        if names := ", ".join(f"{PRINTED[kind]} {layer}" for kind, layer in ablated):
            said.append(f"{row.name}: {names}")
    return (
        [
            "White in the maps, with their numbers: the components that iterative ablation takes. "
            f"{'; '.join(said)}."
        ]
        if said
        else []
    )
