"""Fronts, crowding and selection against loops over all pairs, with ties, infinities and rows that do not exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreward.quality_diversity.pareto import crowding_distance, non_dominated_rank, nsga2_order

N, M, SEEDS = 9, 2, 2
number = SEEDS * N * M
few_values = st.lists(
    st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.25, 2.0, np.inf, np.nan]), min_size=number, max_size=number
)
some_rows = st.lists(st.booleans(), min_size=SEEDS * N, max_size=SEEDS * N)


def dominates(one, other):
    return all(a >= b for a, b in zip(one, other)) and any(a > b for a, b in zip(one, other))


def fronts_of(rows, exists):
    left, fronts = [i for i in range(len(rows)) if exists[i]], []
    while left:
        fronts.append([i for i in left if not any(dominates(rows[j], rows[i]) for j in left)])
        left = [i for i in left if i not in fronts[-1]]
    return fronts


def crowding_of(rows, front):
    """As in the paper's procedure, one objective after the other."""
    distance = dict.fromkeys(front, 0.0)
    for objective in range(rows.shape[1]):
        by_value = sorted(front, key=lambda i: rows[i, objective])
        finite = [rows[i, objective] for i in front if np.isfinite(rows[i, objective])]
        for before, i, after in zip(by_value[:-2], by_value[1:-1], by_value[2:]):
            low, high = rows[before, objective], rows[after, objective]
            if high > low:
                distance[i] += (high - low) / (max(finite) - min(finite)) if np.isfinite(high - low) else np.inf
        distance[by_value[0]] = distance[by_value[-1]] = np.inf
    return distance


@jax.jit
@jax.vmap
def ours(objectives, exists):
    rank = non_dominated_rank(objectives, exists)
    return rank, crowding_distance(objectives, rank), nsga2_order(objectives, exists)


def check(objectives, exists):
    rows = np.where(np.isnan(objectives), -np.inf, objectives).astype(np.float64)
    for row, exist, rank, crowding, order in zip(rows, exists, *ours(objectives, exists), strict=True):
        fronts = fronts_of(row, exist)
        expected = [*fronts, [i for i in range(len(row)) if not exist[i]]]
        for index, front in enumerate(fronts):
            assert (rank[np.array(front)] == index).all()
            for i, distance in crowding_of(row, front).items():
                np.testing.assert_allclose(crowding[i], distance, rtol=4 * row.shape[1] * 2.0**-24)
        assert (rank[~exist] == len(row)).all()
        # By rank, then less crowded, then earlier; by our own distances, which rounding may have made unequal.
        best_first = [i for front in expected[:-1] for i in sorted(front, key=lambda i: (-float(crowding[i]), i))]
        assert order[: exist.sum()].tolist() == best_first
        assert sorted(order.tolist()) == list(range(len(row)))


@given(few_values, some_rows)
@settings(max_examples=100, deadline=None)
def test_ties_infinities_and_missing_rows(values, exists):
    check(np.reshape(values, (SEEDS, N, M)).astype(np.float32), np.reshape(exists, (SEEDS, N)))


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_random_objectives(objectives):
    rng = np.random.default_rng(objectives)
    check(rng.normal(size=(3, 40, objectives)).astype(np.float32), rng.random((3, 40)) < 0.8)


def test_a_chain_has_as_many_fronts_as_rows_and_a_trade_off_has_one():
    chain = jnp.arange(50.0)[:, None] * jnp.ones((1, 2))
    assert non_dominated_rank(chain).tolist() == list(range(49, -1, -1))
    trade_off = jnp.stack([jnp.arange(5.0), -(jnp.arange(5.0) ** 2)], 1)
    assert non_dominated_rank(trade_off).tolist() == [0] * 5
    # Gaps of 2 of 4 in the first objective, of 4, 8 and 12 of 16 in the second.
    distances = crowding_distance(trade_off, jnp.zeros(5, jnp.int32))
    assert distances.tolist() == [np.inf, 0.5 + 0.25, 0.5 + 0.5, 0.5 + 0.75, np.inf]
    assert nsga2_order(trade_off).tolist() == [0, 4, 3, 2, 1]


def test_larger_is_better():
    assert nsga2_order(jnp.array([[0.0, 1.0], [2.0, 3.0], [1.0, 2.0]])).tolist() == [1, 2, 0]


def test_nobody_exists():
    assert non_dominated_rank(jnp.ones((3, 2)), jnp.zeros(3, bool)).tolist() == [3, 3, 3]
