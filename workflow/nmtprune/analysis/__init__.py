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
from nmtprune.errors import UserError, suggest
from nmtprune.files import atomic

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
        from nmtprune.data.probing import senteval_files  # builds the toy languages: the command line wants names of analyses alone

        files = senteval_files(config.task(chain.task), config.data_dir)
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


def run_shard(name: str, config: Config, chain: Chain, shard: int, shards: int) -> int:
    """Measure every `shards`th trial of an analysis, beginning with number `shard` of 1 to `shards`; `run` finds them. Returns how many.

    Raises UserError where the analysis is not shared out, or the model or its data is missing.
    """
    if name not in SHARED_OUT:
        raise UserError(f"analysis `{name}` is not shared out over jobs; valid: {', '.join(SHARED_OUT)}")
    if not 1 <= shard <= shards:
        raise UserError(f"shard {shard} is none of 1 to {shards}")
    from nmtprune.analysis.trials import Trials

    module = import_module(f"{__name__}.{name}")
    with Trials(config, chain, name, f"{shard}-of-{shards}") as trials:
        mine = list(module.trials(trials).items())[shard - 1 :: shards]
        for trial, altered in mine:
            trials.measure(trial, altered)
    return len(mine)


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
