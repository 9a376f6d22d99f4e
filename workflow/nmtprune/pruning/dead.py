"""Which groups count as dead: the rules by which a model is sliced."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nmtprune.experiment.step_kinds import sparsity_sought
from nmtprune.pruning.groups import (
    GroupSet,
    by_cut,
    by_squares,
    by_threshold,
    ffn_norms,
    gap_cuts,
    groups,
    smallest,
)

Rule = Callable[[list[GroupSet]], list[Tensor]]
SMALL = 0.1  # of the mean norm of the larger half: hidden units below are on their way to zero


def rule_of(
    settings: Mapping[str, Any],
    parameters: Mapping[str, Tensor],
    kind: str,
    where: str,
    head_dim: int,
    strength: str = "0",
) -> Rule:
    """What is dead in a model after a lasso of these groups (`kind`, `where`) and this strength. Of one that
    sought a sparsity (`to67`) that share of the hidden units; else by a recipe's `lasso` settings.

    The paper cuts "rows/columns with a sum less than 1e-5" (4.2) and does not say of what. Adam leaves a dead
    group on a floor that follows the rate, some 4 % of it a weight: at the paper's rates absolute values of a
    row sum to more than 1e-4, squares to less than 1e-7.
    """
    if (percent := sparsity_sought(strength)) is not None:
        return by_percent(percent)
    if settings["dead"] == "gap":
        return functools.partial(by_cut, cuts=gap_cuts(parameters, kind, where, head_dim))
    return functools.partial(
        by_squares if settings["dead"] == "squares" else by_threshold, threshold=settings["threshold"]
    )


def by_percent(percent: float) -> Rule:
    """The rule by which this share of the hidden units of the feed-forward layers is dead, those of the
    smallest norms.
    """

    def rule(sets: list[GroupSet]) -> list[Tensor]:
        cut = smallest(ffn_norms(sets), percent)
        return by_cut(
            sets, {each.matrix: cut if each.sub_layer.component == "ffn" else None for each in sets}
        )

    return rule


def norms(sets: list[GroupSet], cuts: Mapping[str, float | None]) -> dict[str, np.ndarray]:
    """Root mean squares of all groups by matrix (`fc1`, `out_proj`, ...), and `<matrix>_cut`, the middle of
    the gap between two peaks, where there is one.
    """
    found = {}
    for matrix, cut in cuts.items():
        found[matrix] = torch.cat([each.rms() for each in sets if each.matrix == matrix]).detach().numpy()
        if cut is not None:
            found[f"{matrix}_cut"] = np.array(cut)
    return found


@torch.no_grad()
def small_share(parameters: Mapping[str, Tensor], kind: str, where: str, head_dim: int) -> float:
    """Percent of the penalised hidden units whose norm is small beside the others'."""
    found = ffn_norms(groups(parameters, kind, where, head_dim))
    typical = found.sort().values[len(found) // 2 :].mean()
    return 100 * float((found < SMALL * typical).float().mean())
