"""Normalisation against two passes of numpy; delayed and sparse rewards against the returns they must preserve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreward.reward import bind_discount, environment_reward, markov
from jaxreward.rewards import delay, normalise, sparsify
from tests.jaxreward.rewards.test_rewards import episodes, random_transitions, rollout

env = environment_reward()
vector = markov(lambda t: t.reward * jnp.array([1.0, -3.0]))


def returns_so_far(transitions, discount):
    """`g_t = discount * g_{t-1} + r_t` within each episode, `[T, N]`, in double precision."""
    reward = np.asarray(transitions.reward, np.float64)
    done = np.asarray(transitions.terminated | transitions.truncated)
    running, rows = np.zeros(reward.shape[1]), []
    for t in range(len(reward)):
        running = discount * running + reward[t]
        rows.append(running)
        running = running * ~done[t]
    return np.stack(rows)


def expected_normalised(transitions, discount):
    returns = returns_so_far(transitions, discount)
    deviation = np.array([returns[: t + 1].std() for t in range(len(returns))])
    return np.asarray(transitions.reward, np.float64) / deviation[:, None]


@pytest.mark.parametrize("num_envs", [2, 5])
@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_normalise_divides_by_the_deviation_of_all_returns_so_far(num_envs, discount):
    with jax.enable_x64(True):
        transitions = random_transitions(0, 40, num_envs)
        reward = normalise(env, discount)
        run = jax.jit(lambda params: rollout(reward, params, transitions))
        values, _, memory = run(reward.init(jax.random.key(0)))
        np.testing.assert_allclose(values, expected_normalised(transitions, discount), rtol=1e-10)
        returns = returns_so_far(transitions, discount)
        np.testing.assert_allclose(memory.statistics.value.mean, np.full(num_envs, returns.mean()), rtol=1e-10)
        np.testing.assert_allclose(memory.statistics.value.variance, np.full(num_envs, returns.var()), rtol=1e-10)


def test_normalise_keeps_its_statistics_but_not_its_return_over_the_end_of_an_episode():
    transitions = random_transitions(3, 3, 2, done_rate=0.0)
    for end in ("terminated", "truncated"):
        ended = transitions._replace(**{end: jnp.zeros((3, 2), bool).at[2, 0].set(True)})
        _, _, memory = rollout(normalise(env, 0.9), {"discount": jnp.float32(0.9), "reward": ()}, ended)
        assert memory.running[0] == 0.0
        assert memory.running[1] != 0.0
        np.testing.assert_array_equal(memory.statistics.value.steps, [3.0, 3.0])
        np.testing.assert_array_equal(memory.statistics.value.variance[0], memory.statistics.value.variance[1])


def test_normalise_follows_the_agents_discount_under_vmap():
    transitions = random_transitions(1, 20, 3)
    reward = normalise(env)
    params = reward.init(jax.random.key(0))
    discounts = jnp.array([0.0, 0.5, 0.99])
    values = jax.jit(jax.vmap(lambda d: rollout(reward, bind_discount(params, d), transitions)[0]))(discounts)
    for value, discount in zip(values, discounts, strict=True):
        np.testing.assert_allclose(value, expected_normalised(transitions, float(discount)), rtol=1e-5)


def test_normalise_leaves_rewards_whose_returns_do_not_vary_as_they_are():
    transitions = random_transitions(0, 5, 2)._replace(reward=jnp.full((5, 2), 3.0))
    np.testing.assert_array_equal(rollout(normalise(env, 0.0), normalise(env, 0.0).init(None), transitions)[0], 3.0)


def test_normalise_does_not_shift_and_is_invariant_to_scale():
    transitions = random_transitions(0, 30, 4)
    tenfold = transitions._replace(reward=10 * transitions.reward)
    reward = normalise(env, 0.9)
    params = reward.init(None)
    values = rollout(reward, params, transitions)[0]
    np.testing.assert_allclose(rollout(reward, params, tenfold)[0], values, rtol=1e-5)
    np.testing.assert_array_equal(np.sign(values), np.sign(transitions.reward))


def test_normalise_treats_objectives_apart():
    transitions = random_transitions(0, 10, 3)
    reward = normalise(vector, 0.9, shape=(2,))
    values = rollout(reward, reward.init(None), transitions)[0]
    expected = expected_normalised(transitions, 0.9)
    np.testing.assert_allclose(values, np.stack([expected, -expected], -1), rtol=1e-5)


@jax.jit
def undiscounted(transitions):
    rewards = {
        **{f"delay {steps}": delay(env, steps) for steps in (0, 1, 3, 20)},
        **{f"sparsify {every}": sparsify(env, every) for every in (1, 3, np.inf)},
        "delay vector": delay(vector, 2, shape=(2,)),
        "sparsify vector": sparsify(vector, 4, shape=(2,)),
    }
    return {name: rollout(reward, reward.init(None), transitions)[0] for name, reward in rewards.items()}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_delayed_and_sparse_rewards_preserve_the_return_of_every_episode(seed):
    transitions = random_transitions(seed, 12, 3, done_rate=0.4)
    halves = transitions._replace(reward=jnp.round(2 * transitions.reward) / 2)  # sums of these are exact
    last = halves._replace(truncated=halves.truncated.at[-1].set(True))
    values = undiscounted(last)
    for env_index, steps in episodes(last):
        total = np.asarray(last.reward)[steps, env_index].sum()
        for name, value in values.items():
            expected = total * np.array([1.0, -3.0]) if "vector" in name else total
            np.testing.assert_array_equal(np.asarray(value)[steps, env_index].sum(axis=0), expected, err_msg=name)


def one_episode(*reward):
    transitions = random_transitions(0, len(reward), 1, done_rate=0.0)
    return transitions._replace(
        reward=jnp.asarray(reward, float)[:, None], terminated=jnp.zeros((len(reward), 1), bool).at[-1].set(True)
    )


@pytest.mark.parametrize(
    ("reward", "paid"),
    [
        (delay(env, 0), [1, 2, 3, 4, 5]),
        (delay(env, 2), [0, 0, 1, 2, 12]),
        (delay(env, 9), [0, 0, 0, 0, 15]),
        (sparsify(env), [0, 0, 0, 0, 15]),
        (sparsify(env, 1), [1, 2, 3, 4, 5]),
        (sparsify(env, 2), [0, 3, 0, 7, 5]),
    ],
)
def test_when_delayed_and_sparse_rewards_are_paid(reward, paid):
    values = rollout(reward, reward.init(None), one_episode(1, 2, 3, 4, 5))[0]
    np.testing.assert_array_equal(values[:, 0], paid)


def test_the_interval_of_sparse_rewards_is_a_param():
    reward = sparsify(env)
    run = lambda every: rollout(reward, {"every": every, "reward": ()}, one_episode(1, 2, 3))[0][:, 0]  # noqa: E731
    np.testing.assert_array_equal(jax.vmap(run)(jnp.array([1.0, 2.0, jnp.inf])), [[1, 2, 3], [0, 3, 3], [0, 0, 6]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: delay(env, -1), "got steps=-1"),
        (lambda: sparsify(env, 0), "got every=0"),
        (lambda: normalise(env, 1.5), r"a discount lies in \[0, 1\]; got 1.5"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
