"""`restart`: the shape of a pruned or sliced model trained from scratch.

`restart-ticket` begins with the chain's first weights, `restart-at-<percent>` with those of a snapshot.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.step_kinds import LATE, ticket
from nmtprune.foundation.known import known
from nmtprune.steps import training
from nmtprune.steps.at import check_kept
from nmtprune.store import checkpoints


def beginning(chain: Chain) -> training.Beginning:
    """The parent's shape, with newly drawn weights, the chain's first weights or those of a snapshot."""
    file = ticket(chain)
    return replace(training.beginning(chain), weights=checkpoints.read(file)["model"] if file else None)


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Train from scratch, or from a snapshot to the end; leaves what a training leaves."""
    if chain.last.get("weights") == LATE:
        check_kept(config, chain, chain.root_chain, known(ticket(chain)))
    return training.train(config, chain, state, beginning(chain))
