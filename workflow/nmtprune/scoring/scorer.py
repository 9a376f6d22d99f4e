"""All scores of a model on named test sets; sets are encoded once for many variants of a model."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from nmtprune.experiment.config import TRAINING_SAMPLE
from nmtprune.experiment.search import Search
from nmtprune.experiment.subwords import Side
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import evenly_spaced, read_lines, write_lines
from nmtprune.pruning.slicing import macs_per_word
from nmtprune.scoring import comet
from nmtprune.scoring.perplexity import Likelihood, likelihood
from nmtprune.scoring.quality import Quality
from nmtprune.scoring.significance import bleu
from nmtprune.scoring.size import sizes
from nmtprune.store.model import Model, pieces_of
from nmtprune.translation.batching import Subwords, batches, translate
from nmtprune.translation.opening import open_engine
from nmtprune.translation.shortlist import Shortlist

COLUMNS = (
    "set",
    "sentences",
    "bleu",
    "bleu_signature",
    "chrf",
    "chrf_signature",
    "comet",
    "perplexity",
    "nll_per_token",
    "target_tokens",
    "parameters",
    "nonzero",
    "size_dense",
    "size_sparse",
    "engine",
    "precision",
    "shortlist",
    "macs_per_word",
    "beam",
    "hypotheses",
)
LONGEST_OF_SAMPLE = 200  # pieces


@dataclass(frozen=True)
class _Set:
    name: str
    lines: list[str]
    sources: list[list[str]]
    targets: list[list[str]]
    quality: Quality
    references: list[str]


@dataclass(frozen=True)
class Measurement:
    """A model on one set.

    `engine`: the engine that measured it. `bleu`, and the statistics [sentences, counts] that it comes from,
    are None if nothing was translated.
    """

    engine: str
    likelihood: Likelihood
    bleu: float | None = None
    statistics: np.ndarray | None = None


@dataclass(frozen=True)
class Translating:
    """How models translate.

    `engine`: `auto` or the name of an engine. `search`: the beam and the length limits. `shortlist`: a file
    of candidates that limits the words of hypotheses (not of likelihoods).
    """

    engine: str = "auto"
    device: str = "auto"
    search: Search = field(default_factory=Search)
    shortlist: Path | None = None


@dataclass(frozen=True)
class Measures:
    """What is scored beside BLEU and chrF: measures of sacreBLEU by name, and COMET by its model."""

    names: Collection[str] = ()
    comet_model: str | None = None


class Scorer:
    """Scores models on sets of raw text.

    `sets` is name -> (source file, reference file, files of further references); likelihoods and COMET are of
    the first reference. For the set `train`, TRAINING_SAMPLE evenly spaced pairs are read; for others all
    pairs, or `sentences` evenly spaced ones. `target_language` chooses BLEU's tokeniser. Raises UserError if
    a file is missing or empty, or if files of one set differ in length.
    """

    def __init__(
        self,
        sets: Mapping[str, tuple[str | Path, ...]],
        subwords: Subwords,
        target_language: str,
        translating: Translating = Translating(),
        measures: Measures = Measures(),
        sentences: int | None = None,
    ) -> None:
        self._sentences, self._measures, self._subwords = sentences, measures.names, subwords
        self._comet_model = measures.comet_model if comet.unavailable(measures.comet_model) is None else None
        self._engine, self._device, self._search = translating.engine, translating.device, translating.search
        shortlist = translating.shortlist
        self._shortlist = Shortlist.load(shortlist) if shortlist else None
        self._top = shortlist.stem.rpartition("-")[2] if shortlist else None
        self._sets = [self._read(name, *files, language=target_language) for name, files in sets.items()]

    def score(
        self,
        model: Model,
        out_folder: str | Path,
        translated: Collection[str] | None = None,
        int8_engine: str | None = None,
    ) -> list[dict[str, Any]]:
        """One row per set with the columns COLUMNS and those of further measures.

        Sets that are not `translated` have likelihoods alone; if None, all are translated. `int8_engine`: the
        engine that runs the model in 8 bits; if None, the scorer's own engine in single precision. Writes
        `hypotheses/<set>.nll` (the negative log-likelihood of each reference) and, for translated sets,
        `hypotheses/<set>.txt` (detokenised) and, by a COMET model, `hypotheses/<set>.comet` (scores) under
        `out_folder`, one line per sentence. If scoring is killed, files of finished sets are whole.
        """
        precision = "int8" if int8_engine else "float32"
        engine = open_engine(model, int8_engine or self._engine, device=self._device, precision=precision)
        translator = engine
        if self._shortlist:
            translator = open_engine(
                model, engine.name, device=self._device, precision=precision, shortlist=self._shortlist
            )
        size = sizes(model.weights)
        rows = []
        for test_set in self._sets:
            _check_lengths(model, test_set)
            of_references = likelihood(engine, test_set.sources, test_set.targets)
            row = {
                "set": test_set.name,
                "sentences": len(test_set.sources),
                "perplexity": of_references.perplexity,
                "nll_per_token": of_references.per_token,
                "target_tokens": sum(of_references.tokens),
                **size,
                "engine": engine.name,
                "precision": precision,
            }
            kept = Path(out_folder) / "hypotheses" / f"{test_set.name}.txt"
            write_lines(kept.with_suffix(".nll"), [repr(value) for value in of_references.sentences])
            if translated is None or test_set.name in translated:
                pieces = translate(translator, test_set.sources, self._search)
                hypotheses = [self._decode(hypothesis) for hypothesis in pieces]
                write_lines(kept, hypotheses)
                row["macs_per_word"] = self._macs_per_word(model, test_set)
                if self._comet_model:
                    by_sentence = comet.scores(
                        test_set.lines, hypotheses, test_set.references, self._comet_model
                    )
                    write_lines(kept.with_suffix(".comet"), [repr(value) for value in by_sentence])
                    row["comet"] = math.fsum(by_sentence) / len(by_sentence)
                    row["comet_signature"] = comet.signature(self._comet_model)
                row |= {
                    "shortlist": self._top,
                    **test_set.quality.scores(hypotheses),
                    "beam": self._search.beam,
                    "hypotheses": os.path.relpath(kept),
                }
            rows.append({column: row.get(column) for column in (*COLUMNS, *self._of_measures())})
        return rows

    def measure(self, model: Model, name: str, translated: bool = True) -> Measurement:
        """Measure a model on the set `name`, by likelihood alone if not `translated`; nothing is written."""
        test_set = next(each for each in self._sets if each.name == name)
        engine = open_engine(model, self._engine, device=self._device)
        of_references = likelihood(engine, test_set.sources, test_set.targets)
        if not translated:
            return Measurement(engine.name, of_references)
        if self._shortlist:
            engine = open_engine(model, engine.name, device=self._device, shortlist=self._shortlist)
        hypotheses = [self._decode(pieces) for pieces in translate(engine, test_set.sources, self._search)]
        statistics = test_set.quality.statistics(hypotheses)
        return Measurement(engine.name, of_references, float(bleu(statistics.sum(0))), statistics)

    def sentences(self, name: str, folder: str | Path) -> dict[str, np.ndarray]:
        """The statistics of each sentence of a set, from the files that `score` left under `folder`.

        Names and shapes are those of `scoring.sentence_statistics`.
        """
        test_set = next(each for each in self._sets if each.name == name)
        likelihoods = Path(folder) / "hypotheses" / f"{name}.nll"
        arrays = {}
        if likelihoods.exists():
            arrays["nll"] = np.array([float(line) for line in read_lines(likelihoods)])
            arrays["tokens"] = np.array([len(target) + 1 for target in test_set.targets])
        if likelihoods.with_suffix(".txt").exists():
            hypotheses = read_lines(likelihoods.with_suffix(".txt"))
            for measure in test_set.quality.measures:
                arrays[measure] = test_set.quality.statistics(hypotheses, measure)
        if self._comet_model and likelihoods.with_suffix(".comet").exists():
            lines = read_lines(likelihoods.with_suffix(".comet"))
            arrays["comet"] = np.array([float(line) for line in lines])
        return arrays

    def bleu(self, model: Model) -> float:
        """BLEU on the first set, for the selection of checkpoints during training; nothing is written."""
        test_set = self._sets[0]
        pieces = translate(
            open_engine(model, self._engine, device=self._device), test_set.sources, self._search
        )
        return test_set.quality.bleu([self._decode(hypothesis) for hypothesis in pieces])

    def _of_measures(self) -> Iterator[str]:
        """The columns of what is scored beside BLEU and chrF."""
        for name in self._measures:
            yield from (name, f"{name}_signature")
        if self._comet_model:
            yield "comet_signature"

    def _macs_per_word(self, model: Model, test_set: _Set) -> float | None:
        """Multiply-accumulates per source word, with references in place of hypotheses.

        None if the model is not a Transformer.
        """
        if not any(name.endswith("encoder_attn_layer_norm.weight") for name in model.weights):
            return None
        words = sum(len(line.split()) for line in test_set.lines)
        source, target = (
            sum(len(pieces) + 1 for pieces in side) / max(words, 1)
            for side in (test_set.sources, test_set.targets)
        )
        candidates = None
        if self._shortlist:
            indices = batches(range(len(test_set.sources)), [len(pieces) for pieces in test_set.sources])
            candidates = fmean(
                len(self._shortlist.candidates([test_set.sources[index] for index in batch]))
                for batch in indices
            )
        return macs_per_word(model.weights, candidates, source, target)

    def _decode(self, pieces: list[str]) -> str:
        return self._subwords.decode(" ".join(pieces)) if pieces else ""

    def _encode(self, side: Side, line: str) -> list[str]:
        return pieces_of(self._subwords.encode(side, line))

    def _read(self, name: str, source_file: str | Path, *reference_files: str | Path, language: str) -> _Set:
        limit = TRAINING_SAMPLE if name == "train" else self._sentences
        sources = _lines(name, source_file, limit)
        references, *more = (_lines(name, file, limit) for file in reference_files)
        for file, lines in zip(reference_files, (references, *more), strict=True):
            if len(sources) != len(lines):
                raise UserError(
                    f"test set `{name}` has {len(sources)} lines in `{source_file}` and {len(lines)} in "
                    f"`{file}`: both files must have the same number of lines."
                )
        if not sources:
            raise UserError(f"test set `{name}` is empty (`{source_file}`).")
        encoded = (
            [self._encode("source", line) for line in sources],
            [self._encode("target", line) for line in references],
        )
        if name == "train":  # training too leaves out pairs that are too long
            pairs = [pair for pair in zip(*encoded, strict=True) if max(map(len, pair)) <= LONGEST_OF_SAMPLE]
            encoded = [source for source, _ in pairs], [target for _, target in pairs]
        quality = Quality(references, language, more, self._measures)
        return _Set(name, sources, *encoded, quality, references)


def _lines(name: str, file: str | Path, limit: int | None) -> list[str]:
    if not Path(file).is_file():
        raise UserError(f"file `{file}` of test set `{name}` does not exist.")
    if limit is None:
        return read_lines(file)
    with open(file, "rb") as counted:
        chosen = set(evenly_spaced(sum(1 for _ in counted), limit))
    with open(file, encoding="utf-8", newline="\n") as lines:
        return [line.rstrip("\n") for place, line in enumerate(lines) if place in chosen]


def _check_lengths(model: Model, test_set: _Set) -> None:
    for side, lines, limit in (
        ("source", test_set.sources, model.max_source_length),
        ("reference", test_set.targets, model.max_target_length),
    ):
        for number, line in enumerate(lines, start=1):
            if len(line) > limit:
                raise UserError(
                    f"line {number} of the {side} side of test set `{test_set.name}` has {len(line)} pieces; "
                    f"the model takes at most {limit}."
                )
