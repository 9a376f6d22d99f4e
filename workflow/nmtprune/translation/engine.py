"""The interface of what translates and scores."""

from __future__ import annotations

from typing import Protocol

from nmtprune.experiment.search import Search


class Engine(Protocol):
    """A loaded model. Pieces are strings; end of sentence is added and removed by the engine."""

    name: str

    def translate(self, sources: list[list[str]], search: Search, max_length: int) -> list[list[str]]:
        """The best hypothesis of each non-empty source of one batch, at most `max_length` pieces each, and
        never more than the decoder has positions for: a limit that every engine keeps itself.
        """

    def negative_log_likelihoods(self, sources: list[list[str]], targets: list[list[str]]) -> list[float]:
        """-ln p(target, end of sentence | source) of each pair of one batch."""
