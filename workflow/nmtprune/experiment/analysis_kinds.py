"""Analyses of one model, a module each: `analyse(config, chain) -> Analysis`; `run` writes what it found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nmtprune.experiment import senteval
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import DEAD_RULE, Config

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# name -> the version of its implementation, which grows when the same model gets other numbers
VERSIONS = {
    "weights": 1,
    "representations": 1,
    "probing": 2,
    "matrices": 1,
    "contribution": 2,
    "criticality": 2,
    "order": 2,
    "similarity": 1,
    "isometry": 2,
}

# those that make trials of altered models, and what they read of the recipe's `importance`
TRIALS = {
    "contribution": ("beam", "sentences", "clip"),
    "criticality": ("beam", "sentences", "steps"),
    "order": ("beam", "sentences", "group", "candidates"),
}
SHARED_OUT = ("contribution", "criticality")  # whose trials do not depend on each other


@dataclass(frozen=True)
class Analysis:
    """What an analysis found: `numbers` (a row a fact), and arrays by name."""

    numbers: pd.DataFrame
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def settings(name: str, config: Config, chain: Chain) -> dict[str, Any]:
    """What an analysis depends on beside its model: Snakemake's view of it."""
    if name == "probing":
        files = senteval.files_of(config.task(chain.task), config.data_dir)
        return {"version": VERSIONS[name], **config.probing(chain.task), "senteval": sorted(files)}
    read: dict[str, Any] = {}
    if name == "weights":
        read = {"prunable": config.recipe(chain.recipe)["prunable"]}
    if name == "matrices":
        read = {key: value for key, value in config.lasso(chain.recipe).items() if key in DEAD_RULE}
    if name in TRIALS:
        importance = config.importance(chain.recipe)
        read = {"scoring": config.scoring(chain.recipe), **{key: importance[key] for key in TRIALS[name]}}
    return {"version": VERSIONS[name], **read}
