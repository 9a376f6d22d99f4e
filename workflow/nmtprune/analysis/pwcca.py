"""Projection weighted canonical correlation analysis (PWCCA; Morcos, Raghu and Bengio 2018, section 3.2).

How much of one representation another one has, whatever the linear map between them. It is computed from sums
over positions, so that any number of positions takes the same memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Directions whose standard deviation is less than this share of the largest one's are rounding:
# representations are in single precision, of 7 digits, and a layer norm leaves a direction of exactly that.
TOLERANCE = 1e-5


class Moments:
    """Sums over positions of two representations, of widths `d_x` and `d_y`: all that PWCCA needs of them.
    Float64.
    """

    def __init__(self, d_x: int, d_y: int) -> None:
        self.positions = 0
        self._sums = torch.zeros(d_x, dtype=torch.float64), torch.zeros(d_y, dtype=torch.float64)
        self._products = [
            torch.zeros(shape, dtype=torch.float64) for shape in ((d_x, d_x), (d_x, d_y), (d_y, d_y))
        ]
        self._origin: tuple[Tensor, Tensor] | None = None

    def add(self, x: Tensor, y: Tensor) -> None:
        """More positions: `x` [positions, d_x], `y` [positions, d_y], a row of each the same position.

        Raises ValueError where they have not the same number of rows.
        """
        if len(x) != len(y):
            raise ValueError(
                f"two representations of the same positions have as many rows; these have {len(x)} and "
                f"{len(y)}"
            )
        if not len(x):
            return
        x, y = x.double(), y.double()
        if self._origin is None:
            # near the mean, so that a mean far beyond the standard deviation does not eat the digits of the
            # covariances
            self._origin = x.mean(0), y.mean(0)
            self._sums, self._products = (
                tuple(part.to(x.device) for part in parts) for parts in (self._sums, self._products)
            )
        x, y = x - self._origin[0], y - self._origin[1]
        self.positions += len(x)
        for total, each in zip(self._sums, (x, y), strict=True):
            total += each.sum(0)
        for total, (one, other) in zip(self._products, ((x, x), (x, y), (y, y)), strict=True):
            total += one.T @ other

    def pwcca(self) -> float:
        """The similarity, in 0 to 1, as `pwcca` has it. Raises ValueError where there are no more positions
        than dimensions.
        """
        d_x, d_y = map(len, self._sums)
        if self.positions <= max(d_x, d_y):
            raise ValueError(
                f"{self.positions} positions are too few for representations of {max(d_x, d_y)} dimensions: "
                "any two would be the same"
            )
        (sum_x, sum_y), n = (each.cpu() for each in self._sums), self.positions
        pairs = ((sum_x, sum_x), (sum_x, sum_y), (sum_y, sum_y))
        s_xx, s_xy, s_yy = (
            (product.cpu() - torch.outer(one, other) / n) / n
            for product, (one, other) in zip(self._products, pairs, strict=True)
        )
        return projection_weighted(s_xx, s_xy, s_yy)


def pwcca(x: Tensor, y: Tensor) -> float:
    """The PWCCA of `x` [positions, d_x] with `y` [positions, d_y]: the mean canonical correlation, weighted
    by how much of `x` the canonical variates of `x` account for.

    In 0 to 1. The weights are of the side of `x`, so that it is not symmetric. Any invertible linear map of
    `y` leaves it as it is; of `x` only what keeps its dimensions apart does, one scale for all of them and
    their signs and order, for the absolute values of projections are summed over dimensions (a rotation of
    `x` keeps the canonical correlations, not their weights). Raises ValueError where there are no more
    positions than dimensions.
    """
    moments = Moments(x.shape[1], y.shape[1])
    moments.add(x, y)
    return moments.pwcca()


def projection_weighted(s_xx: Tensor, s_xy: Tensor, s_yy: Tensor) -> float:
    """PWCCA from covariances [d_x, d_x], [d_x, d_y], [d_y, d_y], float64.

    Canonical correlations are the singular values of the cross-covariance once both sides are whitened. The
    weight of variate h_i is the sum over x's dimensions x_j of |<h_i, x_j>|. Directions without variance are
    left out; a constant is similar to nothing (0).
    """
    axes_x, deviations_x = _principal(s_xx)
    axes_y, deviations_y = _principal(s_yy)
    if not len(deviations_x) or not len(deviations_y):
        return 0.0
    whitened = (axes_x / deviations_x).T @ s_xy @ (axes_y / deviations_y)
    variates, correlations, _ = torch.linalg.svd(whitened, full_matrices=False)
    weights = ((axes_x * deviations_x) @ variates).abs().sum(0)
    return float((weights * correlations.clamp(0, 1)).sum() / weights.sum())


def _principal(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """The principal axes [d, rank] of a covariance and the standard deviations along them [rank], those of
    rounding left out.
    """
    variances, axes = torch.linalg.eigh(covariance)
    kept = variances > variances[-1].clamp_min(torch.finfo(variances.dtype).tiny) * TOLERANCE**2
    return axes[:, kept], variances[kept].sqrt()
