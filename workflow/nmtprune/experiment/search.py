"""Settings of the search for hypotheses."""

from __future__ import annotations

from dataclasses import dataclass

from nmtprune.experiment import schemas

_DEFAULTS = schemas.defaults("recipe#/properties/decoding")


@dataclass(frozen=True)
class Search:
    """Beam search with the semantics and defaults of fairseq-generate.

    The score of a hypothesis is its log-probability divided by its length (end of sentence included) to
    the power of `length_penalty`. It has at most `max_len_a * source length + max_len_b` pieces, where
    the source length includes the end of sentence, as in fairseq. `replace_unknowns`: each unknown piece
    of a hypothesis is replaced by the source piece with the largest attention weight, in its source
    spelling. Luong et al. (2015, 4.1) look that word up in a dictionary first; here it is always copied.
    """

    beam: int = _DEFAULTS["beam"]
    length_penalty: float = _DEFAULTS["length_penalty"]
    max_len_a: float = _DEFAULTS["max_len_a"]
    max_len_b: int = _DEFAULTS["max_len_b"]
    replace_unknowns: bool = _DEFAULTS["replace_unknowns"]

    def max_length(self, source_length: int) -> int:
        """The most pieces of a hypothesis for a source of `source_length` pieces."""
        return int(self.max_len_a * (source_length + 1) + self.max_len_b)
