"""How large a model is: parameters, non-zeros, bytes dense and bytes really stored sparse."""

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


def ties(state: dict[str, torch.Tensor]) -> dict[str, str]:
    """Each parameter's name -> the first name it is tied to, itself if none; fairseq's buffers are left out.

    Two names are tied if they share memory, or if their tensors have the same shape and bits and are not
    constant: masks and files may have turned shared memory into copies.
    """
    first: dict[Any, str] = {}
    names: dict[str, str] = {}
    for name, tensor in state.items():
        if name.rsplit(".", 1)[-1] not in _BUFFERS:
            names[name] = first.setdefault(_identity(tensor), name)
    return names


def _identity(tensor: torch.Tensor) -> Any:
    bits = _bits(tensor)
    if bits.size and (bits != bits[0]).any():
        return tuple(tensor.shape), hashlib.blake2b(bits, digest_size=16).digest()
    return tuple(tensor.shape), tensor.data_ptr()


def unique_parameters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The parameters of a state dict, tied ones once, buffers left out."""
    return {name: state[name] for name, first in ties(state).items() if name == first}


def sizes(state: dict[str, torch.Tensor]) -> dict[str, int]:
    """`parameters`, `nonzero`, `size_dense` (bytes in float32), `size_sparse` (bytes of `store_sparse`)."""
    names = ties(state)
    unique = [state[name] for name, first in names.items() if name == first]
    parameters = sum(tensor.numel() for tensor in unique)
    return {
        "parameters": parameters,
        "nonzero": sum(int(torch.count_nonzero(tensor)) for tensor in unique),
        "size_dense": parameters * _BYTES_PER_WEIGHT,
        "size_sparse": sum(len(chunk) for chunk in _chunks(state, names)),
    }


def sparsity(state: dict[str, torch.Tensor], prunable: Iterable[str]) -> tuple[int, float]:
    """Number of prunable weights (tied ones once) and the share of them that is zero, from 0 to 1.

    Raises UserError if a name is not in the state or nothing is prunable.
    """
    chosen = list(prunable)
    if not chosen:
        raise UserError("no parameter of the model is prunable.")
    for name in chosen:
        if name not in state:
            raise UserError(f"prunable parameter `{name}` is not in the model.")
    tensors = unique_parameters({name: state[name] for name in chosen}).values()
    total = sum(tensor.numel() for tensor in tensors)
    return total, 1.0 - sum(int(torch.count_nonzero(tensor)) for tensor in tensors) / total


def store_sparse(state: dict[str, torch.Tensor], path: str | Path) -> int:
    """Write float32 parameters as a compressed bit mask and the values under it; return the file's size in
    bytes.

    A weight is left out if all its bits are zero: what is loaded equals what was stored to the last bit, -0.0
    included. Values are kept as they are, since trained weights hardly compress. Tied parameters are written
    once, buffers not.
    """
    with atomic(path) as temporary, open(temporary, "wb") as file:
        return sum(file.write(chunk) for chunk in _chunks(state, ties(state)))


def stored_size(state: dict[str, torch.Tensor], path: Path) -> int:
    """Bytes of `store_sparse`'s file, which is written to `path`, read back and removed. Raises RuntimeError
    where a bit differs.
    """
    try:
        size = store_sparse(state, path)
        loaded = load_sparse(path)
        if broken := [
            name for name in ties(state) if not np.array_equal(_bits(state[name]), _bits(loaded[name]))
        ]:
            raise RuntimeError(f"{path}: {', '.join(broken)} were not read as they were stored")
        return size
    finally:
        path.unlink(missing_ok=True)


def load_sparse(path: str | Path) -> dict[str, torch.Tensor]:
    """Read what `store_sparse` wrote; tied parameters share memory again. Raises UserError for any other
    file.
    """
    state: dict[str, torch.Tensor] = {}
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise UserError(f"`{path}` is not a sparse model file.")
        try:
            while line := file.readline():
                record = json.loads(line)
                if "tied" in record:
                    state[record["name"]] = state[record["tied"]]
                    continue
                bits = np.zeros(int(np.prod(record["shape"])), dtype=np.int32)
                mask = np.frombuffer(zlib.decompress(file.read(record["mask"])), dtype=np.uint8)
                kept = np.unpackbits(mask, count=bits.size).view(bool)
                bits[kept] = np.frombuffer(file.read(record["values"] * _BYTES_PER_WEIGHT), dtype="<i4")
                state[record["name"]] = torch.from_numpy(bits).view(torch.float32).reshape(record["shape"])
        except (ValueError, KeyError, zlib.error) as error:
            raise UserError(f"sparse model file `{path}` is truncated or damaged.") from error
    return state


def _bits(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype != torch.float32:
        raise ValueError(f"sizes are defined for float32 parameters, not {tensor.dtype}")
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.int32).numpy()


def _chunks(state: dict[str, torch.Tensor], names: dict[str, str]) -> Iterator[bytes]:
    """The bytes of a sparse file, one parameter after the other, so that no more than one is held twice."""
    yield _MAGIC
    for name, first in names.items():
        if name != first:
            yield _line({"name": name, "tied": first})
            continue
        bits = _bits(state[name])
        kept = bits != 0
        mask = zlib.compress(np.packbits(kept).tobytes())
        yield _line(
            {"name": name, "shape": list(state[name].shape), "mask": len(mask), "values": int(kept.sum())}
        )
        yield mask
        yield bits[kept].astype("<i4", copy=False).tobytes()


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n"
