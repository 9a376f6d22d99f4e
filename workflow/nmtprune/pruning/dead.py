"""Rules that decide which groups of weights are dead after a group lasso."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from nmtprune.experiment.recipe import Lasso
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
SMALL = 0.1  # share of the mean norm of the larger half; smaller hidden units are shrinking to zero


def rule_of(
    lasso: Lasso,
    parameters: Mapping[str, Tensor],
    kind: str,
    where: str,
    head_dim: int,
    strength: str = "0",
) -> Rule:
    """The rule for dead groups after a lasso on groups `kind` in `where` with the given strength.

    A lasso that sought a sparsity (strength `to67`) makes that percentage of the feed-forward units
    dead. After any other, the recipe's `lasso` settings decide.

    The paper cuts "rows/columns with a sum less than 1e-5" (4.2) and does not say what is summed. Under
    Adam a dead group settles at a level that follows the learning rate, about 4 % of the rate for each
    weight: at the paper's rates, the absolute values of a row sum to more than 1e-4 and the squares to
    less than 1e-7.
    """
    if (percent := sparsity_sought(strength)) is not None:
        return by_percent(percent)
    if lasso.dead == "gap":
        return functools.partial(by_cut, cuts=gap_cuts(parameters, kind, where, head_dim))
    return functools.partial(
        by_squares if lasso.dead == "squares" else by_threshold, threshold=lasso.threshold
    )


def by_percent(percent: float) -> Rule:
    """The rule by which `percent` of all feed-forward units are dead: the units of the smallest norms."""

    def rule(sets: list[GroupSet]) -> list[Tensor]:
        cut = smallest(ffn_norms(sets), percent)
        return by_cut(
            sets, {each.matrix: cut if each.sub_layer.component == "ffn" else None for each in sets}
        )

    return rule


def norms(sets: list[GroupSet], cuts: Mapping[str, float | None]) -> dict[str, np.ndarray]:
    """Root mean squares of all groups by matrix (`fc1`, `out_proj`, ...), and each cut as `<matrix>_cut`.

    A cut is the middle of the gap between the two peaks of a matrix's norms; a matrix without a gap has
    none.
    """
    arrays = {}
    for matrix, cut in cuts.items():
        arrays[matrix] = torch.cat([each.rms() for each in sets if each.matrix == matrix]).detach().numpy()
        if cut is not None:
            arrays[f"{matrix}_cut"] = np.array(cut)
    return arrays


@torch.no_grad()
def small_share(parameters: Mapping[str, Tensor], kind: str, where: str, head_dim: int) -> float:
    """Percentage of the penalised feed-forward units whose norm is small compared with the others'."""
    unit_norms = ffn_norms(groups(parameters, kind, where, head_dim))
    typical = unit_norms.sort().values[len(unit_norms) // 2 :].mean()
    return 100 * float((unit_norms < SMALL * typical).float().mean())
