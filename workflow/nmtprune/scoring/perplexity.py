"""Perplexity: exp of the unsmoothed negative log-likelihood per target token, end of sentence included."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nmtprune.translation.batching import negative_log_likelihoods
from nmtprune.translation.engine import Engine


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihoods (natural logarithm) of one set's sentences, and the target tokens behind
    each.
    """

    sentences: list[float]
    tokens: list[int]

    @property
    def per_token(self) -> float:
        return math.fsum(self.sentences) / sum(self.tokens)

    @property
    def perplexity(self) -> float:
        """Infinite where a model is so broken that the number exceeds what a float holds."""
        return math.exp(self.per_token) if self.per_token < 700 else math.inf


def likelihood(engine: Engine, sources: list[list[str]], targets: list[list[str]]) -> Likelihood:
    """The likelihood of `targets` given `sources`, both as pieces; an unknown piece counts as the unknown
    symbol.
    """
    return Likelihood(
        negative_log_likelihoods(engine, sources, targets), [len(target) + 1 for target in targets]
    )
