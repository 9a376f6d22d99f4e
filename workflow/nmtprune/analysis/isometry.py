"""Layerwise dynamical isometry: whether the Jacobians of components preserve lengths.

Wang and Tu 2020, table 2; Lee et al. 2020, section 4. Wang and Tu do not say what is differentiated with
respect to what, so there are two kinds of Jacobian. With reach `position` it is d x d: a component's
output at one position with respect to its input at the same position, with all other positions fixed.
The position acts as query, key and value; in encoder-attention as query only, since keys and values come
from the encoder.

With reach `sentence` it is Td x Td: the output at all T positions of a short sentence with respect to
the input at all of them. Self-attention mixes positions, and in the decoder hides later ones, which is
how the paper explains its values. Other components do not mix positions: their whole Jacobian consists
of its diagonal blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from nmtprune.analysis.development import Pair, development
from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import Analysis
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.fairseq_bridge.sublayers import Component, ObservedEngine, Pass
from nmtprune.store.model import Model, from_checkpoint, of_chain

SENTENCES = 8  # of the development set, evenly spaced
POSITIONS = 2  # of each sentence and side
SHORT = 2  # number of shortest sentences for which the whole Jacobian is computed
LARGEST = 4096  # most rows of a whole Jacobian: singular values of a larger one take minutes
ROWS = 128  # rows of a Jacobian computed at a time, which bounds the memory of a long sentence
COLUMNS = ("component", "kind", "layer", "at", "reach", "residual", "mean_singular_value", "sd", "positions")


def analyse(config: Config, chain: Chain) -> Analysis:
    """Mean singular values for each component, `at` (`initial`, `trained`), `reach` and `residual`.

    `residual` is 1 with the identity of the residual connection added, before any layer norm that
    follows the sum, and 0 without it. `mean_singular_value`: the mean over Jacobians of the mean of
    their singular values; `positions`: the number of Jacobians (for reach `sentence`, of sentences);
    `sd`: the standard deviation over them. With pre-norm, the layer norm is a part of the component.
    `initial` means the first weights of the training that the chain begins with; an imported model has
    none. Always computed on the CPU. Raises UserError for a model that is not a Transformer.
    """
    trained = of_chain(config, chain)
    pairs = development(config, chain, trained, SENTENCES)
    compared = {"initial": initial(config, chain), "trained": trained}
    rows = [row for at, model in compared.items() if model for row in _rows(model, pairs, at)]
    return Analysis(pd.DataFrame(rows, columns=list(COLUMNS)))


def initial(config: Config, chain: Chain) -> Model | None:
    """The first weights of a chain's first training; None if the chain begins with an imported model."""
    if not chain.root.kind.trains:
        return None
    return from_checkpoint(paths.first_weights(chain), paths.binarised(config.data_folder(chain.root_chain)))


def _rows(model: Model, pairs: list[Pair], at: str) -> list[dict[str, Any]]:
    engine = ObservedEngine(model, "cpu")
    means: dict[tuple[Component, str, int], list[float]] = {}
    short = sorted(pairs, key=lambda pair: max(len(pair.source), len(pair.target)))[:SHORT]
    for number, pair in enumerate(pairs):
        passed = engine.observe([pair.source], [pair.target])
        for component in engine.components:
            stream = passed.components[component].input[:, 0]
            for position in positions(len(stream), number, len(pairs)):
                own = jacobian(engine.at_position(component, passed, position), stream[position])
                for residual in (0, 1):
                    means.setdefault((component, "position", residual), []).append(
                        mean_singular_value(own, residual)
                    )
            if pair in short and stream.numel() <= LARGEST:
                whole = whole_jacobian(engine, component, passed, stream)
                for residual in (0, 1):
                    value = float(
                        torch.stack(
                            [torch.tensor(mean_singular_value(block, residual)) for block in whole]
                        ).mean()
                    )
                    means.setdefault((component, "sentence", residual), []).append(value)
    rows = []
    for (component, reach, residual), values in means.items():
        of_jacobians = torch.tensor(values, dtype=torch.float64)
        rows.append(
            {
                "component": str(component),
                "kind": component.kind,
                "layer": component.layer,
                "at": at,
                "reach": reach,
                "residual": residual,
                "mean_singular_value": float(of_jacobians.mean()),
                "sd": float(of_jacobians.std()) if len(values) > 1 else 0.0,
                "positions": len(values),
            }
        )
    return rows


def whole_jacobian(
    engine: ObservedEngine, component: Component, passed: Pass, stream: Tensor
) -> list[Tensor]:
    """The diagonal blocks of a component's Jacobian over all positions [T, d] of a sentence.

    One block of Td x Td if self-attention mixes the positions, otherwise one block of d x d for each
    position.
    """
    if component.kind in ("E.SA", "D.SA"):
        length, width = stream.shape
        function = engine.at_all_positions(component, passed)
        return [jacobian(lambda x: function(x.view(length, width)).flatten(), stream.flatten())]
    return [jacobian(engine.at_position(component, passed, position), x) for position, x in enumerate(stream)]


def positions(length: int, number: int, sentences: int) -> list[int]:
    """POSITIONS indices in sentence `number` of `sentences`, a sentence of `length` positions.

    Over all sentences they cover beginnings, middles and ends evenly.
    """
    shares = ((part * sentences + number + 0.5) / (POSITIONS * sentences) for part in range(POSITIONS))
    return list(dict.fromkeys(int(share * length) for share in shares))


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The exact Jacobian [d_out, d_in] of a function [d_in] -> [d_out] at `x`."""
    return torch.func.jacrev(function, chunk_size=ROWS)(x)


def mean_singular_value(matrix: Tensor, residual: bool | int = False) -> float:
    """The mean of the singular values of a Jacobian [d, d]; with `residual`, the identity is added first."""
    if residual:
        matrix = matrix + torch.eye(len(matrix), dtype=matrix.dtype)
    return float(torch.linalg.svdvals(matrix).mean())
