"""`restart`: the shape of a pruned or sliced model trained from scratch.

`restart-ticket` begins with the chain's first weights.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.steps import training
from nmtprune.store import checkpoints


def beginning(chain: Chain) -> training.Beginning:
    """The parent's shape, with newly drawn weights or with the chain's first weights."""
    ticket = chain.last.get("weights") == "ticket"
    return replace(
        training.beginning(chain),
        weights=checkpoints.read(paths.first_weights(chain))["model"] if ticket else None,
    )


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Train from scratch; leaves what a training leaves."""
    return training.train(config, chain, state, beginning(chain))
