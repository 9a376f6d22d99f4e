"""The evidence that claims are decided by: rows of the run's tables and figures, and their measurements."""

from __future__ import annotations

import functools
import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from nmtprune.analysis.importance import Importance
from nmtprune.claims.verdict import (
    FEWEST_FREEDOM,
    MARGIN,
    Decision,
    Estimate,
    Requirement,
    Undecidable,
    Verdict,
    every,
    listed,
    not_worse,
    over_replicates,
    pooled,
    together,
)
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.metrics import METRICS
from nmtprune.experiment.papers import Item, Row
from nmtprune.foundation.known import known
from nmtprune.measurements import importances, plateaus, similarity
from nmtprune.measurements.measurements import Measured, Way
from nmtprune.scoring import significance
from nmtprune.scoring.significance import SAMPLES, bleu, nll_per_token
from nmtprune.speed.protocol import IDLE
from nmtprune.store import manifest

BLEU, NLL = "bleu", "nll_per_token"
UNITS = {BLEU: " BLEU", NLL: " nats per token"}
# the expected range of n normal draws, in standard deviations
RANGE = {2: 1.128, 3: 1.693, 4: 2.059, 5: 2.326, 6: 2.534, 7: 2.704, 8: 2.847, 9: 2.970, 10: 3.078}
MEDIAN = 1.2533  # standard error of the median of normal draws, over that of the mean
FP32 = "fp32"
FAR = 0.1  # scores of two models are far apart if they differ by more than this share of one of them


