"""Heat maps of the importance of components, one for each model and metric; darker is more important.

Wang and Tu 2020, figures 3 to 8.
"""

from __future__ import annotations

import math
import string
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from seaborn.utils import relative_luminance

from nmtprune.analysis.importance import UNIMPORTANT, Agreement, Importance, unimportant
from nmtprune.experiment.components import KINDS, Component
from nmtprune.experiment.papers import Column, Item
from nmtprune.measurements import importances, seeds
from nmtprune.measurements.importances import CONTRIBUTIONS, Maps
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures, tables
from nmtprune.reporting.rendition import Made

PRINTED = {kind: kind.replace(".", ":") for kind in KINDS}  # E:SA, as in the paper
COLOURS = "Blues"  # its lightness decreases monotonically: legible in grey and with impaired colour vision
EQUAL_CONTRAST = 0.18  # the luminance at which black and white text have equal contrast
ABSENT = "#c8c8c8"
HATCHED = "Hatched: components that a model does not have."
# in inches: the largest width of the figure and of a panel, the width of axis labels and colour bar; the
# least height of a panel and of a layer, and the height of a line of a title
WIDTH, WIDEST, ROOM, TALL, LAYER, LINE = 7.0, 1.75, 1.0, 1.45, 0.14, 0.13
MOST = 5  # panels beside each other
ACROSS = 26  # characters of a panel's title
LONG = 2.1  # inches that the label of the colour bar needs in one line


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    maps = importances.maps(item, measured)
    numbers = importances.frame(item, measured, maps)
    hatched = (
        [HATCHED]
        if any(shown and len(shown.components) < len(KINDS) * depth(shown) for shown in maps.values())
        else []
    )
    sentences = [
        *hatched,
        *_across_models(item, maps),
        *_across_metrics(item, maps),
        *_depths(item, maps),
        *_unimportant(item, maps),
    ]
    return Made(numbers, figures.missing(numbers), figure=heatmaps(item, numbers, maps), sentences=sentences)


