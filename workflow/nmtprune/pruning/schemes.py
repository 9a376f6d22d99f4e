"""Pruning schemes: which weights are compared by magnitude (all, or those of a class, layer or matrix)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

import torch
from torch import Tensor

from nmtprune.pruning.classes import class_of, layer_of

# For each scheme, the group of a parameter; weights are compared within groups.
GROUPS: dict[str, Callable[[str], str]] = {
    "global": lambda name: "model",
    "distribution": lambda name: "model",
    "uniform": class_of,
    "layer": layer_of,
    "local": lambda name: name,
}
_CHUNK = 1 << 22  # number of scores compared at a time


def counts(sizes: list[int], percent: str) -> list[int]:
    """Number of weights to prune in each group: `percent` of its size.

    Shares are rounded so that the total is exact to one weight.
    """
    share = Fraction(percent) / 100
    ends, before, total = [], 0, 0
    for size in sizes:
        total += size
        end = round(share * total)
        ends.append(end - before)
        before = end
    return ends


def masks(weights: Mapping[str, Tensor], scheme: str, percent: str) -> dict[str, Tensor]:
    """Masks (True: kept) that prune `percent` of all `weights` together, exact to one weight.

    `weights`: prunable matrices by name. Schemes (See et al. 2016, 3.3; Wang et al. 2020, section 2):
    `global` compares all weights (class-blind), `uniform` those within each weight class, `layer` those
    within each layer, `local` those within each matrix; `distribution` prunes |w| < lambda * sigma, with
    the standard deviation sigma of the weight's class, and lambda such that the total is exact.
    """
    deviations = _class_deviations(weights) if scheme == "distribution" else {}

    def score(name: str) -> Tensor:
        """Scores to compare [weights]: magnitudes, for `distribution` in standard deviations of their class.

        In a class of zeros the score is 0.
        """
        magnitudes = weights[name].float().abs().flatten()
        if class_of(name) not in deviations:
            return magnitudes
        return magnitudes.div_(deviations[class_of(name)]).nan_to_num_(0, posinf=torch.inf)

    groups: dict[str, list[str]] = {}
    for name in weights:
        groups.setdefault(GROUPS[scheme](name), []).append(name)
    sizes = {name: tensor.numel() for name, tensor in weights.items()}
    removed = counts([sum(sizes[name] for name in names) for names in groups.values()], percent)
    made: dict[str, Tensor] = {}
    for names, count in zip(groups.values(), removed, strict=True):
        threshold, ties = _threshold(score, {name: sizes[name] for name in names}, count)
        for name in names:
            kept, ties = _kept(score(name), threshold, ties)
            made[name] = kept.view(weights[name].shape)
    return {name: made[name] for name in weights}


def _threshold(score: Callable[[str], Tensor], sizes: Mapping[str, int], count: int) -> tuple[float, int]:
    """The largest of the `count` smallest scores, and how many of these `count` scores are equal to it.

    All scores are copied once and partitioned in place, so that the memory needed is that of the copy
    and one matrix.
    """
    if count == 0:
        return -math.inf, 0
    copy = torch.empty(sum(sizes.values()))
    for name, place in zip(sizes, copy.split(list(sizes.values())), strict=True):
        place.copy_(score(name))
    copy.numpy().partition(count - 1)
    threshold = copy[count - 1].item()
    return threshold, sum(int(torch.count_nonzero(part == threshold)) for part in copy[:count].split(_CHUNK))


def _kept(scores: Tensor, threshold: float, ties: int) -> tuple[Tensor, int]:
    """Mask of the scores that stay, and the number of `ties` that remain to be removed.

    Ties are scores equal to the threshold; the first ones by position are removed first.
    """
    kept = (scores < threshold).logical_not_()
    equal = scores == threshold
    here = min(ties, int(torch.count_nonzero(equal)))
    if here:
        last = int(torch.nonzero(equal)[here - 1])
        kept[: last + 1] &= ~equal[: last + 1]
    return kept, ties - here


def _class_deviations(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Standard deviation of the weights of each class."""
    classes: dict[str, list[Tensor]] = {}
    for name, tensor in weights.items():
        classes.setdefault(class_of(name), []).append(tensor.float())
    return {label: _deviation(parts) for label, parts in classes.items()}


def _deviation(parts: list[Tensor]) -> Tensor:
    """Standard deviation of all values of several tensors."""
    size = sum(part.numel() for part in parts)
    zero = torch.zeros((), dtype=torch.float64)
    mean = sum((part.sum(dtype=torch.float64) for part in parts), zero) / size
    squares = sum(((part - mean).square_().sum(dtype=torch.float64) for part in parts), zero)
    return (squares / size).sqrt().float()
