"""Verdicts, and the statistics behind them: intervals of differences, margins, rank correlations, signs.

A verdict is *undecided* unless the numbers speak: a statement holds where the whole 95 % interval of a difference lies on its side, and
fails where the whole interval lies on the other.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from nmtprune.scoring.significance import sign_test

LEVEL = 0.05
MARGIN = 0.5  # BLEU that "no loss" and "as good as" may cost
NOISE = 1.0  # BLEU to either side of a difference whose translations are not at hand: some 1,000 test sentences tell no less apart
NLL_NOISE = 0.05  # nats per token, likewise: 5 % of a perplexity
FEWEST_SEEDS = 3  # from which on their spread says how far a mean may be trusted
PERMUTATIONS = 5040  # at most; all of them where there are no more, 7 points


class Verdict(enum.StrEnum):
    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Finding:
    """What measured scores say of a claim: `because` has the numbers, or the reason why nothing is decided; `items` were read."""

    verdict: Verdict
    because: str
    items: tuple[str, ...] = ()


class Undecidable(Exception):
    """What a claim needs is not there. The text is the reason, without a full stop."""


@dataclass(frozen=True)
class Estimate:
    """A difference with its 95 % interval. `unit` is put after the number; `by_value`: without sentences at hand, so that the interval
    is an assumption."""

    value: float
    low: float
    high: float
    unit: str = " BLEU"
    by_value: bool = False

    def adjusted(self, comparisons: int) -> Estimate:
        """The interval widened for so many comparisons (Bonferroni, normal errors)."""
        wider = stats.norm.ppf(1 - LEVEL / 2 / max(comparisons, 1)) / stats.norm.ppf(1 - LEVEL / 2)
        return replace(self, low=self.value - wider * (self.value - self.low), high=self.value + wider * (self.high - self.value))

    def __neg__(self) -> Estimate:
        return replace(self, value=-self.value, low=-self.high, high=-self.low)

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference of two that are measured apart."""
        value = self.value - other.value
        low = value - math.hypot(self.value - self.low, other.high - other.value)
        high = value + math.hypot(self.high - self.value, other.value - other.low)
        return Estimate(value, low, high, self.unit, self.by_value or other.by_value)

    def scaled(self, factor: float, unit: str) -> Estimate:
        """Times a positive factor."""
        return replace(self, value=factor * self.value, low=factor * self.low, high=factor * self.high, unit=unit)

    def __str__(self) -> str:
        if self.by_value:
            return f"{signed(self.value)}{self.unit} (±{(self.high - self.low) / 2:.2g} taken, no translations at hand)"
        return f"{signed(self.value)}{self.unit} [{signed(self.low)}, {signed(self.high)}]"


def signed(value: float) -> str:
    """`+0.51`, `−1.30`; two decimals, `0.00` without a sign."""
    text = f"{value:+.2f}".replace("-", "−")
    return text[1:] if text[1:] == "0.00" else text


def numbers(values: Iterable[float]) -> str:
    """`20, 50 and 80`, as short as each may be."""
    return listed(f"{value:g}" for value in values)


def listed(texts: Iterable[str]) -> str:
    """`a, b and c`."""
    *most, last = list(texts) or ["none"]
    return f"{', '.join(most)} and {last}" if most else last


Judge = Callable[[Estimate], Verdict]


def above(estimate: Estimate, bound: float = 0.0) -> Verdict:
    """Whether the difference is more than `bound`."""
    return Verdict.HOLDS if estimate.low > bound else Verdict.FAILS if estimate.high < bound else Verdict.UNDECIDED


def not_worse(margin: float) -> Judge:
    """Whether the difference is no loss of more than the margin (non-inferiority)."""
    return lambda estimate: above(estimate, -margin)


