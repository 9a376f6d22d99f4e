"""Run a translation model in CTranslate2; needs only the model's folder and ctranslate2.

    translator = Translator("folder")
    translator.translate([["▁a", "▁dog"]], beam=4, length_penalty=1.0, max_length=100)

Pieces are strings; the end of sentence is added and removed here.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctranslate2

PADDING = "<pad>"
# Key in the folder's config.json: the number of pieces that the decoder has positions for, without the end
# of sentence.
LONGEST = "max_target_length"
# Most pieces of hypotheses scored at a time; each needs the probabilities of all target pieces in memory.
PIECES_AT_ONCE = 4096
SAFETY = 2.0  # an unchecked score may lose this many times the largest loss of the checked ones
NOTICEABLE = 0.02  # loss of a score beyond which the search differs noticeably from fairseq's
# Nats that a sentence may lose if the model would have ended it before its first piece (p = 0.22).
EARLY_END = 0.25


def has_gpu() -> bool:
    """Whether there is a GPU that CTranslate2 can use."""
    return ctranslate2.get_cuda_device_count() > 0


class Translator:
    """A loaded model that translates batches and scores them.

    `device`: cpu or cuda. `shortlist`: search only the candidates in the folder's vmap.txt.
    """

    def __init__(
        self, folder: str | Path, threads: int = 1, shortlist: bool = False, device: str = "cpu"
    ) -> None:
        self._model = ctranslate2.Translator(
            str(folder), device=device, inter_threads=1, intra_threads=threads
        )
        self._longest = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))[LONGEST]
        self._shortlist = shortlist

    def translate(
        self,
        sources: list[list[str]],
        beam: int,
        length_penalty: float,
        max_length: int,
        replace_unknowns: bool = False,
    ) -> list[list[str]]:
        """The best hypothesis of each source of one batch, with at most `max_length` pieces.

        The number of positions of the model is another limit. CTranslate2's beam search equals fairseq's
        except in three respects. First, the probability of forbidden continuations (padding, and an end
        before the first piece) is redistributed over the other pieces, while fairseq loses it. Second, a
        hypothesis that is cut off at the length limit competes without the cost of its end. In both
        cases CTranslate2's score is an upper bound of fairseq's, and a close one for a model that
        translates well; likelihoods replace these bounds where they may decide which hypothesis is the
        best. The third difference remains: a hypothesis that ends exactly at the limit displaces one
        that continues.
        """
        options = {
            "beam_size": beam,
            "num_hypotheses": beam,
            "length_penalty": length_penalty,
            "max_decoding_length": min(max_length, self._longest),
            "replace_unknowns": replace_unknowns,
        }
        beams = self._search(sources, suppress_sequences=[[PADDING]], **options)
        if beam > 1:
            self._rank(sources, beams, options)
        return [_best(each).pieces for each in beams]

    def negative_log_likelihoods(self, sources: list[list[str]], targets: list[list[str]]) -> list[float]:
        """-ln p(target, end of sentence | source) for each pair of one batch."""
        return [-math.fsum(scores) for scores in self._log_probabilities(sources, targets)]

    def _search(self, sources: list[list[str]], **options: Any) -> list[list[_Hypothesis]]:
        """The hypotheses that remain in the beam of each source."""
        results = self._model.translate_batch(
            sources,
            min_decoding_length=1,
            max_input_length=0,
            return_scores=True,
            use_vmap=self._shortlist,
            **options,
        )
        limits = options["max_decoding_length"], options["length_penalty"]
        return [
            [
                _Hypothesis.bounded(pieces, score, *limits)
                for pieces, score in zip(result.hypotheses, result.scores, strict=True)
            ]
            for result in results
        ]

    def _rank(
        self, sources: list[list[str]], beams: list[list[_Hypothesis]], options: dict[str, Any]
    ) -> None:
        """Replace bounds by likelihoods until the best hypothesis of each beam is certain.

        The closest decision of the batch is checked first. If this lowers a score noticeably, the model
        gives padding so much probability that a search without padding is a different one. Beams are
        then replaced by those of a search that may choose padding, unless padding occurs in them.

        In a search among a shortlist's candidates, scores are kept (likelihoods are over all pieces),
        except those of hypotheses that are cut off, and unless the model gives padding a noticeable
        probability.
        """
        doubtful: list[list[_Hypothesis]] = [[] for _ in beams]
        closest = min(range(len(beams)), key=lambda index: _lead(beams[index]))
        by_likelihood = not self._shortlist or self._pads(sources[closest])
        early_end, loss, padding_allowed = EARLY_END * by_likelihood, 0.0, not by_likelihood
        if by_likelihood:
            doubtful[closest] = [_best(beams[closest])]
        while True:
            pairs = [(source, each) for source, some in zip(sources, doubtful, strict=True) for each in some]
            measured = self._score(pairs, options["max_decoding_length"])
            if by_likelihood:
                loss = max(loss, SAFETY * measured)
            if loss > NOTICEABLE and not padding_allowed:
                padding_allowed = True
                for index, beam in enumerate(self._search(sources, **options)):
                    if not any(PADDING in each.pieces for each in beam):
                        beams[index] = beam
            doubtful = [_doubtful(beam, loss, early_end) for beam in beams]
            if not any(doubtful):
                return

    def _pads(self, source: list[str]) -> bool:
        """Whether padding has a noticeable probability as the first piece."""
        return self._log_probabilities([source], [[PADDING]])[0][0] > math.log(NOTICEABLE)

    def _score(self, pairs: list[tuple[list[str], _Hypothesis]], max_length: int) -> float:
        """Score hypotheses by their likelihoods; return the largest loss of a score.

        The loss does not include the cost of an end that was missing.
        """
        rows, losses = max(1, PIECES_AT_ONCE // (max_length + 1)), [0.0]
        for part in (pairs[start : start + rows] for start in range(0, len(pairs), rows)):
            log_probabilities = self._log_probabilities(
                [source for source, _ in part], [each.pieces for _, each in part]
            )
            for (_, each), scores in zip(part, log_probabilities, strict=True):
                losses.append(each.score - each.weight * math.fsum(scores[:-1] if each.cut_off else scores))
                each.score, each.certain = each.weight * math.fsum(scores), True
        return max(losses)

    def _log_probabilities(self, sources: list[list[str]], targets: list[list[str]]) -> list[list[float]]:
        """Log-probabilities of all pieces of each target, end of sentence included."""
        return [result.log_probs for result in self._model.score_batch(sources, targets, max_input_length=0)]


@dataclass
class _Hypothesis:
    """A hypothesis with its score.

    `score`: its log-likelihood times its weight, or an upper bound until it is `certain`. `weight`: 1 /
    length (end of sentence included) to the power of the length penalty. `cut_off`: the hypothesis has
    no end; its score has no lower bound.
    """

    pieces: list[str]
    score: float
    weight: float
    cut_off: bool
    certain: bool = False

    @classmethod
    def bounded(cls, pieces: list[str], score: float, max_length: int, length_penalty: float) -> _Hypothesis:
        """A hypothesis with CTranslate2's score, which does not include an end that is missing."""
        weight, cut_off = (len(pieces) + 1) ** -length_penalty, len(pieces) == max_length
        return cls(pieces, score * weight * max_length**length_penalty if cut_off else score, weight, cut_off)


def _best(beam: list[_Hypothesis]) -> _Hypothesis:
    return max(beam, key=lambda each: each.score)


def _lead(beam: list[_Hypothesis]) -> float:
    """The difference between the best score and the next."""
    scores = sorted((each.score for each in beam), reverse=True)
    return scores[0] - scores[1] if len(scores) > 1 else math.inf


def _doubtful(beam: list[_Hypothesis], loss: float, early_end: float) -> list[_Hypothesis]:
    """Hypotheses to score next; none if the best one is certain.

    The best one is also certain if it stays best after losing `loss` and `early_end` times its weight.
    `early_end` is the same for all hypotheses of a sentence before it is divided by their lengths.
    """
    best = _best(beam)
    if best.certain or len(beam) == 1:
        return []
    if best.cut_off:
        ended = max((each.score for each in beam if not each.cut_off), default=-math.inf)
        return [each for each in beam if each.cut_off and not each.certain and each.score > ended]
    rivals = (each for each in beam if each is not best)
    close = any(
        each.score > best.score - loss - early_end * max(0.0, best.weight - each.weight) for each in rivals
    )
    return [best] if close else []
