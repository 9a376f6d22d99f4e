"""The masks of steps that select weights.

`prune-<scheme>-<percent>[-<class>]` selects single weights; `ablate-<components>` selects all weights of
the matrices and biases that produce the components' outputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from nmtprune.experiment.architecture import spelt
from nmtprune.experiment.chain import Step
from nmtprune.experiment.components import read_component
from nmtprune.foundation.errors import UserError, suggest
from nmtprune.pruning.classes import class_of, prunable
from nmtprune.pruning.components import ablation
from nmtprune.pruning.schemes import masks

Masks = dict[str, Tensor]


def masks_of_steps(weights: Masks, embeddings: str, before: Masks | None = None) -> Callable[[Step], Masks]:
    """A function from selecting steps to the masks that they put on these weights.

    Weights that are masked `before` stay masked. A step with a class uses the thresholds of the whole
    model and prunes only that class (See et al. 2016, figure 4). The masks of the most recent scheme and
    percentage are cached, so that asking for one class after the other computes them once.
    """
    chosen = prunable(weights, embeddings)
    of_model = functools.lru_cache(maxsize=1)(lambda scheme, percent: masks(chosen, scheme, percent))

    def masks_of_step(step: Step) -> Masks:
        return together(before or {}, ablated(step) if step.get("components") else pruned(step))

    def ablated(step: Step) -> Masks:
        return ablation(weights, map(read_component, step["components"].split("+")))

    def pruned(step: Step) -> Masks:
        made, only = of_model(step["scheme"], step["percent"]), step.get("class")
        if only is not None:
            valid = {spelt(class_of(name)) for name in made}
            if only not in valid:
                raise UserError(
                    f"step `{step}`: the model has no weight class `{only}`; {suggest(only, valid)}"
                )
            made = {
                name: mask if spelt(class_of(name)) == only else torch.ones_like(mask)
                for name, mask in made.items()
            }
        return made

    return masks_of_step


def together(before: Masks, made: Masks) -> Masks:
    """Masks that keep what both keep; a parameter that only one of them masks has that mask."""
    return before | {name: mask & before[name] if name in before else mask for name, mask in made.items()}
