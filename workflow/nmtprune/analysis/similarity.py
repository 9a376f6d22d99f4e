"""Similarity of each component's output to the output of its side (Wang and Tu 2020, table 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from nmtprune.analysis.development import Pair, development
from nmtprune.analysis.pwcca import Moments
from nmtprune.experiment.analysis_kinds import Analysis
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import Component
from nmtprune.experiment.config import Config
from nmtprune.fairseq_bridge.sublayers import ObservedEngine
from nmtprune.foundation.errors import UserError
from nmtprune.store.model import of_chain

SENTENCES = 1000  # most sentences of the development set
BATCH_PIECES = 4096  # most pieces of a batch, source and target together, padding included


def analyse(config: Config, chain: Chain) -> Analysis:
    """The PWCCA of each component's output with the output of its side's last layer.

    Columns: `component`, `kind`, `layer`, `pwcca`, `positions`. A component's output is what it adds to
    the residual stream, and its variates are the ones that are weighted. Encoder components are compared
    with the encoder's output at source positions, decoder components with the decoder's output at target
    positions, with the references as targets. At most SENTENCES evenly spaced development sentences are
    read. Raises UserError for a model that is not a Transformer, and unless there are more positions
    than the model is wide.
    """
    model, device = of_chain(config, chain), config.settings["device"]
    engine = ObservedEngine(model, device)
    moments: dict[Component, Moments] = {}
    for batch in batches(development(config, chain, model, SENTENCES)):
        passed = engine.observe([pair.source for pair in batch], [pair.target for pair in batch])
        for component, (_, output) in passed.components.items():
            unpadded = passed.real(component)
            x, y = output[unpadded], passed.final(component)[unpadded]
            moments.setdefault(component, Moments(x.shape[1], y.shape[1])).add(x, y)
    rows = []
    for component, each in moments.items():
        row = {"component": str(component), "kind": component.kind, "layer": component.layer}
        try:
            rows.append(row | {"pwcca": each.pwcca(), "positions": each.positions})
        except ValueError as error:
            raise UserError(
                f"the development set of {chain.task} is too small to compare representations: {error}"
            ) from None
    return Analysis(pd.DataFrame(rows))


def batches(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Batches of pairs of similar lengths, as large as BATCH_PIECES allows, ends of sentences included."""
    batch: list[Pair] = []
    longest = [0, 0]
    for pair in sorted(pairs, key=lambda each: (len(each.source), len(each.target))):
        longest_with = [max(before, len(side) + 1) for before, side in zip(longest, pair, strict=True)]
        if batch and (len(batch) + 1) * sum(longest_with) > BATCH_PIECES:
            yield batch
            batch, longest_with = [], [len(side) + 1 for side in pair]
        batch.append(pair)
        longest = longest_with
    if batch:
        yield batch
