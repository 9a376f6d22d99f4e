"""Whether a system is better than its baseline: paired bootstrap and sign test over sentences and seeds.

Both tests take a system's *statistics*, an array [seeds, sentences, counts]; its sum over sentences gives a
corpus score.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

NORMAL_95 = 1.959964  # half the width of a normal's 95 % interval, in standard errors
SEED, SAMPLES = 12345, 1000

Score = Callable[[np.ndarray], np.ndarray]  # from summed statistics [..., counts] to corpus scores [...]


@dataclass(frozen=True)
class Comparison:
    """The system's score minus its baseline's, with its 95 % interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Signs:
    """Numbers of sentences that the system does better and worse, and the sign test's two-sided p-value."""

    better: int
    worse: int
    p: float


def p_as_text(p: float) -> str:
    """A p-value as text: `p = 0.111`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def likelihood_statistics(
    negative_log_likelihoods: Sequence[float] | np.ndarray, tokens: Sequence[int] | np.ndarray
) -> np.ndarray:
    """[1, sentences, 2]: negative log-likelihood and target tokens."""
    return np.stack(
        [np.asarray(negative_log_likelihoods, np.float64), np.asarray(tokens, np.float64)], axis=-1
    )[None]


def bleu(sums: np.ndarray) -> np.ndarray:
    """Corpus BLEU (0 to 100) from summed statistics [..., 10], smoothed as in sacreBLEU.

    The statistics are those of `Quality.statistics`.
    """
    length, reference = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2:6], sums[..., 6:10]
    empty = (matches == 0) & (totals > 0)
    smoothed = np.where(empty, 0.5 ** np.cumsum(empty, axis=-1), matches)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.exp(np.log(smoothed / totals).mean(-1))
        brevity = np.exp(np.minimum(0.0, 1.0 - reference / length))
        score = 100.0 * brevity * precision
    return np.where((totals > 0).all(-1) & matches.any(-1), score, 0.0)


def nll_per_token(sums: np.ndarray) -> np.ndarray:
    """Negative log-likelihood per token from summed `likelihood_statistics` [..., 2]; lower is better."""
    return sums[..., 0] / sums[..., 1]


def perplexity(sums: np.ndarray) -> np.ndarray:
    """Perplexity from summed `likelihood_statistics` [..., 2]; lower is better."""
    return np.exp(nll_per_token(sums))


def mean(sums: np.ndarray) -> np.ndarray:
    """The mean of scores of sentences, such as COMET, from their sum and number [..., 2]."""
    return sums[..., 0] / sums[..., 1]


def chrf(sums: np.ndarray) -> np.ndarray:
    """Corpus chrF or chrF++ (0 to 100) from summed statistics [..., 3 x orders], as in sacreBLEU.

    The F score with beta 2 of precision and recall, means over the orders that both sides have.
    """
    ours, theirs, both = np.moveaxis(sums.reshape(*sums.shape[:-1], -1, 3), -1, 0)
    known = (ours > 0) & (theirs > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = (
            np.where(known, both / side, 0).sum(-1) / known.sum(-1) for side in (ours, theirs)
        )
        score = 5 * precision * recall / (4 * precision + recall)
    return 100 * np.where(precision + recall > 0, score, 0.0)


def ter(sums: np.ndarray) -> np.ndarray:
    """Corpus TER in percent from summed edits and words of the reference [..., 2]; lower is better."""
    edits, words = sums[..., 0], sums[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return 100 * np.where(words > 0, edits / words, edits > 0)


SCORES: dict[str, Score] = {
    "bleu": bleu,
    "spbleu": bleu,
    "chrf": chrf,
    "chrfpp": chrf,
    "ter": ter,
    "comet": mean,
    "nll_per_token": nll_per_token,
    "perplexity": perplexity,
}


def draws(generator: np.random.Generator, sentences: int, samples: int = SAMPLES) -> np.ndarray:
    """[samples, sentences]: how often each bootstrap sample contains each sentence."""
    return generator.multinomial(sentences, np.full(sentences, 1 / sentences), size=samples).astype(
        np.float64
    )


def interval(
    *sets: np.ndarray, score: Score = bleu, samples: int = SAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """The 95 % bootstrap interval of one system's score, a mean over seeds and test sets.

    `sets`: the statistics [seeds, sentences, counts] of each test set. With several seeds, a resample draws
    both seeds and sentences, the same sentences for all seeds.
    """
    of_sets = [
        np.stack([score(_drawn(statistics.shape[1], samples, seed + place) @ each) for each in statistics])
        for place, statistics in enumerate(sets)
    ]
    of_seeds = np.mean(of_sets, axis=0)
    chosen = np.random.default_rng(seed).integers(len(of_seeds), size=(len(of_seeds), samples))
    low, high = np.percentile(of_seeds[chosen, np.arange(samples)].mean(0), [2.5, 97.5])
    return float(low), float(high)


@functools.lru_cache(4)
def _drawn(sentences: int, samples: int, seed: int) -> np.ndarray:
    return draws(np.random.default_rng(seed), sentences, samples)


def paired_bootstrap(
    baseline: np.ndarray, system: np.ndarray, score: Score = bleu, samples: int = SAMPLES, seed: int = SEED
) -> Comparison:
    """Two-sided paired bootstrap over sentences (Koehn 2004), centred under the null hypothesis.

    The centring follows Riezler and Maxwell (2005). Statistics are [seeds, sentences, counts]; seed i of the
    system is paired with seed i of the baseline. With several seeds, the score is the mean over seeds, and a
    resample draws both seeds and sentences, the same sentences for all seeds.
    """
    _check(baseline, system)
    seeds, sentences, _ = system.shape
    generator = np.random.default_rng(seed)
    drawn = draws(generator, sentences, samples)
    chosen = generator.integers(seeds, size=(samples, seeds))
    of_seed = [
        score(drawn @ ours) - score(drawn @ theirs) for ours, theirs in zip(system, baseline, strict=True)
    ]
    differences = np.stack(of_seed, axis=1)[np.arange(samples)[:, None], chosen].mean(-1)
    difference = float((score(system.sum(1)) - score(baseline.sum(1))).mean())
    extreme = np.abs(differences - differences.mean()) >= abs(difference)
    low, high = np.percentile(differences, [2.5, 97.5])
    return Comparison(difference, float(low), float(high), float((extreme.sum() + 1) / (samples + 1)))


def substitution_gains(baseline: np.ndarray, system: np.ndarray, score: Score = bleu) -> np.ndarray:
    """[seeds x sentences]: the baseline's gain from taking one sentence of the system (Collins et al. 2005).

    This gives each sentence a sign for scores of whole corpora, such as BLEU.
    """
    _check(baseline, system)
    whole = baseline.sum(1, keepdims=True)
    return (score(whole - baseline + system) - score(whole)).reshape(-1)


def sign_test(gains: np.ndarray) -> Signs:
    """Exact two-sided sign test of gains by sentence, without ties. Negate the gains if lower is better."""
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    count = better + worse
    return Signs(better, worse, float(binomtest(better, count).pvalue) if count else 1.0)


def _check(baseline: np.ndarray, system: np.ndarray) -> None:
    if baseline.shape != system.shape:
        raise ValueError(
            f"paired statistics differ in shape: baseline {baseline.shape}, system {system.shape}"
        )
