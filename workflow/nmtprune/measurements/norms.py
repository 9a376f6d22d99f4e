"""Norms of weight groups when a model was sliced, and the cuts below which groups are dead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.papers import Item
from nmtprune.measurements.frame import of_models
from nmtprune.measurements.measurements import Measured

MATRICES = ("fc1", "fc2", "q_proj", "k_proj", "v_proj", "out_proj")
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
)


def group_norms(item: Item, measured: Measured) -> pd.DataFrame:
    """A frame with one row for each model and kind of matrix, all layers together.

    `groups`: their number; `cut`: the norm below which they are dead (none if dead ones are not told by a
    cut); `below`, `zero`: how many lie below the cut, and how many are all zero; `median`: that of the norms,
    which are root mean squares. A missing model has one row that says why.
    """

    def read(chain: Chain) -> list[dict[str, Any]] | None:
        norms = measured.norms(chain)
        if norms is None:
            return None
        return [_facts(norms, name) for name in MATRICES if name in norms]

    return of_models(item, measured, "norms", read, (*COLUMNS, "missing"))


def cut(norms: Mapping[str, np.ndarray], name: str) -> float | None:
    """The norm below which the groups of a kind of matrix are dead; None if they are not told by a cut."""
    return float(norms[f"{name}_cut"]) if f"{name}_cut" in norms else None


def _facts(norms: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    of_groups, below = norms[name], cut(norms, name)
    return {
        "matrix": name,
        "groups": len(of_groups),
        "cut": below,
        "below": None if below is None else int((of_groups < below).sum()),
        "zero": int((of_groups == 0).sum()),
        "median": float(np.median(of_groups)),
    }
