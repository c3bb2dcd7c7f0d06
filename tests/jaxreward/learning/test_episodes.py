"""Episodes that are rewarded afterwards, against the same episodes stepped one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import environment, spaces

from jaxreward import markov, with_reward
from jaxreward.environment import earn, memories, world
from jaxreward.learning.episodes import play, start_memories
from jaxreward.learning.rollout import reset_batch, rollout
from jaxreward.reward import Transition
from jaxreward.rewards import (
    beside,
    constant,
    count_bonus,
    delay,
    ensemble,
    environment_reward,
    normalise,
    stack,
    weighted,
)
from jaxreward.rewards.sets.coverage import coverage
from jaxreward.rewards.sets.function import marginal_gains

T, N = 6, 5


class Countdown(environment.Environment):
    """Counts down from a random start; terminates at zero, then rots."""

    name, num_actions = "Countdown", 2

    @property
    def default_params(self):
        return jnp.asarray(0.5)

    def reset_env(self, key, params):
        left = jax.random.randint(key, (), 2, 5).astype(float)
        return left[None], left

    def step_env(self, key, state, action, params):
        left = jnp.where(state > 0, state - 1, jnp.nan)  # what follows the end is no number
        noise = jax.random.uniform(key) * params
        return left[None], left, state + noise, left == 0, {"noise": noise}

    def is_truncated(self, state, params):
        return state == -5

    def action_space(self, params=None):
        return spaces.Discrete(2)


def act(carry, observation, noise):
    return carry + 1, (observation[:, 0] > 2).astype(jnp.int32), noise


def cell(state):
    return jnp.nan_to_num(state).astype(jnp.int32)


COVER = marginal_gains(coverage(jnp.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]]), jnp.arange(1.0, 6.0)), cell)
REWARDS = {
    "environment": environment_reward(),
    "markov with params": markov(lambda p, t: p * t.reward + t.info["noise"], 2.0),
    "set function": COVER,
    "sum with names": weighted(cover=COVER, own=(environment_reward(), 0.5)),
    "delayed": delay(environment_reward(), 2),
}


@functools.partial(jax.jit, static_argnums=0)
def run(env, params, key, ended=None):
    ended = start_memories(env, params, N) if ended is None else ended
    return play(env, params, act, jnp.zeros(N), jax.random.normal(key, (T, N)), ended, N, key)


def one_by_one(env, params, ended, episodes, key):
    """The rewards and infos of the same actions through `step_env`, up to each episode's end."""
    keys = jax.random.split(jax.random.split(key)[1], (T, N))
    found, step = [], jax.jit(env.step_env)
    for n in range(N):
        base_state = jax.tree.map(lambda x, n=n: x[0, n], episodes.steps.state.env.env)
        state = wrap(env, params, base_state, jax.tree.map(lambda x, n=n: x[n], ended))
        rewards = []
        for t in range(T):
            if episodes.valid[t, n]:
                _, state, reward, _, info = step(keys[t, n], state, episodes.steps.action[t, n], params)
                rewards.append((reward, info))
        found.append(rewards)
    return found


