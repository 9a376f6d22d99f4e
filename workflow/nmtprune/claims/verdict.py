"""The statistics of verdicts: estimates with their errors, and verdicts on sets of requirements.

No file is read here. A claim is a set of requirements, each an estimate that must lie above a bound. The
claim *holds* if whole 95 % intervals lie above their bounds, *fails* if one lies below, and is *undecided*
otherwise. Every rule here gives a false verdict in at most LEVEL of the cases in which the truth lies on the
bound.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import special

from nmtprune.measurements import absences

LEVEL = 0.05
MARGIN = 0.5  # BLEU that "no loss" and "as good as" may cost where the paper names no margin
AGREEMENT = 0.5  # rank correlation above which two rankings "agree"
FEWEST_SEEDS = 3  # with fewer trainings, verdicts are about the run's own models and not about the method
FEWEST_FREEDOM = 12  # degrees of freedom that a variance between trainings should have
LARGE = 1e9  # degrees of freedom of a variance that is taken as known
MOST_SEEDS = 100  # the largest number of seeds that `seeds_to_decide` tries


Scale = Literal["plain", "correlation", "ratio"]


class Verdict(enum.StrEnum):
    """Whether a claim holds, fails or is undecided."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"

    def of_run(self) -> str:
        """The verdict on the models of one run, which are too few for a verdict on the method."""
        return {"holds": "agrees", "fails": "disagrees"}.get(self, str(self)) + ", in this run"


class Undecidable(Exception):  # noqa: N818 - a reason that a claim prints, not a fault
    """Something that a claim needs is missing. The text is the reason, without a full stop."""


@dataclass(frozen=True)
class Estimate:
    """A mean over trainings, with its variances.

    `training`: variance between trainings, estimated with `freedom` degrees of freedom (0 for fewer than
    FEWEST_SEEDS trainings, too few for an estimate). `sentences`: the part of the mean's variance that more
    trainings would not reduce, since all are measured on the same sentences (or components, layers, ...).
    `seeds`: number of trainings. `unit`: printed after the number. `scale`: the value and variances of a rank
    correlation are those of Fisher's z, the ones of a ratio are those of its logarithm.
    """

    value: float
    training: float
    sentences: float
    seeds: int
    freedom: float = math.inf
    unit: str = " BLEU"
    scale: Scale = "plain"

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return math.sqrt(self.training / max(self.seeds, 1) + self.sentences)

    @property
    def effective_freedom(self) -> float:
        """Degrees of freedom of the standard error (Satterthwaite).

        The variance from sentences counts as known.
        """
        between = self.training / max(self.seeds, 1)
        return self.freedom * min(1 + self.sentences / between, 1e3) ** 2 if between > 0 else math.inf

    @property
    def of_method(self) -> bool:
        """Whether there are enough trainings for a verdict on the method."""
        return self.seeds >= FEWEST_SEEDS

    def half_width(self, level: float = LEVEL) -> float:
        """Half the width of the confidence interval at a level."""
        return quantile(1 - level / 2, self.effective_freedom) * self.error

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return self.value - self.half_width()

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return self.value + self.half_width()

    def p_below(self, bound: float) -> float:
        """One-sided p-value of the mean being above a bound: small if the mean lies clearly below."""
        return _tail(bound - self.value, self.error, self.effective_freedom)

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the mean being below a bound: small if the mean lies clearly above."""
        return _tail(self.value - bound, self.error, self.effective_freedom)

    def __neg__(self) -> Estimate:
        return replace(self, value=-self.value)

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference of two independent estimates."""
        seeds = min(self.seeds, other.seeds)
        training = seeds * (self.training / max(self.seeds, 1) + other.training / max(other.seeds, 1))
        freedom = min(self.freedom, other.freedom)
        return replace(
            self,
            value=self.value - other.value,
            training=training,
            sentences=self.sentences + other.sentences,
            seeds=seeds,
            freedom=freedom,
        )

    def scaled(self, factor: float, unit: str | None = None) -> Estimate:
        """The estimate times a factor, in another unit if one is given."""
        squared = factor * factor
        unit = self.unit if unit is None else unit
        return replace(
            self,
            value=factor * self.value,
            training=squared * self.training,
            sentences=squared * self.sentences,
            unit=unit,
        )

    def shown(self, value: float) -> str:
        """A number on this estimate's scale as text: `+0.51`, or `1.34x` for a ratio."""
        if self.scale == "ratio":
            return f"{math.exp(value):.2f}x"
        return signed(math.tanh(value) if self.scale == "correlation" else value)

    def __str__(self) -> str:
        value = f"{self.shown(self.value)}{self.unit}"
        if self.error == 0:
            return f"{value} (exact for these models, no interval)"
        return f"{value} [{self.shown(self.low)}, {self.shown(self.high)}]"

    @property
    def spread(self) -> str:
        """The standard deviation between trainings as text; empty if it is unknown."""
        if not self.of_method or not self.training:
            return ""
        few = (
            "" if self.freedom >= FEWEST_FREEDOM else f"; below {FEWEST_FREEDOM} this SD is itself uncertain"
        )
        return (
            f"SD between trainings {math.sqrt(self.training):.2g} ({self.freedom:.3g} degrees of "
            f"freedom{few})"
        )


