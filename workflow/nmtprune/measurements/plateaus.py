"""Whether trainings from scratch have reached their plateau: what their last updates gave, and what training on gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from nmtprune.experiment.chain import Chain, parse_step
from nmtprune.measurements.measurements import Measured

MORE = 0.2  # of its updates that a baseline is trained on for
NLL_GAIN, BLEU_GAIN = 1.0, 0.5  # percent of the development likelihood, and BLEU there, that training on may give a baseline that is done
FEWEST_SENTENCES = 1000  # of a development set whose BLEU is looked at: on these the difference of equal models has a standard error of 0.5
OWN_GAIN = 2.0  # percent that a training's own last updates may give, in which the rate still falls: about twice what training on gives
HIGHER = 1.5  # times a training's last rate: from here on training on is not going on
TRAINED_ON = ("continue-short", "continue")


@dataclass(frozen=True)
class Plateau:
    """Development perplexity of a training at shares of its updates, between two validations on a straight line.

    `trained_on`: the lowest after it, where it was trained on at no higher rate.
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
    roots = {chain.root_chain for chain in chains if chain.root.kind.trains}
    found = []
    for root in sorted(roots, key=str):
        history = measured.history(root)
        if history is not None:
            last = int(history["update"].max())
            at = {share: float(np.interp(share * last / 100, history["update"], history["dev_perplexity"])) for share in shares}
            longer = min((after["dev_perplexity"].min() for _, after in _trained_on(root, history, measured, TRAINED_ON)), default=None)
            found.append(Plateau(root, last, at, longer))
    return found


@dataclass(frozen=True)
class Gain:
    """What MORE updates give a baseline on the development set, means over `seeds` trainings: `nll` in percent of its negative
    log-likelihood, `bleu` (None where the model that was trained on is not scored), and `how` that is known."""

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
    """What training on for MORE of their updates gives trainings from scratch, one a seed; None where no history is there.

    Where they were trained on (by `steps`, else by TRAINED_ON) at no higher rate than their last, it is the lowest likelihood within so
    many updates, and BLEU at the end of that step, however long it is. Where they were not, the end of the training itself: its last
    updates, as many as are MORE of those before them. A training that its patience stopped is done.
    """
    trained_on = tuple(dict.fromkeys([*steps, *TRAINED_ON]))
    found = [each for root in roots if (each := _gain(root, measured, trained_on))]
    if not found:
        return None
    known = [each.bleu for each in found if each.bleu is not None]
    nll = float(np.mean([each.nll for each in found]))
    return Gain(nll, float(np.mean(known)) if known else None, found[0].how, len(found), max(each.allowed for each in found))


def said(chain: Chain, gain: Gain) -> str:
    """A sentence without its stop: whether a dense model is on its plateau, and what training it on gives."""
    name = f"the training {chain.steps_text} of {chain.recipe} on {chain.task}"
    more = "more updates" if chain.root.kind.imports else f"{100 * MORE:.0f} % more updates"
    return f"{name} is {'' if gain.done else 'not '}on its plateau: {more} give development {gain}"


def _gain(root: Chain, measured: Measured, trained_on: tuple[str, ...]) -> Gain | None:
    if root.last.kind.imports:
        return _gain_of_import(root, measured, trained_on)
    history = measured.history(root)
    if history is None:
        return None
    if (measured.manifest(root) or {}).get("stopped_early"):
        return Gain(0.0, None, "stopped by its patience", 1)
    last = float(history["update"].max())
    for longer, after in _trained_on(root, history, measured, trained_on):
        within = after[after["update"] <= MORE * last]
        best = _nll(within if len(within) else after).min()
        return Gain(100 * (1 - best / _selected(root, history, measured)), _more_bleu(root, longer, measured), "trained on", 1)
    before = float(np.interp(last / (1 + MORE), history["update"], _nll(history)))
    return Gain(100 * (1 - _nll(history).iloc[-1] / before), None, "by its own last updates, not trained on", 1, OWN_GAIN)


def _trained_on(root: Chain, history: pd.DataFrame, measured: Measured, steps: Iterable[str]) -> Iterator[tuple[Chain, pd.DataFrame]]:
    """The models, and their histories after update 0, that train a baseline on at no higher rate than it ended with: a higher one tells
    nothing of whether it is done."""
    for step in steps:
        longer = replace(root, steps=(*root.steps, parse_step(step)))
        after = measured.history(longer)
        if after is not None:
            after = after[after["update"] > 0]
            if "learning_rate" not in after or not (after["learning_rate"] > HIGHER * history["learning_rate"].iloc[-1]).any():
                yield longer, after


def _gain_of_import(root: Chain, measured: Measured, trained_on: tuple[str, ...]) -> Gain | None:
    """What training on gives an import, whose own updates are not known: the lowest likelihood of all of that training, in which the import
    itself is update 0."""
    for step in trained_on:
        longer = replace(root, steps=(*root.steps, parse_step(step)))
        history = measured.history(longer)
        if history is not None and (history["update"] == 0).any():
            before = float(_nll(history[history["update"] == 0]).iloc[0])
            return Gain(100 * (1 - _nll(history).min() / before), _more_bleu(root, longer, measured), "trained on", 1)
    return None


def _more_bleu(root: Chain, longer: Chain, measured: Measured) -> float | None:
    """The gain in development BLEU; None where one of the two is not scored, and where the set is so small that equal models differ by more
    than BLEU_GAIN."""
    scores = [measured.value(each, "dev_bleu") for each in (root, longer)]
    if None in scores or int((measured.scores(root, "dev") or {}).get("sentences") or FEWEST_SENTENCES) < FEWEST_SENTENCES:
        return None
    return scores[1] - scores[0]


def _nll(history: pd.DataFrame) -> pd.Series:
    """Development negative log-likelihood in nats per token."""
    return history["dev_nll"] if "dev_nll" in history else np.log(history["dev_perplexity"])


def _selected(root: Chain, history: pd.DataFrame, measured: Measured) -> float:
    """The likelihood of the checkpoint that a training selected."""
    update = (measured.manifest(root) or {}).get("selected_update")
    at = history[history["update"] == update]
    return float(_nll(at).iloc[0]) if len(at) else float(_nll(history).min())
