"""Against counting cells, and against brax's own ant."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.adapters.brax import BraxEnv
from jaxreward.envs.adapters.physics import PhysicsState
from jaxreward.envs.subrl.coverage_ant import arena_coverage, coverage_ant, with_total
from jaxreward.reward import Transition, components

STEPS, EPISODES = 8, 3
REWARD = arena_coverage()
PARAMS = REWARD.init(jax.random.key(0))


class Shown(NamedTuple):
    """A simulator's state that is only what it shows."""

    obs: jax.Array


def episode_through(positions):
    """The transitions of an episode through positions `[T + 1, 2]`."""
    states = PhysicsState(jnp.arange(len(positions)), Shown(jnp.asarray(positions, jnp.float32)))
    here, there = (jax.tree.map(lambda x, rows=rows: x[rows], states) for rows in (slice(-1), slice(1, None)))
    nothing = jnp.zeros(len(positions) - 1)
    return Transition(here.sim.obs, nothing, nothing, there.sim.obs, nothing, nothing, here, there)


def counted(positions):
    """Cells covered up to each position, and by each alone, as in the authors' code (`inheritance_test.py`)."""
    mask, total, single = np.zeros((100, 100), bool), [], []
    for x, y in np.asarray(positions, np.float64):
        column, row = int((x + 20) / 0.4), int((y + 20) / 0.4)
        single.append(mask[column : column + 5, row : row + 5].size)
        mask[column : column + 5, row : row + 5] = True
        total.append(mask.sum())
    return np.array(total), np.array(single)


def walk(seed, steps=300):
    """Positions within the arena, no nearer to a border of cells than rounding could matter."""
    rng = np.random.default_rng(seed)
    there = np.clip(np.cumsum(rng.normal(0, 2.5, (steps, 2)), axis=0), -19.9, 19.9)
    return np.floor(there / 0.4) * 0.4 + rng.uniform(0.01, 0.39, (steps, 2))


@pytest.mark.parametrize("seed", [0, 1])
def test_rewards_are_a_tenth_of_the_cells_newly_covered(seed):
    positions = walk(seed)
    total, single = counted(positions)
    rewards, parts = jax.jit(REWARD.episode)(PARAMS, episode_through(positions))
    np.testing.assert_allclose(np.cumsum(rewards), total[1:] / 10, rtol=1e-5)
    alone = single[1:] / 10 + np.where(np.arange(299) == 0, single[0] / 10, 0)
    np.testing.assert_allclose(parts["modular"], alone, rtol=1e-5)
    assert total[-1] > 500
    assert (single < 25).any()  # the walk came to the border


@pytest.mark.parametrize(
    ("position", "covered"),
    [
        ((0.0, 0.0), 25),
        ((-19.99, -19.99), 25),
        ((19.99, 0.0), 5),
        ((0.0, 19.99), 5),
        ((19.99, 19.99), 1),
        ((18.5, 18.5), 16),
        ((20.5, 0.0), 0),
        ((0.0, 99.0), 0),
        ((-99.0, 0.0), 0),
    ],
)
def test_what_lies_outside_of_the_arena_counts_nothing(position, covered):
    rewards, parts = REWARD.episode(PARAMS, episode_through([position, position]))
    np.testing.assert_allclose(rewards, [covered / 10], rtol=1e-6)
    np.testing.assert_allclose(parts["modular"], [2 * covered / 10], rtol=1e-6)


def test_the_code_pays_all_that_is_covered_at_each_step():
    positions = walk(2, 40)
    total, _ = counted(positions)
    transitions = episode_through(positions)
    reward = with_total(REWARD)
    rewards, parts = jax.jit(reward.episode)(PARAMS, transitions)
    np.testing.assert_allclose(parts["modular"], total[1:] / 10, rtol=1e-5)
    np.testing.assert_allclose(rewards, np.diff(total / 10, prepend=0)[1:] + np.where(np.arange(39), 0, 2.5), atol=1e-5)

    def step(memory, transition):
        memory, reward_now = reward.step(PARAMS, memory, transition)
        return memory, (reward_now, components(memory)["modular"])

    one_by_one = jax.jit(lambda t: jax.lax.scan(step, reward.reset(PARAMS), t)[1])(transitions)
    np.testing.assert_allclose(one_by_one[0], rewards, atol=1e-5)
    np.testing.assert_allclose(one_by_one[1], parts["modular"], rtol=1e-5)


@pytest.fixture(scope="module")
def played():
    """The environment and a few steps of a few ants: first observations, and states and all that `step_env` gives."""
    env = coverage_ant(max_steps_in_episode=STEPS)
    params = env.default_params

    def episode(key):
        def step(state, key):
            action = jax.random.uniform(key, (8,), minval=-1)
            observation, state, *rest = env.step_env(key, state, action, params)
            return state, (state.env, observation, *rest, env.is_truncated(state, params))

        observation, state = env.reset_env(key, params)
        return observation, jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]

    return env, jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(1), EPISODES))


def test_returns_are_a_tenth_of_the_cells_covered(played):
    _, (start, (_, observations, rewards, _, info, _)) = played
    assert start.shape == (EPISODES, 29)
    for episode in range(EPISODES):
        positions = np.concatenate([start[episode, None, :2], observations[episode, :, :2]])
        np.testing.assert_allclose(rewards[episode].sum() * 10, counted(positions)[0][-1], rtol=1e-5)
    np.testing.assert_allclose(info["reward/modular"][:, 1:], 2.5, rtol=1e-6)
    np.testing.assert_allclose(
        info["env_reward"], info["reward_forward"] + info["reward_survive"] + info["reward_ctrl"], rtol=1e-5
    )


def test_the_world_is_brax_ant_that_sees_where_it_is(played):
    env, (_, (states, observations, *_)) = played
    assert isinstance(env.env, BraxEnv)
    np.testing.assert_array_equal(observations[..., :2], states.sim.pipeline_state.x.pos[:, :, 0, :2])


def test_an_episode_ends_with_the_time_or_outside(played):
    env, (_, (states, _, _, terminated, _, truncated)) = played
    assert not terminated.any()
    np.testing.assert_array_equal(truncated, np.arange(1, STEPS + 1) == np.full((EPISODES, 1), STEPS))
    last = jax.tree.map(lambda x: x[0, -1], states)

    def ends_at(x, y):
        sim = last.sim.replace(obs=last.sim.obs.at[:2].set(jnp.array([x, y])))
        return env.env.is_terminated(last.replace(sim=sim), env.default_params.env)

    assert not ends_at(19.9, -19.9)
    for x, y in [(20.1, 0.0), (-20.1, 0.0), (0.0, 20.1), (0.0, -20.1)]:
        assert ends_at(x, y)
    fallen = last.replace(sim=last.sim.replace(done=jnp.ones(())))
    assert env.env.is_terminated(fallen, env.default_params.env)


def test_names_that_do_not_exist():
    with pytest.raises(ValueError, match="did you mean 'covered'"):
        coverage_ant(modular="cover")
    with pytest.raises(ValueError, match="did you mean 'spring'"):
        coverage_ant("sprin")
