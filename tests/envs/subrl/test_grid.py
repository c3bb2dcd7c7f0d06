"""Grids against maps drawn by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.subrl.grid import DOWN, LEFT, RIGHT, STAY, UP, Grid, GridState, discs, open_moves, walled_moves

GRID = Grid(3, 4, horizon=5, start=5)
# 0  1  2  3
# 4  5  6  7
# 8  9 10 11


@pytest.mark.parametrize(
    ("action", "reached"),
    [(STAY, [0, 5, 11]), (RIGHT, [1, 6, 11]), (DOWN, [4, 9, 11]), (LEFT, [0, 4, 10]), (UP, [0, 1, 7])],
)
def test_each_action_leads_to_the_next_cell_or_nowhere(action, reached):
    assert open_moves(3, 4)[[0, 5, 11], action].tolist() == reached


def test_walls_stop_moves_both_ways_and_nothing_else():
    right, down = np.ones((3, 4), bool), np.ones((3, 4), bool)
    right[1, 1] = False  # between 5 and 6
    down[0, 2] = False  # between 2 and 6
    moves, free = walled_moves(right, down), open_moves(3, 4)
    expected = free.copy()
    expected[5, RIGHT] = 5
    expected[6, LEFT] = 6
    expected[2, DOWN] = 2
    expected[6, UP] = 6
    np.testing.assert_array_equal(moves, expected)


def test_discs_hold_what_is_on_the_grid():
    found = discs(3, 4, ((0, 0), (0, 1), (1, 0), (1, 1)))
    assert found[0].tolist() == [0, 1, 4, 5]
    assert found[6].tolist() == [6, 7, 10, 11]
    assert found[3].tolist() == [3, 12, 7, 12]  # 12 is no cell
    assert found[11].tolist() == [11, 12, 12, 12]
    assert discs(3, 4, ((-1, -1),)).ravel().tolist() == [12] * 5 + [0, 1, 2, 12, 4, 5, 6]


def walk(grid, actions, key, slip=0.0):
    params = grid.default_params.replace(slip=jnp.asarray(slip))

    def step(state, x):
        action, key = x
        observation, state, reward, terminated, info = grid.step_env(key, state, action, params)
        return state, (state, observation, reward, terminated, info["executed_action"])

    _, start = grid.reset_env(key, params)
    return jax.lax.scan(step, start, (jnp.asarray(actions), jax.random.split(key, len(actions))))[1]


def test_a_walk_ends_at_the_horizon(key):
    state, _, reward, terminated, executed = jax.jit(walk, static_argnums=0)(GRID, [RIGHT, UP, UP, LEFT], key)
    assert state.cell.tolist() == [6, 2, 2, 1]
    assert terminated.tolist() == [False, False, False, True]
    assert executed.tolist() == [RIGHT, UP, UP, LEFT]
    assert not reward.any()
    assert not GRID.is_truncated(state, GRID.default_params)


def test_slips_are_uniform_and_as_frequent_as_said(key):
    keys = jax.random.split(key, 4000)
    executed = jax.vmap(lambda k: walk(GRID, [RIGHT], k, 0.5)[-1])(keys).ravel()
    share = np.bincount(executed, minlength=5) / len(keys)
    expected = np.array([0.1, 0.6, 0.1, 0.1, 0.1])
    np.testing.assert_array_less(np.abs(share - expected), 5 * np.sqrt(expected * (1 - expected) / len(keys)))
    moved = jax.vmap(lambda k: walk(GRID, [RIGHT], k, 0.5)[0].cell)(keys).ravel()
    np.testing.assert_array_equal(moved, open_moves(3, 4)[5][executed])
    assert set(np.asarray(jax.vmap(lambda k: walk(GRID, [UP], k, 0.0)[-1])(keys[:100]).ravel())) == {UP}


def test_members_slip_as_each_of_them_does(key):
    keys, slips = jax.random.split(key, 2000), jnp.array([0.0, 1.0])
    each = jax.vmap(jax.vmap(lambda k, slip: walk(GRID, [RIGHT], k, slip)[-1], (0, None)), (None, 0))
    steady, random = jax.jit(each)(keys, slips)[..., 0]
    assert (steady == RIGHT).all()
    counts = np.bincount(random, minlength=5)
    np.testing.assert_array_less(np.abs(counts - 400), 5 * np.sqrt(2000 * 0.2 * 0.8))
    np.testing.assert_array_equal(random, jax.vmap(lambda k: walk(GRID, [RIGHT], k, 1.0)[-1])(keys)[:, 0])


@pytest.mark.parametrize("observation", ["position", "index", "one_hot"])
def test_places_are_read_from_observations(observation):
    grid = Grid(3, 4, 5, observation=observation)
    cells, times = np.meshgrid(np.arange(12), np.arange(5), indexing="ij")
    seen = jax.vmap(jax.vmap(lambda c, t: grid.observe(GridState(c, t))))(jnp.asarray(cells), jnp.asarray(times))
    np.testing.assert_array_equal(grid.place(seen), cells)
    np.testing.assert_array_equal(grid.place(seen[3, 2]), 3)
    np.testing.assert_array_equal(grid.observations(), jnp.swapaxes(seen, 0, 1)[:-1])
    assert len({tuple(x) for x in np.asarray(seen).reshape(60, -1).tolist()}) == 60  # all are different
    assert grid.observation_space().shape == seen.shape[2:]
    assert grid.observation_space().contains(seen[11, 4])


def test_what_is_seen_by_hand():
    state = GridState(jnp.asarray(7), jnp.asarray(2))  # row 1 of 0..2, column 3 of 0..3, time 2 of 0..4
    np.testing.assert_allclose(Grid(3, 4, 5).observe(state), [0.5, 1.0, 0.5])
    np.testing.assert_array_equal(Grid(3, 4, 5, observation="index").observe(state), [7, 2])
    assert np.flatnonzero(Grid(3, 4, 5, observation="one_hot").observe(state)).tolist() == [7, 14]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation": "positions"}, "position"),
        ({"start": 12}, "0 to 11"),
        ({"horizon": 1}, "2 or more"),
    ],
    ids=str,
)
def test_grids_that_can_not_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Grid(3, 4, **{"horizon": 5, **arguments})