def heatmaps(item: Item, numbers: pd.DataFrame, maps: Maps) -> Figure:
    """One panel for each row and metric.

    Models are beside each other, or below each other if there are many with several metrics.
    """
    columns = importances.columns(item)
    beside = len(columns) == 1 or len(maps) <= MOST - 1
    panels = (
        [(place, c) for c in columns for place in range(len(item.rows))]
        if beside
        else [(p, c) for p in range(len(item.rows)) for c in columns]
    )
    across = (
        (math.ceil(len(panels) / math.ceil(len(panels) / MOST)) if panels else 1) if beside else len(columns)
    )
    lines = [panels[first : first + across] for first in range(0, len(panels), across)] or [[]]
    titles = {
        (place, c.metric): _title(item, numbers, number, place, c) for number, (place, c) in enumerate(panels)
    }
    tall = [max([TALL, *(LAYER * depth(maps[place, c.metric]) for place, c in line)]) for line in lines]
    above = [
        max([1, *(titles[place, c.metric].count("\n") + 1 for place, c in line)]) * LINE + 0.35
        for line in lines
    ]
    width = min(WIDTH, across * WIDEST + ROOM)
    figure, grid = pyplot.subplots(
        len(lines),
        across,
        figsize=(width, sum(tall) + sum(above)),
        squeeze=False,
        layout="constrained",
        height_ratios=tall,
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for line, row, height in zip(lines, grid, tall, strict=True):
        for number, ((place, column), axes) in enumerate(zip(line, row, strict=False)):
            axes.set_axis_on()
            axes.set_title(titles[place, column.metric], fontsize=7, loc="left", linespacing=1.15)
            draw(axes, maps[place, column.metric], ((width - ROOM) / across, height))
            axes.set_ylabel("Layer" if number == 0 else "", fontsize=7.5)
    heading = columns[0].heading if len(columns) == 1 else "Importance"
    bar = figure.colorbar(
        ScalarMappable(cmap=COLOURS),
        ax=grid,
        aspect=14 * sum(tall) / TALL,
        pad=0.015,
        ticks=np.linspace(0, 1, 6),
    )
    bar.set_label(
        f"{heading} (darker: more important)" if sum(tall) > LONG else f"{heading}\n(darker: more important)",
        fontsize=7.5,
    )
    bar.ax.tick_params(labelsize=6.5, length=2, pad=2)
    bar.outline.set_linewidth(0.5)
    return figure


def _title(item: Item, numbers: pd.DataFrame, number: int, place: int, column: Column) -> str:
    """The title of a panel: `(a) En-De, contribution`, and below it the scores of the model."""
    row = item.rows[place]
    several = len(importances.columns(item)) > 1
    name = (
        f"{row.name}, {column.heading[0].lower()}{column.heading[1:]}"
        if several and row.name
        else row.name or column.heading
    )
    lines = textwrap.wrap(f"({string.ascii_lowercase[number % 26]}) {name}", ACROSS)
    for score in (each for each in item.columns if each not in importances.columns(item)):
        record = numbers[(numbers["row"] == place + 1) & (numbers["metric"] == score.key)].iloc[0]
        ours = "–" if math.isnan(record["value"]) else tables.number(score.metric, record["value"])
        if not math.isnan(record["sd"]):
            ours += f" ± {tables.number(score.metric, record['sd']).lstrip('+')}"
        printed = (
            []
            if math.isnan(record["published"])
            else [f"(published {tables.number(score.metric, record['published'])})"]
        )
        in_one_line = " ".join([f"{score.heading} {ours}", *printed])
        lines += [in_one_line] if len(in_one_line) <= ACROSS else [f"{score.heading} {ours}", *printed]
    return "\n".join(lines)


def depth(shown: Importance | None) -> int:
    """The number of layers on a model's deeper side; 0 for a missing model."""
    return max(shown.depths.values()) if shown else 0


def draw(axes: Axes, shown: Importance | None, size: tuple[float, float]) -> None:
    """Draw a map into a panel of about this `size`, its width and height in inches.

    Values are written as text if they are legible.
    """
    if shown is None:
        absent(axes)
        return
    points, values = text_size(size, depth(shown)), shown.mean.dropna()
    texts = values.map(decimals) if points else {}
    draw_components(axes, values, texts, depth(shown), size[0], cmap=COLOURS, annot_kws={"fontsize": points})


def absent(axes: Axes) -> None:
    """Draw an empty panel; the reason is in the footnotes."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=ABSENT)
    axes.text(
        0.5,
        0.5,
        "not there yet",
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=7.5,
        color="#666666",
    )


def draw_components(
    axes: Axes, values: Mapping[str, float], texts: Mapping[str, str], layers: int, width: float, **more: Any
) -> None:
    """Draw a cell for each component, by kind and by layer from the bottom up.

    Its colour shows its value from 0 to 1; cells without a value are hatched. `width`: the width of the
    panel in inches. `more`: arguments for seaborn.
    """
    places = [[str(Component(kind, layer)) for kind in KINDS] for layer in range(1, layers + 1)]
    grid = pd.DataFrame(places, range(1, layers + 1), PRINTED.values())
    written = grid.map(lambda name: texts.get(name, "")) if len(texts) else None
    known = grid.map(lambda name: values.get(name, math.nan))
    axes.figure.set_visible(False)  # seaborn would draw it whole to see whether tick labels overlap
    seaborn.heatmap(
        known,
        vmin=0,
        vmax=1,
        annot=written,
        fmt="",
        cbar=False,
        linewidths=0.4,
        linecolor="#8c8c8c",
        ax=axes,
        **more,
    )
    axes.figure.set_visible(True)
    colours = axes.collections[0].to_rgba(known.to_numpy()[known.notna()])
    for text, colour in zip(axes.texts, colours, strict=False):
        text.set_color("black" if relative_luminance(colour) > EQUAL_CONTRAST else "white")
    axes.invert_yaxis()
    axes.grid(False)
    axes.patch.set(hatch="////", hatch_linewidth=0.5, edgecolor=ABSENT)
    axes.axvline(2, color="black", linewidth=0.9)  # encoder and decoder
    axes.tick_params(length=0, pad=2, labelrotation=0, labelsize=6.3)
    axes.tick_params(axis="x", labelsize=min(5.8, 4.3 * width))
    axes.spines[:].set(visible=True, linewidth=0.6)


def text_size(size: tuple[float, float], layers: int) -> float:
    """The font size in points at which three characters fit into a cell; 0 if they would not be legible."""
    width, height = 72 * size[0] / len(KINDS), 72 * size[1] / layers
    fits = min(6.5, width / 2.0, height / 1.3)
    return fits if fits >= 4 else 0.0


def decimals(value: float) -> str:
    """A value from 0 to 1 with two decimals and without its leading zero, such as `.07`.

    The values 0 and 1 have no decimals.
    """
    return f"{value:.0f}" if value in (0, 1) else f"{value:.2f}".removeprefix("0")


def _across_models(item: Item, maps: Maps) -> list[str]:
    """Sentences on how well rows rank components like a reference row of their group."""
    return [
        sentence
        for base, column, agreements in importances.agreements_of_models(item, maps)
        for sentence in _agreements(f"Rank agreement with {base.name}, {_small(column)}", agreements)
    ]


def _across_metrics(item: Item, maps: Maps) -> list[str]:
    """Sentences on how well further metrics rank a model's components like the first metric."""
    first = importances.columns(item)[0]
    return [
        sentence
        for column, agreements in importances.agreements_of_metrics(item, maps)
        for sentence in _agreements(f"Rank agreement of {_small(first)} and {_small(column)}", agreements)
    ]


def _agreements(what: str, agreements: Mapping[str, Agreement]) -> list[str]:
    """One sentence on agreements by name; none without any."""
    if not agreements:
        return []
    over = " or ".join(dict.fromkeys(each.over for each in agreements.values()))
    listed = "; ".join(f"{name}: {_in_words(each)}" for name, each in agreements.items())
    return [f"{what} (95 % intervals by bootstrap over {over}): {listed}."]


def _in_words(agreement: Agreement) -> str:
    if math.isnan(agreement.rho):
        return "not defined, since one of the two is constant"
    interval = "" if math.isnan(agreement.low) else f" [{agreement.low:.2f}, {agreement.high:.2f}]"
    return f"Spearman rho = {agreement.rho:.2f}{interval}".replace("-", "−")


def _depths(item: Item, maps: Maps) -> list[str]:
    depths = {tuple(each.depths.items()) for each in maps.values() if each}
    how = "a layer of the shallower model with the mean over the layers of the deeper model in the same place"
    return [f"Models that differ in depth are compared by relative depth: {how}."] if len(depths) > 1 else []


def _unimportant(item: Item, maps: Maps) -> list[str]:
    """Sentences on how many components of each model are unimportant."""
    sentences = []
    for column in (each for each in importances.columns(item) if each.metric in CONTRIBUTIONS):
        said = []
        for place, row in enumerate(item.rows):
            if importance := maps[place, column.metric]:
                counts = unimportant(importance.values)
                mean = f"{counts[0]}"
                if len(counts) > 1:
                    mean = f"{seeds.mean(counts):.1f} ± {seeds.deviation(counts):.1f}"
                none = "" if np.nanmax(importance.values) > 0 else ", since nothing is lost without any"
                said.append(f"{row.name}: {mean} of {len(importance.components)}{none}")
        if said:
            sentences.append(
                f"Unimportant components ({_small(column)} below {UNIMPORTANT:g}): {'; '.join(said)}."
            )
    return sentences


def _small(column: Column) -> str:
    return f"{column.heading[0].lower()}{column.heading[1:]}"