def wrap(env, params, base_state, ended):
    """The state a wrapped environment starts an episode with, after one that left `ended`."""
    if not hasattr(env, "reward"):
        return base_state
    _, fresh = env.reset_env(jax.random.key(0), params)
    inner = wrap(env.env, params.env, base_state, ended[:-1])
    return fresh.replace(env=inner, observation=base_state[None], memory=memories(env, params, ended)[-1])


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_afterwards_are_those_of_stepping(name):
    outer = markov(lambda t: t.reward * 10 + t.observation[0] + t.state.env * t.next_state.observation[0])
    env = with_reward(with_reward(Countdown(), REWARDS[name]), outer)
    params, key = env.default_params, jax.random.key(3)
    fresh = start_memories(env, params, N)
    _, episodes, metrics = run(env, params, key)
    assert len({int(episodes.valid[:, n].sum()) for n in range(N)}) > 1  # of different lengths
    returns = []
    for n, rewards in enumerate(one_by_one(env, params, fresh, episodes, key)):
        assert len(rewards) == episodes.valid[:, n].sum() == episodes.steps.observation[0, n, 0]
        for t, (reward, info) in enumerate(rewards):
            np.testing.assert_allclose(episodes.steps.reward[t, n], reward, rtol=1e-5, atol=1e-6)
            for part, value in info.items():
                np.testing.assert_allclose(episodes.steps.info[part][t, n], value, rtol=1e-5, atol=1e-6)
        assert (episodes.steps.reward[len(rewards) :, n] == 0).all()
        returns.append(sum(float(reward) for reward, _ in rewards))
    np.testing.assert_allclose(metrics["episode/return"], np.mean(returns), rtol=1e-5)
    np.testing.assert_allclose(metrics["episode/length"], episodes.valid.sum() / N)
    assert metrics["episode/count"] == N
    assert all(jnp.isfinite(value) for value in metrics.values())


def test_the_return_of_a_set_function_is_its_value_of_everything_visited():
    env = with_reward(Countdown(), COVER)
    _, episodes, metrics = run(env, env.default_params, jax.random.key(0))
    for n in range(N):
        start = int(episodes.steps.observation[0, n, 0])
        cells = {c for s in range(start + 1) for c in ((s, s + 1) if s < 4 else (4, 0))}
        assert episodes.steps.reward[:, n].sum() == sum(c + 1 for c in cells)
    assert metrics["episode/modular"] > metrics["episode/return"]


def paid(transition):
    return transition.reward + transition.next_observation[0]


SHARING = normalise(paid, 0.9)
COUNTING = count_bonus(lambda t: cell(t.next_observation[0]), 6)


class Loop:
    """What a loop over the steps that happened remembers, one environment after the other at each."""

    def __init__(self):
        self.returns, self.counts = [], np.zeros(6)

    def earn(self, value, cells, valid, done):
        """Normalised values and bonuses `[T, N]` of episodes that begin with the first step."""
        running, rows = np.zeros(value.shape[1]), []
        for t in range(len(value)):
            happened = np.flatnonzero(valid[t])
            running[happened] = 0.9 * running[happened] + value[t, happened]
            self.returns.extend(running[happened])
            np.add.at(self.counts, cells[t, happened], 1)
            row = np.zeros((2, len(running)))
            row[:, happened] = value[t, happened] / np.std(self.returns), self.counts[cells[t, happened]] ** -0.5
            rows.append(row)
            running[done[t]] = 0
        return np.stack(rows, 1)

    def check(self, normalised, counted):
        """That every environment remembers the same."""
        statistics = normalised.statistics.value
        np.testing.assert_allclose(statistics.mean, np.full(N, np.mean(self.returns)), rtol=1e-5)
        np.testing.assert_allclose(statistics.variance, np.full(N, np.var(self.returns)), rtol=1e-5)
        np.testing.assert_allclose(statistics.steps, np.full(N, len(self.returns) / N), rtol=1e-6)
        np.testing.assert_array_equal(counted, np.tile(self.counts, (N, 1)))


def test_what_environments_share_is_that_of_a_loop_over_the_steps_that_happened():
    """Episodes end at different times, their rest is NaN, and each of two plays adds to the one before."""
    env = with_reward(Countdown(), beside(SHARING, count=COUNTING, many=ensemble(COUNTING, 2)))
    params, ended, loop = env.default_params, None, Loop()
    for seed in range(2):
        ended, episodes, _ = run(env, params, jax.random.key(seed), ended)
        steps, valid = jax.tree.map(np.asarray, (episodes.steps, episodes.valid))
        assert len(set(valid.sum(0))) > 1
        assert np.isnan(steps.next_observation).any()
        before = steps.info["env_reward"] + steps.next_observation[..., 0]
        cells = cell(steps.next_observation[..., 0])
        normalised, bonus = loop.earn(before, np.asarray(cells), valid, steps.terminated)
        np.testing.assert_allclose(steps.reward, normalised, rtol=1e-5)
        for part in ("count", "many"):
            np.testing.assert_allclose(np.where(valid, steps.info[f"reward/{part}"], 0.0), bonus, rtol=1e-6)
        memory = ended[-1]
        loop.check(memory.reward, memory.others.memories["count"].value)


