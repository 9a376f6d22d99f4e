"""Translate and score in batches of similar lengths; results are in the order of the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from nmtprune.experiment.search import Search
from nmtprune.experiment.subwords import Side
from nmtprune.store.model import pieces_of
from nmtprune.translation.engine import Engine

BATCH_SENTENCES = 64
BATCH_PIECES = 2048


class Subwords(Protocol):
    """The interface of subwords that translating lines needs; pieces are one string, separated by spaces."""

    def encode(self, side: Side, line: str) -> str:
        """A raw line as pieces."""
        ...

    def decode(self, pieces: str) -> str:
        """Pieces of the target as a raw line."""
        ...


def translate_lines(
    engine: Engine,
    subwords: Subwords,
    lines: Sequence[str],
    search: Search | None = None,
    longest: int | None = None,
) -> list[str | None]:
    """The best hypothesis of each raw line, detokenised; None for a line of more than `longest` pieces."""
    sources = [pieces_of(subwords.encode("source", line)) for line in lines]
    fitting = [index for index, source in enumerate(sources) if longest is None or len(source) <= longest]
    translations: list[str | None] = [None] * len(lines)
    hypotheses = translate(engine, [sources[index] for index in fitting], search)
    for index, hypothesis in zip(fitting, hypotheses, strict=True):
        translations[index] = subwords.decode(" ".join(hypothesis)) if hypothesis else ""
    return translations


def translate(engine: Engine, sources: list[list[str]], search: Search | None = None) -> list[list[str]]:
    """The best hypothesis of each source, as pieces; the hypothesis of an empty source is empty."""
    search = search or Search()
    hypotheses: list[list[str]] = [[] for _ in sources]
    lengths = [len(source) for source in sources]
    for batch in batches([index for index, length in enumerate(lengths) if length], lengths):
        longest = max(lengths[index] for index in batch)
        best = engine.translate([sources[index] for index in batch], search, search.max_length(longest))
        for index, hypothesis in zip(batch, best, strict=True):
            hypotheses[index] = hypothesis
    return hypotheses


def negative_log_likelihoods(
    engine: Engine, sources: list[list[str]], targets: list[list[str]]
) -> list[float]:
    """-ln p(target, end of sentence | source) for each pair, without label smoothing."""
    likelihoods = [0.0] * len(sources)
    lengths = [max(len(source), len(target)) for source, target in zip(sources, targets, strict=True)]
    for batch in batches(range(len(sources)), lengths):
        pairs = [sources[index] for index in batch], [targets[index] for index in batch]
        for index, value in zip(batch, engine.negative_log_likelihoods(*pairs), strict=True):
            likelihoods[index] = value
    return likelihoods


def batches(indices: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Batches of indices, longest first, of at most BATCH_SENTENCES sentences and BATCH_PIECES pieces.

    Padding counts.
    """
    batch: list[int] = []
    for index in sorted(indices, key=lambda index: -lengths[index]):
        if batch and (
            len(batch) == BATCH_SENTENCES or (len(batch) + 1) * (lengths[batch[0]] + 1) > BATCH_PIECES
        ):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
