"""Pruning schemes: the smallest weights by magnitude, compared over all weights, by class, by layer or by matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

import torch
from torch import Tensor

from nmtprune.pruning.classes import class_of, layer_of

# scheme -> the group within which weights are compared
GROUPS: dict[str, Callable[[str], str]] = {
    "global": lambda name: "model",
    "distribution": lambda name: "model",
    "uniform": class_of,
    "layer": layer_of,
    "local": lambda name: name,
}


def smallest(scores: Tensor, count: int) -> Tensor:
    """True at the `count` smallest of a flat tensor; among equals the first by position."""
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = torch.kthvalue(scores, count).values
    chosen = scores < threshold
    ties = torch.nonzero(scores == threshold, as_tuple=True)[0]
    chosen[ties[: count - int(chosen.sum())]] = True
    return chosen


def counts(sizes: list[int], percent: str) -> list[int]:
    """How many weights go in each group: `percent` of each, rounded so that the total is exact to one weight."""
    share = Fraction(percent) / 100
    ends, before, total = [], 0, 0
    for size in sizes:
        total += size
        end = round(share * total)
        ends.append(end - before)
        before = end
    return ends


def masks(weights: Mapping[str, Tensor], scheme: str, percent: str) -> dict[str, Tensor]:
    """Masks (True: kept) that prune `percent` of all `weights` in total, exact to one weight.

    `weights`: prunable matrices by name. Schemes (See et al. 2016, 3.3; Wang et al. 2020, section 2): `global` compares all weights
    (class-blind), `uniform` within each weight class, `layer` within each layer, `local` within each matrix; `distribution` prunes
    |w| < lambda * sigma of the weight's class, with the one lambda that makes the total exact.
    """
    group_of = GROUPS[scheme]
    groups: dict[str, list[str]] = {}
    for name in weights:
        groups.setdefault(group_of(name), []).append(name)
    deviation = _class_deviations(weights) if scheme == "distribution" else {}
    made: dict[str, Tensor] = {}
    goes = counts([sum(weights[n].numel() for n in names) for names in groups.values()], percent)
    for names, count in zip(groups.values(), goes, strict=True):
        scores = torch.cat([_relative(weights[n].float().abs().flatten(), deviation.get(class_of(n))) for n in names])
        kept = smallest(scores, count).logical_not_()
        parts = kept.split([weights[n].numel() for n in names])
        made |= {name: part.view(weights[name].shape).clone() for name, part in zip(names, parts, strict=True)}
    return {name: made[name] for name in weights}


def _relative(magnitudes: Tensor, deviation: Tensor | None) -> Tensor:
    """Magnitudes in deviations of their class; a zero stays zero in a class that has none because all of it is zero."""
    return magnitudes if deviation is None else (magnitudes / deviation).nan_to_num(0, posinf=torch.inf)


def _class_deviations(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Standard deviation of the weights of each class."""
    classes: dict[str, list[Tensor]] = {}
    for name, tensor in weights.items():
        classes.setdefault(class_of(name), []).append(tensor.float().flatten())
    return {label: torch.cat(parts).std(correction=0) for label, parts in classes.items()}
