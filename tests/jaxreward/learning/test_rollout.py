"""Rollouts against a plain loop over the same environment, and their episodes against plain bookkeeping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import Reward, with_reward
from jaxreward.learning.rollout import episode_statistics, reset_batch, rollout
from jaxreward.rewards import weighted
from tests.probes import Counter, CounterParams, CounterState, ExpensiveCounter, Randomness

T, N = 7, 3


def act(carry, observation, noise):
    """Remembers the observations of this episode; acts on whether it saw an even sum, and on the noise."""
    carry = carry + observation[:, 0]
    action = ((carry + noise) % 2 == 0).astype(jnp.int32)
    return carry, action, {"seen": carry}


def noise_for(key, steps=T):
    return jax.random.randint(key, (steps, N), 0, 2).astype(float)


def by_hand(env, params, starts, first, noise):
    """The same in a plain loop; `starts[t][n]` is where environment `n` goes on if its episode ends at step `t`."""
    observation, state, carry = [np.asarray(first.observation[n]) for n in range(N)], list(first.state), np.zeros(N)
    rows = []
    for t in range(T):
        row = []
        for n in range(N):
            carry[n] += observation[n][0]
            action = int((carry[n] + noise[t, n]) % 2 == 0)
            last, ended, reward, terminated, _ = env.step_env(jax.random.key(0), state[n], action, params)
            truncated = env.is_truncated(ended, params)
            row.append((observation[n], action, carry[n], reward, bool(terminated), bool(truncated), last))
            done = bool(terminated) or bool(truncated)
            observation[n], state[n] = starts(t, n) if done else (last, ended)
            carry[n] = 0.0 if done else carry[n]
        rows.append(row)
    return rows, observation, carry


PARAMS = {
    "terminates": CounterParams(),
    "is truncated": CounterParams(terminal=1e9, limit=5.0),
    "either": CounterParams(limit=5.0, terminal=6.0),
}


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
@pytest.mark.parametrize("env", [Counter(), ExpensiveCounter()], ids=["fresh", "cached"])
def test_equals_a_loop_over_single_environments_step_for_step(env, params):
    keys = jax.random.split(jax.random.key(1), 3)
    batch = reset_batch(env, params, N, keys[0])
    noise = noise_for(keys[1])
    run = jax.jit(lambda *args: rollout(env, params, act, *args))
    after, carry, trajectory, _ = run(jnp.zeros(N), batch, noise, keys[2])
    first = batch._replace(state=[jax.tree.map(lambda x: x[n], batch.state) for n in range(N)])

    cached, followed = (
        np.asarray(batch.observation),
        np.concatenate([trajectory.observation[1:], after.observation[None]]),
    )

    def starts(t, n):
        """Where an episode started: a counter's state is what it shows. Fresh starts are taken at its word."""
        count = cached[n] if isinstance(env, ExpensiveCounter) else followed[t, n]
        assert count in (0, 1, 2)
        return count, CounterState(count[0], count[0])

    rows, observation, memory = by_hand(env, params, starts, first, noise)
    columns = [np.asarray([[row[n][i] for n in range(N)] for row in rows]) for i in range(7)]
    names = ["observation", "action", "seen", "reward", "terminated", "truncated", "next_observation"]
    got = {**trajectory._asdict(), **trajectory.extras}
    for name, expected in zip(names, columns, strict=True):
        np.testing.assert_array_equal(got[name], expected, err_msg=name)
    np.testing.assert_array_equal(after.observation, observation)
    np.testing.assert_array_equal(carry, memory)
    assert trajectory.done.sum() > N  # some environment ended more than once


def test_fresh_starts_differ_and_cached_ones_are_the_first():
    keys = jax.random.split(jax.random.key(2), 2)
    for env, same in [(Counter(), False), (ExpensiveCounter(), True)]:
        batch = reset_batch(env, env.default_params, N, keys[0])
        run = jax.jit(lambda *args: rollout(env, env.default_params, act, *args))
        _, _, trajectory, _ = run(jnp.zeros(N), batch, jnp.zeros((30, N)), keys[1])
        started = np.asarray(trajectory.done)[:-1]
        starts = np.asarray(trajectory.observation)[1:, :, 0]
        first = np.broadcast_to(np.asarray(batch.observation)[:, 0], starts.shape)
        assert (starts[started] == first[started]).all() == same


