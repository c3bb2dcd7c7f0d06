"""The MDP type: checks of what a user gives, the generators, and the transforms of an MDP."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.mdp import (
    TabularMDP,
    corridor,
    cycle,
    garnet,
    river_swim,
    tabular_mdp,
    two_state,
    validate,
    with_terminal,
)

make_garnet = partial(jax.jit, static_argnums=(1, 2, 3))(garnet)
SWAP = np.array([[[0.0, 1.0]], [[1.0, 0.0]]])


def test_rewards_of_fewer_axes_do_not_depend_on_the_rest():
    by_state = tabular_mdp(SWAP, [3.0, 5.0])
    by_action = tabular_mdp(SWAP, [[3.0], [5.0]])
    assert by_state.reward.tolist() == by_action.reward.tolist() == [[[3.0, 3.0]], [[5.0, 5.0]]]


def test_terminal_states_absorb_for_no_reward_and_nothing_starts_there():
    mdp = tabular_mdp(SWAP, [3.0, 5.0], terminal=[False, True])
    assert mdp.transition[1, 0].tolist() == [0.0, 1.0]
    assert mdp.reward[:, 0].tolist() == [[3.0, 3.0], [0.0, 0.0]]
    assert mdp.start.tolist() == [1.0, 0.0]


def test_with_terminal_makes_what_the_constructor_makes():
    made = with_terminal(tabular_mdp(SWAP, [3.0, 5.0]), jnp.array([False, True]))
    given = tabular_mdp(SWAP, [3.0, 5.0], terminal=[False, True])
    jax.tree.map(np.testing.assert_array_equal, made, given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transition": SWAP[0]}, r"transition has shape \(1, 2\); expected \[S, A, S\]"),
        ({"transition": SWAP[:1]}, r"transition has shape \(1, 1, 2\)"),
        ({"transition": SWAP * 0.9}, r"transition\[0, 0\] sums to 0.9 \(2 such\); rows must sum to 1"),
        ({"transition": SWAP * 2 - 0.5}, r"transition\[0, 0, 0\] is -0.5"),
        ({"transition": SWAP * np.nan}, r"transition\[0, 0, 0\] is nan; expected a finite number"),
        (
            {"reward": [[1.0, 2.0]]},
            r"reward has shape \(1, 2\); expected \[S, A, S\] = \(2, 1, 2\), \(2, 1\) or \(2,\)",
        ),
        ({"reward": [1.0, np.inf]}, r"reward\[1, 0, 0\] is inf"),
        ({"start": [1.0]}, r"start has shape \(1,\); the transition makes it \(2,\)"),
        ({"start": [0.5, 0.2]}, r"start sums to 0.7"),
        ({"terminal": [True]}, r"terminal has shape \(1,\)"),
        ({"terminal": [True, True]}, r"every state is terminal"),
        ({"start": [0.5, 0.5], "terminal": [False, True]}, r"start gives terminal state 1 probability 0.5; expected 0"),
    ],
)
def test_what_is_no_mdp_is_refused_with_what_was_given_and_expected(arguments, message):
    with pytest.raises(ValueError, match=message):
        tabular_mdp(**{"transition": SWAP, "reward": np.zeros(2)} | arguments)


def test_a_terminal_state_that_does_not_absorb_is_refused():
    mdp = tabular_mdp(SWAP, np.zeros(2), start=[1.0, 0.0])
    with pytest.raises(ValueError, match="terminal state 1 must lead to itself"):
        validate(mdp._replace(terminal=jnp.array([False, True])))


def test_dtype_is_that_of_the_transition_or_what_is_asked():
    assert tabular_mdp(SWAP.astype(np.float32), np.zeros(2)).reward.dtype == jnp.float32
    with jax.enable_x64(True):
        assert tabular_mdp(SWAP, np.zeros(2)).start.dtype == jnp.float64
        assert tabular_mdp(SWAP, np.zeros(2), dtype=jnp.float32).transition.dtype == jnp.float32
        assert tabular_mdp(SWAP.astype(int), [1, 2]).reward.dtype == jnp.float64
        assert cycle(3).reward.dtype == garnet(jax.random.key(0), 3, 2, 2).reward.dtype == jnp.float64
        assert garnet(jax.random.key(0), 3, 2, 2, dtype=jnp.float32).transition.dtype == jnp.float32


@pytest.mark.parametrize(
    "make", [lambda: cycle(4), lambda: corridor(4), lambda: river_swim(), lambda: two_state([[1.0]] * 2, [0, 1])]
)
def test_named_examples_are_valid(make):
    assert validate(make()) is not None


def test_a_batch_of_garnets_has_the_branching_asked_for():
    keys = jax.random.split(jax.random.key(3), 5)
    batch = jax.vmap(lambda key: make_garnet(key, 6, 2, 3))(keys)
    assert (batch.num_states, batch.num_actions) == (6, 2)
    assert np.all(np.sum(np.asarray(batch.transition) > 0, axis=-1) == 3)
    for i, key in enumerate(keys):
        one = validate(jax.tree.map(lambda x: x[i], batch))
        jax.tree.map(np.testing.assert_array_equal, one, make_garnet(key, 6, 2, 3))


def test_garnets_of_the_smallest_and_the_largest_branching():
    assert np.all(np.max(make_garnet(jax.random.key(0), 4, 3, 1).transition, axis=-1) == 1)
    assert np.all(np.asarray(make_garnet(jax.random.key(0), 4, 3, 4).transition) > 0)


def test_garnet_probabilities_are_uniform_spacings_and_rewards_standard_normal():
    states, actions, branching = 8, 4, 3
    keys = jax.random.split(jax.random.key(1), 500)
    batch = jax.vmap(lambda key: make_garnet(key, states, actions, branching))(keys)
    rows = np.asarray(batch.transition, np.float64)
    # E[p^2] of one of b uniform spacings is 2 / (b (b + 1)); a row has b of them.
    assert_mean(np.sum(rows**2, axis=-1), 2 / (branching + 1))
    assert_mean(rows[..., 0] > 0, branching / states)
    assert_mean(np.asarray(batch.reward), 0)
    assert_mean(np.asarray(batch.reward) ** 2, 1)


def assert_mean(samples, expected):
    """Whether the mean is within 5 standard errors of what it should be."""
    error = np.std(samples) / np.sqrt(np.size(samples))
    assert abs(np.mean(samples) - expected) < 5 * error


@pytest.mark.parametrize(("branching", "nearest"), [(0, 1), (5, 4)])
def test_impossible_branching_is_refused(branching, nearest):
    with pytest.raises(ValueError, match=f"branching={branching} .* expected 1 to 4, say {nearest}"):
        garnet(jax.random.key(0), 4, 2, branching)


def test_an_mdp_is_a_pytree_of_four_arrays():
    assert len(jax.tree.leaves(cycle(3))) == len(TabularMDP._fields) == 4
