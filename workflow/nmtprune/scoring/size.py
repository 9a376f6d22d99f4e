"""The size of a model: parameters, non-zeros, bytes if stored dense, and bytes as stored sparse."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import atomic

_MAGIC = b"nmtprune sparse 1\n"
_BUFFERS = ("_float_tensor", "version")
_BYTES_PER_WEIGHT = 4


def ties(weights: dict[str, torch.Tensor]) -> dict[str, str]:
    """Map each parameter's name to the first name that it is tied to (or itself), without fairseq's buffers.

    Two names are tied if they share memory, or if their tensors have the same shape and bits and are not
    constant: masking and saving may have turned shared memory into copies.
    """
    first: dict[Any, str] = {}
    names: dict[str, str] = {}
    for name, tensor in weights.items():
        if name.rsplit(".", 1)[-1] not in _BUFFERS:
            names[name] = first.setdefault(_identity(tensor), name)
    return names


def _identity(tensor: torch.Tensor) -> Any:
    bits = _bits(tensor)
    if bits.size and (bits != bits[0]).any():
        return tuple(tensor.shape), hashlib.blake2b(bits.data, digest_size=16).digest()
    return tuple(tensor.shape), tensor.data_ptr()


def unique_parameters(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The parameters of a state dict, tied ones once, without buffers."""
    return {name: weights[name] for name, first in ties(weights).items() if name == first}


def sizes(weights: dict[str, torch.Tensor]) -> dict[str, int]:
    """`parameters`, `nonzero`, `size_dense` (bytes in float32), `size_sparse` (bytes of `store_sparse`)."""
    names = ties(weights)
    unique = [weights[name] for name, first in names.items() if name == first]
    parameters = sum(tensor.numel() for tensor in unique)
    return {
        "parameters": parameters,
        "nonzero": sum(int(torch.count_nonzero(tensor)) for tensor in unique),
        "size_dense": parameters * _BYTES_PER_WEIGHT,
        "size_sparse": sum(len(chunk) for chunk in _chunks(weights, names)),
    }


def sparsity(weights: dict[str, torch.Tensor], prunable: Iterable[str]) -> tuple[int, float]:
    """Number of prunable weights (tied ones count once), and the share of them that is zero, from 0 to 1.

    Raises UserError if a name is missing from the weights or nothing is prunable.
    """
    chosen = list(prunable)
    if not chosen:
        raise UserError("no parameter of the model is prunable.")
    for name in chosen:
        if name not in weights:
            raise UserError(f"prunable parameter `{name}` is not in the model.")
    tensors = unique_parameters({name: weights[name] for name in chosen}).values()
    total = sum(tensor.numel() for tensor in tensors)
    return total, 1.0 - sum(int(torch.count_nonzero(tensor)) for tensor in tensors) / total


def store_sparse(weights: dict[str, torch.Tensor], path: str | Path) -> int:
    """Write float32 parameters as a compressed bit mask and the non-zero values; return the size in bytes.

    A weight is left out if all its bits are zero, so that loading restores every bit, -0.0 included. Values
    are not compressed, since trained weights hardly shrink. Tied parameters are written once, buffers not at
    all.
    """
    with atomic(path) as temporary, open(temporary, "wb") as file:
        return sum(file.write(chunk) for chunk in _chunks(weights, ties(weights)))


def stored_size(weights: dict[str, torch.Tensor], path: Path) -> int:
    """Bytes of `store_sparse`'s file, which is written to `path`, read back, compared and removed.

    Raises RuntimeError if a bit differs.
    """
    try:
        size = store_sparse(weights, path)
        loaded = load_sparse(path)
        if broken := [
            name for name in ties(weights) if not np.array_equal(_bits(weights[name]), _bits(loaded[name]))
        ]:
            raise RuntimeError(f"{path}: {', '.join(broken)} were not read as they were stored")
        return size
    finally:
        path.unlink(missing_ok=True)


def load_sparse(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a file of `store_sparse`; tied parameters share memory again.

    Raises UserError for any other file.
    """
    weights: dict[str, torch.Tensor] = {}
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise UserError(f"`{path}` is not a sparse model file.")
        try:
            while line := file.readline():
                record = json.loads(line)
                if "tied" in record:
                    weights[record["name"]] = weights[record["tied"]]
                    continue
                bits = np.zeros(int(np.prod(record["shape"])), dtype=np.int32)
                mask = np.frombuffer(zlib.decompress(file.read(record["mask"])), dtype=np.uint8)
                kept = np.unpackbits(mask, count=bits.size).view(bool)
                bits[kept] = np.frombuffer(file.read(record["values"] * _BYTES_PER_WEIGHT), dtype="<i4")
                weights[record["name"]] = torch.from_numpy(bits).view(torch.float32).reshape(record["shape"])
        except (ValueError, KeyError, zlib.error) as error:
            raise UserError(f"sparse model file `{path}` is truncated or damaged.") from error
    return weights


def _bits(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype != torch.float32:
        raise ValueError(f"sizes are defined for float32 parameters, not {tensor.dtype}")
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.int32).numpy()


def _chunks(weights: dict[str, torch.Tensor], names: dict[str, str]) -> Iterator[bytes]:
    """The bytes of a sparse file, one parameter after the other, so that memory holds one copy at a time."""
    yield _MAGIC
    for name, first in names.items():
        if name != first:
            yield _line({"name": name, "tied": first})
            continue
        bits = _bits(weights[name])
        kept = bits != 0
        mask = zlib.compress(np.packbits(kept).tobytes())
        yield _line(
            {"name": name, "shape": list(weights[name].shape), "mask": len(mask), "values": int(kept.sum())}
        )
        yield mask
        yield bits[kept].astype("<i4", copy=False).tobytes()


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n"
