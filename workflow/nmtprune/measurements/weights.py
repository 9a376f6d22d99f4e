"""Where a model's weights were kept: by class and LSTM sub-group, and in blocks of single matrices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.papers import Item
from nmtprune.measurements.frame import columns_of, of_models
from nmtprune.measurements.measurements import Measured

KEYS = ["class", "gate", "connection"]
KEPT = {  # what the analysis names a share -> its column
    "kept_of_class": "kept",
    "kept_of_part": "kept",
    "kept_on_diagonal": "kept_on_diagonal",
    "kept_off_diagonal": "kept_off_diagonal",
}


def of_seeds(chains: Iterable[Chain], measured: Measured) -> pd.DataFrame | None:
    """The analyses of weights of several models in one frame with a column `seed`; None if none has run."""
    analyses = {chain.seed: measured.analysis(chain, "weights") for chain in chains}
    there = [each.assign(seed=seed) for seed, each in analyses.items() if each is not None]
    return pd.concat(there) if there else None


def kept_shares(item: Item, measured: Measured) -> pd.DataFrame:
    """A frame of kept shares in percent, one row for each class and one for each sub-group.

    Shares are means over the seeds that were analysed. A model that was not analysed has one row that says
    why.
    """
    frames = []
    for number, row in enumerate(item.rows, 1):
        facts = of_seeds(row.chains, measured)
        about = {"row": number, "label": row.name, **columns_of(row.first)}
        about["seeds"] = 0 if facts is None else facts["seed"].nunique()
        about["missing"] = "; ".join(measured.reasons_of(row.chains, item.reads))
        shares = pd.DataFrame([{}]) if facts is None else _shares(facts)
        frames.append(shares.assign(**about))
    columns = ["row", "label", "task", "recipe", "chain", *KEYS, "weights", *dict.fromkeys(KEPT.values())]
    frame = pd.concat(frames) if frames else pd.DataFrame()
    frame = frame.reindex(columns=[*columns, "seeds", "missing"])
    return frame.reset_index(drop=True).astype({"weights": "Int64"})


def _shares(facts: pd.DataFrame) -> pd.DataFrame:
    """Mean kept shares and numbers of weights by class and sub-group; those of a class have no gate."""
    facts = facts[(facts["name"] == "kept_of_class") | facts["name"].isin(KEPT) & facts["gate"].notna()]
    groups = facts.assign(name=facts["name"].map(KEPT)).fillna({"gate": "", "connection": ""})
    values = groups.pivot_table("value", KEYS, "name", sort=False)
    weights = groups[groups["name"] == "kept"].groupby(KEYS, sort=False)["weights"].first()
    return values.join(weights).reset_index()


def dead_blocks(item: Item, measured: Measured) -> pd.DataFrame:
    """A frame with one row for each model and matrix: its size and its dead blocks, inputs and units.

    Behnke and Heafield 2021, figure 1. A model that was not analysed has one row that says why.
    """

    def read(chain: Chain) -> list[dict[str, Any]] | None:
        matrices = measured.analysis(chain, "matrices")
        return None if matrices is None else matrices.to_dict("records")

    columns = ("row", "label", "task", "recipe", "seed", "chain", "matrix", "missing")
    return of_models(item, measured, "matrices", read, columns)
