"""What claims are decided by: the run's tables and figures, and what was measured of their rows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nmtprune.chain import Chain
from nmtprune.claims.verdict import NLL_NOISE, NOISE, Estimate, Undecidable, Verdict, listed, not_worse
from nmtprune.config import Config
from nmtprune.files import read_lines
from nmtprune.papers import Item, Row
from nmtprune.reporting.measured import Measured
from nmtprune.scoring.significance import Score, bleu, likelihood_statistics, nll_per_token, paired_bootstrap

NATS = " nats per token"


class Evidence:
    """Looks rows up by the steps that made their models, so that it follows presets and stand-ins. What is missing raises Undecidable."""

    def __init__(self, config: Config, measured: Measured, items: Iterable[Item]) -> None:
        self.config, self.measured = config, measured
        self.items = {item.key: item for item in items}

    def rows(self, key: str) -> tuple[Row, ...]:
        """The rows of a table or figure."""
        if key not in self.items:
            raise Undecidable(f"the run does not have {key}")
        item = self.items[key]
        if not item.rows:
            raise Undecidable(f"there are no rows of {key} here, since nothing stands in for {', '.join(item.left_out)}")
        return item.rows

    def some_rows(self, *keys: str) -> dict[str, tuple[Row, ...]]:
        """The rows of those of several tables and figures that the run has rows of."""
        found = {key: self.items[key].rows for key in keys if key in self.items and self.items[key].rows}
        if not found:
            self.rows(next((key for key in keys if key in self.items), keys[0]))
        return found

    def value(self, row: Row, metric: str, test_set: int | str = 1) -> float:
        """The mean over the seeds that are there."""
        found = [value for chain in row.chains if (value := self.measured.value(chain, metric, test_set)) is not None]
        if not found:
            raise Undecidable(self.lacks(row, metric, test_set))
        return float(np.mean(found))

    def lacks(self, row: Row, metric: str, test_set: int | str = 1) -> str:
        """Why a number of a row is missing."""
        first = row.chains[0]
        known = self.measured.missing(first, {"scores"}) or self.measured.lacks(first, metric, test_set)
        return known or f"{metric} of {first} is not recorded"

    def difference(self, row: Row, other: Row, test_set: int | str = 1) -> Estimate:
        """A row's BLEU less another's: paired bootstrap over seeds and sentences, or, without translations, ± NOISE."""
        pairs = _pairs(row, other)
        sentences = [[self.measured.statistics(chain, test_set) for chain in pair] for pair in pairs]
        return self._bootstrap(sentences, bleu, " BLEU") or self._by_value(row, other, "bleu", test_set, NOISE, " BLEU")

    def nll_difference(self, row: Row, other: Row) -> Estimate:
        """A row's negative log-likelihood per token less another's, likewise. Both must have one vocabulary."""
        sentences = [[self._likelihoods(chain) for chain in pair] for pair in _pairs(row, other)]
        return self._bootstrap(sentences, nll_per_token, NATS) or self._by_value(row, other, "nll_per_token", 1, NLL_NOISE, NATS)

    def _bootstrap(self, sentences: list[list[np.ndarray | None]], score: Score, unit: str) -> Estimate | None:
        """From pairs of statistics [1, sentences, counts] of one test set, one pair a seed; None where no pair is whole."""
        whole = [(a, b) for a, b in sentences if a is not None and b is not None and a.shape == b.shape]
        if not whole:
            return None
        ours, theirs = (np.concatenate(side) for side in zip(*whole, strict=True))
        found = paired_bootstrap(theirs, ours, score)
        return Estimate(found.difference, found.low, found.high, unit)

    def _by_value(self, row: Row, other: Row, metric: str, test_set: int | str, noise: float, unit: str) -> Estimate:
        """The mean difference over seeds, with an interval that is taken and not measured."""
        pairs = _pairs(row, other)
        values = [[self.measured.value(chain, metric, test_set) for chain in pair] for pair in pairs]
        known = [ours - theirs for ours, theirs in values if ours is not None and theirs is not None]
        if not known:
            lacking = other if values[0][1] is None and values[0][0] is not None else row
            raise Undecidable(self.lacks(lacking, metric, test_set))
        mean = float(np.mean(known))
        return Estimate(mean, mean - noise, mean + noise, unit, by_value=True)

    def _likelihoods(self, chain: Chain) -> np.ndarray | None:
        """[1, sentences, 2]: negative log-likelihoods of the main test set, and of each sentence the mean number of tokens, since its
        own is not kept."""
        scores = self.measured.scores(chain)
        file = Path(scores["hypotheses"]).with_suffix(".nll") if scores and scores.get("hypotheses") else None
        if file is None or not file.exists():
            return None
        found = [float(line) for line in read_lines(file)]
        return likelihood_statistics(found, [float(scores["target_tokens"]) / len(found)] * len(found))


def _pairs(row: Row, other: Row) -> list[tuple[Chain, Chain]]:
    """Models of the same seed; in the order of their seeds where the rows have none in common. Raises Undecidable for the same models."""
    if row.chains == other.chains:
        raise Undecidable(f"{row.name} and {other.name} are one and the same run here")
    theirs = {chain.seed: chain for chain in other.chains}
    common = [(chain, theirs[chain.seed]) for chain in row.chains if chain.seed in theirs]
    return common or list(zip(row.chains, other.chains, strict=False))


def steps(row: Row) -> str:
    """The steps that made a row's models: `train/prune-local-50/retrain`."""
    return "/".join(map(str, row.chains[0].steps))


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


def at_ratio(evidence: Evidence, pruned: dict[float, Row], baseline: Row, percent: float, margin: float) -> tuple[Verdict, str]:
    """Whether a model pruned by so much is no worse than its baseline, and the differences.

    It is decided at the ratio itself; where the run does not have it, by the next larger one if that is no worse either, and by the next
    smaller one if that is worse already.
    """
    if not pruned:
        raise Undecidable("no ratio is pruned so here")
    below = max((each for each in pruned if each <= percent), default=None)
    beyond = min((each for each in pruned if each >= percent), default=None)
    estimates = {each: evidence.difference(pruned[each], baseline) for each in dict.fromkeys((below, beyond)) if each is not None}
    judged = {each: not_worse(margin)(estimate) for each, estimate in estimates.items()}
    verdict = Verdict.UNDECIDED
    if judged.get(beyond) is Verdict.HOLDS:
        verdict = Verdict.HOLDS
    elif judged.get(below) is Verdict.FAILS:
        verdict = Verdict.FAILS
    absent = "" if percent in pruned else f" ({percent:g} % itself is not among the ratios)"
    return verdict, f"{listed(f'{estimate} at {each:g} %' for each, estimate in estimates.items())}{absent}"
