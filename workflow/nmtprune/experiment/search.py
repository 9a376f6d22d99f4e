"""How hypotheses are searched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Search:
    """Beam search with the meaning and the defaults of fairseq-generate.

    A hypothesis' score is its log-probability over its length (end of sentence included) to the power
    `length_penalty`; it has at most `max_len_a * source length + max_len_b` pieces, where fairseq counts the
    source's end of sentence in. `replace_unknowns`: each unknown piece of a hypothesis becomes the source
    piece that was attended to most, as it is spelt in the source. Luong et al. (2015, 4.1) looked that word
    up in a dictionary where it has it; we always copy.
    """

    beam: int = 5
    length_penalty: float = 1.0
    max_len_a: float = 0.0
    max_len_b: int = 200
    replace_unknowns: bool = False

    def max_length(self, source_length: int) -> int:
        """The longest hypothesis, in pieces, of a source of `source_length` pieces."""
        return int(self.max_len_a * (source_length + 1) + self.max_len_b)
