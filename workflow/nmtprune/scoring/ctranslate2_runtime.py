"""A translation model in CTranslate2 on the CPU: needs its folder and ctranslate2, nothing else.

    translator = Translator("folder")
    translator.translate([["▁a", "▁dog"]], beam=4, length_penalty=1.0, max_length=100)

Pieces are strings; the end of sentence is added and removed here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctranslate2

PADDING = "<pad>"
PIECES_AT_ONCE = 4096  # of hypotheses that are scored: for each the probabilities of all target pieces are in memory


class Translator:
    """A loaded model that translates batches and scores them. `shortlist`: it searches the candidates of its vmap.txt alone."""

    def __init__(self, folder: str | Path, threads: int = 1, shortlist: bool = False) -> None:
        self._model = ctranslate2.Translator(str(folder), device="cpu", inter_threads=1, intra_threads=threads)
        self._shortlist = shortlist

    def translate(
        self, sources: list[list[str]], beam: int, length_penalty: float, max_length: int, replace_unknowns: bool = False
    ) -> list[list[str]]:
        """The best hypothesis of each source of one batch, at most `max_length` pieces each.

        CTranslate2's beam search is fairseq's but for three things that only a model that hardly translates shows: it can select padding;
        where it is told not to, or not to end a sentence that it has not begun, the other pieces share that probability; and a hypothesis
        cut off at the length limit competes without the cost of its end. Where a beam shows that, its hypotheses are ranked by their whole
        likelihood, as fairseq ranks them. What is left is that what ends at the limit itself takes the place of what goes on.
        """
        options = {
            "beam_size": beam,
            "length_penalty": length_penalty,
            "max_decoding_length": max_length,
            "replace_unknowns": replace_unknowns,
        }
        beams = self._search(sources, min_decoding_length=0, **options)
        again = {index for index, found in enumerate(beams) if any(not each.pieces or PADDING in each.pieces for each in found)}
        without = self._search([sources[index] for index in again], suppress_sequences=[[PADDING]], **options)
        for index, found in zip(again, without, strict=True):
            beams[index] = found
        unsure = [
            (sources[index], each)
            for index, found in enumerate(beams)
            for each in found
            if len(found) > 1 and (index in again or _may_win(each, found, max_length, length_penalty))
        ]
        rows = max(1, PIECES_AT_ONCE // (max_length + 1))
        for part in (unsure[start : start + rows] for start in range(0, len(unsure), rows)):
            costs = self.negative_log_likelihoods([source for source, _ in part], [each.pieces for _, each in part])
            for (_, each), cost in zip(part, costs, strict=True):
                each.score = -cost / (len(each.pieces) + 1) ** length_penalty
        return [max(found, key=lambda each: each.score).pieces for found in beams]

    def negative_log_likelihoods(self, sources: list[list[str]], targets: list[list[str]]) -> list[float]:
        """-ln p(target, end of sentence | source) of each pair of one batch."""
        results = self._model.score_batch(sources, targets, max_input_length=0)
        return [-math.fsum(result.log_probs) for result in results]

    def _search(self, sources: list[list[str]], **options: Any) -> list[list[_Hypothesis]]:
        """What is left in the beam of each source."""
        results = self._model.translate_batch(
            sources, num_hypotheses=options["beam_size"], return_scores=True, max_input_length=0, use_vmap=self._shortlist, **options
        )
        return [[_Hypothesis(*each) for each in zip(result.hypotheses, result.scores, strict=True)] for result in results]


@dataclass
class _Hypothesis:
    """`score`: its log-likelihood over its length, end of sentence included, to the power of the length penalty."""

    pieces: list[str]
    score: float


def _may_win(hypothesis: _Hypothesis, found: list[_Hypothesis], max_length: int, length_penalty: float) -> bool:
    """Whether a hypothesis was cut off and would be the best one if its end were certain."""
    ended = max((each.score for each in found if len(each.pieces) < max_length), default=-math.inf)
    return len(hypothesis.pieces) == max_length and hypothesis.score * (max_length / (max_length + 1)) ** length_penalty > ended
