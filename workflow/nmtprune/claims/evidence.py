"""What claims are decided by: the run's tables and figures, and what was measured of their rows."""

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
from nmtprune.measurements import importances, plateaus, similarity
from nmtprune.measurements.measurements import Measured, Way
from nmtprune.scoring import significance
from nmtprune.scoring.significance import SAMPLES, bleu, nll_per_token
from nmtprune.speed.protocol import IDLE
from nmtprune.store import manifest

BLEU, NLL = "bleu", "nll_per_token"
UNITS = {BLEU: " BLEU", NLL: " nats per token"}
RANGE = {2: 1.128, 3: 1.693, 4: 2.059, 5: 2.326, 6: 2.534, 7: 2.704, 8: 2.847, 9: 2.970, 10: 3.078}  # of n normal draws, in deviations
MEDIAN = 1.2533  # its standard error over that of the mean
FP32 = "fp32"


class Evidence:
    """Looks rows up by the steps that made their models, so that it follows presets and stand-ins. What is missing raises Undecidable."""

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
            raise Undecidable(f"there are no rows of {key} here, since nothing stands in for {', '.join(item.left_out)}")
        return item.rows

    def some_rows(self, *keys: str) -> dict[str, tuple[Row, ...]]:
        """The rows of those of several tables and figures that the run has rows of."""
        there = {key: self.items[key].rows for key in keys if key in self.items and self.items[key].rows}
        if not there:
            self.rows(next((key for key in keys if key in self.items), keys[0]))
        return there

    def paper_of(self, row: Row) -> str:
        """The paper whose table or figure a row is in."""
        return next((item.paper for item in self.items.values() if any(row is each for each in item.rows)), "")

    def value(self, row: Row, metric: str, test_set: int | str = 1) -> float:
        """The mean over the seeds that are there."""
        return float(np.mean(list(self.values(row, metric, test_set).values())))

    def values(self, row: Row, metric: str, test_set: int | str = 1) -> dict[int, float]:
        """One number of each seed that is there."""
        known = {chain.seed: self.measured.value(chain, metric, test_set) for chain in row.chains}
        there = {seed: value for seed, value in known.items() if value is not None}
        if not there:
            raise Undecidable(self.lacks(row.first, metric, test_set))
        return there

    def lacks(self, chain: Chain, metric: str, test_set: int | str = 1) -> str:
        """Why a number of a model is missing."""
        known = self.measured.missing(chain, {"scores"}) or self.measured.lacks(chain, metric, test_set)
        return known or f"{metric} of {chain} is not recorded"

    # --- differences between rows, paired by seed and by sentence

    def difference(self, ours: Row, theirs: Row, metric: str = BLEU, sets: tuple[str, ...] | None = None) -> Estimate:
        """A row's score less another's, all test sets of the task pooled (or the `sets` named)."""
        return self.mean_difference([(ours, theirs)], metric, sets)

    def mean_difference(self, pairs: Sequence[tuple[Row, Row]], metric: str = BLEU, sets: tuple[str, ...] | None = None) -> Estimate:
        """The mean of several rows' differences on one task; trainings that the pairs share are not averaged away."""
        for ours, theirs in pairs:
            self.compare(ours, theirs)
        terms = [term for ours, theirs in pairs for term in ((1 / len(pairs), ours), (-1 / len(pairs), theirs))]
        ours, theirs = pairs[0]
        known = self.spread(self.paper_of(ours), relation(ours.first, theirs.first), metric)
        pool = (known[0] * shared_trainings(pairs), known[1]) if known else None
        return over_replicates(self.by_seed(terms, metric, sets), UNITS[metric], pool)

    def contrast(self, terms: Sequence[tuple[float, Row]], metric: str = NLL) -> Estimate:
        """A weighted sum of the scores of variants of one training."""
        for _, row in terms:
            self.compare(row, terms[0][1], same_allowed=True)
        return over_replicates(self.by_seed(terms, metric), UNITS[metric])

    def compare(self, ours: Row, theirs: Row, same_allowed: bool = False) -> None:
        """Raises Undecidable where two rows may not be compared: one and the same run, trainings of different precision, a baseline that
        is not on its plateau."""
        if ours.chains == theirs.chains and not same_allowed:
            raise Undecidable(f"{ours.name} and {theirs.name} are one and the same run here")
        used = [self.precisions(row) for row in (ours, theirs)]
        if used[0] != used[1]:
            said = " and ".join(f"{row.name} in {listed(sorted(each))}" for row, each in zip((ours, theirs), used, strict=True))
            raise Undecidable(f"{said} were trained in different precision")
        for row in (ours, theirs):
            self.require_plateau(row)

    def precisions(self, row: Row) -> set[str]:
        """The precisions that the trainings behind a row used, by their manifests; single precision while there are none."""
        behind = {each for chain in row.chains for each in trainings(chain)}
        return {manifest.precision_of(made) for each in behind if (made := self.measured.manifest(each))} or {FP32}

    def require_plateau(self, row: Row) -> None:
        """Raises Undecidable where what a row's models were trained from scratch to would still gain by being trained on."""
        scratch = sorted({each for chain in row.chains if (each := from_scratch(chain))}, key=str)
        if not scratch:
            return
        found = plateaus.gain(scratch, self.measured)
        if found is None:
            known = self.measured.missing(scratch[0], {"scores"})
            raise Undecidable(known or f"the history of {scratch[0]}, which would say whether it is on its plateau, was not kept")
        if not found.done:
            raise Undecidable(plateaus.said(scratch[0], found))

    def by_seed(self, terms: Sequence[tuple[float, Row]], metric: str, sets: tuple[str, ...] | None = None) -> np.ndarray:
        """[seeds, 1 + SAMPLES]: a weighted sum of rows' scores, observed and of bootstrap samples of sentences, a line each seed that
        all rows have. Draws are the same for all rows and seeds."""
        rows = [row for _, row in terms]
        by_seed = [{chain.seed: chain for chain in row.chains} for row in rows]
        common = [seed for seed in by_seed[0] if all(seed in each for each in by_seed)]
        if not common:
            raise Undecidable(f"{rows[0].name} and {rows[-1].name} have no seed in common")
        lines, absent = [], []
        for seed in common:
            chains = [each[seed] for each in by_seed]
            try:
                used = sets or self.common_sets(chains, metric)
                lines.append(sum(weight * self.replicates(chain, metric, used) for (weight, _), chain in zip(terms, chains, strict=True)))
            except Undecidable as reason:
                absent.append(reason)
        if not lines:
            raise absent[0]
        return np.stack(lines)

    def common_sets(self, chains: Sequence[Chain], metric: str) -> tuple[str, ...]:
        """The pooled test sets of which the statistics of sentences of all models were kept."""
        what = "bleu" if metric == BLEU else "nll"
        known = self.measured.pooled_sets(chains[0].task)
        used = tuple(name for name in known if all(self.measured.of_sentences(chain, name, what) is not None for chain in chains))
        if not used:
            lacking = next(chain for chain in chains if self.measured.of_sentences(chain, known[0], what) is None)
            absent = self.measured.missing(lacking, {"scores"})
            raise Undecidable(absent or f"the sentence statistics of {lacking} were not kept")
        return used

    def _replicates(self, chain: Chain, metric: str, sets: tuple[str, ...]) -> np.ndarray:
        """[1 + SAMPLES]: a model's score on sets of sentences together, observed, then of bootstrap samples within each set."""
        sums = 0.0
        for name in sets:
            statistics = self.statistics(chain, name, metric)
            sums = sums + np.concatenate([statistics.sum(0, keepdims=True), draws(name, len(statistics)) @ statistics])
        return (bleu if metric == BLEU else nll_per_token)(sums)

    def statistics(self, chain: Chain, test_set: str, metric: str) -> np.ndarray:
        """[sentences, counts] of BLEU, or [sentences, 2] of likelihoods."""
        parts = [self.measured.of_sentences(chain, test_set, what) for what in (("bleu",) if metric == BLEU else ("nll", "tokens"))]
        if any(part is None for part in parts):
            absent = self.measured.missing(chain, {"scores"})
            raise Undecidable(absent or f"the sentence statistics of {chain} were not kept")
        return np.asarray(parts[0], float) if metric == BLEU else np.stack(parts, axis=-1)

    def _spread(self, paper: str, kind: str, metric: str) -> tuple[float, float] | None:
        """The variance between trainings of a difference of one kind (`relation`), and its degrees of freedom: pooled over the paper's
        comparisons, over all papers' where those give fewer than FEWEST_FREEDOM; None where no row has two seeds."""
        every_one = self.compared(metric)
        for chosen in (
            [each for each in every_one if each[0] == paper and each[1] == kind],
            [each for each in every_one if each[1] == kind],
        ):
            found = pooled_variance([(against, values) for _, _, against, values in chosen])
            if found and found[1] >= FEWEST_FREEDOM:
                return found
        return found

    def _compared(self, metric: str) -> list[tuple[str, str, tuple[Chain, ...], np.ndarray]]:
        """Paper, kind, the models compared with and the differences by seed: of all rows with their baseline, and of neighbours that
        have one baseline."""
        found: dict[tuple, tuple[str, str, tuple[Chain, ...], np.ndarray]] = {}
        for item in self.items.values():
            for before, row in zip((None, *item.rows), item.rows, strict=False):
                beside = before if before and before.against is row.against else None
                for other in filter(None, (row.against, beside)):
                    if other.chains != row.chains and (row.chains, other.chains) not in found:
                        kind = relation(row.first, other.first)
                        found[row.chains, other.chains] = (item.paper, kind, other.chains, self._differences(row, other, metric))
        return [each for each in found.values() if len(each[-1]) > 1]

    def _differences(self, row: Row, other: Row, metric: str) -> np.ndarray:
        """One difference a seed, by the score tables."""
        theirs = {chain.seed: chain for chain in other.chains}
        pairs = [(chain, theirs[chain.seed]) for chain in row.chains if chain.seed in theirs]
        values = [[self.measured.value(chain, metric) for chain in pair] for pair in pairs]
        return np.array([ours - against for ours, against in values if ours is not None and against is not None])

    # --- what a paper says of all cases

    def in_all(
        self, pairs: Mapping[str, tuple[Row, Row]], margin: float = 0.0, metric: str = BLEU, sets: tuple[str, ...] | None = None
    ) -> Decision:
        """Whether rows are better than others (or no worse by a margin) in all cases: rows on one task are averaged by seed and
        sentence, tasks are pooled by random effects, and no single case may be a significant loss."""
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
        """How many times as fast a row is as another.

        The first seed's models were measured; how much other seeds' would differ is taken from their multiply-adds per word.
        """
        pair = [self.seconds(row, way) for row in (ours, theirs)]
        work = [self.values(row, "macs_per_word") if len(row.chains) > 1 else {} for row in (ours, theirs)]
        ratios = [math.log(work[1][seed] / work[0][seed]) for seed in work[0] if seed in work[1]]
        seeds = max(1, len(ratios))
        spread = float(np.var(ratios, ddof=1)) if seeds > 1 else 0.0
        noise = sum((error / seconds) ** 2 for seconds, error in pair)
        value = math.log(self.speed_up(ours, theirs, way))
        return Estimate(value, seeds * spread, noise, seeds, max(1, seeds - 1), " as fast", "ratio")

    def speed_up(self, ours: Row, theirs: Row, way: Way | None) -> float:
        """How many times as fast the first seed's model of a row translated as that of another, whose `seconds` are there."""
        return self.measured.speed_up(ours.first, theirs.first, way)

    def seconds(self, row: Row, way: Way | None) -> tuple[float, float]:
        """Seconds for the test set and their standard error, that of the median of the runs; from their range, all that is kept of them.

        Raises Undecidable where other processes kept the machine busy meanwhile.
        """
        chain = row.first
        measured = self.measured.speed(chain, way)
        if measured is None:
            raise Undecidable(self.measured.lacks(chain, "speed_up", 1, way) or f"the speed of {chain} is not measured yet")
        others = float(measured.get("others_cpu") or 0)
        if others > IDLE:
            raise Undecidable(f"other processes kept {others:.1f} cores busy while the speed of {chain} was measured")
        value, low, high = (float(measured[name]) for name in ("seconds", "seconds_low", "seconds_high"))
        runs = max(2, min(int(measured["runs"]), max(RANGE)))
        return value, MEDIAN * (high - low) / RANGE[runs] / math.sqrt(runs)

    def widths(self, row: Row) -> dict[int, dict[str, float]]:
        """Units and heads left by name, of each seed that is there."""
        there = {chain.seed: widths for chain in row.chains if (widths := self.measured.widths(chain))}
        if not there:
            raise Undecidable(self.lacks(row.first, "shape"))
        return there

    # --- components

    def importance(self, row: Row, metric: str) -> Importance:
        """The importances of a row's components, those of them that are known."""
        found = importances.importance(row, metric, self.measured)
        if found is None:
            raise Undecidable(self.measured.missing(row.first, {METRICS[metric].reads}) or f"the {metric} of {row.first} is not there yet")
        self.require_plateau(row)
        return found.take([name for name in found.components if not np.isnan(found.mean[name])])

    def similarity(self, row: Row) -> similarity.Difference:
        """How similar the most and the least important components' output is to the model's, as table 1 of Wang and Tu prints it."""
        found = similarity.difference(row.chains, self.measured)
        if not found.models:
            known = self.measured.missing(row.first, {"similarity", "contribution", "order"})
            raise Undecidable(known or f"the similarity of {row.first} is not there yet")
        self.require_plateau(row)
        return found


