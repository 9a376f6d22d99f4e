"""`rewind-<k>`: the least important components go back to their first weights, and all weights train on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.known import known
from nmtprune.pruning.components import rewound
from nmtprune.steps import training
from nmtprune.store import checkpoints
from nmtprune.store.ablation_order import least_important


def beginning(chain: Chain) -> training.Beginning:
    """The parent's model with its least important components as they were before the first update."""
    begun, first = training.beginning(chain), checkpoints.read(paths.first_weights(chain))["model"]
    return replace(begun, weights=rewound(known(begun.weights), first, least_important(chain)))


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Train the rewound model; leaves what a training leaves."""
    return training.train(config, chain, state, beginning(chain))
