"""What a schedule says of every update: its learning rate and about its size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

TOKENS_OF_A_SENTENCE = 30  # about; where batches are counted in sentences


def tokens_per_update(schedule: Mapping[str, Any]) -> int:
    """About how many tokens of a side one update sees on one device, padding included."""
    tokens = schedule["batch_tokens"]
    if schedule["batch_sentences"]:
        tokens = min(tokens, schedule["batch_sentences"] * TOKENS_OF_A_SENTENCE)
    return tokens * schedule["accumulate"]


def update_at(percent: float | str, updates: int) -> int:
    """The update at which a snapshot of so many percent of a training is kept."""
    return math.ceil(Fraction(str(percent)) * updates / 100)


def decay_length(updates: int) -> int:
    """Where a linear decay ends that does not say it: a tenth beyond the schedule's updates, the last of
    which has about a tenth of the peak, at which the steps that follow go on.
    """
    return math.ceil(Fraction(11, 10) * updates)


def learning_rate(schedule: Mapping[str, Any], update: int) -> float:
    """The rate used for update number `update` (the first is 1).

    `schedule` is either `{peak, warm_up, decay}`: linear warm-up, then `inverse_sqrt` (Vaswani et al. 2017,
    section 5.3, scaled to its peak), `constant`, or `linear` to zero at `updates`; or `{phases: [{updates,
    rate}]}`: constant rates in turn, the last of which goes on.
    """
    if "phases" in schedule:
        for phase in schedule["phases"]:
            if update <= phase["updates"]:
                break
            update -= phase["updates"]
        return phase["rate"]
    peak, warm_up = schedule["peak"], schedule["warm_up"]
    if update < warm_up:
        return peak * update / warm_up
    match schedule["decay"]:
        case "inverse_sqrt":
            return peak * (max(warm_up, 1) / update) ** 0.5
        case "linear":
            return peak * max(0.0, schedule["updates"] - update) / (schedule["updates"] - warm_up)
        case _:
            return peak
