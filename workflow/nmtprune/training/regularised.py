"""Training under the group lasso (Behnke and Heafield 2021, section 3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nmtprune.experiment.recipe import Lasso
from nmtprune.experiment.shapes import FFN, sparsity
from nmtprune.experiment.step_kinds import sparsity_sought
from nmtprune.fairseq_bridge.session import Trainer
from nmtprune.pruning.dead import rule_of, small_share
from nmtprune.pruning.slicing import dead_units, shape_of, shape_without
from nmtprune.training.penalties import GroupLasso
from nmtprune.training.treatment import Treatment

UPDATES_BETWEEN_STEPS = 10  # between two changes of a lambda that is being sought
LARGEST_STEP = 0.05  # largest such change of log lambda


class Regularised(Treatment):
    """Adds lambda times the penalty to the loss, and the widths that slicing would leave to the history.

    `strength`: lambda, or a sparsity such as `to67`: lambda then starts at `settings.start` and rises
    and falls until about 67 % of the penalised feed-forward units have small norms. `settings`: the
    recipe's `lasso` settings.
    """

    def __init__(self, groups: str, where: str, strength: str, settings: Lasso, head_dim: int) -> None:
        self.groups, self.where, self.settings, self.head_dim = groups, where, settings, head_dim
        self.target = sparsity_sought(strength)
        self.strength = settings.start if self.target is not None else float(strength)
        self.given = strength

    def begin(self, trainer: Trainer) -> None:
        self.parameters = dict(trainer.get_model().named_parameters(remove_duplicate=False))
        self.lasso = GroupLasso(self.parameters, self.groups, self.where, self.head_dim, self.settings.gamma)
        self.shape, self.tied = (
            shape_of(self.parameters, self.head_dim),
            getattr(trainer.cfg.model, "tied_decoder_layers", False),
        )
        self.batches = (
            trainer.cfg.distributed_training.distributed_world_size * trainer.cfg.optimization.update_freq[0]
        )
        trainer.criterion.penalty = self.penalty

    def penalty(self, words: int) -> Tensor:
        """The term that is added to the summed loss of a batch of `words` target words.

        fairseq divides the sum by the words of the whole update. Equation 2 for each word: lambda / |B|,
        where |B| is the number of words of the update, or the setting `reference_words` if given.
        """
        reference = self.settings.reference_words
        share = words / reference if reference else 1 / self.batches
        return self.strength * share * self.lasso.value()

    def before_update(self, update: int) -> None:
        if self.target is not None and update % UPDATES_BETWEEN_STEPS == 0:
            missing = (
                self.target - small_share(self.parameters, self.groups, self.where, self.head_dim)
            ) / 100
            self.strength *= float(torch.tensor(missing).clamp(-LARGEST_STEP, LARGEST_STEP).exp())

    def history(self) -> dict[str, Any]:
        """Columns `lambda`, `penalty` (R of equation 1), `ffn_sparsity` in percent, and widths of the layers.

        Widths are what slicing would leave: `encoder.0.ffn` counts hidden units, `encoder.0.self` and
        `decoder.0.cross` count heads.
        """
        with torch.no_grad():
            rule = rule_of(self.settings, self.parameters, self.groups, self.where, self.head_dim, self.given)
            removed = dead_units(self.parameters, self.groups, self.where, self.head_dim, rule)
            penalty = float(self.lasso.value())
        left = shape_without(self.shape, removed)
        widths = {
            f"{side}.{index}.{component}": layer[component]
            for side, layers in left.items()
            for index, layer in enumerate(layers)
            for component in layer
        }
        return {
            "lambda": self.strength,
            "penalty": penalty,
            "ffn_sparsity": sparsity(left, self.shape, FFN, self.tied),
            **widths,
        }

    def norms(self) -> dict[str, Tensor]:
        norms = zip(self.lasso.sets, self.lasso.norms(), strict=True)
        return {f"{each.sub_layer.prefix}{each.matrix}": values for each, values in norms}

    def state(self) -> float:
        return self.strength

    def resume(self, state: float) -> None:
        self.strength = state
