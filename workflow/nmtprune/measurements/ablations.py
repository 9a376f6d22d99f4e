"""BLEU against the number of ablated components, and the order of ablation (Wang and Tu 2020, figure 9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import of_shape, read_component
from nmtprune.experiment.papers import Item, Row
from nmtprune.measurements.frame import of_models
from nmtprune.measurements.measurements import Measured
from nmtprune.store.ablation_order import ITERATIVE

SCORES = ("dev_bleu", "dev_perplexity", "test_bleu")
COLUMNS = ("row", "group", "label", "task", "recipe", "chain", "seed", "method", "number")


def orders(item: Item, measured: Measured) -> pd.DataFrame:
    """A frame with one row for each seed, method and number of ablated components.

    `component` is the last component that was ablated. A model that was not analysed has one row that says
    why.
    """

    def read(chain: Chain) -> list[dict[str, Any]] | None:
        order = measured.analysis(chain, "order")
        return None if order is None else order.to_dict("records")

    columns = [*COLUMNS, "component", "kind", "layer", *SCORES, "missing"]
    every = of_models(item, measured, "order", read, columns)[columns]
    names = [name if isinstance(name, str) and name != "none" else "" for name in every["component"]]
    components = [read_component(name) if name else None for name in names]
    kinds = [each.kind if each else "" for each in components]
    for column, values in (("component", names), ("kind", kinds)):
        every[column] = pd.Series(values, every.index, dtype=object)
    every["layer"] = [each.layer if each else None for each in components]
    return every.astype({"number": "Int64", "layer": "Int64", **dict.fromkeys(SCORES, float)})


def components(row: Row, measured: Measured) -> list[str]:
    """All components of a row's models, by their scored shape or by that of the recipe."""
    known = (measured.shape(chain) for chain in row.chains)
    shape = next(filter(None, known), None) or measured.config.recipe(row.first.recipe).architecture.shape
    return list(map(str, of_shape(shape))) if shape else []


def order(numbers: pd.DataFrame, number: int, row: Row) -> dict[str, int]:
    """The place of each component in the order of iterative ablation, from 1, first ablated first.

    The order is that of the first seed of the row that was analysed; `number`: the row's in the frame.
    """
    of_row = (numbers["row"] == number) & (numbers["method"] == ITERATIVE)
    ablated = numbers[of_row & (numbers["component"] != "")]
    first = next((chain.seed for chain in row.chains if (ablated["seed"] == chain.seed).any()), None)
    of_seed = ablated[ablated["seed"] == first].sort_values("number")
    return dict(zip(of_seed["component"], of_seed["number"].astype(int), strict=True))


def curves(numbers: pd.DataFrame, number: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """For each method, means and standard deviations of BLEU over seeds, by number of ablated components.

    Only numbers of components that all seeds have are included.
    """
    of_row = numbers[(numbers["row"] == number) & numbers["method"].notna()]
    for method, group in of_row.groupby("method", sort=False):
        by_number = group.groupby(group["number"].astype(int))
        bleu = by_number[["test_bleu", "dev_bleu"]]
        in_all_seeds = by_number["seed"].nunique() == of_row["seed"].nunique()
        yield method, bleu.mean().join(bleu.std(ddof=1), rsuffix="_sd")[in_all_seeds]


def spared(bleu: pd.Series, epsilon: float) -> int | None:
    """How many components can be ablated before `epsilon` BLEU is lost; None if it is never lost.

    `bleu`: by the number of ablated components, from 0.
    """
    lost = (bleu.iloc[0] - bleu >= epsilon).to_numpy()
    return int(bleu.index[np.argmax(lost)]) - 1 if lost.any() else None
