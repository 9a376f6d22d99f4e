"""Layerwise dynamical isometry: do a component's Jacobians keep lengths (Wang and Tu 2020, table 2; Lee et
al. 2020, section 4)?

Wang and Tu do not say what is differentiated by what. Of `reach` position it is a component's output at one
position by its input at the same position, all other positions held fixed, d x d: what the position makes of
itself, as query, key and value (encoder-attention: as query alone, since keys and values are the encoder's).
Of reach sentence it is the output at all T positions by the input at all of them, Td x Td, of short
sentences: self-attention mixes positions, and the decoder's masks later ones, by which the paper explains its
values. The other components do not mix them: their whole Jacobian is made of the blocks of its diagonal.
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
SHORT = 2  # sentences, the shortest of these, of which the whole Jacobian is taken
LARGEST = 4096  # rows of a whole Jacobian: its singular values take minutes beyond
ROWS = 128  # of a Jacobian at once: bounds the memory of a long sentence
COLUMNS = ("component", "kind", "layer", "at", "reach", "residual", "mean_singular_value", "sd", "positions")


def analyse(config: Config, chain: Chain) -> Analysis:
    """A row for each component, `at` (`initial`, `trained`), `reach` (`position`, `sentence`) and `residual`:
    1 with the identity of the residual connection added, before any layer norm that follows the sum; 0
    without it.

    `mean_singular_value`: the mean of a Jacobian's singular values, and of that the mean over `positions` (of
    reach sentence: over so many sentences); `sd`: its standard deviation over them. With pre-norm the layer
    norm is a part of the component. `initial` are the first weights of the training that the chain begins
    with; an imported model has none. Always on the CPU. Raises UserError for a model that is no Transformer.
    """
    trained = of_chain(config, chain)
    pairs = development(config, chain, trained, SENTENCES)
    compared = {"initial": initial(config, chain), "trained": trained}
    rows = [row for at, model in compared.items() if model for row in _rows(model, pairs, at)]
    return Analysis(pd.DataFrame(rows, columns=list(COLUMNS)))


def initial(config: Config, chain: Chain) -> Model | None:
    """The first weights of a chain's first training; None where it begins with an imported model."""
    if not chain.root.kind.trains:
        return None
    return from_checkpoint(paths.first_weights(chain), paths.binarised(config.data_folder(chain.root_chain)))


def _rows(model: Model, pairs: list[Pair], at: str) -> list[dict[str, Any]]:
    engine = ObservedEngine(model, "cpu")
    means: dict[tuple[str, str, int], list[float]] = {}
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
        found = torch.tensor(values, dtype=torch.float64)
        rows.append(
            {
                "component": str(component),
                "kind": component.kind,
                "layer": component.layer,
                "at": at,
                "reach": reach,
                "residual": residual,
                "mean_singular_value": float(found.mean()),
                "sd": float(found.std()) if len(values) > 1 else 0.0,
                "positions": len(values),
            }
        )
    return rows


def whole_jacobian(
    engine: ObservedEngine, component: Component, passed: Pass, stream: Tensor
) -> list[Tensor]:
    """The blocks of a component's Jacobian over all positions [T, d] of a sentence: one of Td x Td where
    self-attention mixes them, else one of d x d a position.
    """
    if component.kind in ("E.SA", "D.SA"):
        length, width = stream.shape
        function = engine.at_all_positions(component, passed)
        return [jacobian(lambda x: function(x.view(length, width)).flatten(), stream.flatten())]
    return [jacobian(engine.at_position(component, passed, position), x) for position, x in enumerate(stream)]


def positions(length: int, number: int, sentences: int) -> list[int]:
    """POSITIONS places of sentence `number` of so many, which together cover beginnings, middles and ends
    evenly.
    """
    shares = ((part * sentences + number + 0.5) / (POSITIONS * sentences) for part in range(POSITIONS))
    return list(dict.fromkeys(int(share * length) for share in shares))


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The Jacobian [d_out, d_in] of a function [d_in] -> [d_out] at `x`, exactly, by automatic
    differentiation.
    """
    return torch.func.jacrev(function, chunk_size=ROWS)(x)


def mean_singular_value(matrix: Tensor, residual: bool | int = False) -> float:
    """The mean of the singular values of a Jacobian [d, d], `residual`: with the identity added."""
    if residual:
        matrix = matrix + torch.eye(len(matrix), dtype=matrix.dtype)
    return float(torch.linalg.svdvals(matrix).mean())
