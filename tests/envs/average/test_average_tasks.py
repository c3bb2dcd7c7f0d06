"""The family: every task goes on for ever, tabular ones as their MDP says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.envs.average import TASKS
from jaxreward.envs.average.never_ending import ContinuingEnv
from jaxreward.mdp import corridor, reward_table
from jaxreward.reward import environment_reward

TABULAR = [name for name in TASKS if name not in ("pendulum", "puck_world", "catch", "brax")]
SMALL = {"hard_two_state": "?dimension=3", "access_control": "?num_servers=3", "river_swim": "?variant=naik"}
DRAWS = 2_000


@pytest.mark.parametrize("name", TABULAR)
def test_steps_are_drawn_from_the_mdp(name):
    """Every state and action 2000 times: shares within 5 standard deviations, and what is paid exactly the table's."""
    env, params = make(f"average/{name}{SMALL.get(name, '')}")
    mdp = params.mdp
    assert isinstance(env, ContinuingEnv)
    assert env.name == f"average/{name}"

    def step(key, state, action):
        _, following, reward, terminated, _ = env.step_env(key, state, action, params)
        return following.index, reward, terminated | env.is_truncated(following, params)

    over = jax.vmap(jax.vmap(jax.vmap(step, (0, None, None)), (None, None, 0)), (None, 0, None))
    keys = jax.random.split(jax.random.key(0), DRAWS)
    landed, paid, ended = map(np.asarray, jax.jit(over)(keys, env.states, jnp.arange(env.num_actions)))
    assert not ended.any()
    probability = np.asarray(mdp.transition, np.float64)
    shares = (landed[..., None] == np.arange(mdp.num_states)).mean(axis=2)
    deviation = np.sqrt(probability * (1 - probability) / DRAWS)
    np.testing.assert_array_less(np.abs(shares - probability), 5 * deviation + 1e-6 + 1 / DRAWS)
    assert not shares[probability == 0].any()
    s, a, _ = np.indices(landed.shape)
    np.testing.assert_array_equal(paid, np.asarray(reward_table(env, params))[s, a, landed])


@pytest.mark.parametrize("name", TASKS)
def test_none_ends(name):
    env, params = make(f"average/{name}")
    rewarded = with_reward(env, environment_reward())
    assert env.never_ends
    assert rewarded.never_ends
    assert not hasattr(params, "max_steps_in_episode")
    _, state = jax.eval_shape(env.reset_env, jax.random.key(0), params)
    late = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1, leaf.dtype), state)
    assert not env.is_truncated(late, params)
    assert not env.is_terminated(late, params)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("river_swim?variant=naik", (4,)), ("river_swim?num_states=25", (25,)), ("access_control?order=naik", (44,))],
)
def test_arguments_in_a_name(name, shape):
    env, params = make(f"average/{name}")
    assert env.observation_space(params).shape == shape
    assert params.mdp.start.shape == shape
    assert make(f"average/{name}", one_hot=False)[0].observation_space(params).shape == ()


def test_seeds_make_other_mdps_and_the_same_again():
    for task in ("random_mdp", "garnet"):
        first, again, other = (make(f"average/{task}?seed={seed}")[1].mdp.transition for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert np.max(np.abs(first - other)) > 0.1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("average/river_swims", "did you mean 'average/river_swim'"),
        ("average/river_swim?variant=osbant", "did you mean 'osband'"),
        ("average/river_swim?max_steps_in_episode=10", "no argument of environment"),
        ("average/catch?rows=1", "expected at least 2"),
    ],
)
def test_what_there_is_not_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        make(name)


def test_an_mdp_that_ends_is_refused():
    with pytest.raises(ValueError, match="ends in state 3"):
        ContinuingEnv(corridor(4))