class Evidence:
    """Finds rows by the steps that made their models, so that claims can be tested under any preset.

    Every method raises Undecidable if something that it needs is missing.
    """

    def __init__(self, config: Config, measured: Measured, items: Iterable[Item]) -> None:
        self.config, self.measured = config, measured
        self.items = {item.key: item for item in items}
        self.replicates = functools.cache(self._replicates)
        self.compared = functools.cache(self._compared)
        self.spread = functools.cache(self._spread)

    def rows(self, key: str) -> tuple[Row, ...]:
        """The rows of a table or figure."""
        if key not in self.items:
            raise Undecidable(f"{key} was not run")
        item = self.items[key]
        if not item.rows:
            raise Undecidable(
                f"{key} has no rows in this run, since nothing stands in for {', '.join(item.left_out)}"
            )
        return item.rows

    def some_rows(self, *keys: str) -> dict[str, tuple[Row, ...]]:
        """Rows by table or figure, for those of the named ones that have rows in this run.

        Raises Undecidable if none has rows.
        """
        rows = {key: self.items[key].rows for key in keys if key in self.items and self.items[key].rows}
        if not rows:
            self.rows(
                next((key for key in keys if key in self.items), keys[0])
            )  # which raises, with the reason
        return rows

    def paper_of(self, row: Row) -> str:
        """The paper whose table or figure a row is in."""
        return next(
            (item.paper for item in self.items.values() if any(row is each for each in item.rows)), ""
        )

    def value(self, row: Row, metric: str, test_set: int | str = 1) -> float:
        """Mean of a metric over the seeds that have been scored."""
        return float(np.mean(list(self.values(row, metric, test_set).values())))

    def values(self, row: Row, metric: str, test_set: int | str = 1) -> dict[int, float]:
        """A metric by seed, for the seeds that have been scored."""
        values = self._scored(row, metric, test_set)
        if not values:
            raise Undecidable(self.lacks(row.first, metric, test_set))
        return values

    def lacks(self, chain: Chain, metric: str, test_set: int | str = 1) -> str:
        """The reason why a model has no value of a metric."""
        reason = self.measured.missing(chain, {"scores"}) or self.measured.lacks(chain, metric, test_set)
        return reason or f"{metric} of {chain} is not recorded"

    # --- differences between rows, paired by seed and by sentence

    def difference(
        self, ours: Row, theirs: Row, metric: str = BLEU, sets: tuple[str, ...] | None = None
    ) -> Estimate:
        """Score of one row minus that of another, over all test sets of the task pooled (or over `sets`)."""
        return self.mean_difference([(ours, theirs)], metric, sets)

    def mean_difference(
        self, pairs: Sequence[tuple[Row, Row]], metric: str = BLEU, sets: tuple[str, ...] | None = None
    ) -> Estimate:
        """Mean difference over several pairs of rows on one task.

        Variance from trainings that the pairs share is not averaged away.
        """
        for ours, theirs in pairs:
            self.compare(ours, theirs)
        terms = [
            term for ours, theirs in pairs for term in ((1 / len(pairs), ours), (-1 / len(pairs), theirs))
        ]
        ours, theirs = pairs[0]
        spread = self.spread(self.paper_of(ours), self.kind(ours, theirs), metric)
        pool = (spread[0] * shared_trainings(pairs), spread[1]) if spread else None
        return over_replicates(self.by_seed(terms, metric, sets), UNITS[metric], pool)

    def contrast(self, terms: Sequence[tuple[float, Row]], metric: str = NLL) -> Estimate:
        """Weighted sum of the scores of several variants of one training."""
        for _, row in terms:
            self.compare(row, terms[0][1], same_allowed=True)
        return over_replicates(self.by_seed(terms, metric), UNITS[metric])

    def compare(self, ours: Row, theirs: Row, same_allowed: bool = False) -> None:
        """Raises Undecidable if two rows may not be compared.

        They may not be if they are the same run, if their models were trained in different precision, or if a
        baseline has not reached its plateau.
        """
        if ours.chains == theirs.chains and not same_allowed:
            raise Undecidable(f"{ours.name} and {theirs.name} are one and the same run here")
        precisions = [self.precisions(row) for row in (ours, theirs)]
        if precisions[0] != precisions[1]:
            both = " and ".join(
                f"{row.name} in {listed(sorted(used))}"
                for row, used in zip((ours, theirs), precisions, strict=True)
            )
            raise Undecidable(f"{both} were trained in different precision")
        for row in (ours, theirs):
            self.require_plateau(row)

    def precisions(self, row: Row) -> set[str]:
        """Precisions of the trainings behind a row, from manifests; single precision if there are none."""
        trained = {training for chain in row.chains for training in trainings(chain)}
        return {
            manifest.precision_of(made) for training in trained if (made := self.measured.manifest(training))
        } or {FP32}

    def require_plateau(self, row: Row) -> None:
        """Raises Undecidable if models that a row descends from would still gain by further training.

        Only models that were trained from scratch are checked.
        """
        scratch = sorted({each for chain in row.chains if (each := plateaus.from_scratch(chain))}, key=str)
        if not scratch:
            return
        gain = plateaus.gain(scratch, self.measured)
        if gain is None:
            reason = self.measured.missing(scratch[0], {"scores"})
            raise Undecidable(
                reason
                or f"the history of {scratch[0]}, which would say whether it is on its plateau, was not kept"
            )
        if not gain.done:
            raise Undecidable(plateaus.said(scratch[0], gain))

    def by_seed(
        self, terms: Sequence[tuple[float, Row]], metric: str, sets: tuple[str, ...] | None = None
    ) -> np.ndarray:
        """[seeds, 1 + SAMPLES]: weighted sum of the rows' scores for each seed that all rows have.

        The first column is as observed, the others are on bootstrap samples of sentences. All rows and seeds
        use the same samples.
        """
        rows = [row for _, row in terms]
        chain_of_seed = [{chain.seed: chain for chain in row.chains} for row in rows]
        seeds = [seed for seed in chain_of_seed[0] if all(seed in of_row for of_row in chain_of_seed)]
        if not seeds:
            raise Undecidable(f"{rows[0].name} and {rows[-1].name} have no seed in common")
        lines, absent = [], []
        for seed in seeds:
            chains = [of_row[seed] for of_row in chain_of_seed]
            try:
                used = sets or self.common_sets(chains, metric)
                lines.append(
                    sum(
                        weight * self.replicates(chain, metric, used)
                        for (weight, _), chain in zip(terms, chains, strict=True)
                    )
                )
            except Undecidable as reason:
                absent.append(reason)
        if not lines:
            raise absent[0]
        return np.stack(lines)

    def common_sets(self, chains: Sequence[Chain], metric: str) -> tuple[str, ...]:
        """The pooled test sets for which the sentence statistics of all models were kept."""
        what = "bleu" if metric == BLEU else "nll"
        pooled_sets = self.measured.pooled_sets(chains[0].task)
        common = tuple(
            name
            for name in pooled_sets
            if all(self.measured.of_sentences(each, name, what) is not None for each in chains)
        )
        if not common:
            lacking = next(
                chain for chain in chains if self.measured.of_sentences(chain, pooled_sets[0], what) is None
            )
            reason = self.measured.missing(lacking, {"scores"})
            raise Undecidable(reason or f"the sentence statistics of {lacking} were not kept")
        return common

    def _replicates(self, chain: Chain, metric: str, sets: tuple[str, ...]) -> np.ndarray:
        """[1 + SAMPLES]: a model's score on several test sets pooled.

        The first is as observed, the others are on bootstrap samples drawn within each set.
        """
        sums = []
        for name in sets:
            statistics = self.statistics(chain, name, metric)
            sums.append(
                np.concatenate([statistics.sum(0, keepdims=True), draws(name, len(statistics)) @ statistics])
            )
        return (bleu if metric == BLEU else nll_per_token)(functools.reduce(np.add, sums))

    def statistics(self, chain: Chain, test_set: str, metric: str) -> np.ndarray:
        """Statistics of each sentence: counts for BLEU [sentences, 10], or log-likelihoods [sentences, 2].

        The latter are negative log-likelihoods and token counts.
        """
        names = ("bleu",) if metric == BLEU else ("nll", "tokens")
        parts = [
            part for what in names if (part := self.measured.of_sentences(chain, test_set, what)) is not None
        ]
        if len(parts) < len(names):
            reason = self.measured.missing(chain, {"scores"})
            raise Undecidable(reason or f"the sentence statistics of {chain} were not kept")
        return np.asarray(parts[0], float) if metric == BLEU else np.stack(parts, axis=-1)

    def _spread(self, paper: str, kind: str, metric: str) -> tuple[float, float] | None:
        """The variance between trainings of one kind of difference, and its degrees of freedom.

        The variance is pooled over the paper's comparisons of the kind (see `kind`), or over those of all
        papers if the paper's give fewer than FEWEST_FREEDOM. None if no row has two seeds.
        """
        comparisons = self.compared(metric)
        for chosen in (
            [each for each in comparisons if each[0] == paper and each[1] == kind],
            [each for each in comparisons if each[1] == kind],
        ):
            variance = pooled_variance([(against, values) for _, _, against, values in chosen])
            if variance and variance[1] >= FEWEST_FREEDOM:
                return variance
        return variance

    def kind(self, row: Row, other: Row) -> str:
        """The kind of a comparison: comparisons of one kind vary equally between trainings.

        The kind is that of `relation`, and whether the BLEU of the two rows is far apart. What is left of a
        model that lost much of its BLEU by pruning varies several times as much as the loss of a model that
        lost little.
        """
        differences = self._differences(row, other, BLEU)
        scores = self._scored(other, BLEU)
        far = len(differences) and abs(differences.mean()) > FAR * max(map(abs, scores.values()))
        return relation(row.first, other.first) + (", far apart" if far else "")

    def _compared(self, metric: str) -> list[tuple[str, str, tuple[Chain, ...], np.ndarray]]:
        """All comparisons of rows with their baselines, and of neighbouring rows that share a baseline.

        Each has the paper, the kind (see `kind`), the models that are compared with, and the differences by
        seed.
        """
        comparisons: dict[tuple, tuple[str, str, tuple[Chain, ...], np.ndarray]] = {}
        for item in self.items.values():
            for before, row in zip((None, *item.rows), item.rows, strict=False):
                beside = before if before and before.against is row.against else None
                for other in filter(None, (row.against, beside)):
                    if other.chains != row.chains and (row.chains, other.chains) not in comparisons:
                        comparisons[row.chains, other.chains] = (
                            item.paper,
                            self.kind(row, other),
                            other.chains,
                            self._differences(row, other, metric),
                        )
        return [each for each in comparisons.values() if len(each[-1]) > 1]

    def _differences(self, row: Row, other: Row, metric: str) -> np.ndarray:
        """One difference for each seed that both rows have, from the score tables."""
        ours, theirs = (self._scored(each, metric) for each in (row, other))
        return np.array([ours[seed] - theirs[seed] for seed in ours if seed in theirs])

    def _scored(self, row: Row, metric: str, test_set: int | str = 1) -> dict[int, float]:
        """A metric by seed, from the score tables; without seeds that have none."""
        values = {chain.seed: self.measured.value(chain, metric, test_set) for chain in row.chains}
        return {seed: value for seed, value in values.items() if value is not None}

    # --- claims about all cases

    def in_all(
        self,
        pairs: Mapping[str, tuple[Row, Row]],
        margin: float = 0.0,
        metric: str = BLEU,
        sets: tuple[str, ...] | None = None,
    ) -> Decision:
        """Whether the first row of every pair is better than the second (or no worse by more than a margin).

        Pairs on one task are averaged by seed and sentence, tasks are pooled by random effects, and no single
        pair may show a significant loss.
        """
        cases, absent = {}, []
        for name, pair in pairs.items():
            try:
                cases[name] = self.difference(*pair, metric, sets)
            except Undecidable as reason:
                absent.append(str(reason))
        if not cases:
            raise Undecidable(absent[0] if absent else "there is nothing to compare")
        by_task: dict[str, list[tuple[Row, Row]]] = {}
        for name in cases:
            by_task.setdefault(pairs[name][0].first.task, []).append(pairs[name])
        means = [self.mean_difference(of_task, metric, sets) for of_task in by_task.values()]
        requirements = [Requirement(name, estimate, -margin) for name, estimate in cases.items()]
        return together(requirements, [Requirement("mean", pooled(means), -margin)]).while_missing(absent)

    # --- speed

    def faster(self, ours: Row, theirs: Row, way: Way | None) -> Estimate:
        """How many times as fast one row is as another.

        Only the models of the first seed are timed; the variation over seeds is estimated from their
        multiply-adds per word.
        """
        timed = [self.seconds(row, way) for row in (ours, theirs)]
        work = [self.values(row, "macs_per_word") if len(row.chains) > 1 else {} for row in (ours, theirs)]
        ratios = [math.log(work[1][seed] / work[0][seed]) for seed in work[0] if seed in work[1]]
        seeds = max(1, len(ratios))
        spread = float(np.var(ratios, ddof=1)) if seeds > 1 else 0.0
        noise = sum((error / seconds) ** 2 for seconds, error in timed)
        value = math.log(self.speed_up(ours, theirs, way))
        return Estimate(value, seeds * spread, noise, seeds, max(1, seeds - 1), " as fast", "ratio")

    def speed_up(self, ours: Row, theirs: Row, way: Way | None) -> float:
        """How many times as fast as another row's model one row's model translates, by their first seeds.

        Both must have been timed.
        """
        return known(self.measured.speed_up(ours.first, theirs.first, way))

    def seconds(self, row: Row, way: Way | None) -> tuple[float, float]:
        """Seconds to translate the test set, the median of several runs, and its standard error.

        The error is estimated from the range of the runs, since single runs are not kept. Raises Undecidable
        if other processes kept the machine busy during the measurement.
        """
        chain = row.first
        measured = self.measured.speed(chain, way)
        if measured is None:
            raise Undecidable(
                self.measured.lacks(chain, "speed_up", 1, way) or f"the speed of {chain} is not measured yet"
            )
        others = float(measured.get("others_cpu") or 0)
        if others > IDLE:
            raise Undecidable(
                f"other processes kept {others:.1f} cores busy while the speed of {chain} was measured"
            )
        value, low, high = (float(measured[name]) for name in ("seconds", "seconds_low", "seconds_high"))
        runs = max(2, min(int(measured["runs"]), max(RANGE)))
        return value, MEDIAN * (high - low) / RANGE[runs] / math.sqrt(runs)

    def widths(self, row: Row) -> dict[int, dict[str, int]]:
        """Numbers of feed-forward units and heads that are left, by layer name, for each scored seed."""
        widths_of_seed = {
            chain.seed: widths for chain in row.chains if (widths := self.measured.widths(chain))
        }
        if not widths_of_seed:
            raise Undecidable(self.lacks(row.first, "shape"))
        return widths_of_seed

    # --- components

    def importance(self, row: Row, metric: str) -> Importance:
        """Importances of a row's components, without those components whose importance is unknown."""
        importance = importances.importance(row, metric, self.measured)
        if importance is None:
            raise Undecidable(
                self.measured.missing(row.first, {METRICS[metric].reads})
                or f"{row.first} has no {metric} yet"
            )
        self.require_plateau(row)
        return importance.take(
            [name for name in importance.components if not np.isnan(importance.mean[name])]
        )

    def similarity(self, row: Row) -> similarity.Difference:
        """How much more similar to the output the most important components are than the least important.

        This is the difference in table 1 of Wang and Tu.
        """
        difference = similarity.difference(row.chains, self.measured)
        if not difference.models:
            reason = self.measured.missing(row.first, {"similarity", "contribution", "order"})
            raise Undecidable(reason or f"{row.first} has no similarity yet")
        self.require_plateau(row)
        return difference


