"""Pictures of where a model's weights were kept, by class and LSTM sub-group, with a table of kept shares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from nmtprune.experiment import paths
from nmtprune.experiment.architecture import EMBEDDINGS
from nmtprune.experiment.papers import Item, Row
from nmtprune.measurements import absences
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.weights import kept_shares
from nmtprune.reporting import tables
from nmtprune.reporting.figures import COLOURS
from nmtprune.reporting.rendition import Made, Table

GATES = (
    "input gate",
    "forget gate",
    "output gate",
    "candidate",
)  # top down, as in equation 2 of See et al. 2016
CONNECTIONS = ("feed-forward", "input feeding", "recurrent")
# In inches: the width of the figure, the space for labels on the left and above, the space between panels,
# and the heights of a panel with several matrices, of one with a single matrix, and of a heading.
WIDTH, LEFT, ABOVE, BETWEEN, TALL, FLAT, HEADING = 7.0, 0.85, 0.42, 0.12, 2.9, 0.8, 0.2
LINE = COLOURS[1]


@dataclass(frozen=True)
class Panel:
    """A weight class as it is drawn: pictures in a grid.

    `rows` and `columns` have relative heights and widths.
    """

    title: str
    rows: dict[str, float]
    columns: dict[str, float]
    pictures: dict[tuple[str, str], np.ndarray]
    words: bool


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers, its table and its figure."""
    numbers = kept_shares(item, measured)
    absent = absences.merged(reason for reason in numbers["missing"] if reason)
    sentences = (
        ["White: kept; black: pruned; grey: the share of kept weights where a dot stands for more than one."]
        if item.rows
        else []
    )
    return Made(
        numbers,
        [f"{reason}." for reason in absent],
        table=_table(item, numbers),
        figure=_figure(item, measured),
        sentences=sentences,
    )


def _table(item: Item, numbers: pd.DataFrame) -> Table:
    """One line for each class: the shares kept of the class, of its sub-groups, and on their diagonals."""
    of_parts = numbers[numbers["gate"].fillna("") != ""]
    pairs = [
        (c, g)
        for c in CONNECTIONS
        for g in GATES
        if ((of_parts["connection"] == c) & (of_parts["gate"] == g)).any()
    ]
    labelled = len(item.rows) > 1
    headings = [
        *(["Model"] if labelled else []),
        "Class",
        "Weights",
        "Kept (%)",
        *(f"{g}, {c} (%)" for c, g in pairs),
    ]
    headings += ["on diagonals (%)"] if pairs else []
    kinds = ["name"] * (1 + labelled) + ["ours"] * (len(headings) - 1 - labelled)
    cells, ruled = [], set()
    for (_, label), model in numbers.groupby(["row", "label"], sort=False):
        ruled.add(len(cells))
        for name, group in model.groupby("class", sort=False):
            whole = group[group["gate"] == ""].iloc[0]
            parts = group[group["gate"] != ""].set_index(["connection", "gate"])
            line = [name, tables.number("parameters", whole["weights"]), _percent(whole["kept"])]
            line += [_percent(parts["kept"].get(pair, math.nan)) for pair in pairs]
            line += [_percent(parts["kept_on_diagonal"].mean())] if pairs else []
            cells.append([label, *line] if labelled else line)
        if model["class"].isna().all():
            cells.append([*([label] if labelled else []), *["–"] * (len(headings) - labelled)])
    return Table(headings, kinds, cells, [], frozenset(ruled))


