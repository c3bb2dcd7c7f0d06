"""PQN: its returns by hand, what it learns of probes, and that it balances a pole."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import vmap
from jaxreward.agents.baselines.pqn import PQN, Config, Hyperparams, State, pqn
from jaxreward.envs import make
from jaxreward.learning.action_values import ActionValues
from jaxreward.learning.rollout import Trajectory
from tests.probes import Probe, ProbeParams

DISCOUNT, TRACE = 0.6, 0.5
SEEDS = 8  # all of them succeed: with 95 % confidence at least 68 % of all seeds would, as 0.68**8 = 0.05
PROBES = {
    "constant": (ProbeParams(constant=1.0), 1.0),
    "delayed": (ProbeParams(length=2, pays_last=True, shows_time=True, cue_steps=0, constant=1.0), DISCOUNT),
    "truncated": (ProbeParams(length=2, terminates=False, cue_steps=0, constant=1.0), 1 / (1 - DISCOUNT)),
    "terminated": (ProbeParams(length=2, shows_time=True, cue_steps=0, constant=1.0), 1 + DISCOUNT),
    "match": (ProbeParams(match=1.0), 1.0),
}
SMALL = Config(num_envs=8, num_steps=4, num_epochs=2, num_minibatches=2, layers=(16,), optimiser="adam")
HYPERPARAMS = Hyperparams(
    learning_rate=0.01, discount=DISCOUNT, trace_lambda=TRACE, epsilon_steps=4_000.0, epsilon_end=0.5
)


@cache
def trained_on_probes():
    """The values of both actions where an episode starts with a cue of 1, `[probe, seed, action]`."""
    agent = vmap(vmap(pqn(Probe(), ProbeParams(), SMALL)), population=True)
    told = [HYPERPARAMS.replace(env_params=params) for params, _ in PROBES.values()]
    hyperparams = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *told)

    @jax.jit
    def train(keys):
        state = agent.init(keys, hyperparams)
        state, _ = jax.lax.scan(lambda state, _: agent.step(state), state, length=200)
        network, seen = ActionValues(2, (16,), layer_norm=True), jnp.array([1.0, 0.0])
        shown = jnp.stack([seen * (params.cue_steps > 0) for params, _ in PROBES.values()])
        return jax.vmap(lambda p, x: jax.vmap(lambda p: network.apply(p, x))(p))(state.params, shown)

    return np.asarray(train(jax.random.split(jax.random.key(0), (len(PROBES), SEEDS))))


@pytest.mark.parametrize("probe", PROBES)
def test_what_a_probe_is_worth_is_learned(probe):
    """A discount too much or too little is 0.24 or more off, as is an end that is taken for another."""
    exact = PROBES[probe][1]
    actions = [-exact, exact] if probe == "match" else [exact, exact]
    values = trained_on_probes()[list(PROBES).index(probe)]
    np.testing.assert_allclose(values, np.tile(actions, (SEEDS, 1)), atol=0.05)


def values_by_hand(params, x):
    weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    torso, out = weights["Torso_0"], weights["Dense_0"]
    hidden = x @ torso["Dense_0"]["kernel"] + torso["Dense_0"]["bias"]
    hidden = (hidden - hidden.mean(-1, keepdims=True)) / np.sqrt(hidden.var(-1, keepdims=True) + 1e-6)
    hidden = hidden * torso["LayerNorm_0"]["scale"] + torso["LayerNorm_0"]["bias"]
    return np.maximum(hidden, 0) @ out["kernel"] + out["bias"]


def test_returns_and_loss_by_hand():
    """On steps with ends of both kinds, step by step backwards in double precision."""
    rng = np.random.default_rng(0)
    steps, envs = 5, 3
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    terminated, truncated = rng.random((2, steps, envs)) < 0.25
    action, seen = rng.integers(0, 2, (steps, envs)).astype(np.int32), (steps, envs, 2)
    trajectory = Trajectory(normal(*seen), action, (), normal(steps, envs), terminated, truncated, normal(*seen))
    torso = {"Dense_0": {"kernel": normal(2, 4), "bias": normal(4)}}
    torso["LayerNorm_0"] = {"scale": normal(4), "bias": normal(4)}
    params = {"params": {"Torso_0": torso, "Dense_0": {"kernel": normal(4, 2), "bias": normal(2)}}}
    made = PQN(Probe(), ProbeParams(), SMALL, ActionValues(2, (4,), layer_norm=True))

    @jax.jit
    def once(params):
        batch = made.batch(State(params, (), None, HYPERPARAMS, None, None), trajectory)
        return batch, made.loss(params, batch)

    batch, (loss, metrics) = once(params)
    following = values_by_hand(params, trajectory.next_observation).max(-1)
    exact = np.zeros((steps, envs))
    later = following[-1]
    for t in reversed(range(steps)):
        over = terminated[t] | truncated[t] | (t == steps - 1)
        later = np.where(over, following[t], TRACE * later + (1 - TRACE) * following[t])
        exact[t] = later = trajectory.reward[t] + DISCOUNT * np.where(terminated[t], 0.0, later)
    np.testing.assert_allclose(batch.target, exact.ravel(), rtol=1e-5, atol=1e-5)
    own = values_by_hand(params, trajectory.observation).reshape(-1, 2)[np.arange(steps * envs), action.ravel()]
    np.testing.assert_allclose(loss, np.square(exact.ravel() - own).mean() / 2, rtol=1e-5)
    np.testing.assert_allclose(metrics["value/mean"], own.mean(), rtol=1e-4)
    assert terminated.any()
    assert (truncated & ~terminated)[:-1].any()


def test_a_pole_is_balanced():
    """Of 8 seeds all keep it up for 100 steps on average, where random actions do so for 22.

    With 95 % confidence at least 68 % of all seeds would.
    """
    config = Config(num_envs=16, num_steps=64, num_epochs=4, num_minibatches=8, layers=(32,), optimiser="adam")
    agent = vmap(pqn(*make("CartPole-v1"), config))
    hyperparams = Hyperparams(learning_rate=3e-3, epsilon_steps=20_000.0)

    @jax.jit
    def train(keys):
        return jax.lax.scan(lambda state, _: agent.step(state), agent.init(keys, hyperparams), length=25)[1]

    metrics = train(jax.random.split(jax.random.key(1), SEEDS))
    returns = np.nanmean(np.asarray(metrics["episode/return"])[-10:], 0)
    assert (returns > 100).all(), returns
    assert np.nanmean(metrics["episode/return"][0]) < 40


@pytest.mark.parametrize(
    ("env", "given", "error", "message"),
    [
        ("Pendulum-v1", {}, TypeError, r"pqn has a value for each of some actions; .* has Box"),
        ("CartPole-v1", {"num_minibatches": 7}, ValueError, "num_minibatches=7 does not divide .*=2048; .* 8"),
        ("CartPole-v1", {"optimiser": "radm"}, ValueError, "did you mean 'radam'"),
    ],
)
def test_what_does_not_fit_is_refused(env, given, error, message):
    with pytest.raises(error, match=message):
        pqn(*make(env), Config(**given))
