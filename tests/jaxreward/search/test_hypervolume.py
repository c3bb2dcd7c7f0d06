"""Hypervolumes against a count of grid cells, and against Optuna's own."""

import itertools

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from jaxreward.search.hypervolume import hypervolume, is_front


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
def test_integer_points_dominate_whole_cells(dimensions):
    points = np.random.default_rng(dimensions).integers(0, 6, (7, dimensions))
    cells = np.array(list(itertools.product(range(6), repeat=dimensions)))
    dominated = (points[:, None] <= cells).all(axis=-1).any(axis=0)
    assert hypervolume(points, np.full(dimensions, 6)) == dominated.sum()


@pytest.mark.parametrize("dimensions", [2, 3, 5])
def test_optuna_finds_the_same(dimensions):
    points = np.random.default_rng(dimensions).normal(size=(12, dimensions))
    reference = points.max(axis=0)
    np.testing.assert_allclose(hypervolume(points, reference), compute_hypervolume(points, reference))


def test_what_is_no_better_than_the_reference_adds_nothing():
    points = np.array([[1.0, 1.0], [3.0, -100.0], [1.0, 1.0]])
    assert hypervolume(points, np.array([2.0, 3.0])) == 2.0
    assert hypervolume(np.zeros((0, 2)), np.ones(2)) == 0.0


def test_a_front_is_what_none_dominates():
    points = np.array([[0, 2], [1, 1], [2, 0], [1, 2], [2, 2], [1, 1]])
    assert is_front(points).tolist() == [True, True, True, False, False, True]
