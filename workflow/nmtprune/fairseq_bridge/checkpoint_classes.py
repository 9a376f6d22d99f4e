"""The data classes that may occur in checkpoints of fairseq 0.6 to 0.12.

The functions import fairseq, so `shim` must be imported first.
"""

from __future__ import annotations

import builtins
import operator
import typing
from collections.abc import Iterator

import numpy
from omegaconf import base, dictconfig, listconfig, nodes

from nmtprune.store.unpickling import Allowed

_PLAIN = ("bool", "bytes", "dict", "float", "int", "list", "str", "tuple")
_TYPES = ("Any", "Dict", "List", "Optional", "Tuple", "Union")  # field types in omegaconf's metadata


def classes() -> Iterator[Allowed]:
    """All allowed classes: plain types, those of numpy and omegaconf, and fairseq's options and meters."""
    yield (_as_dict, "collections.defaultdict")
    yield from (getattr(builtins, name) for name in _PLAIN)
    yield from ((getattr(typing, name), f"typing.{name}") for name in _TYPES)
    yield (operator.getitem, "_operator.getitem")  # `Optional[int]` is pickled as a call of it
    yield from _of_numpy()
    yield from _of_omegaconf()
    yield from _of_fairseq()


def _as_dict(*_: typing.Any) -> dict[typing.Any, typing.Any]:
    """An empty plain dict: PyTorch's restricted loader fills no other mappings."""
    return {}


def _of_numpy() -> Iterator[Allowed]:
    scalar, rebuilt = numpy.float64(0).__reduce__()[0], numpy.zeros(0).__reduce__()[0]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        yield from ((scalar, f"{module}.scalar"), (rebuilt, f"{module}._reconstruct"))
    yield from (
        numpy.dtype,
        numpy.ndarray,
        *{type(numpy.dtype(code)) for code in numpy.typecodes["All"] if code != "O"},
    )


def _of_omegaconf() -> Iterator[Allowed]:
    yield from (
        dictconfig.DictConfig,
        listconfig.ListConfig,
        base.ContainerMetadata,
        base.Metadata,
        base.SCMode,
    )
    yield from (
        each for each in vars(nodes).values() if isinstance(each, type) and issubclass(each, base.Node)
    )


def _of_fairseq() -> Iterator[Allowed]:
    """The dataclasses that omegaconf names as types of option groups, and the meters of early releases."""
    from fairseq.dataclass import FairseqDataclass  # noqa: PLC0415 - after the shim, which imports this module
    from fairseq.logging import meters  # noqa: PLC0415 - after the shim

    yield from _subclasses(FairseqDataclass)
    for each in vars(meters).values():
        if isinstance(each, type) and issubclass(each, meters.Meter):
            yield from (each, (each, f"fairseq.meters.{each.__name__}"))
    yield from (meters.MetersDict, (meters.MetersDict, "fairseq.meters.MetersDict"))


def _subclasses(of: type) -> Iterator[type]:
    yield of
    for each in of.__subclasses__():
        yield from _subclasses(each)
