"""Run an analysis: it is written beside the model, its numbers as `<name>.csv`, arrays, where it has any, as
`<name>.npz`.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np

from nmtprune.analysis.trials import Trials
from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS, shared_out
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError, suggest
from nmtprune.foundation.files import atomic


def run(name: str, config: Config, chain: Chain) -> None:
    """Write an analysis of a chain's model. Raises UserError where the model or its data is missing."""
    if name not in ANALYSIS_KINDS:
        raise UserError(f"unknown analysis `{name}`; {suggest(name, ANALYSIS_KINDS)}")
    found = import_module(f"nmtprune.analysis.{name}").analyse(config, chain)
    table = paths.analysis(chain, name)
    if found.arrays:
        with atomic(paths.arrays(table)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **found.arrays)
    with atomic(table) as temporary:
        found.numbers.to_csv(temporary, index=False)


def run_shard(name: str, config: Config, chain: Chain, shard: int, shards: int) -> int:
    """Measure every `shards`th trial of an analysis, beginning with number `shard` of 1 to `shards`; `run`
    finds them. Returns how many.

    Raises UserError where the analysis is not shared out, or the model or its data is missing.
    """
    if name not in shared_out():
        raise UserError(f"analysis `{name}` is not shared out over jobs; valid: {', '.join(shared_out())}")
    if not 1 <= shard <= shards:
        raise UserError(f"shard {shard} is none of 1 to {shards}")
    module = import_module(f"nmtprune.analysis.{name}")
    with Trials(config, chain, name, f"{shard}-of-{shards}") as trials:
        mine = list(module.trials(trials).items())[shard - 1 :: shards]
        for trial, altered in mine:
            trials.measure(trial, altered)
    return len(mine)
