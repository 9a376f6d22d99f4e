"""Sufficient statistics of every sentence, kept beside scores: what intervals need when hypotheses and
references are gone.

A file is a compressed `.npz`; arrays are named `<model>/<set>/<what>`, `model` being the last step of the
chain: `bleu` [sentences, 10] as `Quality.statistics`, `nll` [sentences] in nats, `tokens` [sentences], the
target tokens behind it. `version` says how to read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nmtprune.foundation.files import atomic

VERSION = 1
_TYPES = {"bleu": np.uint16, "nll": np.float32, "tokens": np.uint16}


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays by name, as small as their numbers allow."""
    small = {
        name: np.asarray(array).astype(_TYPES[name.rpartition("/")[2]]) for name, array in arrays.items()
    }
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, version=np.array(VERSION), **small)


def read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file, in double precision; none where there is no file, or one of another version."""
    if not path.exists():
        return {}
    with np.load(path) as kept:
        if int(kept["version"]) != VERSION:
            return {}
        return {name: kept[name].astype(np.float64) for name in kept.files if name != "version"}
