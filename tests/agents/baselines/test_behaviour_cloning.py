"""Behaviour cloning against the maximum likelihood that has a closed form."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.baselines.behaviour_cloning import Config, Hyperparams, behaviour_cloning
from jaxreward.envs import make
from jaxreward.mdp import TabularEnv, tabular_mdp
from jaxreward.run.spec import resolve
from jaxreward.run.store import differences
from tests.probes import Probe, ProbeParams, TargetProbe

COUNTS = np.array([[6, 3, 1], [1, 1, 2]])
FULL = {"batch_size": 0, "layers": (), "num_envs": 2, "num_steps": 2, "num_updates": 100}
HYPERPARAMS = Hyperparams(learning_rate=0.1, anneal_iterations=20.0)


def made(env, params, path, **config):
    """The agent, whose iterations are steps on all that is in the file."""
    return behaviour_cloning(env, params, Config(demonstrations=str(path), **{**FULL, **config}))


def repeated(step, start):
    """What comes of 20 iterations from a seed, in one program."""
    run = jax.jit(lambda key: jax.lax.scan(lambda state, _: step(state), start(key, HYPERPARAMS), length=20))
    return run(jax.random.key(0))


def test_a_softmax_comes_to_the_shares_that_were_demonstrated(tmp_path):
    """With a weight for each state and action, likelihood is highest at the empirical distribution in each state."""
    env = TabularEnv(tabular_mdp(np.full((2, 3, 2), 0.5), np.ones((2, 3))), max_steps_in_episode=2)
    state, action = np.repeat(np.indices(COUNTS.shape).reshape(2, -1), COUNTS.ravel(), axis=1)
    np.savez(tmp_path / "shown.npz", observation=np.eye(2)[state], action=action)
    agent = made(env, env.default_params, tmp_path / "shown.npz")
    state, metrics = repeated(agent.step, agent.init)
    weights = jax.tree.map(np.asarray, state.params)["params"]["Dense_0"]
    odds = np.exp(weights["kernel"] + weights["bias"])
    shares = COUNTS / COUNTS.sum(1, keepdims=True)
    np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), shares, atol=1e-4)
    likelihood = (COUNTS * np.log(shares)).sum() / COUNTS.sum()
    np.testing.assert_allclose(metrics["loss/policy"][-1], -likelihood, atol=1e-5)
    assert (metrics["episode/return"] == 2).all()


def test_a_gaussian_comes_to_least_squares_and_their_residuals(tmp_path):
    """Actions in [-2, 2] are fitted in units of their bound; it is the whole deviation that is, the least one in it."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(50, 2))
    action = np.clip(seen @ [[0.5], [-0.3]] + 0.2 + 0.3 * rng.normal(size=(50, 1)), -2, 2)
    np.savez(tmp_path / "shown.npz", observation=seen, action=action)
    agent = made(TargetProbe(), ProbeParams(), tmp_path / "shown.npz", normalise_observations=True)
    algorithm = agent.step.__self__

    def learn(state):
        params, optimiser, metrics = algorithm.learn(state, state.key)
        return state._replace(params=params, optimiser=optimiser, iteration=state.iteration + 1), metrics

    state, _ = repeated(learn, agent.init)
    design = np.column_stack([seen, np.ones(50)])
    weights, squares, *_ = np.linalg.lstsq(design, action / 2, rcond=None)
    asked = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
    outputs = algorithm.outputs(state.params, jnp.asarray(asked), HYPERPARAMS)
    expected = np.column_stack([asked, np.ones(3)]) @ weights
    np.testing.assert_allclose(outputs[:, :1], expected, atol=1e-4)
    np.testing.assert_allclose(np.exp(outputs[:, 1]), np.sqrt(squares[0] / 50), rtol=1e-3)
    learned = np.asarray(state.params["params"]["Dense_0"]["kernel"])  # of observations in units of their deviation
    np.testing.assert_allclose(learned, weights[:2] * seen.std(0)[:, None], atol=1e-4)
    mode = agent.policy(state).mode((), jnp.asarray(asked[0], jnp.float32), jax.random.key(0))[1]
    np.testing.assert_allclose(mode, 2 * expected[0], atol=1e-3)


@pytest.fixture(scope="module")
def cloned(tmp_path_factory):
    """Shares of each agent's actions in two states of a game, how often each joint step was shown, and a file of it."""
    rng = np.random.default_rng(0)
    state, action = rng.integers(2, size=500), rng.integers(3, size=(500, 2))
    action[state == 1, 1] = np.minimum(action[state == 1, 1], 1)
    path = tmp_path_factory.mktemp("cloned") / "shown.npz"
    np.savez(path, observation=np.eye(2)[state][:, None].repeat(2, 1), action=action)
    env, params = make("games/random_game?num_states=2&branching=2")
    agent = made(env, params, path, num_updates=100)

    @jax.jit
    @jax.vmap
    def learned(shown):
        hyperparams = Hyperparams(learning_rate=0.1, anneal_iterations=20.0, num_demonstrations=shown)
        return jax.lax.scan(lambda s, _: agent.step(s), agent.init(jax.random.key(0), hyperparams), length=20)[0]

    return agent, learned(jnp.array([100.0, np.inf])), state, action


@pytest.mark.parametrize(("member", "shown"), [(0, 100), (1, 500)])
def test_each_agent_of_a_game_comes_to_its_own_shares_of_the_first_steps(cloned, member, shown):
    agent, states, state, action = cloned
    state, action = state[:shown], action[:shown]
    learned = jax.tree.map(lambda leaf: leaf[member], states)
    outputs = np.asarray(agent.step.__self__.outputs(learned.params, jnp.eye(2)[:, None].repeat(2, 1), HYPERPARAMS))
    for here in range(2):
        for one in range(2):
            counts = np.bincount(action[state == here, one], minlength=3)
            odds = np.exp(outputs[here, one])
            np.testing.assert_allclose(odds / odds.sum(), counts / counts.sum(), atol=2e-3)
    act = agent.policy(learned)
    joint = act.mode((), jnp.array([[0.0, 1.0], [0.0, 1.0]]), jax.random.key(0))[1]
    expected = [np.bincount(action[state == 1, one], minlength=3).argmax() for one in range(2)]
    assert joint.tolist() == expected


def test_without_demonstrations_it_is_said_where_they_come_from():
    with pytest.raises(ValueError, match=r"set demonstrations=FILE.*jaxreward demonstrate RUN"):
        behaviour_cloning(Probe(), ProbeParams())


def test_a_run_does_not_go_on_with_other_demonstrations(tmp_path):
    path = tmp_path / "shown.npz"
    np.savez(path, observation=np.zeros((3, 4)), action=np.zeros(3, int))
    how = {"demonstrations": str(path), "layers": ()}
    began = resolve("behaviour_cloning", "CartPole-v1", settings=how)
    digest = began.config["agent_config"]["digest"]
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    np.savez(path, observation=np.zeros((3, 4)), action=np.ones(3, int))
    assert differences(
        {"config": began.config}, {"config": resolve("behaviour_cloning", "CartPole-v1", settings=how).config}
    )
    with pytest.raises(ValueError, match=rf"is another file than it was .*, not {digest}\)"):
        resolve("behaviour_cloning", "CartPole-v1", settings={**how, "digest": digest})