class Keys(Randomness):
    """Shows the keys that it is given; all of its episodes have one step."""

    def reset_env(self, key, params):
        return jax.random.key_data(key), jnp.zeros((), bool)

    def step_env(self, key, state, action, params):
        return jax.random.key_data(key), state, jnp.zeros(()), jnp.ones((), bool), {}


def test_no_two_steps_and_no_two_starts_share_their_keys():
    env, idle = Keys(), lambda carry, observation, noise: (carry, jnp.zeros(N, jnp.int32), ())
    batch = reset_batch(env, None, N, jax.random.key(7))
    run = jax.jit(lambda key: rollout(env, None, idle, (), batch, jnp.zeros((T, N)), key))
    after, _, trajectory, _ = run(jax.random.key(8))
    of_starts = [*trajectory.observation, after.observation]
    keys = np.concatenate([*of_starts, *trajectory.next_observation])
    assert len(np.unique(keys, axis=0)) == len(keys) == N * (2 * T + 1)


def test_two_rollouts_in_a_row_are_one_longer_one():
    """Nothing but the environments' keys differs between them, and a counter that never ends uses none."""
    env, params = Counter(), CounterParams(terminal=1e9)
    keys = jax.random.split(jax.random.key(3), 3)
    batch, noise = reset_batch(env, params, N, keys[0]), noise_for(keys[1], 2 * T)
    run = jax.jit(lambda *args: rollout(env, params, act, *args))
    _, _, whole, _ = run(jnp.zeros(N), batch, noise, keys[2])
    middle, carry, first, _ = run(jnp.zeros(N), batch, noise[:T], keys[2])
    _, _, second, _ = run(carry, middle, noise[T:], keys[2])
    joined = jax.tree.map(lambda x, y: np.concatenate([x, y]), first, second)
    jax.tree.map(np.testing.assert_array_equal, whole, joined)


class Books:
    """Episode bookkeeping as one would write it in a loop."""

    def __init__(self):
        self.running = [{} for _ in range(N)]

    def means(self, columns, done):
        """Means over the episodes that end within these rows, by name, and their count."""
        ended = []
        for t in range(len(done)):
            for n in range(N):
                for name, column in columns.items():
                    self.running[n][name] = self.running[n].get(name, 0.0) + float(column[t, n])
                self.running[n]["length"] = self.running[n].get("length", 0.0) + 1
                if done[t, n]:
                    ended.append(self.running[n])
                    self.running[n] = {}
        names = [*columns, "length"]
        means = {f"episode/{name}": np.mean([e[name] for e in ended]) if ended else np.nan for name in names}
        return {"episode/count": len(ended), **means}


@pytest.mark.parametrize("chance", [0.0, 0.02, 0.3, 1.0])
def test_episode_statistics_equal_bookkeeping_over_consecutive_rollouts(chance):
    rng, books = np.random.default_rng(0), Books()
    statistics = jax.jit(episode_statistics)
    running = {name: jnp.zeros(N) for name in ("return", "parts", "length")}
    for _ in range(8):
        # Whole numbers below 2**24: sums are exact, and so is their ratio up to one rounding.
        columns = {name: rng.integers(-99, 99, (T, N)).astype(np.float32) for name in ("return", "parts")}
        done = rng.random((T, N)) < chance
        running, metrics = statistics(running, {**columns, "length": np.ones((T, N), np.float32)}, done)
        expected = books.means(columns, done)
        assert metrics.keys() == expected.keys()
        for name in expected:
            np.testing.assert_allclose(metrics[name], expected[name], rtol=2e-7, err_msg=name)
        for n in range(N):
            assert {name: float(x[n]) for name, x in running.items() if x[n]} == {
                k: v for k, v in books.running[n].items() if v
            }


def test_a_batch_of_statistics_equals_each_alone():
    rng = np.random.default_rng(1)
    sums = {"return": rng.normal(size=(5, T, N)).astype(np.float32)}
    done, running = rng.random((5, T, N)) < 0.2, {"return": rng.normal(size=(5, N)).astype(np.float32)}
    together = jax.vmap(episode_statistics)(running, sums, done)
    for i in range(5):
        alone = episode_statistics(*jax.tree.map(lambda x: x[i], (running, sums, done)))
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x[i], y, rtol=1e-6, atol=1e-6), together, alone)


