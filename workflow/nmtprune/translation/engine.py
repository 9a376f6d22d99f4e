"""The interface of engines, which translate and score."""

from __future__ import annotations

from typing import Protocol

from nmtprune.experiment.search import Search


class Engine(Protocol):
    """A loaded model; pieces are strings, and the engine adds and removes the end of sentence."""

    name: str

    def translate(self, sources: list[list[str]], search: Search, max_length: int) -> list[list[str]]:
        """The best hypothesis of each non-empty source of one batch.

        A hypothesis has at most `max_length` pieces, and never more than the decoder has positions for,
        a limit that every engine enforces.
        """
        ...

    def negative_log_likelihoods(self, sources: list[list[str]], targets: list[list[str]]) -> list[float]:
        """-ln p(target, end of sentence | source) for each pair of one batch."""
        ...
