"""Read PyTorch files without running code that they contain.

A pickle may call any function while it is loaded. PyTorch's `weights_only` builds only tensors, plain
containers and a list of classes that hold data. Our own files also hold fairseq's options, a namespace;
checkpoints that fairseq wrote elsewhere hold more (`fairseq_bridge.checkpoint_classes`).
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

# the name of a class or function that is not allowed, in PyTorch's message
_NAMED = re.compile(r"(?:GLOBAL|unrecognized function|but got) (?:<class ')?([\w.]+)")
_REASON = re.compile(r"WeightsUnpickler error:\s*(.+)")  # the reason, among several lines of advice

Allowed = type | tuple[Any, str]  # a class or function, with the name in the pickle if that differs


def load(file: str | Path | IO[bytes], more: Iterable[Allowed] | None = None, trust: bool = False) -> Any:
    """Read what `torch.save` wrote, onto the CPU.

    `more`: for a file from elsewhere, the classes that it may hold beside ours. `trust`: run whatever code
    the file contains. Raises UserError naming a class or function that the file asks for and that is not
    allowed, and what `torch.load` raises for files of another kind.
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
            "no file of nmtprune does: remove it",
            "if you trust its author, set `trust: true` for it under `imports`",
        )
        asks = f"{getattr(file, 'name', file)} asks for `{named[1]}` when it is loaded"
        raise UserError(
            f"{asks}, which is neither weights nor options and may be a program; "
            f"{of_ours if more is None else of_others}"
        ) from None