def test_statistics_of_a_rollout_are_those_of_its_trajectory():
    """Under jit and vmap, random ends of both kinds, sums carried on, named parts adding up."""
    env = with_reward(Randomness(), weighted(own=(lambda t: t.reward, 2.0), ends=(lambda t: t.terminated, 8.0)))
    params, keys = env.default_params, jax.random.split(jax.random.key(4), 6)
    idle = lambda carry, observation, noise: (carry, jnp.zeros(N, jnp.int32), ())  # noqa: E731
    one = lambda batch, key: rollout(env, params, idle, (), batch, jnp.zeros((T, N)), key)  # noqa: E731
    run = jax.jit(jax.vmap(one))
    batch = jax.vmap(lambda key: reset_batch(env, params, N, key))(keys[:2])
    books = [Books(), Books()]
    for key in keys[2:]:
        batch, _, trajectory, metrics = run(batch, jax.random.split(key))
        for member in range(2):
            reward, terminated, done = (
                np.asarray(x[member]) for x in (trajectory.reward, trajectory.terminated, trajectory.done)
            )
            columns = {
                "return": reward,
                "env_return": (reward - 8 * terminated) / 2,
                "own": reward - 8 * terminated,
                "ends": 8.0 * terminated,
            }
            expected = books[member].means(columns, done)
            expected |= {f"average_{name}reward": columns[f"{name}return"].mean() for name in ("", "env_")}
            expected["reward_correlation"] = np.corrcoef(reward.ravel(), columns["env_return"].ravel())[0, 1]
            assert {name: metrics[name].shape for name in metrics} == dict.fromkeys(expected, (2,))
            for name in expected:
                rtol = 1e-5 if name == "reward_correlation" else 2e-7
                np.testing.assert_allclose(metrics[name][member], expected[name], rtol=rtol, err_msg=name)
            total = metrics["episode/own"][member] + metrics["episode/ends"][member]
            np.testing.assert_allclose(total, metrics["episode/return"][member], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("env", [Counter(), ExpensiveCounter()], ids=["fresh", "cached"])
def test_what_persists_of_a_rewards_memory_survives_the_end_of_an_episode(env):
    """One reward forgets with the episode, the other counts every step since the beginning."""

    def counting(persist):
        step = lambda params, memory, t: (memory + 1, memory + 1)  # noqa: E731
        return with_reward(env, Reward(lambda key: (), lambda params: jnp.zeros(()), step, persist))

    for persist, forgets in [(lambda ended, fresh: fresh, True), (lambda ended, fresh: ended, False)]:
        wrapped = counting(persist)
        keys = jax.random.split(jax.random.key(5))
        batch = reset_batch(wrapped, wrapped.default_params, N, keys[0])
        _, _, trajectory, _ = rollout(
            wrapped, wrapped.default_params, act, jnp.zeros(N), batch, jnp.zeros((T, N)), keys[1]
        )
        expected, age = np.zeros((T, N)), np.zeros(N)
        for t in range(T):
            age += 1
            expected[t] = age
            age[np.asarray(trajectory.done[t]) & forgets] = 0
        np.testing.assert_array_equal(trajectory.reward, expected)
        assert trajectory.done.sum() > 1


def test_gradient_of_a_rollouts_rewards_in_the_rewards_params_is_the_sum_of_features():
    env = with_reward(Counter(), weighted(left=(lambda t: t.reward, 0.0), act=(lambda t: t.action, 0.0)))
    keys = jax.random.split(jax.random.key(6))
    start = reset_batch(env, env.default_params, N, keys[0])

    def total(weights):
        params = env.default_params.replace(reward={**env.default_params.reward, "weights": weights})
        trajectory = rollout(env, params, act, jnp.zeros(N), start, jnp.zeros((T, N)), keys[1])[2]
        return trajectory.reward.sum(), trajectory

    weights = {"left": jnp.asarray(0.5), "act": jnp.asarray(-2.0)}
    gradient, trajectory = jax.grad(total, has_aux=True)(weights)
    np.testing.assert_allclose(gradient["left"], trajectory.observation.sum())  # a counter pays the count it leaves
    np.testing.assert_allclose(gradient["act"], trajectory.action.sum())
