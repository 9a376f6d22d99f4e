"""Weights on the grid that an engine keeps in 8 bits, as single-precision numbers.

Each row w of a weight matrix, an output unit or a piece's embedding, becomes 255 equally spaced values:
rint(127 w / max|w|). CTranslate2 rounds so when it converts a model, and our ONNX graphs do. A row of zeros
stays zero, and so does each pruned weight.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nmtprune.foundation.errors import UserError, suggest

LEVELS = 127
_LEAST = (
    1e-36  # of a row's largest weight: below it 127 / max|w| is more than a float holds, and the row is zero
)
_IN_FLOAT = {"ctranslate2": ("embed_positions.weight",), "onnx": ("embed_positions.weight",)}


def rounded(state: Mapping[str, torch.Tensor], engine: str) -> dict[str, torch.Tensor]:
    """The state with each matrix that `engine` keeps in 8 bits on its grid: the engine rounds the result to
    the very same bytes.

    Tied tensors stay tied; biases, layer norms and positions are the same tensors as before. Rounding twice
    is rounding once. Raises UserError for an engine without 8 bits.
    """
    _check(engine)
    made: dict[tuple[object, ...], torch.Tensor] = {}
    found = {}
    for name, tensor in state.items():
        if _in_8_bits(name, tensor, engine):
            key = (tensor.data_ptr(), tensor.shape, tensor.stride())
            if key not in made:
                made[key] = on_grid(tensor)
            tensor = made[key]
        found[name] = tensor
    return found


def on_grid(weight: torch.Tensor) -> torch.Tensor:
    """A matrix [rows, columns] with each row rounded to its grid, in float32 whatever its precision: a half's
    reciprocals overflow.
    """
    single = weight.detach().to(torch.float32, copy=True)
    maximum = single.abs().amax(1, keepdim=True)
    maximum = torch.where(maximum < _LEAST, LEVELS, maximum)
    # In this order the row's largest weight is itself again, hence its scale, hence the whole row.
    return single.mul_(LEVELS / maximum).round_().div_(LEVELS).mul_(maximum)


@torch.no_grad()
def swap_in(parameters: Mapping[str, torch.Tensor], engine: str) -> dict[str, torch.Tensor]:
    """Round parameters in place for a forward and a backward pass; returns what `restore` needs to undo it.

    `parameters`: by name, each once, such as `dict(module.named_parameters())`. The gradients found in
    between are those of the rounded weights and go straight to the restored ones: the straight-through
    estimator.
    """
    _check(engine)
    saved = {}
    for name, parameter in parameters.items():
        if _in_8_bits(name, parameter, engine):
            saved[name] = parameter.detach().clone()
            parameter.copy_(on_grid(parameter))
    return saved


@torch.no_grad()
def restore(parameters: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> None:
    """Put back the weights that `swap_in` returned."""
    for name, tensor in saved.items():
        parameters[name].copy_(tensor)


def _check(engine: str) -> None:
    if engine not in _IN_FLOAT:
        raise UserError(f"engine `{engine}` has no int8; {suggest(engine, _IN_FLOAT)}")


def _in_8_bits(name: str, tensor: torch.Tensor, engine: str) -> bool:
    return (
        tensor.dim() == 2
        and tensor.numel() > 0
        and name.endswith(".weight")
        and not name.endswith(_IN_FLOAT[engine])
    )
