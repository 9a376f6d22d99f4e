"""What a model has to spare: the share of weights that can be pruned before it loses more than a margin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression

MARGIN = 0.5  # BLEU


def spare(shares: Sequence[float], losses: np.ndarray, margin: float = MARGIN) -> np.ndarray:
    """The share of the weights, in percent, at which the loss exceeds the margin.

    `shares` [points]: percent of the weights that were pruned, ascending. `losses` [points, ...]: the loss at
    each share. The loss is taken as 0 without pruning, as never falling with the share (isotonic regression
    removes the noise), and as linear between two shares. If no loss exceeds the margin, the result is the
    largest share: see `is_bound`.
    """
    at, losses = np.concatenate([[0.0], np.asarray(shares, float)]), _rising(losses)
    exceeds = losses > margin
    first = np.where(exceeds.any(0), exceeds.argmax(0), len(at))
    after = np.minimum(first, len(at) - 1)
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(losses, place[None], 0)[0] for place in (before, after))
    inside = at[before] + (at[after] - at[before]) * (margin - low) / np.where(high > low, high - low, 1.0)
    return np.where(first < len(at), inside, at[-1])


def is_bound(losses: np.ndarray, margin: float = MARGIN) -> np.ndarray:
    """Whether no loss [points, ...] exceeds the margin, so that `spare` is only a lower bound."""
    return np.logical_not((_rising(losses) > margin).any(0))


def _rising(losses: np.ndarray) -> np.ndarray:
    """The non-decreasing losses nearest to the measured ones, with a 0 before them: [1 + points, ...]."""
    flat = losses.reshape(len(losses), -1)
    fitted = [isotonic_regression(column).x for column in flat.T]
    rising = np.maximum(np.stack(fitted, axis=1), 0.0).reshape(losses.shape)
    return np.concatenate([np.zeros((1, *losses.shape[1:])), rising])


def slope(widths: Sequence[int], shares: np.ndarray) -> np.ndarray:
    """Least-squares slope of `shares` [widths, ...] over the binary logarithm of the widths.

    It is in percent of the weights per doubling.
    """
    x = np.log2(np.asarray(widths, float))
    x -= x.mean()
    return np.tensordot(x, shares, 1) / (x @ x)