def _percent(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


def _figure(item: Item, measured: Measured) -> Figure:
    """One panel per class, models below each other.

    Panels beside each other have the same rows, named on the left.
    """
    bands: list[tuple[str, list[Panel] | str]] = []
    for row in item.rows:
        panels = _panels(row, measured)
        heading = row.name if len(item.rows) > 1 else ""
        if isinstance(panels, str):
            bands.append((heading, panels))
            continue
        for rows, group in groupby(panels, key=lambda panel: tuple(panel.rows)):
            alike, most = list(group), 4 if len(rows) > 1 else 2
            for first in range(0, len(alike), most):
                bands.append((heading, alike[first : first + most]))
                heading = ""
    heights = [
        TALL if not isinstance(content, str) and len(content[0].rows) > 1 else FLAT for _, content in bands
    ] or [FLAT]
    total = sum(heights) + ABOVE * (len(heights) + 0.5) + HEADING * sum(bool(heading) for heading, _ in bands)
    figure = Figure(figsize=(WIDTH, total))
    top = total
    for (heading, content), height in zip(bands, heights, strict=False):
        top -= ABOVE + height + (HEADING if heading else 0)
        if isinstance(content, str):
            figure.text(
                0.5,
                (top + height / 2) / total,
                f"{heading}: {content}".removeprefix(": "),
                ha="center",
                fontsize=9,
                color="#666666",
            )
            continue
        if heading:
            figure.text(0.02, (top + height + ABOVE) / total, heading, va="bottom", weight="bold")
        slots = max(len(content), 4 if height == TALL else 2)
        width = (WIDTH - LEFT - BETWEEN * slots) / slots
        for place, panel in enumerate(content):
            left = LEFT + place * (width + BETWEEN)
            axes = figure.add_axes((left / WIDTH, top / total, width / WIDTH, height / total))
            _draw(axes, panel, named=place == 0)
    return figure


def _panels(row: Row, measured: Measured) -> list[Panel] | str:
    """The panels of a row's first seed, or the reason why there are none."""
    chain = row.first
    numbers, file = (
        measured.analysis(chain, "weights"),
        measured.where(paths.arrays(paths.analysis(chain, "weights"))),
    )
    if numbers is None:
        return measured.reason(chain, "weights")
    if not file.exists():
        return f"the pictures of {chain} are not there"
    share = numbers[numbers["name"] == "kept_of_class"].set_index("class")["value"]
    parts = numbers[numbers["name"] == "kept_of_part"].groupby("class", sort=False)
    with np.load(file) as pictures:
        return [_panel(label, f"{label}: {share[label]:.1f} %", group, pictures) for label, group in parts]


def _panel(label: str, title: str, parts: pd.DataFrame, pictures: Mapping[str, np.ndarray]) -> Panel:
    """The panel of a class.

    For an LSTM layer it shows the matrix T (4n x 2n) with gates below each other and connections side by
    side, for other classes their matrices below each other.
    """
    if parts["gate"].notna().all():
        places = parts.assign(row=parts["gate"], column=parts["connection"])
        order = (
            sorted(set(places["row"]), key=GATES.index),
            sorted(set(places["column"]), key=CONNECTIONS.index),
        )
    else:
        places = parts.assign(row=_short(parts["part"]) if len(parts) > 1 else "", column="")
        order = list(places["row"]), [""]
    heights = places.groupby("row")["weights" if order[1] == [""] else "height"].first()
    widths = places.groupby("column")["width"].first()
    turned = label in EMBEDDINGS
    return Panel(
        title,
        {row: float(heights[row]) for row in order[0]},
        {column: float(widths[column]) for column in order[1]},
        {(p.row, p.column): pictures[p.part].T if turned else pictures[p.part] for p in places.itertuples()},
        turned,
    )


def _short(names: Iterable[str]) -> list[str]:
    """Names of parameters without the levels that all of them have."""
    split = [name.removesuffix(".weight").split(".") for name in names]
    shared = set(split[0]).intersection(*split)
    return [".".join(level for level in levels if level not in shared) for levels in split]


def _draw(axes: Axes, panel: Panel, named: bool) -> None:
    """Draw a panel with lines between its matrices; `named`: with the names of its rows."""
    bottoms, rights = _ends(panel.rows), _ends(panel.columns)
    for (row, column), picture in panel.pictures.items():
        (left, right), (top, bottom) = rights[column], bottoms[row]
        extent = (left, right, bottom, top)
        axes.imshow(picture, cmap="gray", norm=PowerNorm(0.6, 0, 255), extent=extent, aspect="auto")
    axes.set(xlim=(0, 1), ylim=(1, 0))
    axes.grid(False)
    for ends, line in ((bottoms, axes.axhline), (rights, axes.axvline)):
        for _, end in list(ends.values())[:-1]:
            line(end, color=LINE, linewidth=0.8)
    axes.set_title(panel.title, fontsize=8, pad=11 if len(rights) > 1 else 3)
    axes.tick_params(length=0, labelsize=6.5, pad=2)
    axes.spines[:].set(visible=True, linewidth=0.6)
    axes.set_yticks([sum(ends) / 2 for ends in bottoms.values()], bottoms if named else [""] * len(bottoms))
    axes.xaxis.tick_top()
    axes.set_xticks([sum(ends) / 2 for ends in rights.values()], rights)
    if panel.words:
        axes.set_xlabel("words, from frequent to rare", fontsize=6.5, labelpad=2)
        axes.set_ylabel("dimensions" if named else "", fontsize=6.5, labelpad=0)


def _ends(sizes: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """The begin and end of consecutive parts with these relative sizes, on a side of length 1."""
    total, begin, ends = sum(sizes.values()), 0.0, {}
    for name, size in sizes.items():
        ends[name] = (begin, begin + size / total)
        begin = ends[name][1]
    return ends