@functools.lru_cache(maxsize=4)
def draws(name: str, sentences: int) -> np.ndarray:
    """[SAMPLES, sentences]: how often each sentence of a set is in each bootstrap sample; the same for all models."""
    return significance.draws(np.random.default_rng(zlib.crc32(name.encode())), sentences, SAMPLES)


def trainings(chain: Chain) -> list[Chain]:
    """The trainings whose weights a model has, from its own last one back to the one that began with new weights."""
    found = []
    for ancestor in chain.ancestors():
        if ancestor.last.kind.trains:
            found.append(ancestor)
        if ancestor.last.kind.begins_anew:
            break
    return found


def from_scratch(chain: Chain) -> Chain | None:
    """The training from new weights that a model goes back to; None for an import, and for pretraining, which other phases go on from."""
    begun = next((each for each in chain.ancestors() if each.last.kind.begins_anew), None)
    return None if begun is None or begun.last.kind.imports or begun.last.text == "train-pretrain" else begun


def shared_trainings(pairs: Sequence[tuple[Row, Row]]) -> float:
    """How much of the variance between trainings the mean of several differences has, 1 / their number to 1: two of them are taken to
    correlate fully where both their sides are of the same trainings, by one half where one side is."""
    sides = [[tuple(identity(each) for each in trainings(row.first)) for row in pair] for pair in pairs]
    return float(np.mean([[np.mean([a == b for a, b in zip(one, other, strict=True)]) for one in sides] for other in sides]))


