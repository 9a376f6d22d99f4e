"""What translates and scores: one interface, two engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nmtprune.errors import UserError
from nmtprune.scoring.model import Model

ENGINES = ("auto", "ctranslate2", "fairseq")


@dataclass(frozen=True)
class Search:
    """Beam search with the meaning and the defaults of fairseq-generate.

    A hypothesis' score is its log-probability over its length (end of sentence included) to the power `length_penalty`;
    it has at most `max_len_a * source length + max_len_b` pieces, where fairseq counts the source's end of sentence in.
    `replace_unknowns`: each unknown piece of a hypothesis becomes the source piece that was attended to most, as it is spelt in the
    source. Luong et al. (2015, 4.1) looked that word up in a dictionary where it has it; we always copy.
    """

    beam: int = 5
    length_penalty: float = 1.0
    max_len_a: float = 0.0
    max_len_b: int = 200
    replace_unknowns: bool = False

    def max_length(self, source_length: int) -> int:
        """The longest hypothesis, in pieces, of a source of `source_length` pieces."""
        return int(self.max_len_a * (source_length + 1) + self.max_len_b)


class Engine(Protocol):
    """A loaded model. Pieces are strings; end of sentence is added and removed by the engine."""

    name: str

    def translate(self, sources: list[list[str]], search: Search, max_length: int) -> list[list[str]]:
        """The best hypothesis of each non-empty source of one batch, at most `max_length` pieces each."""

    def negative_log_likelihoods(self, sources: list[list[str]], targets: list[list[str]]) -> list[float]:
        """-ln p(target, end of sentence | source) of each pair of one batch."""


def open_engine(model: Model, name: str = "auto", threads: int = 1, device: str = "auto") -> Engine:
    """The engine called `name` with `model` loaded; `auto` is CTranslate2 where it takes the model, otherwise fairseq.

    `device` (auto, cpu, cuda) is fairseq's; CTranslate2 runs on the CPU. Raises UserError for an unknown engine, and where
    CTranslate2 is asked for and cannot take the model.
    """
    if name not in ENGINES:
        raise UserError(f"unknown scoring engine `{name}`; valid: {', '.join(ENGINES)}.")
    if name != "fairseq":
        from nmtprune.scoring import ctranslate2_engine

        reason = ctranslate2_engine.supports(model)
        if reason is None:
            return ctranslate2_engine.CTranslate2Engine(model, threads)
        if name == "ctranslate2":
            raise UserError(f"engine `ctranslate2` cannot run this model: {reason}; use `fairseq` or `auto`.")
    from nmtprune.toolkit.generate import FairseqEngine

    return FairseqEngine(model, None if device == "auto" else device)
