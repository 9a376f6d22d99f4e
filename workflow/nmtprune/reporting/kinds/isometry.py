"""Layerwise dynamical isometry: mean singular values of components' Jacobians (Wang and Tu 2020, table 2).

The table has one block of rows for each way of taking Jacobians, with one row per layer from the top down,
and one column for each kind of component and model.
"""

from __future__ import annotations

import math

import pandas as pd

from nmtprune.experiment.components import KINDS
from nmtprune.experiment.papers import Item
from nmtprune.measurements.isometry import VARIANTS, Variant, distances_to_published, singular_values
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting.rendition import Footnotes, Made, Table

PUBLISHED = "Published"


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its table."""
    numbers = singular_values(item, measured)
    printed = table(item, numbers)
    return Made(numbers, printed.footnotes, table=printed, sentences=nearest(numbers))


def table(item: Item, numbers: pd.DataFrame) -> Table:
    """The frame as it is printed, below a block of the published values. Every empty cell has a footnote."""
    columns = [("", "name"), (item.headings.get("label", ""), "name")]
    columns += [(f"{row.label} {kind.replace('.', ':')}", "ours") for row in item.rows for kind in KINDS]
    footnotes = Footnotes()
    layers = sorted({int(layer) for layer in numbers["layer"].dropna()}, reverse=True) if len(numbers) else []
    variants = [variant for variant in VARIANTS if len(numbers) and len(variant.of(numbers))]
    blocks = [*([PUBLISHED] if len(numbers) and numbers["published"].notna().any() else []), *variants]
    cells, ruled = [], set()
    for block in blocks:
        ruled |= {len(cells)}
        for layer in layers:
            line = [str(block), str(layer)]
            for number, _ in enumerate(item.rows, 1):
                of_row = numbers[(numbers["row"] == number) & (numbers["layer"] == layer)]
                line += [_cell(block, of_row[of_row["kind"] == kind], footnotes) for kind in KINDS]
            cells.append(line)
    if not layers and len(numbers):
        for reason in numbers["missing"].unique():
            footnotes.mark(reason)
    notes = footnotes.sentences
    return Table(
        [heading for heading, _ in columns],
        [kind for _, kind in columns],
        cells,
        notes,
        frozenset(ruled - {0}),
    )


def _cell(block: Variant | str, of_component: pd.DataFrame, footnotes: Footnotes) -> str:
    """The text of one cell; blank for a layer that neither this model nor the paper's has."""
    if isinstance(block, str):  # PUBLISHED
        printed = of_component["published"].dropna()
        return _number(printed.iloc[0]) if len(printed) else ""
    record = block.of(of_component).to_dict("records")
    if not record:
        return ""
    value, deviation, missing = (
        record[0][key] for key in ("mean_singular_value", "mean_singular_value_sd", "missing")
    )
    cell = _number(value) or "–"
    cell += f" ± {_number(deviation)}" if not math.isnan(deviation) else ""
    return cell + footnotes.mark(missing)


def _number(value: float) -> str:
    """A number with two decimals, or with two significant digits if it is small."""
    return "" if math.isnan(value) else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def nearest(numbers: pd.DataFrame) -> list[str]:
    """A sentence on which way of taking Jacobians comes nearest to the published values; none without any."""
    distances, components = distances_to_published(numbers)
    if not distances:
        return []
    best, *others = (
        f"{str(variant)[0].lower()}{str(variant)[1:]} ({distance:.2f})"
        for variant, distance in distances.items()
    )
    than = f"; then {', '.join(others)}" if others else ""
    return [
        f"Nearest to the published values are those {best}{than}: mean absolute differences of natural "
        "logarithms over "
        f"{components} components, layers counted from the bottom."
    ]
