"""Run an analysis and write its files beside the model: numbers to `<name>.csv`, arrays to `<name>.npz`."""

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
    """Write an analysis of a chain's model; raises UserError where the model or its data is missing."""
    if name not in ANALYSIS_KINDS:
        raise UserError(f"unknown analysis `{name}`; {suggest(name, ANALYSIS_KINDS)}")
    analysis = import_module(f"nmtprune.analysis.{name}").analyse(config, chain)
    table = paths.analysis(chain, name)
    if analysis.arrays:
        with atomic(paths.arrays(table)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **analysis.arrays)
    with atomic(table) as temporary:
        analysis.numbers.to_csv(temporary, index=False)


def run_shard(name: str, config: Config, chain: Chain, shard: int, shards: int) -> int:
    """Measure one shard of an analysis's trials and return how many; `run` reads what the shards measured.

    Shard `shard` of 1 to `shards` has every `shards`th trial, beginning with trial number `shard`.
    Raises UserError if the analysis cannot be split into shards, or if the model or its data is missing.
    """
    if name not in shared_out():
        raise UserError(f"analysis `{name}` cannot be split over jobs; valid: {', '.join(shared_out())}")
    if not 1 <= shard <= shards:
        raise UserError(f"shard {shard} is not between 1 and {shards}")
    module = import_module(f"nmtprune.analysis.{name}")
    with Trials(config, chain, name, f"{shard}-of-{shards}") as trials:
        of_shard = list(module.trials(trials).items())[shard - 1 :: shards]
        for trial, altered in of_shard:
            trials.measure(trial, altered)
    return len(of_shard)
