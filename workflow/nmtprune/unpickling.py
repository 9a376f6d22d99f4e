"""PyTorch files are read without running what is in them.

A pickle may call any function while it is loaded. PyTorch's `weights_only` builds tensors, plain containers and a list of classes that
hold data, and nothing else. Ours hold fairseq's options, a namespace; checkpoints that fairseq wrote elsewhere over the years hold more.
"""

from __future__ import annotations

import argparse
import builtins
import operator
import pickle
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy
import torch

from nmtprune.errors import UserError

# in what PyTorch says of a class or a function that it does not load
_NAMED = re.compile(r"(?:GLOBAL|unrecognized function|but got) (?:<class ')?([\w.]+)")
_REASON = re.compile(r"WeightsUnpickler error:\s*(.+)")  # among several lines of advice
_PLAIN = ("bool", "bytes", "dict", "float", "int", "list", "str", "tuple")
_TYPES = ("Any", "Dict", "List", "Optional", "Tuple", "Union")  # of fields, in the metadata of omegaconf

Allowed = type | tuple[Any, str]  # what may be built, and where its name is not its own, that name


def load(file: str | Path | IO[bytes], of_fairseq: bool = False, trust: bool = False) -> Any:
    """What `torch.save` wrote, on the CPU. `of_fairseq`: it may hold what fairseq's checkpoints hold; `trust`: whatever it holds is run.

    Raises UserError that names a class or a function that it asks for in vain; and what `torch.load` raises for files that are none.
    """
    allowed = [argparse.Namespace, *(_in_fairseqs_checkpoints() if of_fairseq and not trust else ())]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(file, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        named = _NAMED.search(str(error))
        if named is None:
            reason = _REASON.search(str(error))
            raise pickle.UnpicklingError(reason[1] if reason else str(error)) from None
        valid = "where you trust who made it, say `trust: true` of it under `imports`" if of_fairseq else "no file of ours does: remove it"
        asks = f"{getattr(file, 'name', file)} asks for `{named[1]}` when it is loaded"
        raise UserError(f"{asks}, which is neither weights nor options and may be a program; {valid}") from None


def _in_fairseqs_checkpoints() -> Iterator[Allowed]:
    """Classes that hold data in checkpoints of fairseq 0.6 to 0.12: options, numbers of numpy, what omegaconf and meters consist of."""
    yield (_as_dict, "collections.defaultdict")
    yield from (getattr(builtins, name) for name in _PLAIN)
    yield from ((getattr(typing, name), f"typing.{name}") for name in _TYPES)
    yield (operator.getitem, "_operator.getitem")  # `Optional[int]` is written as that
    yield from _of_numpy()
    yield from _of_omegaconf()
    yield from _of_fairseq()


def _as_dict(*_: Any) -> dict[Any, Any]:
    """PyTorch fills no other mappings than plain ones."""
    return {}


def _of_numpy() -> Iterator[Allowed]:
    scalar, rebuilt = numpy.float64(0).__reduce__()[0], numpy.zeros(0).__reduce__()[0]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        yield from ((scalar, f"{module}.scalar"), (rebuilt, f"{module}._reconstruct"))
    yield from (numpy.dtype, numpy.ndarray, *{type(numpy.dtype(code)) for code in numpy.typecodes["All"] if code != "O"})


def _of_omegaconf() -> Iterator[Allowed]:
    from omegaconf import base, dictconfig, listconfig, nodes

    yield from (dictconfig.DictConfig, listconfig.ListConfig, base.ContainerMetadata, base.Metadata, base.SCMode)
    yield from (each for each in vars(nodes).values() if isinstance(each, type) and issubclass(each, base.Node))


def _of_fairseq() -> Iterator[Allowed]:
    """Its dataclasses, which omegaconf names as the types of groups of options, and the meters of its early releases."""
    import nmtprune.toolkit.shim  # noqa: F401  (before fairseq; not at the top, since our own files need neither)

    from fairseq.dataclass import FairseqDataclass
    from fairseq.logging import meters

    yield from _subclasses(FairseqDataclass)
    for each in vars(meters).values():
        if isinstance(each, type) and issubclass(each, meters.Meter):
            yield from (each, (each, f"fairseq.meters.{each.__name__}"))
    yield from (meters.MetersDict, (meters.MetersDict, "fairseq.meters.MetersDict"))


def _subclasses(of: type) -> Iterator[type]:
    yield of
    for each in of.__subclasses__():
        yield from _subclasses(each)
