"""Weights and masks of any step, read from its directory and written there, without fairseq."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.step_kinds import DENSE, SLICED
from nmtprune.foundation import commands
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import atomic
from nmtprune.store import unpickling
from nmtprune.store.tied import replaced


def read(path: Path, **how: Any) -> Any:
    """Read what `torch.save` wrote, onto the CPU; `how`: further arguments of `unpickling.load`.

    Raises UserError if the file is missing, truncated or not a PyTorch file.
    """
    try:
        return unpickling.load(path, **how)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"there is no file {path}{_how_to_make(path)}") from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is not a whole PyTorch file (truncated?): {reason}; remove it and run again"
        ) from None


def _how_to_make(path: Path) -> str:
    """The end of a message about a missing file: how to restore it if its model was made, as after `free`."""
    folder = paths.folder_of(path)
    if not (folder / paths.MANIFEST).exists():
        return ""
    return (
        ", though the model is made: was it freed? Make it again: "
        f"{commands.nmtprune('restore', paths.chain_text(str(folder)))}"
    )


def save(value: Any, path: Path) -> None:
    """Write a value with `torch.save`, atomically. Raises OSError on a full disk."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:
            # on a full disk PyTorch raises a RuntimeError about an unexpected position
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def save_masks(masks: Mapping[str, Tensor], path: Path) -> None:
    """Write masks with one bit per weight."""
    save(
        {name: (tuple(m.shape), torch.from_numpy(numpy.packbits(m.numpy()))) for name, m in masks.items()},
        path,
    )


def read_masks(path: Path) -> dict[str, Tensor]:
    """Read masks by parameter name: bool tensors of the parameters' shapes, True where a weight is kept."""
    masks = {}
    for name, (shape, bits) in read(path).items():
        count = int(numpy.prod(shape))
        masks[name] = torch.from_numpy(numpy.unpackbits(bits.numpy(), count=count).view(bool)).view(shape)
    return masks


def masks_of(chain: Chain) -> dict[str, Tensor] | None:
    """The masks of a chain's model by parameter name; None if the model is dense or sliced.

    Raises UserError if the mask file is missing.
    """
    for ancestor in chain.ancestors():
        if ancestor.last.kind.leaves in (DENSE, SLICED):
            return None
        if ancestor.last.kind.selects:
            return read_masks(paths.model(ancestor) / paths.MASK)
    return None


def options_by_name(options: Any) -> dict[str, Any]:
    """Options of a model or a task in fairseq as a dict; checkpoints hold a mapping or a namespace."""
    return dict(options) if isinstance(options, Mapping) else dict(vars(options))


def is_transformer(options: Mapping[str, Any]) -> bool:
    """Whether a model's options are those of a Transformer, fairseq's own or our student."""
    return "encoder_attention_heads" in options and "transformer" in str(
        options.get("arch") or options.get("_name")
    )


def masked(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """A state dict with pruned weights at zero; masked tensors are copies, and tied tensors stay tied."""
    return replaced(
        weights, {name: weights[name].masked_fill(~mask, 0) for name, mask in (masks or {}).items()}
    )


def state_of(chain: Chain) -> dict[str, Tensor]:
    """The weights of any chain's model, masks applied."""
    return masked(
        read(paths.checkpoint_of(chain))["model"], masks_of(chain) if chain.last.kind.selects else None
    )
