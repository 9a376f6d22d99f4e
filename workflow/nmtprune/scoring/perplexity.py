"""Perplexity: exp of the unsmoothed negative log-likelihood per target token, end of sentence included."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nmtprune.translation.batching import negative_log_likelihoods
from nmtprune.translation.engine import Engine


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihoods of a set's sentences in nats, and the number of target tokens of each."""

    sentences: list[float]
    tokens: list[int]

    @property
    def per_token(self) -> float:
        """Negative log-likelihood per target token, in nats."""
        return math.fsum(self.sentences) / sum(self.tokens)

    @property
    def perplexity(self) -> float:
        """Perplexity; infinite if it exceeds the range of a float."""
        return math.exp(self.per_token) if self.per_token < 700 else math.inf


def likelihood(engine: Engine, sources: list[list[str]], targets: list[list[str]]) -> Likelihood:
    """The likelihood of `targets` given `sources`, both in pieces; unknown pieces count as `<unk>`."""
    return Likelihood(
        negative_log_likelihoods(engine, sources, targets), [len(target) + 1 for target in targets]
    )