def test_what_environments_share_while_they_reset_is_that_of_a_loop_over_all_steps():
    env = with_reward(Countdown(), stack(SHARING, COUNTING))
    params = env.default_params.replace(env=jnp.asarray(0.0))
    batch, _, steps, metrics = jax.jit(
        lambda key: rollout(env, params, act, jnp.zeros(N), reset_batch(env, params, N, key), jnp.zeros((9, N)), key)
    )(jax.random.key(0))
    steps = jax.tree.map(np.asarray, steps)
    left, loop = steps.next_observation[..., 0], Loop()
    assert steps.done.any(0).all()
    expected = loop.earn(steps.observation[..., 0] + left, left.astype(int), np.ones((9, N), bool), steps.done)
    np.testing.assert_allclose(steps.reward, np.moveaxis(expected, 0, -1), rtol=1e-5)
    over = np.cumsum(steps.done[::-1], 0)[::-1] > 0  # what is part of an episode that ends
    for k, name in enumerate(("return/0", "return/1")):
        np.testing.assert_allclose(metrics[f"episode/{name}"], expected[k][over].sum() / steps.done.sum(), rtol=1e-5)
    normalised, counted = batch.state.memory
    loop.check(normalised, counted.value)


class Cut(Countdown):
    """Is cut before it terminates, and would rot on."""

    def is_truncated(self, state, params):
        return state == 1


def test_what_is_cut_ends_and_goes_on_to_show_what_it_ended_with():
    _, episodes, metrics = run(Cut(), jnp.asarray(0.5), jax.random.key(3))
    shown, valid = episodes.steps.observation[..., 0], np.asarray(episodes.valid)
    np.testing.assert_array_equal(shown, np.maximum(shown[:1] - np.arange(T)[:, None], 1))
    np.testing.assert_array_equal(valid, np.arange(T)[:, None] < shown[:1] - 1)
    np.testing.assert_array_equal(episodes.steps.truncated & valid, valid & ~np.roll(valid, -1, 0))
    assert metrics["episode/length"] == valid.sum() / N


class Keys(Countdown):
    """Shows the keys that it is given."""

    def reset_env(self, key, params):
        return jax.random.key_data(key), jnp.ones(())

    def step_env(self, key, state, action, params):
        return jax.random.key_data(key), state, state, jnp.zeros((), bool), {}


def test_no_two_steps_and_no_two_starts_share_their_keys():
    idle = lambda carry, observation, noise: (carry, jnp.zeros(N, jnp.int32), ())  # noqa: E731
    _, episodes, _ = jax.jit(lambda key: play(Keys(), 0.0, idle, (), jnp.zeros(T), (), N, key))(jax.random.key(0))
    keys = np.concatenate([episodes.steps.observation[0], *episodes.steps.next_observation])
    assert len(np.unique(keys, axis=0)) == len(keys) == N * (T + 1)


def test_the_world_is_what_lies_beneath_all_rewards():
    base = Countdown()
    env = with_reward(with_reward(base, constant(1.0)), constant(2.0))
    found, params = world(env, env.default_params)
    assert found is base
    assert params == 0.5


def test_without_rewards_nothing_is_earned():
    episode = Transition(*(jnp.zeros(3) for _ in range(6)))
    assert earn(Countdown(), jnp.asarray(0.5), (), episode, jnp.ones(3, bool)) == ((), episode)
