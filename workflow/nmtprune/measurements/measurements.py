"""What has been measured so far of the run's chains, or the reason why it is missing.

These are scores, analyses, speeds and translations.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nmtprune.experiment import paths, shapes
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.metrics import BATCH_SIZE, METRICS, SCORES, SPEED
from nmtprune.experiment.papers import Item
from nmtprune.experiment.step_kinds import SPARSE
from nmtprune.foundation import commands
from nmtprune.foundation.files import read_json, read_lines, read_table
from nmtprune.scoring import comet, sentence_statistics
from nmtprune.scoring.quality import Quality
from nmtprune.scoring.tokenised import tokenised_bleu
from nmtprune.speed import protocol
from nmtprune.store import current, manifest, units


class Way(NamedTuple):
    """How a model translates while its speed is measured."""

    engine: str
    shortlist: bool


WAYS = tuple(
    Way(engine, shortlist) for engine in ("ctranslate2", "onnx", "fairseq") for shortlist in (True, False)
)
BY_PERPLEXITY = "pruned in one weight class only, which is scored by perplexity alone"


class Measured:
    """Reads the files of a run, each once.

    A file that does not exist yet, or is out of date, is not an error: its values are None.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._outdated = current.outdated()
        self.where = functools.cache(units.Kept(config).where)
        self.manifest = functools.cache(self._manifest)
        self.statistics = functools.cache(self._statistics)
        self.quality = functools.cache(self._quality)
        self.analysis = functools.cache(self._read_analysis)
        self.arrays = functools.cache(self._read_arrays)
        self._sentences = functools.cache(sentence_statistics.read)
        self.history = functools.cache(self._read_history)
        self.norms = functools.cache(self._read_norms)
        self.tokenised_bleu = functools.cache(self._tokenised_bleu)
        self._table = functools.cache(self._rows)

    def test_set(self, task: str) -> str:
        """The task's main test set, the first one, which tables show."""
        return self.config.task(task).main_test

    def test_sets(self, task: str, which: int | str) -> list[str]:
        """The task's test set number `which`, counted from 1 (none if there are fewer), or `all` of them."""
        names = self.config.task(task).tests
        return names if isinstance(which, str) else names[which - 1 : which]

    def scores(self, chain: Chain, test_set: str | None = None) -> dict[str, str] | None:
        """The row of a chain's score table for a test set, the main one by default."""
        test_set = test_set or self.test_set(chain.task)
        rows = self._table(self.where(paths.scores(chain)))
        return next((row for row in rows if row["chain"] == str(chain) and row["set"] == test_set), None)

    def value(
        self, chain: Chain, metric: str, test_set: int | str = 1, way: Way | None = None
    ) -> float | None:
        """The value of a metric for a chain; None if it is not measured.

        It is read from the score table (for a test set by its number, or the mean over `all`), from the speed
        table (for one way of translating), or from an analysis, or is derived from these.
        """
        about = METRICS[metric]
        if about.value:
            return about.value(self, chain, test_set)
        column = about.column or metric
        if about.reads == SPEED:
            row = self.speed(chain, way, about.batch_size)
            return _number(row[column]) if row else None
        if about.reads != SCORES:
            analysis = self.analysis(chain, about.reads)
            return _number(analysis.set_index("name")["value"].get(metric)) if analysis is not None else None
        if about.split:
            return self._score(chain, column, about.split)
        return _mean([self._score(chain, column, name) for name in self.test_sets(chain.task, test_set)])

    def mean_tokenised_bleu(self, chain: Chain, test_set: int | str) -> float | None:
        """BLEU of tokenised text on a test set by its number, or the mean over `all`.

        None if one is missing.
        """
        return _mean([self.tokenised_bleu(chain, name) for name in self.test_sets(chain.task, test_set)])

    def stored_size(self, chain: Chain) -> float | None:
        """The stored size of a model in bytes.

        It is the size of its engine's files if it is in 8 bits, otherwise that of its dense or sparse
        weights.
        """
        if chain.quantised_for:
            sizes = (_number(row["size_on_disk"]) for row in self.speeds(chain) if row["precision"] == "int8")
            return next(sizes, None) or self._score(chain, "size_stored")
        return self._score(chain, "size_stored" if chain.form == SPARSE else "size_dense")

    def _score(self, chain: Chain, column: str, test_set: str | None = None) -> float | None:
        row = self.scores(chain, test_set)
        return _number(row.get(column)) if row else None

    def sparsity(self, chain: Chain, parts: tuple[str, ...]) -> float | None:
        """The share of units or heads of its recipe's shape that a model lacks, in percent."""
        architecture, shape = self.config.recipe(chain.recipe).architecture, self.shape(chain)
        dense = architecture.shape
        return (
            shapes.sparsity(shape, dense, parts, architecture.tied_decoder_layers)
            if shape and dense
            else None
        )

    def shape(self, chain: Chain) -> shapes.Shape | None:
        """The widths of a scored Transformer's layers."""
        return shapes.read((self.scores(chain) or {}).get("shape"))

    def widths(self, chain: Chain) -> dict[str, int]:
        """Numbers of FFN units and heads by name (`ffn_encoder_1`); empty if they are unknown.

        Tied decoder layers count as one.
        """
        shape = self.shape(chain)
        tied = self.config.recipe(chain.recipe).architecture.tied_decoder_layers
        return shapes.widths(shape, tied) if shape else {}

    def speeds(self, chain: Chain) -> list[dict[str, str]]:
        """All rows of a chain in its task's table of speeds."""
        return [row for row in self._table(self._speed_file(chain)) if row["chain"] == str(chain)]

    def speed(self, chain: Chain, way: Way | None, batch_size: int = BATCH_SIZE) -> dict[str, str] | None:
        """The row of the speed table for a chain and a way of translating, in the chain's final precision."""
        wanted = (*way, "int8" if chain.quantised_for else "float32", batch_size) if way else None
        rows = (
            (row["engine"], row["shortlist"] == "1", row["precision"], int(row["batch_size"]), row)
            for row in self.speeds(chain)
        )
        return next((row for *found, row in rows if tuple(found) == wanted), None)

    def way(self, item: Item) -> Way | None:
        """The way of translating in which an item's rows are compared; None if no row was timed.

        It is the way in which most rows were timed; of several such ways, the first in WAYS.
        """
        timed = {way: sum(self.speed(row.first, way) is not None for row in item.rows) for way in WAYS}
        best = max(timed, key=timed.__getitem__)
        return best if timed[best] else None

    def speed_up(self, ours: Chain, theirs: Chain, way: Way | None) -> float | None:
        """How many times as fast one chain translates as another; None if one was not timed in that way."""
        our_row, their_row = self.speed(ours, way), self.speed(theirs, way)
        return None if our_row is None or their_row is None else protocol.speed_up(our_row, their_row)

    def _speed_file(self, chain: Chain) -> Path:
        return self.where(paths.speed(self.config.name, chain.task))

    def lacks(self, chain: Chain, metric: str, test_set: int | str = 1, way: Way | None = None) -> str | None:
        """Why a scored chain has no value of one metric; None if there is no particular reason."""
        about = METRICS.get(metric)
        if about and about.reads == SPEED:
            if not self._table(self._speed_file(chain)):
                return f"speed on {chain.task} is not measured yet"
            if not self.speeds(chain):
                return f"the speed of {chain} is not measured yet"
            reasons = self._table(paths.left_out(self._speed_file(chain)))
            known = (
                row["reason"]
                for row in reasons
                if way and (row["chain"], row["engine"]) == (str(chain), way.engine)
            )
            return (
                f"{chain} is not timed in {way.engine if way else 'any engine'}, as other rows are: "
                f"{next(known, 'it was not asked for')}"
            )
        if not self.test_sets(chain.task, test_set):
            return (
                f"{self.config.task(chain.task).title} has {len(self.test_sets(chain.task, 'all'))} "
                "test set(s)"
            )
        return about.lacking(self, chain) if about and about.lacking else None

    def lacks_comet(self, chain: Chain) -> str:
        """Why a scored chain has no COMET score."""
        reason = comet.unavailable(self.config.settings["comet_model"])
        return f"COMET: {reason}" if reason else f"{chain} was scored before the COMET model was given"

    def lacks_measure(self, chain: Chain, measure: str) -> str:
        """Why a scored chain has no score by a measure that is scored on request."""
        asked, title = self.config.settings["measures"], METRICS[measure].title
        if measure not in asked:
            wanted = ", ".join([*asked, measure])
            return f"{title} is not asked for (setting `measures: [{wanted}]`)"
        again = commands.nmtprune("score", str(chain))
        return f"{chain} was scored before {title} was asked for; score it again: {again}"

    def updates(self, chain: Chain) -> int | None:
        """The number of updates of all trainings behind a model; None while one of these is missing."""
        total = 0
        for ancestor in chain.ancestors():
            after = chain.steps[len(ancestor.steps) :]
            if after and after[0].kind.snapshot:
                continue  # its snapshot counts the updates of its own, not all of them
            made = self.manifest(ancestor)
            if made is None and ancestor.last.kind.selects:
                continue  # a variant that is scored without a directory of its own
            if made is None:
                return None
            total += made.get("updates") or 0
        return total

    def trained_precision(self, chain: Chain) -> str | None:
        """The precisions of the trainings behind a model, in order and each once: `bf16`, `fp32 and bf16`.

        Models are compared only if theirs are the same. None while a training is missing, and if nothing was
        trained here.
        """
        used = []
        for ancestor in reversed(list(chain.ancestors())):
            if ancestor.last.kind.trains:
                made = self.manifest(ancestor)
                if made is None:
                    return None
                used.append(manifest.precision_of(made))
        return " and ".join(dict.fromkeys(used)) or None

    def is_its_parent(self, chain: Chain) -> bool:
        """Whether a chain's last training selected its parent (update 0), so that both are the same model."""
        trained = self.manifest(chain) if chain.last.kind.competes else None
        return trained is not None and trained.get("selected_update") == 0

    def hypotheses(self, chain: Chain, test_set: str | None = None) -> list[str] | None:
        """A chain's translations of a test set, by default the main one.

        None if they are missing, or belong to an earlier text.
        """
        row = self.scores(chain, test_set)
        file = self.where(Path(row["hypotheses"])) if row and row["hypotheses"] else None
        if file is None or not file.exists():
            return None
        lines, references = read_lines(file), self.text(chain.task, "target", test_set)
        return lines if references is None or len(lines) == len(references) else None

    def text(self, task: str, side: str, test_set: str | None = None) -> list[str] | None:
        """The `source` or `target` side of a task's test set, the main one by default."""
        file = paths.text(task) / f"{test_set or self.test_set(task)}.{self.config.task(task).language(side)}"
        return read_lines(file) if file.exists() else None

    def references(self, task: str, test_set: str) -> list[list[str]] | None:
        """All references of a test set, one list of lines each; None where a file is missing."""
        files = self.config.references(task, test_set)
        return [read_lines(file) for file in files] if all(file.exists() for file in files) else None

    def missing(self, chain: Chain, sources: Iterable[str]) -> str | None:
        """Why a chain lacks one of the sources that an item reads (`Item.reads`); None if it has all."""
        for source in sorted(sources):
            readers = {
                "scores": self.scores,
                "history": self.manifest,
                "hypotheses": self.hypotheses,
                "norms": self.norms,
            }
            if readers.get(source, lambda each, name=source: self.analysis(each, name))(chain) is None:
                return self.reason(chain, source)
        return None

    def reasons_of(self, chains: Iterable[Chain], sources: Iterable[str]) -> list[str]:
        """For each of the chains that lacks one of the sources, why."""
        return [reason for chain in chains if (reason := self.missing(chain, sources))]

    def reason(self, chain: Chain, source: str = "scores") -> str:
        """Why a chain has no scores, no hypotheses, or no analysis of the name `source`."""
        for ancestor in reversed(list(chain.ancestors())):
            if paths.manifest(ancestor) in self._outdated:
                return f"{ancestor} was made from something that has changed since, and not made again yet"
            if self.manifest(ancestor) is None and not ancestor.last.kind.selects:
                folder = paths.model(ancestor)
                began = paths.state(folder).exists() or (folder / paths.PROGRESS).exists()
                return (
                    f"{ancestor} {'was begun and not finished, see its log' if began else 'has not run yet'}"
                )
        if source == "hypotheses" and (row := self.scores(chain)):
            whole = (
                f"the translations of {chain} are gone, or of another text than the test set is now: "
                "score it again"
            )
            return whole if row["hypotheses"] else f"{chain} is {BY_PERPLEXITY}"
        return (
            f"{chain} is not scored yet"
            if source in ("scores", "hypotheses")
            else f"{chain} has no {source} yet"
        )

    def _is_there(self, file: Path) -> bool:
        return file not in self._outdated and file.exists()

    def _manifest(self, chain: Chain) -> dict[str, Any] | None:
        file = self.where(paths.manifest(chain))
        return read_json(file) if self._is_there(file) else None

    def _rows(self, file: Path) -> list[dict[str, str]]:
        """The rows of a table; none if the file is missing."""
        return read_table(file) if self._is_there(file) else []

    def _read_analysis(self, chain: Chain, name: str) -> pd.DataFrame | None:
        """The numbers of an analysis of a model; None if it has not run."""
        file = self.where(paths.analysis(chain, name))
        return pd.read_csv(file) if self._is_there(file) else None

    def _read_arrays(self, chain: Chain, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of an analysis of a model; None if it left none."""
        numbers = self.where(paths.analysis(chain, name))
        file = paths.arrays(numbers)
        return None if numbers in self._outdated else _arrays(file)

    def _read_history(self, chain: Chain) -> pd.DataFrame | None:
        """The history of a chain's last training, one row per validation; None if it is missing."""
        file = self.where(paths.history(chain))
        return pd.read_csv(file) if file.exists() else None

    def _read_norms(self, chain: Chain) -> dict[str, np.ndarray] | None:
        """The norms of a chain's groups, as its step `slice` kept them; None if they are missing."""
        return _arrays(self.where(paths.norms(chain)))

    def pooled_sets(self, task: str) -> list[str]:
        """The test sets of a task whose sentences are pooled when claims are decided."""
        return self.config.task(task).pooled_tests

    def _statistics(self, chain: Chain, which: int | str = 1) -> np.ndarray | None:
        """[1, sentences, counts]: BLEU statistics of hypotheses on a test set by its number, or on `all`."""
        names = self.test_sets(chain.task, which)
        of_sets = [each for name in names if (each := self.of_sentences(chain, name, "bleu")) is not None]
        return np.concatenate(of_sets)[None] if len(of_sets) == len(names) else None

    def of_sentences(self, chain: Chain, test_set: str, what: str) -> np.ndarray | None:
        """Statistics of every sentence, by the names of `scoring.sentence_statistics`.

        They are those kept beside the scores. Those of BLEU, likelihoods and tokens are otherwise computed
        from hypotheses and references if these are still there. None if neither is possible, or if they
        belong to another text than the scores.
        """
        row = self.scores(chain, test_set)
        if row is None:
            return None
        kept = self._sentences(self.where(paths.sentences(chain))).get(f"{chain.last}/{test_set}/{what}")
        if kept is not None:
            return kept if len(kept) == int(row["sentences"]) else None
        if what == "bleu":
            hypotheses, quality = self.hypotheses(chain, test_set), self.quality(chain.task, test_set)
            return None if hypotheses is None or quality is None else quality.statistics(hypotheses)
        if what not in ("nll", "tokens"):
            return None
        file = self.where(paths.hypotheses(chain, test_set).with_suffix(".nll"))
        likelihoods = np.array([float(line) for line in read_lines(file)]) if file.exists() else np.empty(0)
        if len(likelihoods) != int(row["sentences"]):
            return None
        # every sentence gets the mean number of tokens, since the numbers of single sentences are not kept
        return (
            likelihoods
            if what == "nll"
            else np.full(len(likelihoods), float(row["target_tokens"]) / len(likelihoods))
        )

    def _tokenised_bleu(self, chain: Chain, test_set: str) -> float | None:
        """BLEU of tokenised text; None without hypotheses or references."""
        hypotheses, references = self.hypotheses(chain, test_set), self.references(chain.task, test_set)
        if hypotheses is None or references is None:
            return None
        return tokenised_bleu(hypotheses, references, self.config.task(chain.task).target)

    def _quality(self, task: str, test_set: str) -> Quality | None:
        """The scorer of hypotheses of a test set; None without references."""
        if (references := self.references(task, test_set)) is None:
            return None
        first, *more = references
        return Quality(first, self.config.task(task).target, more)


def _arrays(file: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None if there is no such file."""
    if not file.exists():
        return None
    with np.load(file) as arrays:
        return dict(arrays)


def _number(value: Any) -> float | None:
    return None if value is None or value == "" else float(value)


def _mean(values: list[float | None]) -> float | None:
    """The mean of values; None if there are none, or if one is missing."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if values and len(there) == len(values) else None
