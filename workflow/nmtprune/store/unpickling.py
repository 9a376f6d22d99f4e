"""PyTorch files are read without running what is in them.

A pickle may call any function while it is loaded. PyTorch's `weights_only` builds tensors, plain containers
and a list of classes that hold data, and nothing else. Ours hold fairseq's options, a namespace; checkpoints
that fairseq wrote elsewhere hold more (`fairseq_bridge.checkpoint_classes`).
"""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import torch

from nmtprune.foundation.errors import UserError

# in what PyTorch says of a class or a function that it does not load
_NAMED = re.compile(r"(?:GLOBAL|unrecognized function|but got) (?:<class ')?([\w.]+)")
_REASON = re.compile(r"WeightsUnpickler error:\s*(.+)")  # among several lines of advice

Allowed = type | tuple[Any, str]  # what may be built, and where its name is not its own, that name


def load(file: str | Path | IO[bytes], more: Iterable[Allowed] | None = None, trust: bool = False) -> Any:
    """What `torch.save` wrote, on the CPU. `more`: of a file from elsewhere, the classes that it may hold
    beside ours; `trust`: whatever it holds is run.

    Raises UserError that names a class or a function that it asks for in vain; and what `torch.load` raises
    for files that are none.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace, *(more or ())]):
            return torch.load(file, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        named = _NAMED.search(str(error))
        if named is None:
            reason = _REASON.search(str(error))
            raise pickle.UnpicklingError(reason[1] if reason else str(error)) from None
        of_ours, of_others = (
            "no file of ours does: remove it",
            "where you trust who made it, say `trust: true` of it under `imports`",
        )
        asks = f"{getattr(file, 'name', file)} asks for `{named[1]}` when it is loaded"
        raise UserError(
            f"{asks}, which is neither weights nor options and may be a program; "
            f"{of_ours if more is None else of_others}"
        ) from None
