"""Whether trainings from scratch have reached their plateau: what the last tenths of their updates still gave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nmtprune.chain import Chain
from nmtprune.reporting.measured import Measured


@dataclass(frozen=True)
class Plateau:
    """Development perplexity of a training at shares of its updates; between two validations on a straight line."""

    chain: Chain
    updates: int
    perplexity: dict[int, float]

    @property
    def last_gain(self) -> float:
        """What the last tenth of the updates took off the perplexity, in percent."""
        return 100 * (1 - self.perplexity[100] / self.perplexity[90])


def plateaus(chains: Iterable[Chain], measured: Measured, shares: tuple[int, ...] = (80, 90, 100)) -> list[Plateau]:
    """Of every `train` among the chains' roots that is there, by address."""
    roots = {ancestor for chain in chains for ancestor in chain.ancestors() if ancestor.last.family.name == "train"}
    found = []
    for root in sorted(roots, key=str):
        history = measured.history(root)
        if history is not None:
            last = int(history["update"].max())
            at = {share: float(np.interp(share * last / 100, history["update"], history["dev_perplexity"])) for share in shares}
            found.append(Plateau(root, last, at))
    return found