def _tail(distance: float, error: float, freedom: float) -> float:
    """P(T >= distance / error)."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0 if distance < 0 else 0.5
    return float(special.stdtr(min(freedom, LARGE), -distance / error))


def quantile(share: float, freedom: float) -> float:
    """Quantile of Student's distribution."""
    return float(special.stdtrit(min(freedom, LARGE), share))


def over_seeds(
    values: Sequence[float] | np.ndarray,
    unit: str,
    sentences: float = 0.0,
    pooled: tuple[float, float] | None = None,
) -> Estimate:
    """The mean of one value per seed.

    `sentences`: see `Estimate`; `pooled`: variance and degrees of freedom in place of the seeds' own. With
    fewer than FEWEST_SEEDS the variance between trainings is left out, and the interval is about these models
    alone.
    """
    of_seeds = np.asarray(values, float)
    seeds = len(of_seeds)
    if seeds < FEWEST_SEEDS:
        return Estimate(float(of_seeds.mean()), 0.0, sentences, seeds, math.inf, unit)
    variance, freedom = pooled or (float(of_seeds.var(ddof=1)), seeds - 1)
    return Estimate(float(of_seeds.mean()), variance, sentences, seeds, freedom, unit)


def over_replicates(replicates: np.ndarray, unit: str, pooled: tuple[float, float] | None = None) -> Estimate:
    """The mean of paired differences, one per seed, with its variances.

    `replicates` [seeds, 1 + samples]: the observed differences, then bootstrap replicates over sentences. A
    column holds the same sample of sentences for all seeds. The covariance of the replicates of different
    seeds is the variance that more seeds would not reduce; the rest of the replicates' variance is already
    part of the variance between seeds. With fewer than FEWEST_SEEDS only the variance of the replicates' mean
    is used.
    """
    observed, drawn = replicates[:, 0], replicates[:, 1:]
    seeds = len(observed)
    of_mean, of_one = float(drawn.mean(0).var(ddof=1)), float(drawn.var(axis=1, ddof=1).mean())
    shared = of_mean if seeds < FEWEST_SEEDS else max(0.0, (seeds * of_mean - of_one) / (seeds - 1))
    return over_seeds(observed, unit, shared, pooled)


def over_points(values: np.ndarray, unit: str) -> Estimate:
    """The mean of [seeds, points], where all seeds have the same points, such as layers or matrices.

    The points are taken as a sample of all such points. A single point with too few seeds is a fact about the
    run and has no error.
    """
    points = values.shape[1]
    shared = float(values.mean(0).var(ddof=1)) / points if points > 1 else 0.0
    return over_seeds(values.mean(1), unit, shared)


def pooled(estimates: Sequence[Estimate]) -> Estimate:
    """The mean effect over independent comparisons (tasks) by random effects (DerSimonian and Laird 1986).

    The interval becomes wider if the comparisons differ by more than their errors.
    """
    if len(estimates) == 1:
        return estimates[0]
    values, variances = (
        np.array(each) for each in zip(*((e.value, max(e.error, 1e-9) ** 2) for e in estimates), strict=True)
    )
    weights = 1 / variances
    spread = float((weights * (values - np.average(values, weights=weights)) ** 2).sum())
    between = max(
        0.0, (spread - (len(values) - 1)) / float(weights.sum() - (weights**2).sum() / weights.sum())
    )
    weights = 1 / (variances + between)
    shares = weights / weights.sum()
    seeds = min(each.seeds for each in estimates)
    training = seeds * float(
        sum(s * s * e.training / max(e.seeds, 1) for s, e in zip(shares, estimates, strict=True))
    )
    sentences = float(sum(s * s * (e.sentences + between) for s, e in zip(shares, estimates, strict=True)))
    freedom = min(each.freedom for each in estimates)
    return replace(
        estimates[0],
        value=float(shares @ values),
        training=training,
        sentences=sentences,
        seeds=seeds,
        freedom=freedom,
    )


