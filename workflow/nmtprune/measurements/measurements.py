"""What has been measured so far: scores, manifests and hypotheses of chains, or the reason why they are missing."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nmtprune.experiment import paths, shapes
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config, pooled_sets
from nmtprune.experiment.metrics import BATCH_SIZE, METRICS, SCORES, SPEED
from nmtprune.experiment.papers import Item
from nmtprune.experiment.step_kinds import SPARSE
from nmtprune.foundation.files import read_json, read_lines, read_table
from nmtprune.scoring import comet, sentence_statistics
from nmtprune.scoring.quality import Quality
from nmtprune.scoring.tokenised import tokenised_bleu
from nmtprune.speed import protocol
from nmtprune.store import current, manifest, units


class Way(NamedTuple):
    """How a model translates when its speed is taken."""

    engine: str
    shortlist: bool


WAYS = tuple(Way(engine, shortlist) for engine in ("ctranslate2", "onnx", "fairseq") for shortlist in (True, False))
BY_PERPLEXITY = "pruned in one weight class only, which is scored by perplexity alone"


class Measured:
    """Reads each file once. Nothing here fails for a file that is not there yet: missing is None. So is what is not current."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._outdated = current.outdated()
        self.where = functools.cache(functools.partial(units.where, config))
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
        """The task's main test set, the one in tables."""
        return next(iter(self.config.task(task)["test"]))

    def test_sets(self, task: str, which: int | str) -> list[str]:
        """The task's test set at a place counted from 1, none where it has fewer; or `all`."""
        names = list(self.config.task(task)["test"])
        return names if which == "all" else names[which - 1 : which]

    def scores(self, chain: Chain, test_set: str | None = None) -> dict[str, str] | None:
        """The row of a chain's score table on a test set (the main one)."""
        test_set = test_set or self.test_set(chain.task)
        rows = self._table(self.where(paths.scores(chain)))
        return next((row for row in rows if row["chain"] == str(chain) and row["set"] == test_set), None)

    def value(self, chain: Chain, metric: str, test_set: int | str = 1, way: Way | None = None) -> float | None:
        """One number: a column of the score table (on the test set at a place, or the mean over `all`), of the speed table (in one
        way), of an analysis, or what follows from such. None where it is not measured."""
        about = METRICS[metric]
        if about.value:
            return about.value(self, chain, test_set)
        column = about.column or metric
        if about.reads == SPEED:
            row = self.speed(chain, way, about.batch_size)
            return _number(row[column]) if row else None
        if about.reads != SCORES:
            found = self.analysis(chain, about.reads)
            return _number(found.set_index("name")["value"].get(metric)) if found is not None else None
        if about.split:
            return self._score(chain, column, about.split)
        return _mean([self._score(chain, column, name) for name in self.test_sets(chain.task, test_set)])

    def mean_tokenised_bleu(self, chain: Chain, test_set: int | str) -> float | None:
        """BLEU of tokenised text on the test set at a place, or the mean over `all`; None where one is missing."""
        return _mean([self.tokenised_bleu(chain, name) for name in self.test_sets(chain.task, test_set)])

    def stored_size(self, chain: Chain) -> float | None:
        """Bytes of a model as it is stored: as its engine's files where it is in 8 bits, else dense or sparse."""
        if chain.quantised_for:
            sizes = (_number(row["size_on_disk"]) for row in self.speeds(chain) if row["precision"] == "int8")
            return next(sizes, None) or self._score(chain, "size_stored")
        return self._score(chain, "size_stored" if chain.form == SPARSE else "size_dense")

    def _score(self, chain: Chain, column: str, test_set: str | None = None) -> float | None:
        row = self.scores(chain, test_set)
        return _number(row.get(column)) if row else None

    def sparsity(self, chain: Chain, parts: tuple[str, ...]) -> float | None:
        """What a model lacks of its recipe's shape, in percent."""
        architecture, shape = self.config.recipe(chain.recipe)["architecture"], self.shape(chain)
        dense = shapes.uniform(architecture)
        return shapes.sparsity(shape, dense, parts, architecture.get("tied_decoder_layers", False)) if shape and dense else None

    def shape(self, chain: Chain) -> shapes.Shape | None:
        """The widths of a scored Transformer's layers."""
        return shapes.read((self.scores(chain) or {}).get("shape"))

    def widths(self, chain: Chain) -> dict[str, int]:
        """FFN units and heads by name, as `ffn_encoder_1`; tied decoder layers are one. Empty where they are not known."""
        shape = self.shape(chain)
        tied = self.config.recipe(chain.recipe)["architecture"].get("tied_decoder_layers", False)
        return shapes.widths(shape, tied) if shape else {}

    def speeds(self, chain: Chain) -> list[dict[str, str]]:
        """All rows of a chain in its task's table of speeds."""
        return [row for row in self._table(self._speed_file(chain)) if row["chain"] == str(chain)]

    def speed(self, chain: Chain, way: Way | None, batch_size: int = BATCH_SIZE) -> dict[str, str] | None:
        """How fast a chain was translated with in one way, in the precision that the chain ends in."""
        wanted = (*way, "int8" if chain.quantised_for else "float32", batch_size) if way else None
        rows = ((row["engine"], row["shortlist"] == "1", row["precision"], int(row["batch_size"]), row) for row in self.speeds(chain))
        return next((row for *found, row in rows if tuple(found) == wanted), None)

    def way(self, item: Item) -> Way | None:
        """The one way of translating in which an item's rows are compared: the one that was timed with most of them, the first of WAYS
        where several were; None where none was."""
        timed = {way: sum(self.speed(row.first, way) is not None for row in item.rows) for way in WAYS}
        best = max(timed, key=timed.get)
        return best if timed[best] else None

    def speed_up(self, ours: Chain, theirs: Chain, way: Way | None) -> float | None:
        """How many times as fast one chain translates as another; None where one of them is not measured in that way."""
        rows = [self.speed(chain, way) for chain in (ours, theirs)]
        return None if None in rows else protocol.speed_up(*rows)

    def _speed_file(self, chain: Chain) -> Path:
        return self.where(paths.speed(self.config.name, chain.task))

    def lacks(self, chain: Chain, metric: str, test_set: int | str = 1, way: Way | None = None) -> str | None:
        """Why one number of a scored chain is missing where others of it are there; None where nothing more is known of it."""
        about = METRICS.get(metric)
        if about and about.reads == SPEED:
            if not self._table(self._speed_file(chain)):
                return f"speed on {chain.task} is not measured yet"
            if not self.speeds(chain):
                return f"the speed of {chain} is not measured yet"
            reasons = self._table(paths.left_out(self._speed_file(chain)))
            known = (row["reason"] for row in reasons if way and (row["chain"], row["engine"]) == (str(chain), way.engine))
            return (
                f"{chain} is not timed in {way.engine if way else 'any engine'}, as other rows are: {next(known, 'it was not asked for')}"
            )
        if not self.test_sets(chain.task, test_set):
            return f"{self.config.task(chain.task)['title']} has {len(self.test_sets(chain.task, 'all'))} test set(s)"
        return about.lacking(self, chain) if about and about.lacking else None

    def lacks_comet(self, chain: Chain) -> str:
        """Why a scored chain has no score of COMET."""
        reason = comet.unavailable(self.config.settings["comet_model"])
        return f"COMET: {reason}" if reason else f"{chain} was scored before the COMET model was given"

    def updates(self, chain: Chain) -> int | None:
        """Updates that made a model, all its trainings together; None while one of them is missing."""
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
        """In which precision a model was trained: that of its trainings in their order, each once, as `bf16` or `fp32 and bf16`. Models are
        compared only where it is the same. None while a training is missing, and where nothing was trained here."""
        used = []
        for ancestor in reversed(list(chain.ancestors())):
            if ancestor.last.kind.trains:
                made = self.manifest(ancestor)
                if made is None:
                    return None
                used.append(manifest.precision_of(made))
        return " and ".join(dict.fromkeys(used)) or None

    def is_its_parent(self, chain: Chain) -> bool:
        """Whether the parent, at update 0, was selected in a chain's last training, so that it is that model."""
        trained = self.manifest(chain) if chain.last.kind.competes else None
        return trained is not None and trained.get("selected_update") == 0

    def hypotheses(self, chain: Chain, test_set: str | None = None) -> list[str] | None:
        """A chain's translations of a test set (the main one); None where they are not there, or are of another text than there is now."""
        row = self.scores(chain, test_set)
        file = self.where(Path(row["hypotheses"])) if row and row["hypotheses"] else None
        if file is None or not file.exists():
            return None
        lines, references = read_lines(file), self.text(chain.task, "target", test_set)
        return lines if references is None or len(lines) == len(references) else None

    def text(self, task: str, side: str, test_set: str | None = None) -> list[str] | None:
        """The `source` or `target` side of a task's test set (the main one)."""
        file = paths.text(task) / f"{test_set or self.test_set(task)}.{self.config.task(task)[side]}"
        return read_lines(file) if file.exists() else None

    def missing(self, chain: Chain, sources: Iterable[str]) -> str | None:
        """Why a chain lacks what an item reads of it (`Item.reads`); None where all is there."""
        for source in sorted(sources):
            known = {"scores": self.scores, "history": self.manifest, "hypotheses": self.hypotheses, "norms": self.norms}
            if known.get(source, lambda each, name=source: self.analysis(each, name))(chain) is None:
                return self.reason(chain, source)
        return None

    def reason(self, chain: Chain, source: str = "scores") -> str:
        """Why a chain has no scores, no hypotheses, or not the analysis named."""
        for ancestor in reversed(list(chain.ancestors())):
            if paths.manifest(ancestor) in self._outdated:
                return f"{ancestor} was made from something that has changed since, and is not made again yet"
            if self.manifest(ancestor) is None and not ancestor.last.kind.selects:
                folder = paths.model(ancestor)
                began = paths.state(folder).exists() or (folder / paths.PROGRESS).exists()
                state = "was begun and is not finished, see its log" if began else "has not run yet"
                return f"{ancestor} {state}"
        if source == "hypotheses" and (row := self.scores(chain)):
            whole = f"the translations of {chain} are gone, or of another text than the test set is now: score it again"
            return whole if row["hypotheses"] else f"{chain} is {BY_PERPLEXITY}"
        return f"{chain} is not scored yet" if source in ("scores", "hypotheses") else f"the {source} of {chain} are not there yet"

    def _is_there(self, file: Path) -> bool:
        return file not in self._outdated and file.exists()

    def _manifest(self, chain: Chain) -> dict[str, Any] | None:
        file = self.where(paths.manifest(chain))
        return read_json(file) if self._is_there(file) else None

    def _rows(self, file: Path) -> list[dict[str, str]]:
        """The rows of a table; none where it is not there."""
        return read_table(file) if self._is_there(file) else []

    def _read_analysis(self, chain: Chain, name: str) -> pd.DataFrame | None:
        """The numbers of an analysis of a model; None where it has not run."""
        file = self.where(paths.analysis(chain, name))
        return pd.read_csv(file) if self._is_there(file) else None

    def _read_arrays(self, chain: Chain, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of an analysis of a model; None where it left none."""
        numbers = self.where(paths.analysis(chain, name))
        file = paths.arrays(numbers)
        if numbers in self._outdated or not file.exists():
            return None
        with np.load(file) as found:
            return dict(found)

    def _read_history(self, chain: Chain) -> pd.DataFrame | None:
        """The history of a chain's last training, a row a validation; None where it is not there."""
        file = self.where(paths.history(chain))
        return pd.read_csv(file) if file.exists() else None

    def _read_norms(self, chain: Chain) -> dict[str, np.ndarray] | None:
        """What a chain's `slice` left of the norms of its groups; None where it is not there."""
        file = self.where(paths.norms(chain))
        if not file.exists():
            return None
        with np.load(file) as found:
            return dict(found)

    def pooled_sets(self, task: str) -> list[str]:
        """The task's test sets whose sentences claims pool."""
        return pooled_sets(self.config.task(task)["test"])

    def _statistics(self, chain: Chain, which: int | str = 1) -> np.ndarray | None:
        """[1, sentences, counts]: BLEU statistics of the chain's hypotheses on the main test set, or of `all` together."""
        found = [self.of_sentences(chain, name, "bleu") for name in self.test_sets(chain.task, which)]
        return None if any(each is None for each in found) else np.concatenate(found)[None]

    def of_sentences(self, chain: Chain, test_set: str, what: str) -> np.ndarray | None:
        """Statistics of every sentence (`bleu` [sentences, 10], `nll` and `tokens` [sentences]), as they were kept beside the scores, or of
        hypotheses and references that are there still. None where neither is, or where they are of another text than the scores."""
        row = self.scores(chain, test_set)
        if row is None:
            return None
        kept = self._sentences(self.where(paths.sentences(chain))).get(f"{chain.last}/{test_set}/{what}")
        if kept is not None:
            return kept if len(kept) == int(row["sentences"]) else None
        if what == "bleu":
            hypotheses, quality = self.hypotheses(chain, test_set), self.quality(chain.task, test_set)
            return None if hypotheses is None or quality is None else quality.statistics(hypotheses)
        file = self.where(paths.hypotheses(chain, test_set).with_suffix(".nll"))
        likelihoods = np.array([float(line) for line in read_lines(file)]) if file.exists() else np.empty(0)
        if len(likelihoods) != int(row["sentences"]):
            return None
        # of each sentence the mean number of tokens, since its own is not kept
        return likelihoods if what == "nll" else np.full(len(likelihoods), float(row["target_tokens"]) / len(likelihoods))

    def _tokenised_bleu(self, chain: Chain, test_set: str) -> float | None:
        """BLEU of tokenised text; None where hypotheses or references are not there."""
        hypotheses, references = self.hypotheses(chain, test_set), self.text(chain.task, "target", test_set)
        if hypotheses is None or references is None:
            return None
        return tokenised_bleu(hypotheses, references, self.config.task(chain.task)["target"])

    def _quality(self, task: str, test_set: str) -> Quality | None:
        """What scores hypotheses of a test set; None where its references are not there."""
        references = self.text(task, "target", test_set)
        return None if references is None else Quality(references, self.config.task(task)["target"])


def _number(value: Any) -> float | None:
    return None if value is None or value == "" else float(value)


def _mean(values: list[float | None]) -> float | None:
    """None where there is no value, or one is missing."""
    return None if not values or None in values else sum(values) / len(values)
