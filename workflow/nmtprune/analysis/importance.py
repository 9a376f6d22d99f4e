"""Importance of a Transformer's components: contribution, criticality, and agreement of two importances.

Pure functions of scores (Wang and Tu 2020, section 2). A component is a residual sub-layer: `E.SA.1` is
the self-attention of the encoder's bottom layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from nmtprune.experiment.components import Component, read_component
from nmtprune.scoring.significance import SAMPLES, SEED, Score, bleu, draws

UNIMPORTANT = 0.05  # contribution below which a component counts as unimportant


def contributions(baseline: float | np.ndarray, scores: np.ndarray, clip: float) -> np.ndarray:
    """Contributions [..., components] of components (equation 1): each one's loss over the largest loss.

    `scores` [..., components] are those of the model without each component, `baseline` that of the
    whole model (an array [...] of baselines for replicates). Higher must be better, so negative
    log-likelihoods are passed negated. Losses are clipped to [0, C], where C is `clip` percent of the
    baseline. If no component loses anything, all contributions are 0; an unknown score (NaN) gives an
    unknown contribution (NaN).
    """
    scores, whole = np.asarray(scores, float), np.asarray(baseline, float)[..., None]
    clipped = np.clip(whole - scores, 0.0, clip / 100 * np.abs(whole))
    largest = np.max(np.nan_to_num(clipped), axis=-1, keepdims=True, initial=0.0)
    return np.where(largest > 0, clipped / np.where(largest > 0, largest, 1.0), 0.0 * clipped)


def criticalities(baseline: float, bleu: pd.Series, epsilon: float) -> tuple[float, float]:
    """The two alphas that express a component's criticality (equation 2).

    An alpha holds if the model with the component's weights at (1 - alpha) initial + alpha final loses
    less than `epsilon` BLEU; 1.0 is the trained model and always holds. The first alpha is the smallest
    that holds. The second is the smallest from which all larger ones hold as well; it differs from the
    first where BLEU is not monotonic in alpha. `bleu`: by alpha, in any order, with 1.0 included. Raises
    ValueError if 1.0 is missing.
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
    """Bootstrap replicates over sentences of the contributions [samples, variants - 1].

    `statistics` [variants, sentences, counts]: summed over sentences, `score` (higher is better) turns
    them into a corpus score. The first variant is the whole model, the others lack one component each.
    The samples are those of `paired_bootstrap`: the same for all variants, and for two models that
    translate the same sentences.
    """
    variants, sentences, counts = statistics.shape
    sentence_counts = draws(np.random.default_rng(seed), sentences, samples)
    flat = np.swapaxes(statistics.astype(np.float64), 0, 1).reshape(sentences, variants * counts)
    scores = score((sentence_counts @ flat).reshape(samples, variants, counts))
    return contributions(scores[:, 0], scores[:, 1:], clip)


def criticalities_by_sentences(
    statistics: np.ndarray,
    components: pd.Series,
    alphas: pd.Series,
    epsilon: float,
    settled: bool = False,
) -> pd.DataFrame:
    """Bootstrap replicates over sentences of `criticalities` [SAMPLES, components].

    `statistics` [trials, sentences, counts] are those of BLEU. Trial i moves `components[i]` to
    `alphas[i]`; the first trial is the whole model. `settled` selects the second alpha of
    `criticalities`. The samples are those of `by_sentences`.
    """
    trials, sentences = statistics.shape[:2]
    sentence_counts = draws(np.random.default_rng(SEED), sentences, SAMPLES)
    scores = np.stack(
        [bleu(sentence_counts @ statistics[trial].astype(np.float64)) for trial in range(trials)],
        axis=-1,
    )
    drawn = {}
    for component in dict.fromkeys(components[1:]):
        trials_of = np.flatnonzero((components == component) & (alphas < 1))
        trials_of = trials_of[np.argsort(alphas.to_numpy()[trials_of])]
        holds = np.concatenate(
            [scores[:, :1] - scores[:, trials_of] < epsilon, np.ones((SAMPLES, 1), bool)], axis=1
        )
        if settled:
            holds = np.flip(np.logical_and.accumulate(np.flip(holds, 1), axis=1), 1)
        drawn[component] = np.append(alphas.to_numpy()[trials_of], 1.0)[np.argmax(holds, axis=1)]
    return pd.DataFrame(drawn)