@dataclass(frozen=True)
class Requirement:
    """An estimate that must lie above a bound; `what` names it."""

    what: str
    estimate: Estimate
    bound: float = 0.0

    def __str__(self) -> str:
        return f"{self.what} {self.estimate}".strip()


def not_worse(what: str, estimate: Estimate, margin: float = MARGIN) -> Requirement:
    """The requirement that an estimate is a loss of at most the margin (non-inferiority)."""
    return Requirement(what, estimate, -margin)


def alike(what: str, estimate: Estimate, margin: float = MARGIN) -> list[Requirement]:
    """The requirements that an estimate is within the margin to either side (two one-sided tests)."""
    return [Requirement(what, estimate, -margin), Requirement(what, -estimate, -margin)]


@dataclass(frozen=True)
class Decision:
    """A verdict, and the numbers behind it in words (`because`).

    `deciding`: the requirement that decides the verdict; None if it comes from no interval. `of_method`:
    whether there are enough trainings for a verdict on the method.
    """

    verdict: Verdict
    because: str
    deciding: Requirement | None = None
    of_method: bool = True

    def but(self, because: str) -> Decision:
        """The same decision in other words."""
        return replace(self, because=because)

    def while_missing(self, absent: Sequence[str]) -> Decision:
        """The decision while cases are missing, for the reasons in `absent`.

        A claim about all cases cannot hold then, but can fail.
        """
        if not absent:
            return self
        verdict = Verdict.UNDECIDED if self.verdict is Verdict.HOLDS else self.verdict
        left_out = f"left out: {', and '.join(absences.merged(absent))}"
        return replace(self, verdict=verdict, because="; ".join(filter(None, [self.because, left_out])))


def every(requirements: Sequence[Requirement], fails_at: float = LEVEL / 2) -> Decision:
    """Whether every requirement is met.

    The claim holds if each requirement is met by its own interval (intersection-union: no interval is
    widened). It fails if one of them is significantly missed, corrected for their number (Holm, at the
    one-sided level `fails_at`).
    """
    if not requirements:
        raise Undecidable("there is nothing to compare")
    because = "; ".join(dict.fromkeys(map(str, requirements)))
    of_method = all(each.estimate.of_method for each in requirements)
    if missed := significantly_missed(requirements, fails_at):
        return Decision(Verdict.FAILS, because, missed, of_method)
    weakest = max(requirements, key=lambda each: each.estimate.p_above(each.bound))
    holds = weakest.estimate.p_above(weakest.bound) < LEVEL / 2
    return Decision(Verdict.HOLDS if holds else Verdict.UNDECIDED, because, weakest, of_method)


def significantly_missed(requirements: Sequence[Requirement], level: float) -> Requirement | None:
    """The most clearly missed requirement if Holm's procedure rejects it, otherwise None.

    It is rejected if its p-value is below `level` divided by the number of requirements.
    """
    lowest = min(requirements, key=lambda each: each.estimate.p_below(each.bound))
    return lowest if lowest.estimate.p_below(lowest.bound) < level / len(requirements) else None


def together(cases: Sequence[Requirement], means: Sequence[Requirement] = ()) -> Decision:
    """Whether a paper's "in all cases" stands.

    The mean effect must lie above the bound, and no single case significantly below (Holm). `means`: the mean
    effects; by default one, for which the cases are pooled by random effects as independent tasks. The two
    ways to fail share LEVEL / 2.
    """
    if not cases:
        raise Undecidable("there is nothing to compare")
    if len(cases) == 1:
        return every(cases)
    means = means or [Requirement("mean", pooled([each.estimate for each in cases]), cases[0].bound)]
    on_average = every(means, LEVEL / 4)
    because = "; ".join([on_average.because, *dict.fromkeys(map(str, cases))])
    if missed := significantly_missed(cases, LEVEL / 4):
        return Decision(Verdict.FAILS, because, missed, on_average.of_method)
    return on_average.but(because)


def all_of(decisions: Sequence[Decision]) -> Decision:
    """Whether every part of a claim stands; the deciding part fails, or else is undecided."""
    if not decisions:
        raise Undecidable("there is nothing to compare")
    order = [Verdict.FAILS, Verdict.UNDECIDED, Verdict.HOLDS]
    first = min(decisions, key=lambda each: order.index(each.verdict))
    return replace(
        first,
        because="; ".join(each.because for each in decisions),
        of_method=all(each.of_method for each in decisions),
    )


