"""How much of a model's output each component has (Wang and Tu 2020, table 1)."""

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

SENTENCES = 1000  # of the development set, at most
BATCH_PIECES = 4096  # source and target, padding included


def analyse(config: Config, chain: Chain) -> Analysis:
    """A row a component, columns `component`, `kind`, `layer`, `pwcca`, `positions`: the PWCCA of what it
    adds to the residual stream, whose variates are weighted, with the output of its side's last layer.

    Components of the encoder are compared at source positions with the encoder's output, those of the decoder
    at target positions, the references given, with the decoder's. At most SENTENCES development sentences,
    evenly spaced. Raises UserError for a model that is no Transformer, and where there are no more positions
    than the model is wide.
    """
    model, device = of_chain(config, chain), config.settings["device"]
    engine = ObservedEngine(model, None if device == "auto" else device)
    moments: dict[Component, Moments] = {}
    for batch in batches(development(config, chain, model, SENTENCES)):
        passed = engine.observe([pair.source for pair in batch], [pair.target for pair in batch])
        for component, (_, output) in passed.components.items():
            real = passed.real(component)
            x, y = output[real], passed.final(component)[real]
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
    """Pairs of about equal lengths together, as many as BATCH_PIECES allows, ends of sentences counted."""
    batch: list[Pair] = []
    longest = [0, 0]
    for pair in sorted(pairs, key=lambda each: (len(each.source), len(each.target))):
        with_it = [max(before, len(side) + 1) for before, side in zip(longest, pair, strict=True)]
        if batch and (len(batch) + 1) * sum(with_it) > BATCH_PIECES:
            yield batch
            batch, with_it = [], [len(side) + 1 for side in pair]
        batch.append(pair)
        longest = with_it
    if batch:
        yield batch
