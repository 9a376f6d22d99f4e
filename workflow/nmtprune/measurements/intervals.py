"""95 % intervals of scores, and comparisons with a baseline, by bootstrap over sentences and seeds."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.metrics import METRICS
from nmtprune.scoring import significance
from nmtprune.scoring.significance import SCORES, Comparison, paired_bootstrap

if TYPE_CHECKING:
    from nmtprune.measurements.measurements import Measured

LIKELIHOODS, MEANS = ("nll_per_token", "perplexity"), ("comet",)  # scores, by what they are computed from


@functools.lru_cache(1 << 14)
def interval(
    measured: Measured, chains: tuple[Chain, ...], metric: str, test_set: int | str = 1
) -> tuple[float, float] | None:
    """The interval of a metric's mean over seeds, and over test sets if these are `all`.

    None if the metric has no statistics of sentences, or if those of a seed were not kept.
    """
    score, split = METRICS[metric].by_sentence, METRICS[metric].split
    if not score or not chains:
        return None
    names = [split] if split else measured.test_sets(chains[0].task, test_set)
    sets = [_stacked(measured, chains, score, [name]) for name in names]
    there = [each for each in sets if each is not None]
    return significance.interval(*there, score=SCORES[score]) if names and len(there) == len(sets) else None


@functools.lru_cache(1 << 14)
def comparison(
    measured: Measured,
    ours: tuple[Chain, ...],
    theirs: tuple[Chain, ...],
    metric: str,
    test_set: int | str = 1,
) -> Comparison | None:
    """A row's metric minus its baseline's by paired bootstrap, seed by seed; several test sets are pooled.

    None if statistics of sentences are missing, or if the rows have other numbers of seeds.
    """
    score = METRICS[metric].by_sentence
    if not score or len(ours) != len(theirs):
        return None
    names = measured.test_sets(ours[0].task, test_set)
    before, after = (_stacked(measured, chains, score, names) for chains in (theirs, ours))
    if before is None or after is None or before.shape != after.shape:
        return None
    return paired_bootstrap(before, after, SCORES[score])


def _stacked(
    measured: Measured, chains: tuple[Chain, ...], score: str, names: list[str]
) -> np.ndarray | None:
    """[seeds, sentences, counts]: the statistics of several sets, one after the other."""
    of_seeds = []
    for chain in chains:
        of_sets = [each for name in names if (each := _of_set(measured, chain, score, name)) is not None]
        if len(of_sets) < len(names) or not names:
            return None
        of_seeds.append(np.concatenate(of_sets))
    return np.stack(of_seeds) if len({len(each) for each in of_seeds}) == 1 else None


def _of_set(measured: Measured, chain: Chain, score: str, name: str) -> np.ndarray | None:
    """[sentences, counts]: the statistics that a score is computed from."""
    columns = ("nll", "tokens") if score in LIKELIHOODS else (score,)
    parts = [each for what in columns if (each := measured.of_sentences(chain, name, what)) is not None]
    if len(parts) < len(columns):
        return None
    if score in MEANS:
        return np.stack([*parts, np.ones(len(parts[0]))], axis=-1)
    return np.stack(parts, axis=-1) if score in LIKELIHOODS else parts[0]
