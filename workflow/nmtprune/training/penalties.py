"""Group lasso as a term of the training loss (Behnke & Heafield 2021, section 3)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nmtprune.foundation.errors import UserError
from nmtprune.pruning.groups import groups


class GroupLasso:
    """R = sum over groups of gamma * |w_g|_2 (equation 1) over the parameters of a model in training.

    `parameters`: the model's parameters by name (`dict(model.named_parameters())`); the penalty follows
    these tensors themselves, on whatever device they are and as the optimiser changes them. `kind`,
    `where`, `head_dim`: see `pruning.groups.groups`. `gamma`: `sqrt` for the square root of the group's
    size, `none` for 1. The caller multiplies by lambda and divides by the words of the batch (equation
    2). Raises UserError for a model without such groups.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], kind: str, where: str, head_dim: int, gamma: str = "sqrt"
    ) -> None:
        self.sets = groups(parameters, kind, where, head_dim)
        if not self.sets:
            raise UserError(
                f"lasso-{kind}-{where}: the model has no such groups; group lasso needs a Transformer."
            )
        self._scaled = gamma == "sqrt"

    def value(self) -> Tensor:
        """R, a differentiable float32 scalar; a group of zeros adds zero.

        R is computed in single precision, also under autocast.
        """
        terms = []
        with torch.autocast(self.sets[0].weight.device.type, enabled=False):
            for each in self.sets:
                norms = each.norms()
                terms.append(norms @ each.sizes.sqrt() if self._scaled else norms.sum())
            return torch.stack(terms).sum()

    @torch.no_grad()
    def norms(self) -> list[Tensor]:
        """Current L2 norms of the groups [groups], for each of `sets`."""
        return [each.norms() for each in self.sets]