def identity(chain: Chain) -> tuple:
    """A training whatever its seed."""
    return chain.task, chain.recipe, chain.steps


def relation(chain: Chain, other: Chain) -> str:
    """How far the trainings behind two models are the same, which their difference's variance between trainings depends on."""
    ours, theirs = ({identity(each) for each in trainings(one)} for one in (chain, other))
    if ours == theirs:
        return "one training"
    if ours < theirs or theirs < ours:
        return "one trained on from the other"
    return "trained on from one model" if ours & theirs else "trained apart"


def pooled_variance(comparisons: Sequence[tuple[tuple[Chain, ...], np.ndarray]]) -> tuple[float, float] | None:
    """The variance within comparisons (what is compared with; differences by seed) and its degrees of freedom; None where there are none.

    Comparisons with one baseline share its part of the variance, so that k of them are worth less than k: the correlation of two
    such differences is taken as 1/2, that of their sample variances as 1/4.
    """
    if not comparisons:
        return None
    freedom = [len(values) - 1 for _, values in comparisons]
    variance = sum(f * values.var(ddof=1) for f, (_, values) in zip(freedom, comparisons, strict=True)) / sum(freedom)
    by_baseline: dict[tuple[Chain, ...], list[int]] = {}
    for (against, _), each in zip(comparisons, freedom, strict=True):
        by_baseline.setdefault(against, []).append(each)
    worth = sum(sum(each) / (1 + (len(each) - 1) / 4) for each in by_baseline.values())
    return float(variance), float(worth)