@functools.lru_cache(maxsize=4)
def draws(name: str, sentences: int) -> np.ndarray:
    """[SAMPLES, sentences]: how often each sentence of a test set is in each bootstrap sample.

    All models use the same samples.
    """
    return significance.draws(np.random.default_rng(zlib.crc32(name.encode())), sentences, SAMPLES)


def trainings(chain: Chain) -> list[Chain]:
    """The trainings that produced a model's weights, from the last back to the one with new weights."""
    trained = []
    for ancestor in chain.ancestors():
        if ancestor.last.kind.trains:
            trained.append(ancestor)
        if ancestor.last.kind.begins_anew:
            break
    return trained


def shared_trainings(pairs: Sequence[tuple[Row, Row]]) -> float:
    """The share of the variance between trainings that remains in the mean of several differences.

    It lies between 1 / len(pairs) and 1. The correlation of two differences is taken as 1 if both their sides
    come from the same trainings, and as 1/2 if one side does.
    """
    sides = [[tuple(identity(each) for each in trainings(row.first)) for row in pair] for pair in pairs]
    return float(
        np.mean(
            [[np.mean([a == b for a, b in zip(one, other, strict=True)]) for one in sides] for other in sides]
        )
    )


def identity(chain: Chain) -> tuple:
    """What identifies a training apart from its seed."""
    return chain.task, chain.recipe, chain.steps


