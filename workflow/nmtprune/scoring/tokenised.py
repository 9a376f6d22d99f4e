"""BLEU of tokenised text, as multi-bleu.perl counts it: beside the values of papers that count so."""

from __future__ import annotations

from collections.abc import Sequence

from sacrebleu.metrics import BLEU


def tokenised_bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> float:
    """BLEU (0 to 100) of detokenised hypotheses after Moses' tokenisation of both sides, case-sensitive and
    unsmoothed.

    `language` is the target's: it chooses the tokeniser's abbreviations.
    """
    from sacremoses import MosesTokenizer  # slow to import, and asked for by few tables

    tokeniser = MosesTokenizer(language)
    ours, theirs = (
        [tokeniser.tokenize(line, return_str=True) for line in lines] for lines in (hypotheses, references)
    )
    return BLEU(tokenize="none", smooth_method="none", force=True).corpus_score(ours, [theirs]).score
