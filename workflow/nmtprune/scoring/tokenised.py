"""BLEU of tokenised text as multi-bleu.perl computes it, for comparison with papers that report it."""

from __future__ import annotations

from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU


def tokenised_bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]], language: str) -> float:
    """BLEU (0 to 100), case-sensitive and unsmoothed, after Moses' tokenisation of both sides.

    Hypotheses and references are detokenised text, a list of lines for each reference. `language`: the target
    language, whose abbreviations the tokeniser knows.
    """
    from sacremoses import MosesTokenizer

    tokeniser = MosesTokenizer(language)
    ours, *theirs = (
        [tokeniser.tokenize(line, return_str=True) for line in lines] for lines in (hypotheses, *references)
    )
    return BLEU(tokenize="none", smooth_method="none", force=True).corpus_score(ours, theirs).score
