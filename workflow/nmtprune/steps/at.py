"""`<step>/at-<percent>`: the checkpoint part of the way through its parent's training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmtprune import models, paths
from nmtprune.chain import Chain
from nmtprune.config import Config
from nmtprune.steps.store import link, outputs_of


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Leaves model.pt, a link to the snapshot. Raises UserError where the parent kept none."""
    snapshot = paths.snapshot(paths.model(chain.parent), chain.last["percent"])
    updates = models.read(snapshot)["optimizer_history"][-1]["num_updates"]
    link(snapshot, outputs_of(state) / paths.MODEL)
    return {"updates": updates, "selected_update": updates}