@dataclass(frozen=True)
class Importance:
    """The importance of components by one metric.

    `components`: names such as `D.EA.3`. `values` [seeds, components]; NaN where unknown. `replicates`
    [seeds, samples, components]: the values for bootstrap samples of sentences; None if there are none.
    """

    components: tuple[str, ...]
    values: np.ndarray
    replicates: np.ndarray | None = None

    @property
    def mean(self) -> pd.Series:
        """Means over the seeds with known values."""
        return pd.DataFrame(self.values, columns=list(self.components)).mean()

    @property
    def deviation(self) -> pd.Series:
        """Standard deviations over seeds; NaN for a single seed."""
        return pd.DataFrame(self.values, columns=list(self.components)).std(ddof=1)

    @property
    def depths(self) -> dict[str, int]:
        """The number of layers of each kind of component."""
        depths: dict[str, int] = {}
        for kind, layer in map(read_component, self.components):
            depths[kind] = max(layer, depths.get(kind, 0))
        return depths

    def take(self, components: Sequence[str]) -> Importance:
        """The importance restricted to these components, in this order."""
        places = [self.components.index(name) for name in components]
        return self._with(tuple(components), np.eye(len(self.components))[:, places])

    def at_depths(self, depths: dict[str, int]) -> Importance:
        """The importance projected onto a model of the same or fewer layers, by relative depth.

        Each layer of that model gets the mean of the layers at its relative depth, weighted by how much
        of the layer they cover: layers 1 and 2 of 12 cover layer 1 of 6.
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
        """Project onto new components: each is a weighted mean of old ones, `weights` [old, new].

        NaN where weights fall on an unknown component or do not sum to 1.
        """
        covered = np.isclose(weights.sum(axis=0), 1)

        def summed(values: np.ndarray) -> np.ndarray:
            unknown = np.isnan(values).astype(float) @ weights > 0
            return np.where(unknown | ~covered, np.nan, np.nan_to_num(values) @ weights)

        replicates = None if self.replicates is None else summed(self.replicates)
        return replace(self, components=components, values=summed(self.values), replicates=replicates)


def _covered(layer: int, deep: int, place: int, shallow: int) -> float:
    """Share, 0 to 1, of layer `place` of a `shallow` model that layer `layer` of a `deep` one covers."""
    return max(0, min(place * deep, layer * shallow) - max((place - 1) * deep, (layer - 1) * shallow)) / deep


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation of two importances, with its 95 % interval; NaN where it is undefined.

    `components`: the number of components that are compared. `over`: what was resampled for the interval
    (`sentences`, `sentences and seeds`, `components`, ...).
    """

    rho: float
    low: float
    high: float
    components: int
    over: str


def rank_agreement(a: Importance, b: Importance, samples: int = SAMPLES, seed: int = SEED) -> Agreement:
    """How similarly two importances rank the components that both know.

    Models of different depths are compared by relative depth. The rank correlation is that of the means
    over seeds, with average ranks for ties. For the interval, sentences are resampled if both
    importances have replicates, and components otherwise; seeds are resampled as well if one importance
    has several (the same seeds for both if they have equally many). The interval is the percentile
    interval, widened to contain rho: resampling adds noise to the ranks a second time, which makes the
    resampled correlations smaller, so that the interval errs towards no agreement.
    """
    depths = {kind: min(depth, b.depths[kind]) for kind, depth in a.depths.items() if kind in b.depths}
    a, b = a.at_depths(depths), b.at_depths(depths)
    known = set(a.mean.dropna().index) & set(b.mean.dropna().index)
    common = [name for name in a.components if name in known]
    a, b = a.take(common), b.take(common)
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
            generator.integers(len(common), size=(samples, len(common)))
            if common
            else np.empty((samples, 0), int)
        )
        values = (np.repeat(each.values[:, None], samples, axis=1) for each in (a, b))
        ours, theirs = (_means(each, of) for each, of in zip(values, (of_a, of_b), strict=True))
        drawn = spearman(np.take_along_axis(ours, chosen, 1), np.take_along_axis(theirs, chosen, 1))
        over = "components"
    low, high = _interval(rho, drawn)
    return Agreement(rho, low, high, len(common), f"{over} and seeds" if several else over)


def _means(replicates: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Means of replicates [seeds, samples, components] over the seeds drawn for each sample.

    `seeds`: [samples, drawn]. Returns [samples, components].
    """
    samples = replicates.shape[1]
    drawn = replicates[seeds, np.arange(samples)[:, None]]
    known = ~np.isnan(drawn)
    with np.errstate(invalid="ignore"):
        return np.nansum(drawn, axis=1) / known.sum(axis=1)


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation [...] over the last axis, with average ranks for ties.

    NaN where one side is constant or a value is NaN.
    """
    if np.shape(a)[-1] < 2:
        return np.full(np.shape(a)[:-1], np.nan)
    ranks = [rankdata(each, axis=-1) for each in (a, b)]  # all NaN where one value is NaN
    x, y = (each - each.mean(axis=-1, keepdims=True) for each in ranks)
    spread = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, np.clip((x * y).sum(-1) / spread, -1.0, 1.0), np.nan)


def _interval(rho: float, drawn: np.ndarray) -> tuple[float, float]:
    """The 95 % interval; NaN if less than half of the resamples have a rank correlation."""
    known = drawn[~np.isnan(drawn)]
    if np.isnan(rho) or len(known) < len(drawn) / 2:
        return np.nan, np.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return min(rho, float(low)), max(rho, float(high))


def unimportant(contributions: np.ndarray) -> np.ndarray:
    """How many components contribute less than `UNIMPORTANT` [...], from contributions [..., components]."""
    return (contributions < UNIMPORTANT).sum(-1)