def relation(chain: Chain, other: Chain) -> str:
    """How many trainings two models share; the variance of their difference depends on it."""
    ours, theirs = ({identity(each) for each in trainings(one)} for one in (chain, other))
    if ours == theirs:
        return "one training"
    if ours < theirs or theirs < ours:
        return "one trained on from the other"
    return "trained on from one model" if ours & theirs else "trained apart"


def pooled_variance(
    comparisons: Sequence[tuple[tuple[Chain, ...], np.ndarray]],
) -> tuple[float, float] | None:
    """The variance within comparisons and its degrees of freedom; None without comparisons.

    Each comparison is given by the models that are compared with, and the differences by seed. Comparisons
    with one baseline share the baseline's part of the variance, so that k of them are worth less than k: the
    correlation of two such differences is taken as 1/2, that of their sample variances as 1/4.
    """
    if not comparisons:
        return None
    freedom = [len(values) - 1 for _, values in comparisons]
    variance = sum(f * values.var(ddof=1) for f, (_, values) in zip(freedom, comparisons, strict=True)) / sum(
        freedom
    )
    by_baseline: dict[tuple[Chain, ...], list[int]] = {}
    for (against, _), each in zip(comparisons, freedom, strict=True):
        by_baseline.setdefault(against, []).append(each)
    worth = sum(sum(each) / (1 + (len(each) - 1) / 4) for each in by_baseline.values())
    return float(variance), float(worth)


