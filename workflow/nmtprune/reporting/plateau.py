"""Whether trainings from scratch have reached their plateau: what their last updates gave, and what training on gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from nmtprune.chain import Chain, parse_step
from nmtprune.reporting.measured import Measured


@dataclass(frozen=True)
class Plateau:
    """Development perplexity of a training at shares of its updates, between two validations on a straight line.

    `trained_on`: the lowest of its `continue` step, where that is there.
    """

    chain: Chain
    updates: int
    perplexity: dict[int, float]
    trained_on: float | None

    @property
    def last_gain(self) -> float:
        """What the last tenth of the updates took off the perplexity, in percent."""
        return 100 * (1 - self.perplexity[100] / self.perplexity[90])

    @property
    def gain_of_training_on(self) -> float | None:
        """What training on took off the perplexity, in percent."""
        return None if self.trained_on is None else 100 * (1 - self.trained_on / self.perplexity[100])


def plateaus(chains: Iterable[Chain], measured: Measured, shares: tuple[int, ...] = (80, 90, 100)) -> list[Plateau]:
    """Of every `train` among the chains' roots that is there, by address."""
    roots = {ancestor for chain in chains for ancestor in chain.ancestors() if ancestor.last.family.name == "train"}
    found = []
    for root in sorted(roots, key=str):
        history = measured.history(root)
        if history is not None:
            last = int(history["update"].max())
            at = {share: float(np.interp(share * last / 100, history["update"], history["dev_perplexity"])) for share in shares}
            longer = measured.history(replace(root, steps=(*root.steps, parse_step("continue"))))
            found.append(Plateau(root, last, at, None if longer is None else float(longer["dev_perplexity"].min())))
    return found
