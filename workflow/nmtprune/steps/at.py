"""`<step>/at-<percent>`: a checkpoint from part of the way through its parent's training.

`train/at-0` is the first weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.known import known
from nmtprune.store import checkpoints, manifest
from nmtprune.store.state import link, outputs_of


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Leave model.pt, a link to the snapshot.

    Raises UserError if the training kept no snapshot there, or stopped earlier.
    """
    snapshot = chain.last.kind.begins_with(chain)
    check_kept(config, chain, known(chain.parent), snapshot)
    updates = checkpoints.read(snapshot)["optimizer_history"][-1]["num_updates"]
    link(snapshot, outputs_of(state) / paths.MODEL)
    return {"updates": updates, "selected_update": updates}


def check_kept(config: Config, chain: Chain, trained: Chain, snapshot: Path) -> None:
    """Raise UserError if a training stopped before the snapshot that a chain's last step needs."""
    made = manifest.read(paths.manifest(trained))
    if made["stopped_early"] and not snapshot.exists():
        updates = config.schedule(chain.recipe, trained.last.schedule).updates
        raise UserError(
            f"chain `{chain}`: there is no snapshot at {chain.last['percent']} percent of {updates:,} "
            f"updates: the training stopped early at update {made['updates']:,}; ask for an earlier one, or "
            f"raise the `patience` of recipe `{chain.recipe}`"
        )
