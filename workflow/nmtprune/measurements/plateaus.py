"""Whether trainings from scratch have reached their plateau.

This is judged by how much their last updates gained, and how much further training gains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from nmtprune.experiment.chain import Chain, parse_step
from nmtprune.measurements.measurements import Measured

# How long a baseline is trained further, as a share of its updates, and what that may gain at the plateau:
# percent of the development NLL, BLEU
MORE = 0.2
NLL_GAIN, BLEU_GAIN = 1.0, 0.5
# in a development set whose BLEU counts: the difference of equal models has a standard error of 0.5 there
FEWEST_SENTENCES = 1000
# percent that a training's own last updates may gain at the plateau; the rate falls there, so they gain more
# than MORE
OWN_GAIN = 2.0
# times the last rate of a training: at a higher rate, further training does not show whether that training
# was at its plateau
HIGHER = 1.5
FURTHER = ("continue-short", "continue")
SHARES = (80, 90, 100)  # percent of the updates at which perplexities are shown


@dataclass(frozen=True)
class Gain:
    """What a baseline gains on the development set from further training by the share MORE.

    It is the mean over `seeds` trainings. `nll`: in percent of the negative log-likelihood; `bleu`: None if
    the further trained model is not scored; `how` the gain is known.
    """

    nll: float
    bleu: float | None
    how: str
    seeds: int
    allowed: float = NLL_GAIN

    @property
    def done(self) -> bool:
        """Whether the baseline is on its plateau; becoming worse counts as done."""
        return self.nll < self.allowed and (self.bleu is None or self.bleu < BLEU_GAIN)

    def __str__(self) -> str:
        bleu = "" if self.bleu is None else f", BLEU {self.bleu:+.2f}"
        return f"NLL {-self.nll:+.1f} %{bleu} ({self.how})".replace(" -", " −")


def gain(roots: Iterable[Chain], measured: Measured, steps: Iterable[str] = ()) -> Gain | None:
    """What trainings from scratch, one per seed, gain from further training by the share MORE of updates.

    None without a history. If they were trained further (by `steps`, otherwise by FURTHER) at no higher rate
    than their last one, the gain is that of the lowest negative log-likelihood within so many updates, and of
    BLEU at the end of that step, however long the step is. If they were not, the gain is that of their own
    last updates, as many as are the share MORE of the updates before them. A training that was stopped by its
    patience is at its plateau.
    """
    tried = tuple(dict.fromkeys([*steps, *FURTHER]))
    gains = [each for root in roots if (each := _gain(root, measured, tried))]
    if not gains:
        return None
    of_bleu = [each.bleu for each in gains if each.bleu is not None]
    nll = float(np.mean([each.nll for each in gains]))
    return Gain(
        nll,
        float(np.mean(of_bleu)) if of_bleu else None,
        gains[0].how,
        len(gains),
        max(each.allowed for each in gains),
    )


@dataclass(frozen=True)
class Plateau:
    """A training from scratch beside the rule of plateaus.

    `perplexity`: on the development set, at percentages of the updates, interpolated linearly; `further`: the
    lowest one within the share MORE of further updates, None if the model was not trained further; `gain`: of
    this seed; `done`: whether the model is on its plateau, by the mean over the seeds of its row.
    """

    chain: Chain
    updates: int
    perplexity: dict[int, float]
    further: float | None
    gain: Gain
    done: bool


def plateaus(rows: Iterable[Iterable[Chain]], measured: Measured) -> list[Plateau]:
    """The plateau of every training from scratch that models descend from and that has run.

    `rows`: the models of a row, one for each seed. Whether a training is on its plateau is judged, as claims
    do, by the mean over the seeds of its row; of several rows, the one with most seeds.
    """
    judged_with: dict[Chain, list[Chain]] = {}
    for chains in rows:
        roots = sorted({each for chain in chains if (each := from_scratch(chain))}, key=str)
        for root in roots:
            if len(roots) > len(judged_with.get(root, ())):
                judged_with[root] = roots
    reached = []
    for root in sorted(judged_with, key=lambda each: (each.task, each.recipe, each.steps_text, each.seed)):
        history, of_seed = measured.history(root), gain([root], measured)
        of_row = gain(judged_with[root], measured)
        if history is not None and of_seed and of_row:
            further = _further(root, history, measured, FURTHER)
            lowest = math.exp(further[1]) if further else None
            last, at = int(history["update"].max()), _perplexity(history)
            reached.append(Plateau(root, last, at, lowest, of_seed, of_row.done))
    return reached


def _perplexity(history: pd.DataFrame) -> dict[int, float]:
    """Development perplexity at the percentages SHARES of the updates."""
    updates = history["update"]
    at = np.interp([share * updates.max() / 100 for share in SHARES], updates, history["dev_perplexity"])
    return dict(zip(SHARES, map(float, at), strict=True))


def from_scratch(chain: Chain) -> Chain | None:
    """The training from new weights that a model descends from.

    None for an import, and for pretraining, which later phases continue.
    """
    begun = next((each for each in chain.ancestors() if each.last.kind.begins_anew), None)
    return None if begun is None or begun.last.kind.imports or begun.last.text == "train-pretrain" else begun


def said(chain: Chain, gain: Gain) -> str:
    """A sentence without full stop: whether a dense model is on its plateau, and what more training gains."""
    name = f"the training {chain.steps_text} of {chain.recipe} on {chain.task}"
    more = "more updates" if chain.root.kind.imports else f"{100 * MORE:.0f} % more updates"
    return f"{name} is {'' if gain.done else 'not '}on its plateau: {more} give development {gain}"


def _gain(root: Chain, measured: Measured, steps: tuple[str, ...]) -> Gain | None:
    if root.last.kind.imports:
        return _gain_of_import(root, measured, steps)
    history = measured.history(root)
    if history is None:
        return None
    if (measured.manifest(root) or {}).get("stopped_early"):
        return Gain(0.0, None, "stopped by its patience", 1)
    if further := _further(root, history, measured, steps):
        longer, best = further
        nll = 100 * (1 - best / _selected(root, history, measured))
        return Gain(nll, _more_bleu(root, longer, measured), "trained further", 1)
    last = float(history["update"].max())
    before = float(np.interp(last / (1 + MORE), history["update"], _nll(history)))
    return Gain(
        100 * (1 - _nll(history).iloc[-1] / before),
        None,
        "by its own last updates, not trained further",
        1,
        OWN_GAIN,
    )


def _further(
    root: Chain, history: pd.DataFrame, measured: Measured, steps: Iterable[str]
) -> tuple[Chain, float] | None:
    """The model that trains a baseline further at no higher rate than its last one, and the NLL it reaches.

    The NLL is the lowest within the share MORE of the baseline's updates. A higher rate does not show whether
    the baseline has reached its plateau. None if no such model was trained.
    """
    for step in steps:
        longer = replace(root, steps=(*root.steps, parse_step(step)))
        after = measured.history(longer)
        if after is not None:
            after = after[after["update"] > 0]
            if (
                "learning_rate" not in after
                or not (after["learning_rate"] > HIGHER * history["learning_rate"].iloc[-1]).any()
            ):
                within = after[after["update"] <= MORE * history["update"].max()]
                return longer, float(_nll(within if len(within) else after).min())
    return None


def _gain_of_import(root: Chain, measured: Measured, steps: tuple[str, ...]) -> Gain | None:
    """The gain of an import, whose own number of updates is unknown, from further training.

    It is taken at the lowest negative log-likelihood, compared with update 0, which is the import itself.
    """
    for step in steps:
        longer = replace(root, steps=(*root.steps, parse_step(step)))
        history = measured.history(longer)
        if history is not None and (history["update"] == 0).any():
            before = float(_nll(history[history["update"] == 0]).iloc[0])
            return Gain(
                100 * (1 - _nll(history).min() / before),
                _more_bleu(root, longer, measured),
                "trained further",
                1,
            )
    return None


def _more_bleu(root: Chain, longer: Chain, measured: Measured) -> float | None:
    """The gain in development BLEU; None if one of the two models is not scored.

    None also if the set is so small that equal models differ by more than BLEU_GAIN.
    """
    before, after = (measured.value(each, "dev_bleu") for each in (root, longer))
    if (
        before is None
        or after is None
        or int((measured.scores(root, "dev") or {}).get("sentences") or FEWEST_SENTENCES) < FEWEST_SENTENCES
    ):
        return None
    return after - before


def _nll(history: pd.DataFrame) -> pd.Series:
    """Development negative log-likelihood in nats per token."""
    return history["dev_nll"] if "dev_nll" in history else np.log(history["dev_perplexity"])


def _selected(root: Chain, history: pd.DataFrame, measured: Measured) -> float:
    """The negative log-likelihood of the checkpoint that a training selected."""
    update = (measured.manifest(root) or {}).get("selected_update")
    at = history[history["update"] == update]
    return float(_nll(at).iloc[0]) if len(at) else float(_nll(history).min())
