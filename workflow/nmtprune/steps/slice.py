"""`slice`: the smaller dense model without its dead groups (Behnke and Heafield 2021, sections 3 and 4.2)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from torch import Tensor

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.shapes import ATTENTION, FFN, Shape, sparsity
from nmtprune.fairseq_bridge.student import with_shape
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import atomic
from nmtprune.foundation.known import known
from nmtprune.pruning.dead import norms, rule_of
from nmtprune.pruning.groups import gap_cuts, groups
from nmtprune.pruning.slicing import Removed, dead_units, head_size, shape_of, sliced
from nmtprune.store import checkpoints
from nmtprune.store.state import outputs_of

ALL = "ffn+att", "both"  # the groups, and their place, that are judged if the chain has no lasso


@dataclass(frozen=True)
class Judged:
    """The parts of a Transformer that may be sliced away: dead units and heads among the groups of a lasso.

    `kind`, `where`: the groups of the lasso and their place. `head_dim`: the size of a head.
    """

    kind: str
    where: str
    head_dim: int
    removed: Removed


def judge(config: Config, chain: Chain, weights: Mapping[str, Tensor], options: Mapping[str, Any]) -> Judged:
    """Find what is dead in the weights of a chain's model.

    The groups are those of the chain's last lasso since it was sliced, and the recipe's `lasso` says when a
    group is dead; without a lasso, all feed-forward layers and attention are judged. Raises UserError for a
    model that is not a Transformer.
    """
    since = itertools.takewhile(lambda step: not step.kind.slices, reversed(chain.steps))
    lasso = next((step for step in since if step.get("lambda")), None)
    kind, where = (lasso["groups"], lasso["where"]) if lasso else ALL
    if not checkpoints.is_transformer(options):
        raise UserError(
            f"chain `{chain}`: only a Transformer can be sliced, and this model is not one; valid: "
            "prune-<scheme>-<percent>"
        )
    head_dim = head_size(options)
    rule = rule_of(
        config.recipe(chain.recipe).lasso, weights, kind, where, head_dim, lasso["lambda"] if lasso else "0"
    )
    return Judged(kind, where, head_dim, dead_units(weights, kind, where, head_dim, rule))


def without_dead(
    weights: Mapping[str, Tensor], options: Mapping[str, Any], judged: Judged
) -> tuple[dict[str, Tensor], dict[str, Any], Shape]:
    """Weights, options and shape of the smaller dense model."""
    smaller, shape = sliced(weights, judged.removed, judged.head_dim, options.get("activation_fn", "relu"))
    return smaller, with_shape(options, shape), shape


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Leave model.pt and norms.npz: the norms of all groups, and the cuts below which a group was dead.

    Raises UserError for a model that is not a Transformer.
    """
    checkpoint = checkpoints.read(chain.last.kind.begins_with(chain))
    weights, options = checkpoint["model"], checkpoints.options_by_name(checkpoint["cfg"]["model"])
    judged = judge(config, known(chain.parent), weights, options)
    looked_at = judged.kind, judged.where, judged.head_dim
    checkpoint["model"], checkpoint["cfg"]["model"], shape = without_dead(weights, options, judged)
    outputs = outputs_of(state)
    with atomic(outputs / paths.NORMS) as temporary, open(temporary, "wb") as file:
        arrays: dict[str, Any] = {**norms(groups(weights, *looked_at), gap_cuts(weights, *looked_at))}
        numpy.savez(file, **arrays)
    checkpoints.save(checkpoint, outputs / paths.MODEL)
    before, tied = shape_of(weights, judged.head_dim), bool(options.get("tied_decoder_layers"))
    facts = {
        "ffn_sparsity": sparsity(shape, before, FFN, tied),
        "attention_sparsity": sparsity(shape, before, ATTENTION, tied),
    }
    return {"updates": 0, "shape": shape, **facts}
