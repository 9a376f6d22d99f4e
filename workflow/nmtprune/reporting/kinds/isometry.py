"""Layerwise dynamical isometry: mean singular values of components' Jacobians (Wang and Tu 2020, table 2).

The table has one block of rows for each way of taking Jacobians, with one row per layer from the top down,
and one column for each kind of component and model.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import KINDS
from nmtprune.experiment.papers import Item, Row
from nmtprune.measurements.frame import columns_of
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting.rendition import Made, Table

PUBLISHED = "Published"


class Variant(NamedTuple):
    """One way of taking Jacobians.

    `at`: initial or trained weights. `residual`: with (1) or without (0) the identity of the residual
    connection. `reach`: at one position, or over all positions of a sentence.
    """

    at: str
    residual: int
    reach: str = "position"

    def __str__(self) -> str:
        of = "" if self.reach == "position" else ", across positions"
        return (
            f"{'At initialisation' if self.at == 'initial' else 'Trained'}, "
            f"{'with' if self.residual else 'without'} the residual{of}"
        )

    def of(self, numbers: pd.DataFrame) -> pd.DataFrame:
        """The rows of a frame that belong to this variant."""
        return numbers[
            (numbers["at"] == self.at)
            & (numbers["residual"] == self.residual)
            & (numbers["reach"] == self.reach)
        ]


VARIANTS = tuple(
    Variant(at, residual, reach)
    for reach in ("position", "sentence")
    for at in ("initial", "trained")
    for residual in (0, 1)
)


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its table."""
    numbers = singular_values(item, measured)
    printed = table(item, numbers)
    return Made(numbers, printed.footnotes, table=printed, sentences=nearest(numbers))


def singular_values(item: Item, measured: Measured) -> pd.DataFrame:
    """A frame with a row for each model, variant and component.

    Components are those of the model or of its published counterpart; if neither has any, one row says
    why. `mean_singular_value` is the mean over seeds, `mean_singular_value_sd` the standard deviation
    over seeds, `over_positions_sd` the mean over seeds of the standard deviation over positions.
    """
    records = []
    for number, row in enumerate(item.rows, 1):
        analyses = [
            each for chain in row.chains if (each := measured.analysis(chain, "isometry")) is not None
        ]
        analysed = (
            pd.concat(analyses)
            if analyses
            else pd.DataFrame(columns=["kind", "layer", "at", "residual", "reach"])
        )
        printed = _published(row)
        components = {*zip(analysed["kind"], analysed["layer"], strict=True), *printed}
        absent = [reason for chain in row.chains if (reason := measured.missing(chain, item.reads))]
        for variant in (
            each for each in VARIANTS if each.reach == "position" or (analysed["reach"] == each.reach).any()
        ):
            of_variant = variant.of(analysed)
            for kind, layer in sorted(components, key=lambda each: (list(KINDS).index(each[0]), each[1])) or [
                ("", math.nan)
            ]:
                values = of_variant[(of_variant["kind"] == kind) & (of_variant["layer"] == layer)]
                record = {"row": number, "label": row.label, **columns_of(row.first), **variant._asdict()}
                record |= {
                    "kind": kind,
                    "layer": layer,
                    **_over_seeds(values),
                    "published": printed.get((kind, layer), math.nan),
                }
                why = [] if absent or len(values) else [_lack(variant, analysed, row.first)]
                records.append(record | {"missing": "; ".join([*absent, *why])})
    return pd.DataFrame(records)


def _over_seeds(values: pd.DataFrame) -> dict[str, float]:
    if not len(values):
        return {
            "mean_singular_value": math.nan,
            "mean_singular_value_sd": math.nan,
            "over_positions_sd": math.nan,
            "seeds": 0,
        }
    means = values["mean_singular_value"]
    return {
        "mean_singular_value": means.mean(),
        "mean_singular_value_sd": means.std(ddof=1),
        "over_positions_sd": values["sd"].mean(),
        "seeds": len(values),
    }


def _lack(variant: Variant, analysed: pd.DataFrame, chain: Chain) -> str:
    """Why an analysis that has run lacks a number."""
    if variant.at == "initial" and not (analysed["at"] == "initial").any():
        return f"{chain} begins with an imported model, whose first weights are not known"
    return f"{chain} has no such component"


def _published(row: Row) -> dict[tuple[str, int], float]:
    """Published values by kind and layer, which are stated as `6 E:SA`."""
    values = {}
    for name, value in row.published.items():
        layer, _, kind = name.partition(" ")
        if kind.replace(":", ".") in KINDS and layer.isdecimal() and value:
            values[kind.replace(":", "."), int(layer)] = float(value)
    return values


def table(item: Item, numbers: pd.DataFrame) -> Table:
    """The frame as it is printed, below a block of the published values. Every empty cell has a footnote."""
    columns = [("", "name"), (item.headings.get("label", ""), "name")]
    columns += [(f"{row.label} {kind.replace('.', ':')}", "ours") for row in item.rows for kind in KINDS]
    footnotes: dict[str, str] = {}
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
            _mark(reason, footnotes)
    notes = [f"{mark} {reason}." for reason, mark in footnotes.items()]
    return Table(
        [heading for heading, _ in columns],
        [kind for _, kind in columns],
        cells,
        notes,
        frozenset(ruled - {0}),
    )


def _cell(block: Variant | str, of_component: pd.DataFrame, footnotes: dict[str, str]) -> str:
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
    return cell + (f" {_mark(missing, footnotes)}" if missing else "")


def _mark(reason: str, footnotes: dict[str, str]) -> str:
    return footnotes.setdefault(
        reason, f"({chr(ord('a') + len(footnotes)) if len(footnotes) < 26 else f'a{len(footnotes)}'})"
    )


def _number(value: float) -> str:
    """A number with two decimals, or with two significant digits if it is small."""
    return "" if math.isnan(value) else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def nearest(numbers: pd.DataFrame) -> list[str]:
    """A sentence that says which way of taking Jacobians comes nearest to the published values.

    The distance is the mean absolute difference of natural logarithms over the components that all ways
    and the paper have. No sentence if there is no such component.
    """
    if not len(numbers):
        return []
    logs = numbers.assign(
        off=np.abs(
            np.log(
                numbers["mean_singular_value"].where(numbers["mean_singular_value"] > 0)
                / numbers["published"]
            )
        )
    )
    logs = (
        logs.dropna(subset="off")
        .pivot_table(index=["row", "kind", "layer"], columns=["at", "residual", "reach"], values="off")
        .dropna()
    )
    if not len(logs):
        return []
    distances = {
        Variant(*name): float(distance) for name, distance in logs.mean().sort_values(kind="stable").items()
    }
    best, *others = (
        f"{str(variant)[0].lower()}{str(variant)[1:]} ({distance:.2f})"
        for variant, distance in distances.items()
    )
    than = f"; then {', '.join(others)}" if others else ""
    return [
        f"Nearest to the published values are those {best}{than}: mean absolute differences of natural "
        "logarithms over "
        f"{len(logs)} components, layers counted from the bottom."
    ]
