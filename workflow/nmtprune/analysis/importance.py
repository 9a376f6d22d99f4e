"""Importance of a Transformer's components: contribution, criticality and how well two importances agree
(Wang and Tu 2020, section 2).

Pure functions of scores; a component is a residual sub-layer, `E.SA.1` the self-attention of the encoder's
bottom layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from nmtprune.experiment.components import Component, read_component
from nmtprune.scoring.significance import Score, bleu

UNIMPORTANT = 0.05  # contribution below which a component counts as unimportant
SAMPLES, SEED = 1000, 12345


def contributions(baseline: float, scores: np.ndarray, clip: float) -> np.ndarray:
    """[..., components] in 0 to 1: what the model loses without each component, over the largest loss
    (equation 1).

    `scores` [..., components]: of the model without that component, `baseline`: of the whole one (an array
    [...] of baselines for replicates); more is better, so that negative log-likelihoods are given negated.
    Losses are clipped to [0, C], C being `clip` percent of the baseline. All are 0 where none loses; a score
    that is not known (NaN) has no contribution (NaN).
    """
    scores, baseline = np.asarray(scores, float), np.asarray(baseline, float)[..., None]
    clipped = np.clip(baseline - scores, 0.0, clip / 100 * np.abs(baseline))
    largest = np.max(np.nan_to_num(clipped), axis=-1, keepdims=True, initial=0.0)
    return np.where(largest > 0, clipped / np.where(largest > 0, largest, 1.0), 0.0 * clipped)


def criticalities(baseline: float, bleu: pd.Series, epsilon: float) -> tuple[float, float]:
    """A component's criticality (equation 2): the smallest alpha that holds, and the smallest from which all
    hold up to 1.

    `bleu`: of the model whose component has the weights (1 - alpha) initial + alpha final, by alpha in any
    order, 1.0 among them. An alpha holds where BLEU is less than `epsilon` below the baseline; 1.0 is the
    trained model and always holds. The two differ where BLEU does not grow with alpha. Raises ValueError
    where 1.0 is missing.
    """
    by_alpha = bleu.sort_index()
    alphas = by_alpha.index.to_numpy(float)
    if not len(alphas) or alphas[-1] != 1.0:
        raise ValueError(f"alpha has to go up to 1.0; there are {', '.join(map(str, alphas)) or 'none'}")
    holds = baseline - by_alpha.to_numpy(float) < epsilon
    holds[-1] = True
    failing = np.flatnonzero(~holds)
    return float(alphas[np.argmax(holds)]), float(alphas[failing[-1] + 1 if len(failing) else 0])


def by_sentences(
    statistics: np.ndarray, clip: float, score: Score = bleu, samples: int = SAMPLES, seed: int = SEED
) -> np.ndarray:
    """[samples, variants - 1]: bootstrap replicates over sentences of the contributions of all variants but
    the first.

    `statistics` [variants, sentences, counts] sum over sentences to what `score` (more is better) makes a
    corpus score of; the first variant is the whole model. The draws are those of `paired_bootstrap`: the same
    for all variants, and for two models that translate the same sentences.
    """
    variants, sentences, counts = statistics.shape
    draws = (
        np.random.default_rng(seed)
        .multinomial(sentences, np.full(sentences, 1.0 / sentences), size=samples)
        .astype(np.float64)
    )
    flat = np.swapaxes(statistics.astype(np.float64), 0, 1).reshape(sentences, variants * counts)
    scores = score((draws @ flat).reshape(samples, variants, counts))
    return contributions(scores[:, 0], scores[:, 1:], clip)


def criticalities_by_sentences(
    statistics: np.ndarray,
    components: pd.Series,
    alphas: pd.Series,
    epsilon: float,
    settled: bool = False,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> pd.DataFrame:
    """[samples, components]: bootstrap replicates over sentences of `criticalities`, a column a component.

    `statistics` [trials, sentences, counts] of BLEU; trial i moves `components[i]` to `alphas[i]`, the first
    is the whole model. The draws are those of `by_sentences`.
    """
    trials, sentences = statistics.shape[:2]
    draws = (
        np.random.default_rng(seed)
        .multinomial(sentences, np.full(sentences, 1.0 / sentences), size=samples)
        .astype(np.float64)
    )
    scores = np.stack(
        [bleu(draws @ statistics[trial].astype(np.float64)) for trial in range(trials)], axis=-1
    )
    drawn = {}
    for component in dict.fromkeys(components[1:]):
        places = np.flatnonzero((components == component) & (alphas < 1))
        places = places[np.argsort(alphas.to_numpy()[places])]
        holds = np.concatenate(
            [scores[:, :1] - scores[:, places] < epsilon, np.ones((samples, 1), bool)], axis=1
        )
        if settled:
            holds = np.flip(np.logical_and.accumulate(np.flip(holds, 1), axis=1), 1)
        drawn[component] = np.append(alphas.to_numpy()[places], 1.0)[np.argmax(holds, axis=1)]
    return pd.DataFrame(drawn)


@dataclass(frozen=True)
class Importance:
    """How important components are by one metric.

    `components`: names as `D.EA.3`. `values` [seeds, components]; NaN where it is not known. `replicates`
    [seeds, samples, components]: the values of bootstrap samples of sentences; None where there are none.
    """

    components: tuple[str, ...]
    values: np.ndarray
    replicates: np.ndarray | None = None

    @property
    def mean(self) -> pd.Series:
        """Means over the seeds that are known."""
        return pd.DataFrame(self.values, columns=list(self.components)).mean()

    @property
    def deviation(self) -> pd.Series:
        """Standard deviations over seeds; NaN where there is one."""
        return pd.DataFrame(self.values, columns=list(self.components)).std(ddof=1)

    @property
    def depths(self) -> dict[str, int]:
        """How many layers there are of each kind."""
        depths: dict[str, int] = {}
        for kind, layer in map(read_component, self.components):
            depths[kind] = max(layer, depths.get(kind, 0))
        return depths

    def take(self, components: Sequence[str]) -> Importance:
        """The same of these components, in this order."""
        places = [self.components.index(name) for name in components]
        return self._with(tuple(components), np.eye(len(self.components))[:, places])

    def at_depths(self, depths: dict[str, int]) -> Importance:
        """The same of a model of as many or fewer layers, by relative depth: each of its layers has the mean
        of the layers that stand at its place, weighted by how much of it they cover. Layers 1 and 2 of 12
        stand at the place of layer 1 of 6.
        """
        own = self.depths
        places = [
            Component(kind, layer)
            for kind in own
            for layer in range(1, min(depths.get(kind, 0), own[kind]) + 1)
        ]
        weights = np.zeros((len(self.components), len(places)))
        for row, (kind, layer) in enumerate(map(read_component, self.components)):
            for column, (other, place) in enumerate(places):
                if kind == other:
                    weights[row, column] = _covered(layer, own[kind], place, min(depths[kind], own[kind]))
        return self._with(tuple(map(str, places)), weights)

    def _with(self, components: tuple[str, ...], weights: np.ndarray) -> Importance:
        """Components that are weighted means of these; `weights` [these, those]. One that is not covered by
        known ones is not known.
        """
        covered = np.isclose(weights.sum(axis=0), 1)

        def summed(values: np.ndarray) -> np.ndarray:
            unknown = np.isnan(values).astype(float) @ weights > 0
            return np.where(unknown | ~covered, np.nan, np.nan_to_num(values) @ weights)

        replicates = None if self.replicates is None else summed(self.replicates)
        return replace(self, components=components, values=summed(self.values), replicates=replicates)


def _covered(layer: int, deep: int, place: int, shallow: int) -> float:
    """How much of a place in a model of `shallow` layers a layer of `deep` ones covers, 0 to 1."""
    return max(0, min(place * deep, layer * shallow) - max((place - 1) * deep, (layer - 1) * shallow)) / deep


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation of two importances over so many components, its 95 % interval, and `over`
    what was resampled for it (`sentences`, `sentences and seeds`, `components`). NaN where it is not
    defined.
    """

    rho: float
    low: float
    high: float
    components: int
    over: str


