"""Where encoder representations lie through the phases of training (Wang et al. 2020, figure 2)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD

from nmtprune.experiment.papers import Item
from nmtprune.measurements.measurements import Measured

COORDINATES, SHARES = ["component_1", "component_2"], ["variance_1", "variance_2"]


def projected(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates [models, 2] of vectors [models, d], and the share of the variance of each component [2]."""
    svd = TruncatedSVD(n_components=2, random_state=0)
    coordinates = svd.fit_transform(vectors)
    return coordinates, svd.explained_variance_ratio_


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The cosine between two directions [d]; NaN if one of them has no length or is unknown."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else math.nan


def of_seed(item: Item, measured: Measured, place: int) -> pd.DataFrame:
    """A frame with one row for each model of a seed: its coordinates, distance and cosines.

    Distance and cosines are relative to the end of the first phase, in all dimensions. `distance`: the
    distance from that end. `cosine_<phase>`: the cosine between the model's displacement from that end
    and the direction of a phase. A phase's direction leads from that end to the end of the phase; that
    of the first phase, from its first checkpoint to its end. Values are NaN for missing models.
    """
    phases = phases_of(item)
    chains = [row.chains[place] for row in item.rows]
    analyses = [measured.analysis(chain, "representations") for chain in chains]
    width = next((len(each) for each in analyses if each is not None), 1)
    vectors = np.array([np.full(width, math.nan) if each is None else each["value"] for each in analyses])
    analysed = [number for number, each in enumerate(analyses) if each is not None]
    coordinates, shares = np.full((len(chains), 2), math.nan), np.full(2, math.nan)
    if len(analysed) > 1:
        coordinates[analysed], shares = projected(vectors[analysed])
    ends = {phase: vectors[numbers[-1]] for phase, numbers in phases.items()}
    first = next(iter(phases))
    ways = vectors - ends[first]
    directions = {phase: end - ends[first] for phase, end in ends.items()} | {
        first: ends[first] - vectors[phases[first][0]]
    }
    numbers = {
        "seed": [chain.seed for chain in chains],
        "phase": [row.group for row in item.rows],
        "label": [row.label for row in item.rows],
        "chain": [chain.steps_text for chain in chains],
        **dict(zip(COORDINATES, coordinates.T, strict=True)),
        **dict(zip(SHARES, shares, strict=True)),
        "distance": np.linalg.norm(ways, axis=1),
        **{
            f"cosine_{phase}": [cosine(way, direction) for way in ways]
            for phase, direction in directions.items()
        },
        "missing": [measured.missing(chain, item.reads) or "" for chain in chains],
    }
    return pd.DataFrame(numbers)


def phases_of(item: Item) -> dict[str, list[int]]:
    """The rows' numbers by phase, in order."""
    numbered = enumerate(item.rows)
    return {
        phase: [number for number, _ in rows]
        for phase, rows in itertools.groupby(numbered, key=lambda pair: pair[1].group)
    }
