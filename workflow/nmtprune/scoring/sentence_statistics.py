"""Sufficient statistics of every sentence, kept for intervals after hypotheses and references are gone.

A file is a compressed `.npz` with arrays named `<model>/<set>/<what>`, where `model` is the last step of the
chain: `nll` [sentences] in nats, `tokens` [sentences], the number of target tokens, `comet` [sentences], and
for the measures of `Quality.statistics` (`bleu`, `chrf`, ...) [sentences, counts]. `version` is the version
of the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nmtprune.foundation.files import atomic

VERSION = 1
_COUNTS = dict.fromkeys(("bleu", "chrf", "chrfpp", "spbleu", "tokens"), np.uint16)
_TYPES = {**_COUNTS, **dict.fromkeys(("nll", "ter", "comet"), np.float32)}


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, in the smallest types that hold them."""
    small: dict[str, Any] = {
        name: np.asarray(array).astype(_TYPES[name.rpartition("/")[2]]) for name, array in arrays.items()
    }
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, version=np.array(VERSION), **small)


def read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file as float64; empty if there is no file, or one of another version."""
    if not path.exists():
        return {}
    with np.load(path) as kept:
        if int(kept["version"]) != VERSION:
            return {}
        return {name: kept[name].astype(np.float64) for name in kept.files if name != "version"}
