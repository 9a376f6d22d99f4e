"""The weights and masks of any step, read from its directory. Needs no fairseq."""

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


def read(path: Path, **how: Any) -> Any:
    """What `torch.save` wrote, on the CPU; `how`: as `unpickling.load` takes it.

    Raises UserError where the file is missing, truncated or something else.
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
    """What to do where a model is made and a file of it is missing, as after `free`."""
    folder = paths.folder_of(path)
    if not (folder / paths.MANIFEST).exists():
        return ""
    return (
        ", though the model is made: was it freed? Make it again: "
        f"{commands.nmtprune('restore', paths.chain_text(str(folder)))}"
    )


def save(value: Any, path: Path) -> None:
    with atomic(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:
            if isinstance(
                error.__context__, OSError
            ):  # a full disk, which PyTorch speaks of as an unexpected position
                raise error.__context__ from None
            raise


def save_masks(masks: Mapping[str, Tensor], path: Path) -> None:
    """Masks as bits: one bit a weight."""
    save(
        {name: (tuple(m.shape), torch.from_numpy(numpy.packbits(m.numpy()))) for name, m in masks.items()},
        path,
    )


def read_masks(path: Path) -> dict[str, Tensor]:
    """Masks by parameter name, True where a weight is kept."""
    masks = {}
    for name, (shape, bits) in read(path).items():
        count = int(numpy.prod(shape))
        masks[name] = torch.from_numpy(numpy.unpackbits(bits.numpy(), count=count).view(bool)).view(shape)
    return masks


def masks_of(chain: Chain) -> dict[str, Tensor] | None:
    """The masks that hold for a chain's model; None where it is dense. Raises UserError where its mask is
    missing.
    """
    for ancestor in chain.ancestors():
        if ancestor.last.kind.leaves in (DENSE, SLICED):
            return None
        if ancestor.last.kind.selects:
            return read_masks(paths.model(ancestor) / paths.MASK)
    return None


def options_by_name(options: Any) -> dict[str, Any]:
    """fairseq's options of a model or a task: a checkpoint has them as a mapping, or as attributes of a
    namespace.
    """
    return dict(options) if isinstance(options, Mapping) else dict(vars(options))


def is_transformer(options: Mapping[str, Any]) -> bool:
    """Whether a model's options by name are those of a Transformer, fairseq's own or a student."""
    return "encoder_attention_heads" in options and "transformer" in str(
        options.get("arch") or options.get("_name")
    )


def masked(state: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """A state dict with pruned weights at zero; the tensors that are masked are copies, and tied ones stay
    tied.
    """
    copies = {
        state[name].data_ptr(): state[name].masked_fill(~mask, 0) for name, mask in (masks or {}).items()
    }
    return {
        name: copies.get(tensor.data_ptr(), tensor) if tensor.numel() else tensor
        for name, tensor in state.items()
    }


def state_of(chain: Chain) -> dict[str, Tensor]:
    """The weights of any chain's model, masks applied."""
    return masked(
        read(paths.checkpoint_of(chain))["model"], masks_of(chain) if chain.last.kind.selects else None
    )
