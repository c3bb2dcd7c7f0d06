"""Behaviour cloning against the maximum likelihood that has a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import vmap
from jaxreward.agents.baselines.behaviour_cloning import Config, Hyperparams, behaviour_cloning
from jaxreward.mdp import TabularEnv, tabular_mdp
from tests.probes import Probe, ProbeParams, TargetProbe

COUNTS = np.array([[6, 3, 1], [1, 1, 2]])
FULL = {"batch_size": 0, "layers": (), "num_envs": 2, "num_steps": 2, "num_updates": 100}
HYPERPARAMS = Hyperparams(learning_rate=0.1, anneal_iterations=20.0)


def cloned(env, params, path, iterations=20, **config):
    """The agent, its state after some iterations from two seeds, and what it logged."""
    agent = behaviour_cloning(env, params, Config(demonstrations=str(path), **{**FULL, **config}))
    batched = vmap(agent)

    @jax.jit
    def run(keys):
        return jax.lax.scan(lambda state, _: batched.step(state), batched.init(keys, HYPERPARAMS), length=iterations)

    state, metrics = run(jax.random.split(jax.random.key(0), 2))
    return agent, state, jax.tree.map(np.asarray, metrics)


def test_a_softmax_comes_to_the_shares_that_were_demonstrated(tmp_path):
    """With a weight for each state and action, likelihood is highest at the empirical distribution in each state."""
    env = TabularEnv(tabular_mdp(np.full((2, 3, 2), 0.5), np.ones((2, 3))), max_steps_in_episode=2)
    state, action = np.repeat(np.indices(COUNTS.shape).reshape(2, -1), COUNTS.ravel(), axis=1)
    np.savez(tmp_path / "shown.npz", observation=np.eye(2)[state], action=action)
    agent, state, metrics = cloned(env, env.default_params, tmp_path / "shown.npz")
    logits = jax.vmap(lambda params: agent.step.__self__.network.apply(params, jnp.eye(2)))(state.params)
    shares = COUNTS / COUNTS.sum(1, keepdims=True)
    np.testing.assert_allclose(jax.nn.softmax(logits), np.broadcast_to(shares, (2, 2, 3)), atol=1e-4)
    likelihood = (COUNTS * np.log(shares)).sum() / COUNTS.sum()
    np.testing.assert_allclose(metrics["loss/policy"][-1], -likelihood, atol=1e-5)
    assert (metrics["episode/return"] == 2).all()


def test_a_gaussian_comes_to_least_squares_and_their_residuals(tmp_path):
    """Actions in [-2, 2] are fitted in units of their bound; the least deviation is added in squares."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(50, 2))
    action = np.clip(seen @ [[0.5], [-0.3]] + 0.2 + 0.3 * rng.normal(size=(50, 1)), -2, 2)
    np.savez(tmp_path / "shown.npz", observation=seen, action=action)
    agent, state, _ = cloned(TargetProbe(), ProbeParams(), tmp_path / "shown.npz", normalise_observations=True)
    design = np.column_stack([seen, np.ones(50)])
    weights, squares, *_ = np.linalg.lstsq(design, action / 2, rcond=None)
    asked = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
    outputs = jax.vmap(lambda params: agent.step.__self__.outputs(params, jnp.asarray(asked), HYPERPARAMS))(
        state.params
    )
    expected = np.column_stack([asked, np.ones(3)]) @ weights
    np.testing.assert_allclose(outputs[..., 0], np.broadcast_to(expected[:, 0], (2, 3)), atol=1e-4)
    np.testing.assert_allclose(np.exp(outputs[..., 1]), np.sqrt(squares[0] / 50), rtol=1e-3)
    policy = agent.policy(jax.tree.map(lambda leaf: leaf[0], state))
    mode = policy.mode((), jnp.asarray(asked[0], jnp.float32), jax.random.key(0))[1]
    np.testing.assert_allclose(mode, 2 * expected[0], atol=1e-3)


def test_without_demonstrations_it_is_said_where_they_come_from():
    with pytest.raises(ValueError, match=r"set demonstrations=FILE.*jaxreward demonstrate RUN"):
        behaviour_cloning(Probe(), ProbeParams())
