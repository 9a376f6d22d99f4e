"""Detokenised BLEU, chrF and the measures that are asked for, by sacreBLEU, each with its full signature."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.tokenizers import tokenizer_spm

from nmtprune.data.download import obtain
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import atomic

_TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
_UNSPACED = ("zh", "ja")
_PIECES = "flores200"  # the tokeniser of spBLEU, by sacreBLEU's name
ALWAYS = ("bleu", "chrf")
References = Sequence[Sequence[str]]  # a list of lines for each reference
MEASURES: Mapping[str, Callable[[str, References], Metric]] = {  # of the target language and the references
    "bleu": lambda language, lines: BLEU(tokenize=tokenizer_of(language), references=lines),
    "chrf": lambda language, lines: CHRF(references=lines),
    "chrfpp": lambda language, lines: CHRF(word_order=2, references=lines),
    "ter": lambda language, lines: TER(
        normalized=_is_unspaced(language), asian_support=_is_unspaced(language), references=lines
    ),
    "spbleu": lambda language, lines: BLEU(tokenize=_PIECES, references=lines),
}


def _code(language: str) -> str:
    """A language without its region and script: `zh` of `zh_CN`."""
    return language.lower().replace("_", "-").split("-")[0]


def _is_unspaced(language: str) -> bool:
    return _code(language) in _UNSPACED


def tokenizer_of(language: str) -> str:
    """The tokeniser of sacreBLEU for a language (`zh`, `zh_CN`, `ja`, ...): `13a` if words have spaces."""
    return _TOKENIZERS.get(_code(language), "13a")


def unavailable(language: str) -> str | None:
    """Why there is no BLEU for a target language, as a sentence without full stop; None if there can be."""
    try:
        BLEU(tokenize=tokenizer_of(language))
    except (ImportError, RuntimeError):
        return (
            f"BLEU for target language `{language}` needs `pip install 'sacrebleu[{language[:2].lower()}]'`"
        )
    return None


def spbleu_model() -> Path:
    """Where sacreBLEU keeps spBLEU's SentencePiece model: below `$SACREBLEU`, or else `~/.sacrebleu`."""
    folder = tokenizer_spm.SACREBLEU_DIR  # pyright: ignore[reportPrivateImportUsage]
    return Path(folder, "models", Path(tokenizer_spm.SPM_MODELS[_PIECES]["url"]).name)


def obtain_spbleu_model(data_dir: Path | None, downloads: Path) -> None:
    """Put the SentencePiece model of spBLEU where sacreBLEU looks for it, from `data_dir` or the network.

    Raises UserError if it cannot be had, or if the file is not a SentencePiece model.
    """
    file = spbleu_model()
    if not file.is_file():
        found = obtain(tokenizer_spm.SPM_MODELS[_PIECES]["url"], None, data_dir, downloads)
        with atomic(file) as temporary:
            shutil.copyfile(found, temporary)
    try:
        BLEU(tokenize=_PIECES)
    except (OSError, RuntimeError):
        raise UserError(f"{file} is not the SentencePiece model of spBLEU: remove it and run again") from None


class Quality:
    """Measures of translations against one or several references, prepared once for many systems.

    `references`: a line for each sentence; `more`: the lines of each further reference. `measures`: names of
    MEASURES that are scored beside ALWAYS. Raises UserError if something is missing that a measure needs, or
    if references differ in length.
    """

    def __init__(
        self,
        references: list[str],
        language: str = "",
        more: Sequence[list[str]] = (),
        measures: Collection[str] = (),
    ) -> None:
        if reason := unavailable(language):
            raise UserError(f"{reason}.")
        if "spbleu" in measures and not spbleu_model().is_file():
            raise UserError(f"spBLEU: there is no {spbleu_model()}, sacreBLEU's SentencePiece model.")
        if unequal := {len(lines) for lines in (references, *more)} - {len(references)}:
            raise UserError(
                f"references of one set differ in length: {len(references)} lines and {unequal.pop()}."
            )
        self.measures = (*ALWAYS, *measures)
        self._references = [references, *more]
        self._metric = functools.cache(lambda measure: MEASURES[measure](language, self._references))
        self._counts = functools.lru_cache(len(MEASURES))(self._counted)

    def bleu(self, hypotheses: Sequence[str]) -> float:
        """BLEU of one system, 0 to 100; much faster than `scores`, which computes chrF too."""
        return self._score("bleu", hypotheses)

    def scores(self, hypotheses: Sequence[str]) -> dict[str, Any]:
        """Each measure of one system and its signature (`bleu`, `bleu_signature`, ...).

        Scores are from 0 to 100; TER may exceed 100.
        """
        scores = {}
        for name in self.measures:
            scores[name] = self._score(name, hypotheses)
            scores[f"{name}_signature"] = str(self._metric(name).get_signature())
        return scores

    def statistics(self, hypotheses: Sequence[str], measure: str = "bleu") -> np.ndarray:
        """[sentences, counts]: the statistics that a measure is computed from.

        BLEU and spBLEU: lengths of hypothesis and reference, n-gram matches and totals by order. chrF and
        chrF++: for each order the n-grams of the hypothesis, of the reference, and of both. TER: edits and
        words of the reference.
        """
        return np.array(self._counts(measure, tuple(hypotheses)))

    def _score(self, measure: str, hypotheses: Sequence[str]) -> float:
        return self._metric(measure)._aggregate_and_compute(self._counts(measure, tuple(hypotheses))).score

    def _counted(self, measure: str, hypotheses: tuple[str, ...]) -> list[list[float]]:
        if len(hypotheses) != len(self._references[0]):
            raise UserError(
                f"{len(hypotheses)} hypotheses cannot be scored against {len(self._references[0])} "
                "references."
            )
        # sacreBLEU has no public method that returns them for each sentence of a corpus
        return self._metric(measure)._extract_corpus_statistics(hypotheses, None)


def bleu_chrf(hypotheses: list[str], references: list[str], language: str = "") -> dict[str, Any]:
    """`Quality.scores` of one system; the target `language` chooses BLEU's tokeniser."""
    return Quality(references, language).scores(hypotheses)
