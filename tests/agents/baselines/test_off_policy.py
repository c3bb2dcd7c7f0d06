"""The loop of agents that learn from old transitions, by an algorithm that only tells what it was given."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxreward.agent import Policy, vmap
from jaxreward.agents.baselines.parts.off_policy import Config, off_policy
from jaxreward.environment import with_reward
from jaxreward.reward import markov
from jaxreward.rewards.transforms import normalise
from jaxreward.run.train import train
from tests.probes import Counter, CounterParams

CONFIG = Config(num_envs=2, num_steps=2, num_updates=3, batch_size=4, capacity=16, warm_up=10, n_step=2, relabel=True)
PARAMS = CounterParams(terminal=7.0, limit=6.0)  # so 6 is truncated and 7 terminated too
HALF = 0.5
KEY = jax.eval_shape(lambda: jax.random.key(0))


@struct.dataclass
class Hyperparams:
    discount: float = HALF
    env_params: object = None


class Told(NamedTuple):
    """What the algorithm was given."""

    updates: jax.Array
    batch: object


class Teller:
    """Always does the action 1, and keeps its last batch."""

    def start(self, key, observation, hyperparams):
        zeros = jnp.zeros(4)
        return Told(jnp.zeros((), jnp.int32), (zeros, jnp.zeros(4, jnp.int32), zeros, zeros, zeros, zeros))

    def noise(self, key, shape):
        return jnp.zeros(shape)

    def act(self, learner, hyperparams, taken, observation, noise):
        return jnp.ones_like(noise, jnp.int32)

    def update(self, learner, hyperparams, batch, key):
        told = batch._replace(observation=batch.observation[:, 0], next_observation=batch.next_observation[:, 0])
        return Told(learner.updates + 1, tuple(told)), {"batch/reward": batch.reward.mean()}

    def policy(self, learner, hyperparams):
        same = lambda carry, observation, key: (carry, learner.updates % 2)  # noqa: E731
        return Policy(lambda: (), same, same)


def paid(params, transition):
    """All that a reward may look at: the environment's own, its state and info, observations and the action."""
    looked_at = transition.reward + transition.info["left"] + transition.next_state.count
    return params * (looked_at + 10 * transition.action + transition.observation[0] + transition.terminated)


ENV = with_reward(Counter(), markov(paid, 1.0))


def params_of(scale):
    return ENV.init_params(jax.random.key(0)).replace(env=PARAMS, reward=jnp.asarray(scale))


def make(config=CONFIG):
    return off_policy(ENV, params_of(1.0), config, lambda env, env_params: Teller(), "teller")


@pytest.fixture(scope="module")
def run():
    """Two runs as one batch over 12 iterations, each state, with all metrics."""
    agent = vmap(make())
    state = jax.jit(agent.init)(jax.random.split(jax.random.key(0), 2), Hyperparams(env_params=params_of(1.0)))
    step = jax.jit(agent.step)
    states, metrics = [state], []
    for _ in range(12):
        state, told = step(state)
        states.append(state)
        metrics.append(told)
    return step, [jax.tree.map(on_host, state) for state in states], metrics


def on_host(leaf):
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)


def rows(state, member):
    return jax.tree.map(lambda leaf: leaf[member], state.replay.steps)


def test_what_is_stored_is_what_happened(run):
    """Every row follows from the one before it by the rules of the environment."""
    _, states, _ = run
    for member in (0, 1):
        steps = rows(states[4], member)  # 8 rows, the whole ring, in the order of time
        before, after = steps.observation[..., 0], steps.next_observation[..., 0]
        np.testing.assert_array_equal(after, before + 1 + steps.action)
        np.testing.assert_array_equal(steps.terminated, after >= 7)
        np.testing.assert_array_equal(steps.truncated, after >= 6)
        ended = (steps.terminated | steps.truncated)[:-1]
        np.testing.assert_array_equal(before[1:][~ended], after[:-1][~ended])
        assert (before[1:][ended] < 3).all()
        np.testing.assert_array_equal(steps.reward, paid_by_hand(steps))
        goes_on = ~(steps.terminated | steps.truncated)[-1]
        np.testing.assert_array_equal(states[4].envs.observation[member, goes_on, 0], after[-1, goes_on])


def paid_by_hand(steps):
    before, after = steps.observation[..., 0], steps.next_observation[..., 0]
    return before + before + after + 10 * steps.action + before + steps.terminated


