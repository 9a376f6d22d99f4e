"""What has been measured so far: scores, manifests and hypotheses of chains, or the reason why they are missing."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nmtprune import paths
from nmtprune.chain import SPARSE, Chain
from nmtprune.config import Config
from nmtprune.files import read_json, read_lines
from nmtprune.papers import READ_BY_METRIC
from nmtprune.scoring import significance

BY_PERPLEXITY = "pruned in one weight class only, which is scored by perplexity alone"


class Measured:
    """Reads each file once. Nothing here fails for a file that is not there yet: missing is None."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.manifest = functools.cache(self._manifest)
        self.statistics = functools.cache(self._statistics)
        self.analysis = functools.cache(_read_analysis)
        self.history = functools.cache(_read_history)
        self._table = functools.cache(_read_table)

    def test_set(self, task: str) -> str:
        """The task's main test set, the one in tables."""
        return next(iter(self.config.task(task)["test"]))

    def scores(self, chain: Chain, test_set: str | None = None) -> dict[str, str] | None:
        """The row of a chain's score table on a test set (the main one)."""
        test_set = test_set or self.test_set(chain.task)
        rows = self._table(paths.scores(chain))
        return next((row for row in rows if row["chain"] == str(chain) and row["set"] == test_set), None)

    def value(self, chain: Chain, metric: str) -> float | None:
        """One number: a column of the score table or of an analysis, or what follows from such. None where it is not measured."""
        if metric in READ_BY_METRIC:
            found = self.analysis(chain, READ_BY_METRIC[metric])
            return _number(found.set_index("name")["value"].get(metric)) if found is not None else None
        match metric:
            case "updates":
                return self.updates(chain)
            case "train_nll" | "dev_nll":
                return self._score(chain, "nll_per_token", metric.removesuffix("_nll"))
            case "gap":
                train, dev = self.value(chain, "train_nll"), self.value(chain, "dev_nll")
                return None if train is None or dev is None else dev - train
            case "size_stored":
                return self._score(chain, "size_stored" if chain.state == SPARSE else "size_dense")
        return self._score(chain, metric)

    def _score(self, chain: Chain, column: str, test_set: str | None = None) -> float | None:
        row = self.scores(chain, test_set)
        return _number(row.get(column)) if row else None

    def updates(self, chain: Chain) -> int | None:
        """Updates that made a model, all its trainings together; None while one of them is missing."""
        total = 0
        for ancestor in chain.ancestors():
            after = chain.steps[len(ancestor.steps) :]
            if after and after[0].family.name == "at":
                continue  # its snapshot counts the updates of its own, not all of them
            manifest = self.manifest(ancestor)
            if manifest is None and ancestor.last.family.selects:
                continue  # a variant that is scored without a directory of its own
            if manifest is None:
                return None
            total += manifest.get("updates") or 0
        return total

    def hypotheses(self, chain: Chain) -> list[str] | None:
        """A chain's translations of the main test set; None where they are not there, or are of another text than there is now."""
        row = self.scores(chain)
        if not row or not row["hypotheses"] or not Path(row["hypotheses"]).exists():
            return None
        lines, references = read_lines(row["hypotheses"]), self.text(chain.task, "target")
        return lines if references is None or len(lines) == len(references) else None

    def text(self, task: str, side: str) -> list[str] | None:
        """The `source` or `target` side of a task's main test set."""
        file = paths.text(task) / f"{self.test_set(task)}.{self.config.task(task)[side]}"
        return read_lines(file) if file.exists() else None

    def missing(self, chain: Chain, sources: Iterable[str]) -> str | None:
        """Why a chain lacks what an item reads of it (`Item.reads`); None where all is there."""
        for source in sorted(sources):
            known = {"scores": self.scores, "history": self.manifest, "hypotheses": self.hypotheses}
            if known.get(source, lambda each, name=source: self.analysis(each, name))(chain) is None:
                return self.reason(chain, source)
        return None

    def reason(self, chain: Chain, source: str = "scores") -> str:
        """Why a chain has no scores, no hypotheses, or not the analysis named."""
        for ancestor in reversed(list(chain.ancestors())):
            if self.manifest(ancestor) is None and not ancestor.last.family.selects:
                folder = paths.model(ancestor)
                began = paths.state(folder).exists() or (folder / paths.PROGRESS).exists()
                state = "was begun and is not finished, see its log" if began else "has not run yet"
                return f"{ancestor} {state}"
        if source == "hypotheses" and (row := self.scores(chain)):
            whole = f"the translations of {chain} are gone, or of another text than the test set is now: score it again"
            return whole if row["hypotheses"] else f"{chain} is {BY_PERPLEXITY}"
        return f"{chain} is not scored yet" if source in ("scores", "hypotheses") else f"the {source} of {chain} are not there yet"

    def _manifest(self, chain: Chain) -> dict[str, Any] | None:
        file = paths.manifest(chain)
        return read_json(file) if file.exists() else None

    def _statistics(self, chain: Chain) -> np.ndarray | None:
        """[1, sentences, counts]: BLEU statistics of the chain's hypotheses on the main test set."""
        hypotheses, references = self.hypotheses(chain), self.text(chain.task, "target")
        if hypotheses is None or references is None:
            return None
        return significance.bleu_statistics(hypotheses, references, self.config.task(chain.task)["target"])


def _number(value: Any) -> float | None:
    return None if value is None or value == "" else float(value)


def _read_analysis(chain: Chain, name: str) -> pd.DataFrame | None:
    """The numbers of an analysis of a model; None where it has not run."""
    file = paths.analysis(chain, name)
    return pd.read_csv(file) if file.exists() else None


def _read_history(chain: Chain) -> pd.DataFrame | None:
    """The history of a chain's last training, a row a validation; None where it is not there."""
    file = paths.history(chain)
    return pd.read_csv(file) if file.exists() else None


def _read_table(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with open(file, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def interval(statistics: np.ndarray, samples: int = 1000, seed: int = 12345) -> tuple[float, float]:
    """The 95 % bootstrap interval over sentences of one system's BLEU; `statistics` [1, sentences, counts]."""
    sentences = statistics.shape[1]
    draws = np.random.default_rng(seed).multinomial(sentences, np.full(sentences, 1 / sentences), size=samples)
    low, high = np.percentile(significance.bleu(draws @ statistics[0]), [2.5, 97.5])
    return float(low), float(high)
