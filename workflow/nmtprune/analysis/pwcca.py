"""Projection weighted canonical correlation analysis (PWCCA; Morcos, Raghu and Bengio 2018, section 3.2).

PWCCA measures how much of one representation is linearly contained in another. It is computed from sums
over positions, so that memory does not grow with the number of positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Directions with a standard deviation below this share of the largest are rounding errors: representations
# are in single precision (7 digits), and a layer norm leaves one direction of exactly this kind.
TOLERANCE = 1e-5


class Moments:
    """Sums over positions of two representations of widths `d_x` and `d_y`, as PWCCA needs them; float64."""

    def __init__(self, d_x: int, d_y: int) -> None:
        self.positions = 0
        self._sums = torch.zeros(d_x, dtype=torch.float64), torch.zeros(d_y, dtype=torch.float64)
        self._products = [
            torch.zeros(shape, dtype=torch.float64) for shape in ((d_x, d_x), (d_x, d_y), (d_y, d_y))
        ]
        self._origin: tuple[Tensor, Tensor] | None = None

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add positions: `x` [positions, d_x] and `y` [positions, d_y], where equal rows are equal positions.

        Raises ValueError if the numbers of rows differ.
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
            # subtracted so that covariances keep their digits where the mean is far larger than the deviation
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
        """The PWCCA of `x` with `y`, from 0 to 1.

        Raises ValueError unless there are more positions than dimensions.
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
    """The PWCCA of `x` [positions, d_x] with `y` [positions, d_y], from 0 to 1.

    This is the mean canonical correlation, weighted by how much of `x` each canonical variate of `x`
    accounts for. Since the weights are those of `x`, it is not symmetric. It is invariant to any
    invertible linear map of `y`. It is invariant to one common scale of `x` and to the signs and order
    of the dimensions of `x`, but not to a rotation of `x`, because the absolute values of projections
    are summed over dimensions. Raises ValueError unless there are more positions than dimensions.
    """
    moments = Moments(x.shape[1], y.shape[1])
    moments.add(x, y)
    return moments.pwcca()


def projection_weighted(s_xx: Tensor, s_xy: Tensor, s_yy: Tensor) -> float:
    """PWCCA from the covariances [d_x, d_x], [d_x, d_y] and [d_y, d_y], float64.

    The canonical correlations are the singular values of the cross-covariance after both sides are
    whitened. The weight of variate h_i is the sum over the dimensions x_j of |<h_i, x_j>|. Directions
    without variance are left out; a constant representation has similarity 0 with anything.
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
    """The principal axes [d, rank] of a covariance and the standard deviations [rank] along them.

    Directions of rounding errors are left out.
    """
    variances, axes = torch.linalg.eigh(covariance)
    kept = variances > variances[-1].clamp_min(torch.finfo(variances.dtype).tiny) * TOLERANCE**2
    return axes[:, kept], variances[kept].sqrt()
