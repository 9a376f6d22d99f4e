"""PWCCA: known canonical correlations, invariances, and the textbook's way of computing it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import qr

from nmtprune.analysis.pwcca import Moments, pwcca

SEEDS = st.integers(0, 10_000)


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(seed, d):
    return torch.linalg.qr(normal(seed, d, d))[0]


def textbook(x, y):
    """PWCCA from QR and SVD of the centred data (Björck and Golub 1973), with projection weights."""
    x, y = (side.numpy() - side.numpy().mean(0) for side in (x, y))
    bases = [qr(side, mode="economic")[0] for side in (x, y)]
    left, correlations, _ = np.linalg.svd(bases[0].T @ bases[1], full_matrices=False)
    variates = bases[0] @ left
    weights = [sum(abs(variate @ dimension) for dimension in x.T) for variate in variates.T]
    return np.average(correlations, weights=weights)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 8))
def test_a_representation_is_wholly_similar_to_itself(seed, d):
    x = normal(seed, 60, d)
    assert pwcca(x, x) == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_it_is_the_textbooks(seed, d_x, d_y):
    x = normal(seed, 80, d_x) * torch.arange(1, d_x + 1) + 5
    y = normal(seed + 1, 80, d_y)
    y[:, 0] += x[:, -1]
    assert pwcca(x, y) == pytest.approx(textbook(x, y), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_linear_maps_of_y_and_the_order_signs_and_scale_of_x_leave_it_as_it_is(seed):
    x, y = normal(seed, 100, 5) * torch.tensor([9.0, 3, 1, 1, 0.5]), normal(seed + 1, 100, 4)
    y[:, :2] += x[:, 1:3]
    invertible = (
        rotation(seed + 2, 4)
        @ torch.diag(torch.tensor([0.1, 1, 3, 20], dtype=torch.float64))
        @ rotation(seed + 3, 4)
    )
    assert pwcca(x, y @ invertible + 7) == pytest.approx(pwcca(x, y))
    signs = torch.tensor([1.0, -1, -1, 1, 1])
    assert pwcca(3 * signs * x[:, [4, 2, 0, 1, 3]] + 2, y) == pytest.approx(pwcca(x, y))


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_it_lies_between_the_least_and_the_largest_correlation(seed):
    x, y = normal(seed, 50, 4), normal(seed + 1, 50, 6)
    assert 0 <= pwcca(x, y) <= 1


def test_a_rotation_of_x_keeps_it_where_all_correlations_are_equal():
    """Canonical correlations are invariant to rotations; weights do not matter if all are equal."""
    x = normal(1, 100, 4)
    assert pwcca(x @ rotation(2, 4), x) == pytest.approx(1)


def test_known_canonical_correlations_are_weighted_by_what_they_account_for():
    """Two variates of known correlations have weights 3 to 1.

    The first dimension of x is three times as large as the second.
    """
    n = 64
    angles = 2 * torch.pi * torch.arange(n, dtype=torch.float64) / n
    one, two, noise = (
        torch.cos(angles),
        torch.cos(2 * angles),
        torch.cos(3 * angles),
    )  # orthogonal, of mean zero and equal length
    x = torch.stack([3 * one, two], 1)
    y = torch.stack([0.8 * one + 0.6 * noise, torch.sin(angles)], 1)  # correlations 0.8 and 0
    assert pwcca(x, y) == pytest.approx((3 * 0.8 + 1 * 0) / 4)


def test_independent_representations_are_hardly_similar():
    assert pwcca(normal(1, 20_000, 8), normal(2, 20_000, 8)) < 0.03


@pytest.mark.parametrize("kind", ["copied", "zero", "constant", "normed"])
def test_directions_without_variance_are_left_out(kind):
    x, y = normal(1, 200, 5).float(), normal(2, 200, 5).float()
    y[:, 0] += 2 * x[:, 0]
    expected = pwcca(x, y)
    if kind == "normed":  # a layer norm's rows sum to zero, up to rounding
        x = torch.nn.functional.layer_norm(normal(1, 200, 5).float(), (5,))
        axes = torch.linalg.svd(x.double() - x.double().mean(0), full_matrices=False)[2][:4]
        assert pwcca(x, y) == pytest.approx(textbook_of_rank(x, y, axes), abs=1e-6)
        return
    more = {"copied": y[:, :1] * 2, "zero": torch.zeros(200, 1), "constant": torch.full((200, 1), 1e3)}[kind]
    assert pwcca(x, torch.cat([y, more], 1)) == pytest.approx(expected, abs=1e-6)
    if kind != "copied":
        assert pwcca(torch.cat([x, more], 1), y) == pytest.approx(expected, abs=1e-6)


def textbook_of_rank(x, y, axes):
    """The same for a rank-deficient x: variates from principal coordinates, projected on x's dimensions."""
    x, y = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
    bases = [np.linalg.qr(side.numpy())[0] for side in (x @ axes.T, y)]
    left, correlations, _ = np.linalg.svd(bases[0].T @ bases[1], full_matrices=False)
    return np.average(correlations, weights=np.abs((bases[0] @ left).T @ x.numpy()).sum(1))


def test_a_constant_is_similar_to_nothing():
    assert pwcca(torch.ones(50, 3), normal(1, 50, 3)) == 0 == pwcca(normal(1, 50, 3), torch.zeros(50, 3))


@pytest.mark.parametrize("positions", [0, 1, 4])
def test_too_few_positions_are_refused(positions):
    with pytest.raises(
        ValueError, match=f"{positions} positions are too few for representations of 4 dimensions"
    ):
        pwcca(normal(1, positions, 4), normal(2, positions, 3))


def test_unlike_numbers_of_positions_are_refused():
    with pytest.raises(ValueError, match="have 5 and 6"):
        pwcca(normal(1, 5, 2), normal(1, 6, 2))


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_sums_over_batches_are_sums_over_all(seed, cuts):
    x, y = normal(seed, 120, 4) + 1000, normal(seed + 1, 120, 4)
    y[:, 0] += x[:, 0]
    moments = Moments(4, 4)
    sizes = [*cuts, 120 - sum(cuts)] if sum(cuts) <= 120 else [120]
    for one, other in zip(x.split(sizes), y.split(sizes), strict=True):
        moments.add(one, other)
    assert moments.positions == 120
    assert moments.pwcca() == pytest.approx(pwcca(x, y), abs=1e-8)
