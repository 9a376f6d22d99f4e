"""Analyses of one model, a module each: `analyse(config, chain) -> Analysis`.

An analysis is written beside the model: its numbers as `<name>.csv`, arrays, where it has any, as `<name>.npz`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nmtprune import paths
from nmtprune.chain import Chain
from nmtprune.config import DEAD_RULE, Config
from nmtprune.data.probing import senteval_files
from nmtprune.errors import UserError, suggest
from nmtprune.files import atomic

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# name -> the version of its implementation, which grows when the same model gets other numbers
VERSIONS = {"weights": 1, "representations": 1, "probing": 2, "matrices": 1}


@dataclass(frozen=True)
class Analysis:
    """What an analysis found: `numbers` (a row a fact), and arrays by name."""

    numbers: pd.DataFrame
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def settings(name: str, config: Config, chain: Chain) -> dict[str, Any]:
    """What an analysis depends on beside its model: Snakemake's view of it."""
    if name == "probing":
        files = senteval_files(config.task(chain.task), config.data_dir)
        return {"version": VERSIONS[name], **config.probing(chain.task), "senteval": sorted(files)}
    read: dict[str, Any] = {}
    if name == "weights":
        read = {"prunable": config.recipe(chain.recipe)["prunable"]}
    if name == "matrices":
        read = {key: value for key, value in config.lasso(chain.recipe).items() if key in DEAD_RULE}
    return {"version": VERSIONS[name], **read}


def run(name: str, config: Config, chain: Chain) -> None:
    """Write an analysis of a chain's model. Raises UserError where the model or its data is missing."""
    if name not in VERSIONS:
        raise UserError(f"unknown analysis `{name}`; {suggest(name, VERSIONS)}")
    found = import_module(f"{__name__}.{name}").analyse(config, chain)
    table = paths.analysis(chain, name)
    if found.arrays:
        import numpy as np

        with atomic(table.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **found.arrays)
    with atomic(table) as temporary:
        found.numbers.to_csv(temporary, index=False)