def rank_agreement(a: Importance, b: Importance, samples: int = SAMPLES, seed: int = SEED) -> Agreement:
    """How far two importances order the components alike; those known in both, and models of unlike depth by
    relative depth.

    The rank correlation is that of the means over seeds, ties by average ranks. Resampled are sentences where
    both have replicates of them, and seeds where one has several (seed i of one with seed i of the other
    where both have as many); where sentences are not at hand, components, with the seeds. The interval is
    that of percentiles, widened to hold rho: a resample puts noise on the ranks a second time, so that its
    rho is smaller, and the interval errs towards no agreement.
    """
    depths = {kind: min(depth, b.depths[kind]) for kind, depth in a.depths.items() if kind in b.depths}
    a, b = a.at_depths(depths), b.at_depths(depths)
    known = set(a.mean.dropna().index) & set(b.mean.dropna().index)
    shared = [name for name in a.components if name in known]
    a, b = a.take(shared), b.take(shared)
    rho = float(spearman(a.mean.to_numpy(), b.mean.to_numpy()))
    generator = np.random.default_rng(seed)
    several = max(len(a.values), len(b.values)) > 1
    of_a = generator.integers(len(a.values), size=(samples, len(a.values)))
    of_b = (
        of_a
        if len(a.values) == len(b.values)
        else generator.integers(len(b.values), size=(samples, len(b.values)))
    )
    if a.replicates is not None and b.replicates is not None:
        drawn = spearman(_means(a.replicates, of_a), _means(b.replicates, of_b))
        over = "sentences"
    else:
        chosen = (
            generator.integers(len(shared), size=(samples, len(shared)))
            if shared
            else np.empty((samples, 0), int)
        )
        values = (np.repeat(each.values[:, None], samples, axis=1) for each in (a, b))
        ours, theirs = (_means(each, of) for each, of in zip(values, (of_a, of_b), strict=True))
        drawn = spearman(np.take_along_axis(ours, chosen, 1), np.take_along_axis(theirs, chosen, 1))
        over = "components"
    low, high = _interval(rho, drawn)
    return Agreement(rho, low, high, len(shared), f"{over} and seeds" if several else over)