def steps(row: Row) -> str:
    """The steps that made a row's models: `train/prune-local-50/retrain`."""
    return row.first.steps_text


def matching(rows: Iterable[Row], pattern: str) -> list[tuple[re.Match[str], Row]]:
    """Rows whose steps are as a regular expression says, a model but once."""
    found: dict[tuple[Chain, ...], tuple[re.Match[str], Row]] = {}
    for row in rows:
        if match := re.fullmatch(pattern, steps(row)):
            found.setdefault(row.chains, (match, row))
    return list(found.values())


def only(rows: Iterable[Row], pattern: str, what: str) -> Row:
    """The first row whose steps are as the pattern says."""
    found = matching(rows, pattern)
    if not found:
        raise Undecidable(f"there is no row of {what} here")
    return found[0][1]


def by_ratio(rows: Iterable[Row], pattern: str) -> dict[float, Row]:
    """Rows by the pruned share in percent, which the pattern's group `percent` names, in ascending order."""
    return {float(match["percent"]): row for match, row in sorted(matching(rows, pattern), key=lambda found: float(found[0]["percent"]))}


def at_ratio(evidence: Evidence, pruned: Mapping[float, Row], baseline: Row, percent: float, margin: float = MARGIN) -> Decision:
    """Whether a model pruned by so much is no worse than its baseline.

    It is decided at the ratio itself; where the run does not have it, by the next larger one if that is no worse either, and by the next
    smaller one if that is worse already.
    """
    if not pruned:
        raise Undecidable("no ratio is pruned so here")
    if percent in pruned:
        return every([not_worse(f"at {percent:g} %", evidence.difference(pruned[percent], baseline), margin)])
    nearest = [max((p for p in pruned if p < percent), default=None), min((p for p in pruned if p > percent), default=None)]
    judged = {
        verdict: every([not_worse(f"at {each:g} %", evidence.difference(pruned[each], baseline), margin)])
        for each, verdict in zip(nearest, (Verdict.FAILS, Verdict.HOLDS), strict=True)
        if each is not None
    }
    said = f"{'; '.join(each.because for each in judged.values())} ({percent:g} % itself is not among the ratios)"
    decided = next((each for verdict, each in judged.items() if each.verdict is verdict), None)
    if decided:
        return decided.but(said)
    first = next(iter(judged.values()))
    return Decision(Verdict.UNDECIDED, said, first.deciding, first.of_method)


def over_cases(names: Iterable[str], decide: Callable[[str], Decision]) -> list[Decision]:
    """Decisions of those cases that have one; raises Undecidable with the first reason where none has, and appends the others' reasons to
    the last."""
    decisions, absent = [], []
    for name in names:
        try:
            found = decide(name)
            decisions.append(found.but(f"{name}: {found.because}" if name else found.because))
        except Undecidable as reason:
            absent.append(str(reason))
    if not decisions:
        raise Undecidable(absent[0] if absent else "there is nothing to compare")
    return [*decisions[:-1], decisions[-1].while_missing(absent)]