def steps(row: Row) -> str:
    """The steps that made a row's models: `train/prune-local-50/retrain`."""
    return row.first.steps_text


def matching(rows: Iterable[Row], pattern: str) -> list[tuple[re.Match[str], Row]]:
    """The rows whose steps match a regular expression, with the match; each model once."""
    matches: dict[tuple[Chain, ...], tuple[re.Match[str], Row]] = {}
    for row in rows:
        if match := re.fullmatch(pattern, steps(row)):
            matches.setdefault(row.chains, (match, row))
    return list(matches.values())


def only(rows: Iterable[Row], pattern: str, what: str) -> Row:
    """The first row whose steps match the pattern; raises Undecidable without one, calling it `what`."""
    matches = matching(rows, pattern)
    if not matches:
        raise Undecidable(f"there is no row of {what} here")
    return matches[0][1]


def by_ratio(rows: Iterable[Row], pattern: str) -> dict[float, Row]:
    """Rows by the percentage that was pruned, in ascending order.

    The group `percent` of the pattern captures the percentage.
    """
    return {
        float(match["percent"]): row
        for match, row in sorted(matching(rows, pattern), key=lambda found: float(found[0]["percent"]))
    }


def at_ratio(
    evidence: Evidence, pruned: Mapping[float, Row], baseline: Row, percent: float, margin: float = MARGIN
) -> Decision:
    """Whether a model pruned by `percent` is no worse than its baseline.

    If the run does not have that percentage, its neighbours may decide: the claim holds if the model of the
    next larger percentage is no worse either, and fails if the model of the next smaller one is worse
    already.
    """
    if not pruned:
        raise Undecidable("no model is pruned in this way here")
    if percent in pruned:
        return every([not_worse(f"at {percent:g} %", evidence.difference(pruned[percent], baseline), margin)])
    nearest = [
        max((p for p in pruned if p < percent), default=None),
        min((p for p in pruned if p > percent), default=None),
    ]
    judged = {
        verdict: every([not_worse(f"at {each:g} %", evidence.difference(pruned[each], baseline), margin)])
        for each, verdict in zip(nearest, (Verdict.FAILS, Verdict.HOLDS), strict=True)
        if each is not None
    }
    because = (
        f"{'; '.join(each.because for each in judged.values())} ({percent:g} % itself is not among the "
        "ratios)"
    )
    decided = next((each for verdict, each in judged.items() if each.verdict is verdict), None)
    if decided:
        return decided.but(because)
    first = next(iter(judged.values()))
    return Decision(Verdict.UNDECIDED, because, first.deciding, first.of_method)


def over_cases(names: Iterable[str], decide: Callable[[str], Decision]) -> list[Decision]:
    """The decisions on the cases that can be decided; the last one also gives reasons for the others.

    Raises Undecidable with the first reason if no case can be decided.
    """
    decisions, absent = [], []
    for name in names:
        try:
            decision = decide(name)
            decisions.append(decision.but(f"{name}: {decision.because}" if name else decision.because))
        except Undecidable as reason:
            absent.append(str(reason))
    if not decisions:
        raise Undecidable(absent[0] if absent else "there is nothing to compare")
    return [*decisions[:-1], decisions[-1].while_missing(absent)]