def by_p(difference: float, p: float, because: str, of_method: bool) -> Decision:
    """The verdict by the sign of a difference; undecided if its two-sided p-value is not below LEVEL."""
    if math.isnan(difference) or p >= LEVEL:
        return Decision(Verdict.UNDECIDED, because, None, of_method)
    return Decision(Verdict.HOLDS if difference > 0 else Verdict.FAILS, because, None, of_method)


def seeds_to_decide(requirement: Requirement, seeds: int = MOST_SEEDS) -> int | None:
    """The number of trainings that would decide a requirement if the value stayed the same.

    With so many, the interval would lie to one side of the bound. None if it does already, if no number up to
    `seeds` is enough, since the sentences alone leave the verdict open, or if the variance between trainings
    is unknown.
    """
    estimate, distance = requirement.estimate, abs(requirement.estimate.value - requirement.bound)
    if not estimate.of_method or estimate.half_width() < distance:
        return None
    wanted = (
        n for n in range(estimate.seeds, seeds + 1) if replace(estimate, seeds=n).half_width() < distance
    )
    return next(wanted, None)


def what_would_decide(requirement: Requirement) -> str:
    """The text with an undecided claim, as `half-width 0.63 BLEU, margin 0.38 BLEU; 8 seeds would decide`.

    An undecided claim whose deciding interval lies to one side of the bound waits for something else: above
    the bound for cases that are missing, below it for a difference that is clear among all cases (Holm).
    """
    estimate = requirement.estimate
    if estimate.error == 0 and requirement.bound == estimate.value:
        return "the value is the bound itself"
    needed = seeds_to_decide(requirement)
    distance = abs(estimate.value - requirement.bound)
    scale = {"plain": estimate.unit, "correlation": " (Fisher's z)", "ratio": " (logarithm)"}[estimate.scale]
    said = f"half-width {estimate.half_width():.2g}{scale}, margin {distance:.2g}{scale}"
    if estimate.half_width() < distance:
        above = "this part is decided; the claim waits for the missing cases"
        below = "below the bound by its own interval, but not clearly among so many comparisons"
        return f"{said}; {above if estimate.value > requirement.bound else below}"
    if not estimate.of_method:
        return f"{said}; at least {FEWEST_SEEDS} seeds are needed"
    if needed is None:
        return f"{said}; more than {MOST_SEEDS} seeds would be needed, or more sentences"
    return f"{said}; {needed} seeds would decide"


def signed(value: float) -> str:
    """`+0.51`, `−1.30`; two decimals (three below 0.1), `0.00` without a sign."""
    decimals = 3 if 0 < abs(value) < 0.0995 else 2
    text = f"{value:+.{decimals}f}".replace("-", "−")
    return "0.00" if not float(text[1:]) else text


def numbers(values: Iterable[float]) -> str:
    """Numbers in their shortest form: `20, 50 and 80`."""
    return listed(f"{value:g}" for value in values)


def listed(texts: Iterable[str]) -> str:
    """`a, b and c`."""
    *most, last = list(texts) or ["none"]
    return f"{', '.join(most)} and {last}" if most else last


def agreement(of_seeds: Sequence[float] | np.ndarray, points: int) -> Estimate:
    """The mean of one rank correlation per seed, all over the same number of `points`, by Fisher's z.

    The points contribute the variance of Spearman's coefficient, 1.06 / (points - 3) (Fieller et al. 1957).
    Raises Undecidable for fewer than four points, and if no correlation is defined.
    """
    defined = [rho for rho in of_seeds if not math.isnan(rho)]
    if points < 4:
        said = "1 point is" if points == 1 else f"{points} points are"
        raise Undecidable(f"{said} too few for a rank correlation that could not be chance")
    if not defined:
        raise Undecidable("there is no rank correlation, since one of the two sides is constant")
    z = np.arctanh(np.clip(defined, -0.999, 0.999))
    return replace(over_seeds(list(z), "", 1.06 / (points - 3)), scale="correlation")


def agrees(what: str, estimate: Estimate, bound: float = AGREEMENT) -> Requirement:
    """The requirement that a rank correlation lies above a bound."""
    return Requirement(what, estimate, math.atanh(bound))


def differs(what: str, estimate: Estimate, bound: float = AGREEMENT) -> Requirement:
    """The requirement that a rank correlation lies below a bound."""
    return Requirement(what, -estimate, -math.atanh(bound))
