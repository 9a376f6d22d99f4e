"""`slice`: the smaller dense model that is left without its dead groups (Behnke and Heafield 2021, 3 and 4.2)."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy

from nmtprune import models, paths
from nmtprune.chain import Chain
from nmtprune.config import Config
from nmtprune.errors import UserError
from nmtprune.files import atomic
from nmtprune.pruning.dead import norms, rule_of
from nmtprune.pruning.groups import gap_cuts, groups
from nmtprune.pruning.shapes import ATTENTION, FFN, sparsity
from nmtprune.pruning.slicing import dead_units, head_size, shape_of, sliced
from nmtprune.steps.store import outputs_of
from nmtprune.toolkit.student import with_shape

ALL = "ffn+att", "both"  # what is looked at where no lasso says what it was to clear


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Leaves model.pt, and norms.npz: the norms of all groups with the cuts below which they were dead.

    Raises UserError for a model that is no Transformer.
    """
    since = itertools.takewhile(lambda step: step.family.name != "slice", reversed(chain.parent.steps))
    lasso = next((step for step in since if step.family.name == "lasso"), None)
    kind, where = (lasso["groups"], lasso["where"]) if lasso else ALL
    checkpoint = models.read(paths.before(chain))
    weights, options = checkpoint["model"], models.options_by_name(checkpoint["cfg"]["model"])
    if not models.is_transformer(options):
        raise UserError(f"chain `{chain}`: only a Transformer can be sliced, and its root is none; valid: prune-<scheme>-<percent>")
    head_dim, tied = head_size(options), bool(options.get("tied_decoder_layers"))
    rule = rule_of(config.lasso(chain.recipe), weights, kind, where, head_dim, lasso["lambda"] if lasso else "0")
    removed = dead_units(weights, kind, where, head_dim, rule)
    checkpoint["model"], shape = sliced(weights, removed, head_dim, options.get("activation_fn", "relu"))
    checkpoint["cfg"]["model"] = with_shape(options, shape)
    outputs = outputs_of(state)
    with atomic(outputs / paths.NORMS) as temporary, open(temporary, "wb") as file:
        numpy.savez(file, **norms(groups(weights, kind, where, head_dim), gap_cuts(weights, kind, where, head_dim)))
    models.save(checkpoint, outputs / paths.MODEL)
    before = shape_of(weights, head_dim)
    facts = {"ffn_sparsity": sparsity(shape, before, FFN, tied), "attention_sparsity": sparsity(shape, before, ATTENTION, tied)}
    return {"updates": 0, "shape": shape, **facts}