def alike(margin: float) -> Judge:
    """Whether the difference is within the margin to either side (equivalence, two one-sided tests)."""

    def judge(estimate: Estimate) -> Verdict:
        if -margin <= estimate.low and estimate.high <= margin:
            return Verdict.HOLDS
        return Verdict.FAILS if estimate.high < -margin or estimate.low > margin else Verdict.UNDECIDED

    return judge


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Of a statement that has several parts: it holds where all do and fails where one does."""
    found = list(verdicts)
    if not found:
        return Verdict.UNDECIDED
    if Verdict.FAILS in found:
        return Verdict.FAILS
    return Verdict.HOLDS if set(found) == {Verdict.HOLDS} else Verdict.UNDECIDED


def every(estimates: Sequence[Estimate], judge: Judge = above, independent: bool = False) -> Verdict:
    """Whether all of several differences are as `judge` asks.

    It holds where each is, by its own interval (all must be right, so that none is widened), and fails where one is not by an interval
    that is widened for their number. Of `independent` trainings, differences on the wrong side count too: so many of them that
    the sign test would not give them to differences of none.
    """
    apart = [judge(each.adjusted(len(estimates))) for each in estimates]
    if estimates and all(judge(each) is Verdict.HOLDS for each in estimates):
        return Verdict.HOLDS
    if Verdict.FAILS in apart:
        return Verdict.FAILS
    if independent and len(estimates) > 1:
        signs = by_signs(np.array([each.value for each in estimates]))
        return Verdict.FAILS if signs is Verdict.FAILS else Verdict.UNDECIDED
    return Verdict.UNDECIDED


def some(estimates: Sequence[Estimate], judge: Judge = above) -> Verdict:
    """Whether at least one of several differences is as `judge` asks; the best is chosen, so that intervals are widened for it to hold."""
    if any(judge(each.adjusted(len(estimates))) is Verdict.HOLDS for each in estimates):
        return Verdict.HOLDS
    return Verdict.FAILS if estimates and all(judge(each) is Verdict.FAILS for each in estimates) else Verdict.UNDECIDED


def by_signs(gains: np.ndarray, comparisons: int = 1) -> Verdict:
    """Whether more differences are positive than negative, by the exact sign test; ties are left out."""
    signs = sign_test(np.asarray(gains, float))
    if signs.p >= LEVEL / comparisons:
        return Verdict.UNDECIDED
    return Verdict.HOLDS if signs.better > signs.worse else Verdict.FAILS


def every_by_signs(several: Sequence[np.ndarray]) -> Verdict:
    """Whether in each of several sets of differences more are positive, as `every` for differences with intervals."""
    plain, strict = [by_signs(gains) for gains in several], [by_signs(gains, len(several)) for gains in several]
    if Verdict.FAILS in strict:
        return Verdict.FAILS
    return Verdict.HOLDS if set(plain) == {Verdict.HOLDS} else Verdict.UNDECIDED


def in_order(shares: np.ndarray) -> tuple[Verdict, float]:
    """Whether the columns of [blocks, columns] descend from the first to the last, by Page's test for ordered alternatives within blocks,
    two-sided; with the p-value of the side that the columns are on."""
    ascending = np.asarray(shares, float)
    if len(ascending) < 2:
        return Verdict.UNDECIDED, 1.0
    rising, falling = (stats.page_trend_test(each).pvalue for each in (ascending, ascending[:, ::-1]))
    p = float(min(1.0, 2 * min(rising, falling)))
    if p >= LEVEL:
        return Verdict.UNDECIDED, p
    return Verdict.HOLDS if falling < rising else Verdict.FAILS, p


def while_missing(verdict: Verdict, absent: Sequence[str]) -> Verdict:
    """A statement about all of several does not hold as long as some of them are not there."""
    return Verdict.UNDECIDED if absent and verdict is Verdict.HOLDS else verdict


def over_seeds(values: Sequence[float], unit: str) -> Estimate:
    """The mean of one value a seed with Student's 95 % interval. Raises Undecidable for fewer than FEWEST_SEEDS."""
    found = np.asarray(values, float)
    if len(found) < FEWEST_SEEDS:
        raise Undecidable(f"{len(found)} {'seed' if len(found) == 1 else 'seeds'}, whose spread is not known")
    half = stats.t.ppf(1 - LEVEL / 2, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found))
    return Estimate(float(found.mean()), float(found.mean() - half), float(found.mean() + half), unit)


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation over `points`, and the two-sided p-value of a permutation test."""

    rho: float
    p: float
    points: int

    @property
    def verdict(self) -> Verdict:
        """Whether the two go together (holds) or against each other (fails)."""
        if math.isnan(self.rho) or self.p >= LEVEL:
            return Verdict.UNDECIDED
        return Verdict.HOLDS if self.rho > 0 else Verdict.FAILS

    def __str__(self) -> str:
        if math.isnan(self.rho):
            return f"no rank correlation over {self.points} points"
        p = f"p = {self.p:.3f}" if self.p >= 0.001 else "p < 0.001"
        return f"rank correlation {signed(self.rho)} over {self.points} points, {p}"


def correlation(a: np.ndarray, b: np.ndarray) -> Correlation:
    """How far two measures [..., points] order the same points alike, on average over all but the last axis.

    The points of `b` are permuted, in all rows together since these need not be independent: all permutations where there are at most
    PERMUTATIONS, else so many at random. Rows in which one measure is constant count as 0.
    """
    a, b = np.broadcast_arrays(*(np.atleast_2d(np.asarray(each, float)) for each in (a, b)))
    points = a.shape[-1]
    ranked = [ranks - ranks.mean(-1, keepdims=True) for ranks in (stats.rankdata(each, axis=-1) for each in (a, b))]
    spread = np.sqrt(np.prod([(ranks**2).sum(-1) for ranks in ranked], axis=0))
    if not spread.any():
        return Correlation(math.nan, 1.0, points)
    if math.factorial(min(points, 10)) <= PERMUTATIONS:
        orders = np.array(list(itertools.permutations(range(points))))
    else:
        generator = np.random.default_rng(0)
        orders = np.array([np.arange(points), *(generator.permutation(points) for _ in range(PERMUTATIONS - 1))])
    products = np.einsum("rn,rpn->rp", ranked[0], ranked[1][:, orders])
    drawn = (products / np.where(spread > 0, spread, 1.0)[:, None]).mean(0)  # the first order is the one observed
    return Correlation(float(drawn[0]), float((np.abs(drawn) >= abs(drawn[0]) - 1e-9).mean()), points)
