"""Mean singular values of components' Jacobians, and their spread over layers (Wang and Tu 2020, table 2)."""

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
        printed = published_values(row)
        components = {*zip(analysed["kind"], analysed["layer"], strict=True), *printed}
        absent = measured.reasons_of(row.chains, item.reads)
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


def published_values(row: Row) -> dict[tuple[str, int], float]:
    """Published values by kind and layer, which are stated as `6 E:SA`."""
    values = {}
    for name, value in row.published.items():
        layer, _, kind = name.partition(" ")
        if kind.replace(":", ".") in KINDS and layer.isdecimal() and value:
            values[kind.replace(":", "."), int(layer)] = float(value)
    return values


def distances_to_published(numbers: pd.DataFrame) -> tuple[dict[Variant, float], int]:
    """How far each variant is from the published values, the nearest first, and over how many components.

    A distance is the mean absolute difference of natural logarithms, over the components that all variants
    and the paper have; there are no distances without such a component.
    """
    if not len(numbers):
        return {}, 0
    ours = numbers["mean_singular_value"].where(numbers["mean_singular_value"] > 0)
    logs = (
        numbers.assign(off=np.abs(np.log(ours / numbers["published"])))
        .dropna(subset="off")
        .pivot_table(index=["row", "kind", "layer"], columns=["at", "residual", "reach"], values="off")
        .dropna()
    )
    if not len(logs):
        return {}, 0
    means = logs.mean().sort_values(kind="stable")
    return {Variant(*name): float(distance) for name, distance in means.items()}, len(logs)


def spreads_over_layers(measured: Measured, chain: Chain) -> dict[str, float]:
    """The standard deviation over layers relative to the mean, by kind of component.

    It is that of the mean singular values of a trained model's Jacobians with the residual connection. Empty
    before the analysis has run.
    """
    isometry = measured.analysis(chain, "isometry")
    if isometry is None:
        return {}
    trained = isometry[(isometry["at"] == "trained") & (isometry["residual"] == 1)]
    by_kind = trained.groupby("kind")["mean_singular_value"]
    return {kind: float(values.std(ddof=1) / values.mean()) for kind, values in by_kind if len(values) > 1}