def test_it_acts_at_random_until_it_is_warm_and_learns_from_then_on(run):
    """12 transitions are the first that are 10 or more: three iterations of 4."""
    _, states, metrics = run
    updates = [state.learner.updates.tolist() for state in states]
    assert updates == [[max(0, 3 * (iteration - 2))] * 2 for iteration in range(13)]
    for iteration, told in enumerate(metrics):
        assert ((told["batch/reward"] == 0) == (iteration < 2)).all()
        assert (told["env_steps"] == 4).all()
    first, later = (np.stack([rows(states[at], member).action for member in (0, 1)]) for at in (4, 12))
    assert 0 < first[:, :6].sum() < 24
    assert (first[:, 6:] == 1).all()
    assert (later == 1).all()


def test_batches_are_of_stored_transitions(run):
    """Everything in a batch is found in the ring by its observation, action and what followed."""
    _, states, _ = run
    for state in states[8:]:  # the ring has 4 iterations, all with the action 1 by now, which adds 2
        for member in (0, 1):
            observation, action, reward, following, discount, weight = (x[member] for x in state.learner.batch)
            one, over = following - observation == 2, following >= 7
            assert (one | (following - observation == 4)).all()
            assert (following[one] >= 6).all()
            assert (action == 1).all()
            np.testing.assert_array_equal(discount, np.where(over, 0.0, np.where(one, HALF, HALF**2)))
            np.testing.assert_array_equal(weight, np.where(one, 1.0, 1.0 + HALF))
            now, after = 4 * observation + 12 + (one & over), 4 * (observation + 2) + 12 + over
            np.testing.assert_array_equal(reward, np.where(one, now, now + HALF * after))


def test_old_transitions_are_worth_what_the_reward_says_today(run):
    """Params of the reward three times as large make all rewards so, of what was stored before too."""
    step, states, _ = run
    state = jax.tree.map(jnp.asarray, states[8])
    larger = jax.tree.map(lambda leaf: 3 * leaf, state.hyperparams.env_params.reward)
    changed = state._replace(
        hyperparams=state.hyperparams.replace(env_params=state.hyperparams.env_params.replace(reward=larger))
    )
    (same, _), (more, metrics) = step(state), step(changed)
    np.testing.assert_array_equal(more.learner.batch[0], same.learner.batch[0])
    np.testing.assert_allclose(more.learner.batch[2], 3 * same.learner.batch[2], rtol=1e-6)
    assert metrics["average_reward"].shape == (2,)


def test_without_relabelling_they_are_worth_what_they_paid():
    state = jax.eval_shape(make(dataclasses.replace(CONFIG, relabel=False)).init, KEY, Hyperparams())
    assert state.replay.steps.beside == ()


def test_only_what_a_reward_reads_is_kept():
    """Of the state, the info and the environment's own reward: here one number each."""
    kept = jax.eval_shape(make().init, KEY, Hyperparams()).replay.steps.beside
    assert [leaf.shape for leaf in kept] == [(8, 2)] * 3
    plain = with_reward(Counter(), markov(lambda t: t.action + t.next_observation[0]))
    agent = off_policy(plain, plain.default_params, CONFIG, lambda *_: Teller(), "teller")
    assert jax.eval_shape(agent.init, KEY, Hyperparams()).replay.steps.beside == []


class Viewer(Teller):
    """Does 1 where what it is shown is more than usual; its policy tells what it is shown."""

    def act(self, learner, hyperparams, taken, observation, noise):
        return (observation[:, 0] > 0).astype(jnp.int32)

    def policy(self, learner, hyperparams):
        same = lambda carry, observation, key: (carry, observation)  # noqa: E731
        return Policy(lambda: (), same, same)


def test_observations_are_kept_as_they_come_and_shown_by_the_moments_of_all_so_far():
    config = dataclasses.replace(CONFIG, relabel=False, normalise_observations=True)
    agent = off_policy(ENV, params_of(1.0), config, lambda env, env_params: Viewer(), "viewer")
    step, state = jax.jit(agent.step), jax.jit(agent.init)(jax.random.key(0), Hyperparams())
    np.testing.assert_array_equal(state.seen.mean, np.mean(state.envs.observation))
    for _ in range(4):  # the last of them after the warm-up
        before, state = state, step(state)[0]
    kept = np.asarray(state.replay.steps.observation)[..., 0]  # the whole ring, 8 rows of 2
    assert state.seen.samples == kept.size
    np.testing.assert_allclose(state.seen.mean, [kept.mean()], rtol=1e-6)
    np.testing.assert_allclose(state.seen.variance, [kept.var()], rtol=1e-5)
    np.testing.assert_allclose(before.seen.mean, [kept[:6].mean()], rtol=1e-6)
    np.testing.assert_array_equal(state.replay.steps.action[6:], kept[6:] > kept[:6].mean())
    assert len(set(state.replay.steps.action[6:].ravel().tolist())) == 2
    scaled = lambda counts: (np.asarray(counts) - kept.mean()) / kept.std()  # noqa: E731
    shown, _, _, following, *_ = state.learner.batch
    assert np.isclose(np.asarray(shown)[:, None], scaled(np.unique(kept)), atol=1e-4).any(1).all()
    counts = np.arange(1.0, 10.0)  # what follows is up to two steps later
    assert np.isclose(np.asarray(following)[:, None], scaled(counts), atol=1e-4).any(1).all()
    np.testing.assert_allclose(agent.policy(state).mode((), jnp.array([3.0]), KEY)[1], scaled([3.0]), atol=1e-4)


