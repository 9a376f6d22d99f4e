"""Encode sentences with the encoder of a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch

from nmtprune.data.subwords import Subwords
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.fairseq_bridge.generation import FairseqEngine
from nmtprune.foundation.errors import UserError
from nmtprune.store.model import of_chain, pieces_of

BATCH_PIECES = 4096


class Encoder:
    """The encoder of any chain's model, with masks applied.

    Raises UserError where the model or its data is missing.
    """

    def __init__(self, config: Config, chain: Chain) -> None:
        data = config.data_folder(chain)
        model = of_chain(config, chain)
        device = config.settings["device"]
        self._subwords = Subwords.load(data)
        self._limit = model.max_source_length
        self._engine = FairseqEngine(model, device)

    def mean_pooled(self, lines: Sequence[str]) -> torch.Tensor:
        """The last encoder layer's output for raw source lines, averaged over positions [lines, d].

        The end of sentence counts as a position. The result is float32, on the CPU. Only sentences of
        equal length are encoded together, so nothing is padded, and a sentence's representation does not
        depend on the sentences beside it. Raises UserError for a line that is longer than the model's
        limit.
        """
        sources = [self._pieces(line) for line in lines]
        pooled: dict[int, torch.Tensor] = {}
        for batch in batches([len(source) for source in sources]):
            means = self._engine.encode([sources[index] for index in batch]).mean(1)
            pooled |= zip(batch, means, strict=True)
        return torch.stack([pooled[index] for index in range(len(sources))])

    def _pieces(self, line: str) -> list[str]:
        pieces = pieces_of(self._subwords.encode("source", line))
        if len(pieces) > self._limit:
            raise UserError(
                f"a sentence to encode has {len(pieces)} pieces and the model takes at most {self._limit}: "
                f"{line[:60]} ..."
            )
        return pieces


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of sentences of equal length, as many at a time as BATCH_PIECES allows."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        by_length[length].append(index)
    for length, indices in sorted(by_length.items()):
        size = max(1, BATCH_PIECES // (length + 1))
        for start in range(0, len(indices), size):
            yield indices[start : start + size]
