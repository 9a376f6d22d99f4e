"""Projection of representations, and angles between their directions."""

import math

import numpy as np
import pytest

from nmtprune.measurements.trajectory import cosine, projected


def test_vectors_in_a_plane_keep_their_distances_in_two_dimensions():
    vectors = np.random.default_rng(0).normal(size=(12, 2)) @ np.random.default_rng(1).normal(size=(2, 64))
    coordinates, shares = projected(vectors)
    for one in range(12):
        before = np.linalg.norm(vectors - vectors[one], axis=1)
        assert np.linalg.norm(coordinates - coordinates[one], axis=1) == pytest.approx(before)
    assert shares.sum() == pytest.approx(1)


def test_the_same_vectors_have_the_same_coordinates():
    vectors = np.random.default_rng(0).normal(size=(12, 64))
    assert np.array_equal(projected(vectors)[0], projected(vectors)[0])


def test_cosines():
    assert cosine(np.array([1.0, 0]), np.array([2.0, 0])) == 1
    assert cosine(np.array([1.0, 0]), np.array([0, -3.0])) == 0
    assert math.isnan(cosine(np.zeros(2), np.ones(2)))
