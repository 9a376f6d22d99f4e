"""Round weights to the values that an engine stores in 8 bits, as single-precision numbers.

Each row w of a weight matrix (an output unit or a piece's embedding) is rounded to 255 equally spaced
values: rint(127 w / max|w|). CTranslate2 rounds in this way when it converts a model, and so do our ONNX
graphs. A row of zeros stays zero, and so does each pruned weight.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nmtprune.foundation.errors import UserError, suggest

LEVELS = 127
# Rows whose largest weight is below this are rounded to zero, since 127 / max|w| would overflow.
_LEAST = 1e-36
_IN_FLOAT = {"ctranslate2": ("embed_positions.weight",), "onnx": ("embed_positions.weight",)}


def rounded(weights: Mapping[str, torch.Tensor], engine: str) -> dict[str, torch.Tensor]:
    """The weights with each matrix that `engine` keeps in 8 bits rounded to its grid.

    The engine rounds the result to the very same bytes, and rounding it again changes nothing. Tied
    tensors stay tied; biases, layer norms and positions are the same tensors as before. Raises UserError
    for an engine without int8.
    """
    _check(engine)
    rounded_matrices: dict[tuple[object, ...], torch.Tensor] = {}
    on_grids = {}
    for name, tensor in weights.items():
        if _in_8_bits(name, tensor, engine):
            key = (tensor.data_ptr(), tensor.shape, tensor.stride())
            if key not in rounded_matrices:
                rounded_matrices[key] = on_grid(tensor)
            tensor = rounded_matrices[key]
        on_grids[name] = tensor
    return on_grids


def on_grid(weight: torch.Tensor) -> torch.Tensor:
    """A matrix [rows, columns] with each row rounded to its grid, in float32.

    Lower precisions are converted first, since reciprocals overflow in half precision.
    """
    single = weight.detach().to(torch.float32, copy=True)
    maximum = single.abs().amax(1, keepdim=True)
    maximum = torch.where(maximum < _LEAST, LEVELS, maximum)
    # In this order the row's largest weight stays exactly the same, and so do its scale and the whole row.
    return single.mul_(LEVELS / maximum).round_().div_(LEVELS).mul_(maximum)


@torch.no_grad()
def swap_in(parameters: Mapping[str, torch.Tensor], engine: str) -> dict[str, torch.Tensor]:
    """Round parameters in place for a forward and a backward pass; return what `restore` needs to undo it.

    `parameters`: by name, each once, such as `dict(module.named_parameters())`. The gradients computed
    in between are those of the rounded weights, and are applied to the restored ones: the
    straight-through estimator.
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