def _means(replicates: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """[samples, components]: means of [seeds, samples, components] over the seeds drawn for each sample
    [samples, drawn].
    """
    samples = replicates.shape[1]
    known = replicates[seeds, np.arange(samples)[:, None]]
    there = ~np.isnan(known)
    with np.errstate(invalid="ignore"):
        return np.nansum(known, axis=1) / there.sum(axis=1)


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[...]: Spearman's rank correlation over the last axis, ties by average ranks; NaN where one side does
    not vary or a value is NaN.
    """
    if np.shape(a)[-1] < 2:
        return np.full(np.shape(a)[:-1], np.nan)
    ranks = [rankdata(each, axis=-1) for each in (a, b)]  # NaN through and through where one value is
    x, y = (each - each.mean(axis=-1, keepdims=True) for each in ranks)
    spread = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, np.clip((x * y).sum(-1) / spread, -1.0, 1.0), np.nan)


def _interval(rho: float, drawn: np.ndarray) -> tuple[float, float]:
    """95 %; none where less than half of the resamples have a rank correlation."""
    known = drawn[~np.isnan(drawn)]
    if np.isnan(rho) or len(known) < len(drawn) / 2:
        return np.nan, np.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return min(rho, float(low)), max(rho, float(high))


def unimportant(importance: Importance) -> np.ndarray:
    """[seeds]: how many components contribute less than `UNIMPORTANT`."""
    return (importance.values < UNIMPORTANT).sum(axis=1)