class Drawn(Counter):
    """A `Counter` that shows which of eight counts it is at, drawn with booleans and given as floats."""

    def reset_env(self, key, params):
        observation, state = super().reset_env(key, params)
        return self.shown(observation), state

    def step_env(self, key, state, action, params):
        observation, *rest = super().step_env(key, state, action, params)
        return self.shown(observation), *rest

    @staticmethod
    def shown(count):
        return (count == jnp.arange(8)).astype(float)


def test_what_was_drawn_with_booleans_is_kept_so_and_rewards_are_told_of_floats():
    """A difference, which booleans do not have, in what is paid at once and in what is told of old steps."""
    counted = markov(lambda params, t: params * ((t.next_observation - t.observation) @ jnp.arange(8.0)), 1.0)
    env = with_reward(Drawn(), counted)
    params = env.init_params(jax.random.key(0)).replace(env=PARAMS)
    config = dataclasses.replace(CONFIG, n_step=1)
    agent = off_policy(env, params, config, lambda env, env_params: Teller(), "teller")
    state, step = jax.jit(agent.init)(jax.random.key(0), Hyperparams(env_params=params)), jax.jit(agent.step)
    assert state.envs.observation.dtype == jnp.float32
    for _ in range(4):
        before, state = state, step(state)[0]
    steps = jax.tree.map(np.asarray, state.replay.steps)
    assert (steps.observation.dtype, steps.next_observation.dtype) == (bool, bool)
    np.testing.assert_array_equal(steps.observation.sum(-1), 1)
    counts, following = steps.observation.argmax(-1), steps.next_observation.argmax(-1)
    np.testing.assert_array_equal(following, counts + 1 + steps.action)
    np.testing.assert_array_equal(steps.reward, following - counts)
    dearer = before._replace(hyperparams=Hyperparams(env_params=params.replace(reward=jnp.asarray(-3.0))))
    told = step(dearer)[0].learner.batch[2]
    np.testing.assert_array_equal(told, -3 * state.learner.batch[2])
    assert set(np.unique(told)) <= {-3.0, -6.0}


def test_a_member_of_a_batch_is_a_run_of_its_own(run):
    _, states, _ = run
    agent, state = make(), jax.tree.map(lambda leaf: jnp.asarray(leaf[1]), states[5])
    after = jax.jit(agent.step)(state)[0]
    same = jax.tree.map(lambda x, y: np.array_equal(_raw(x), _raw(y[1])), after, jax.tree.map(jnp.asarray, states[6]))
    assert all(jax.tree.leaves(same))


def _raw(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_a_resumed_run_has_the_same_bits(tmp_path):
    """The ring, where it is written and all else are kept; it is full once, and half full where the run is stopped."""
    agent, hyperparams = make(), Hyperparams()
    told = {"seeds": 2, "log_every": 2, "progress": False}
    whole = train(agent, hyperparams, iterations=6, folder=tmp_path / "whole", **told)
    train(agent, hyperparams, iterations=2, folder=tmp_path / "part", **told)
    resumed = train(agent, hyperparams, iterations=6, folder=tmp_path / "part", resume=True, **told)
    same = jax.tree.map(lambda x, y: np.array_equal(_raw(x), _raw(y)), whole.state, resumed.state)
    assert all(jax.tree.leaves(same))
    assert resumed.state.replay.position.ravel().tolist() == [4, 4]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"capacity": 18}, r"capacity=18 is no multiple of num_envs \* num_steps = 4; try 16"),
        ({"batch_size": 64}, "batch_size=64 is more than the warm_up=10 .* set warm_up=64"),
        ({"n_step": 9}, "n_step=9 steps does not fit into capacity=16"),
        ({"n_step": 6}, "after warm_up=10 transitions of num_envs=2 .* set warm_up=12"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        make(dataclasses.replace(CONFIG, **given))


def test_rewards_that_old_transitions_do_not_tell_are_refused():
    def refused(env, message):
        with pytest.raises(ValueError, match=message):
            off_policy(env, env.default_params, CONFIG, lambda *_: Teller(), "teller")

    refused(Counter(), "Counter has its own, which is not known")
    refused(with_reward(Counter(), normalise(markov(lambda t: t.reward))), "this one has a memory")
