"""Settings of the search for hypotheses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Search:
    """Beam search with the semantics and defaults of fairseq-generate.

    The score of a hypothesis is its log-probability divided by its length (end of sentence included) to
    the power of `length_penalty`. It has at most `max_len_a * source length + max_len_b` pieces, where
    the source length includes the end of sentence, as in fairseq. `replace_unknowns`: each unknown piece
    of a hypothesis is replaced by the source piece with the largest attention weight, in its source
    spelling. Luong et al. (2015, 4.1) look that word up in a dictionary first; here it is always copied.
    """

    beam: int = 5
    length_penalty: float = 1.0
    max_len_a: float = 0.0
    max_len_b: int = 200
    replace_unknowns: bool = False

    def max_length(self, source_length: int) -> int:
        """The most pieces of a hypothesis for a source of `source_length` pieces."""
        return int(self.max_len_a * (source_length + 1) + self.max_len_b)
