"""Detokenised BLEU and chrF by sacreBLEU, each with its full signature."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU, BLEUScore
from sacrebleu.metrics.chrf import CHRF, CHRFScore

from nmtprune.foundation.errors import UserError

_TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}


def tokenizer_of(language: str) -> str:
    """The tokeniser of sacreBLEU for a language (`zh`, `zh_CN`, `ja`, ...): `13a` if words have spaces."""
    return _TOKENIZERS.get(language.lower().replace("_", "-").split("-")[0], "13a")


def unavailable(language: str) -> str | None:
    """Why there is no BLEU for a target language, as a sentence without full stop; None if there can be."""
    try:
        BLEU(tokenize=tokenizer_of(language))
    except (ImportError, RuntimeError):
        return (
            f"BLEU for target language `{language}` needs `pip install 'sacrebleu[{language[:2].lower()}]'`"
        )
    return None


class Quality:
    """BLEU and chrF2 against one reference per sentence, prepared once for many systems."""

    def __init__(self, references: list[str], language: str = "") -> None:
        if reason := unavailable(language):
            raise UserError(f"{reason}.")
        self._bleu = BLEU(tokenize=tokenizer_of(language), references=[references])
        self._references = references

    @functools.cached_property
    def _chrf(self) -> CHRF:
        return CHRF(references=[self._references])

    def bleu(self, hypotheses: list[str]) -> float:
        """BLEU of one system, 0 to 100; much faster than `scores`, which computes chrF too."""
        return self._of(self._bleu, hypotheses).score

    def scores(self, hypotheses: list[str]) -> dict[str, Any]:
        """`bleu`, `bleu_signature`, `chrf` and `chrf_signature` of one system; scores from 0 to 100."""
        bleu, chrf = (self._of(metric, hypotheses) for metric in (self._bleu, self._chrf))
        return {
            "bleu": bleu.score,
            "bleu_signature": str(self._bleu.get_signature()),
            "chrf": chrf.score,
            "chrf_signature": str(self._chrf.get_signature()),
        }

    def statistics(self, hypotheses: list[str]) -> np.ndarray:
        """[sentences, 10]: the statistics that BLEU is computed from.

        A row has the lengths of hypothesis and reference, then matches and totals of n-grams by order.
        """
        self._check(hypotheses)
        # sacreBLEU has no public method that returns them for each sentence of a corpus
        return np.array(self._bleu._extract_corpus_statistics(hypotheses, None))

    def _of(self, metric: BLEU | CHRF, hypotheses: list[str]) -> BLEUScore | CHRFScore:
        self._check(hypotheses)
        return metric.corpus_score(hypotheses, None)

    def _check(self, hypotheses: list[str]) -> None:
        if len(hypotheses) != len(self._references):
            raise UserError(
                f"{len(hypotheses)} hypotheses cannot be scored against {len(self._references)} references."
            )


def bleu_chrf(hypotheses: list[str], references: list[str], language: str = "") -> dict[str, Any]:
    """`Quality.scores` of one system; the target `language` chooses BLEU's tokeniser."""
    return Quality(references, language).scores(hypotheses)
