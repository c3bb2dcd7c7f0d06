"""The agent that follows a target objective: its update by hand, what it learns, when it stops."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import save_file

from jaxreward.agent import vmap
from jaxreward.agents.meta.lpg import LPG, Config, Hyperparams, lpg
from jaxreward.agents.meta.parts.differentiable import adam_of_first_moments, bounded
from jaxreward.agents.meta.parts.follower_network import network_for
from jaxreward.agents.meta.parts.lpg_network import lpg as network_objective
from jaxreward.agents.meta.parts.objectives import actor_critic, get_targets
from jaxreward.envs import make
from jaxreward.envs.levels.optimal import optimal_return
from jaxreward.learning.estimators import gae
from jaxreward.learning.learned_drifts import METADATA, list_learned
from jaxreward.learning.objective import Lifetime, Targets
from jaxreward.learning.rollout import Trajectory
from jaxreward.results.export import named_arrays
from jaxreward.run.spec import resolve

TINY = make("levels/tiny?observation=index&seed=4")
SMALL = {"num_envs": 4, "num_steps": 6, "predictions": 3}
LEARNED = {"predictions": 3, "width": 5, "temporal": "normalised", "with_discount": True}
SEEDS = jax.random.split(jax.random.key(0), 4)


def write(path, objective, **config):
    """A file as `jaxreward export` writes it of a run that learned an objective."""
    described = {"agent": "lpg_es", "agent_config": {**LEARNED, **config}}
    save_file(named_arrays(objective.init(jax.random.key(0))), path, {METADATA: json.dumps(described)})
    return str(path)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A learned objective's params."""
    return write(tmp_path_factory.mktemp("objective") / "params.safetensors", network_objective(3, 5))


def steps_of(observation, action, reward, following):
    flags = jnp.zeros(action.shape, bool)
    return Trajectory(observation, action, (), reward, flags.at[1, 0].set(True), flags, following)


@pytest.fixture(scope="module")
def rollout_by_hand():
    """Four steps of two environments, states as numbers."""
    keys = jax.random.split(jax.random.key(7), 4)
    seen, following = (jax.random.randint(key, (4, 2), 0, 6) for key in keys[:2])
    return steps_of(seen, jax.random.randint(keys[2], (4, 2), 0, 2), jax.random.normal(keys[3], (4, 2)), following)


def chain_agent(**settings):
    env, params = make("levels/chain")
    return lpg(env, params, Config(**{**SMALL, **settings})).step.__self__.lives


def test_a_hand_made_step_is_that_of_an_actor_critic(rollout_by_hand):
    """Its gradient is that of `A log pi` with an entropy bonus and of a squared value error, to rounding."""
    lives, steps, hyperparams = chain_agent(), rollout_by_hand, Hyperparams(prediction_weight=1.0)
    life = lives.init(jax.random.key(0), make("levels/chain")[1])
    asked = {"gae_lambda": 0.8, "entropy": 0.05, "scale": 2.0}
    time = Lifetime(jnp.int32(0), jnp.inf)
    found = jax.grad(lambda p: lives.surrogate(p, steps, time, asked, hyperparams)[0])(life.params)
    z = jnp.linspace(-2.0, 2.0, 3)

    def by_hand(params):
        log_policy = jax.nn.log_softmax(params.policy[steps.observation])
        value, following = (
            jax.nn.softmax(params.prediction[seen]) @ z for seen in (steps.observation, steps.next_observation)
        )
        args = steps.reward, value, following, steps.terminated, steps.truncated, 0.99, 0.8
        advantage = jax.lax.stop_gradient(gae(*args))
        score = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        chosen = jnp.take_along_axis(log_policy, steps.action[..., None], -1)[..., 0]
        # The slope of the entropy at a sample is that of `-log pi` weighed by itself.
        bonus = -0.05 * (jax.lax.stop_gradient(chosen) * chosen).mean()
        error = jnp.square(value - jax.lax.stop_gradient(value + advantage)).mean()
        return (score * chosen).mean() + bonus - 0.5 * error

    expected = jax.grad(by_hand)(life.params)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        assert jnp.abs(other).max() > 1e-3


def test_a_score_makes_its_action_likelier_and_predictions_go_where_they_are_asked_to(rollout_by_hand, tmp_path):
    """The sign of equation 2: one step of a table, of which every action taken is to become likelier."""
    own = tmp_path / "own.py"
    own.write_text(
        "import jax.numpy as jnp\n"
        "from jaxreward.learning.objective import Aims, Objective\n"
        "def praise():\n"
        "    aim = lambda p, b, life: jnp.broadcast_to(jnp.array([0.7, 0.2, 0.1]), b.prediction.shape)\n"
        "    return Objective(lambda key: (), lambda p, b, life: Aims(jnp.ones_like(b.reward), aim(p, b, life)))\n"
    )
    lives, steps = chain_agent(objective=f"{own}:praise"), rollout_by_hand
    life = lives.init(jax.random.key(0), make("levels/chain")[1])
    # All in one state take one action.
    steps = steps._replace(action=steps.observation % 2)
    hyperparams, time = Hyperparams(), Lifetime(jnp.int32(0), jnp.inf)
    before = life
    for _ in range(100):
        gradient, said = jax.grad(lives.surrogate, has_aux=True)(life.params, steps, time, (), hyperparams)
        life = life._replace(params=lives.ascend(life, gradient, hyperparams)[0])
    seen = np.unique(steps.observation)
    policy, predicted = (jax.nn.softmax(part[seen]) for part in life.params)
    first = jax.nn.softmax(before.params.policy[seen])
    assert (policy[np.arange(len(seen)), seen % 2] > first[np.arange(len(seen)), seen % 2]).all()
    np.testing.assert_allclose(predicted, np.tile([[0.7, 0.2, 0.1]], (len(seen), 1)), atol=0.02)
    assert said["prediction/divergence"] < 1e-3
    unseen = [state for state in range(62) if state not in seen]
    np.testing.assert_array_equal(life.params.policy[jnp.array(unseen)], before.params.policy[jnp.array(unseen)])


def test_reading_a_row_is_the_product_with_a_one_hot_observation():
    env, params = TINY
    dense = make("levels/tiny?seed=4")[0]
    rows, product = (network_for(world, params, "auto", ()) for world in (env, dense))
    assert rows.is_table
    assert product.is_table
    table = rows.init(jax.random.key(0), 5)
    assert table.shape == (65, 5)
    state = env.reset_env(jax.random.key(0), params)[1].replace(time=jnp.int32(700))
    seen = [jnp.stack([world.observe(None, state, None, params)] * 2) for world in (env, dense)]
    outs = [
        jax.value_and_grad(lambda t, n=n, o=o: jnp.square(n.apply(t, o, 1)).sum())(
            table,
        )
        for n, o in zip((rows, product), seen, strict=True)
    ]
    np.testing.assert_allclose(outs[0][0], outs[1][0], rtol=1e-6)
    np.testing.assert_allclose(outs[0][1], outs[1][1], rtol=1e-5, atol=1e-8)
    assert jnp.abs(outs[0][1][-1]).max() > 0


def test_networks_fit_environments():
    kinds = {
        "CartPole-v1": False,
        "levels/chain": True,
        "levels/dense": True,
        "levels/rand_small": False,
        "levels/chain_distracting": False,
    }
    for name, is_table in kinds.items():
        assert network_for(*make(name), "auto", (4,)).is_table == is_table
    assert not network_for(*make("levels/dense"), "mlp", (4,)).is_table
    with pytest.raises(ValueError, match="did you mean 'table'"):
        network_for(*make("levels/dense"), "tabel", ())


@pytest.fixture(scope="module")
def zero_run():
    """Followed for 60 updates of a lifetime of 40: an objective of zeros."""
    lives = dataclasses.replace(lpg(*TINY, Config(**SMALL)).step.__self__.lives, objective=network_objective(3, 5))
    agent = LPG(lives, TINY[1])
    zeros = jax.tree.map(jnp.zeros_like, lives.objective.init(jax.random.key(0)))
    state = agent.init(jax.random.key(0), Hyperparams(objective=zeros, lifetime=40.0, table_rate=4.0))

    def step(state, _):
        after, metrics = agent.step(state)
        return after, (state, metrics)

    return state, *jax.jit(lambda state: jax.lax.scan(step, state, length=60))(state)


def test_an_objective_of_zeros_leaves_the_policy_and_evens_out_predictions(zero_run):
    before, after, (_, metrics) = zero_run
    np.testing.assert_array_equal(before.params.policy, after.params.policy)
    entropy = np.asarray(metrics["prediction/entropy"])
    assert entropy[0] < entropy[39]
    assert metrics["prediction/divergence"][39] < 1e-2 * metrics["prediction/divergence"][0]
    assert entropy[39] == pytest.approx(np.log(3), abs=1e-4)


def test_after_its_lifetime_an_agent_learns_no_more_but_goes_on_acting(zero_run):
    _, last, (states, metrics) = zero_run
    moved = np.abs(np.diff(states.params.prediction, axis=0)).max((1, 2)) > 0
    assert moved[:39].all()
    np.testing.assert_array_equal(states.params.prediction[40], last.params.prediction)
    assert (states.params.prediction[39] != last.params.prediction).any()
    assert int(last.iteration) == 60
    assert (np.diff(states.envs.state.time, axis=0)[50:] != 0).any()
    assert (metrics["env_steps"] == 24).all()


def run(name, updates, **settings):
    experiment = resolve("lpg", name, settings=settings)
    agent = vmap(experiment.agent)
    lived = lambda keys, h: jax.lax.scan(lambda s, _: agent.step(s), agent.init(keys, h), length=updates)  # noqa: E731
    return experiment, jax.jit(lived)(SEEDS, experiment.member(0))


def test_an_actor_critic_learns_a_level_and_never_beats_the_best():
    """The mean of the last updates, 4 seeds; at first, by chance, it is less than half of the best."""
    experiment, (_, metrics) = run("levels/small?observation=index&seed=7", 150, num_envs=16)
    best = float(optimal_return(experiment.env, experiment.env_params))
    counts = metrics["episode/count"]
    returns = jnp.where(counts > 0, metrics["episode/return"], 0.0) * counts
    late, early = (returns[part].sum(0) / counts[part].sum(0) for part in (slice(-50, None), slice(8)))
    errors = 5 * best / np.sqrt(counts[-50:].sum(0).min())
    assert (early < 0.5 * best).all()
    assert (late > 0.9 * best).all()
    assert (late < best + errors).all()


def test_an_actor_critic_finds_what_pays_at_the_end_of_a_chain():
    _, (_, metrics) = run("levels/chain", 120, num_envs=16, num_steps=20)
    last = metrics["episode/return"][-20:]
    assert jnp.nanmean(last, 0).min() > 0.9
    assert jnp.nanmean(metrics["episode/return"][:3]) < 0.5


def test_a_network_learns_where_states_have_no_numbers():
    _, (_, metrics) = run("levels/chain_distracting", 150, num_envs=16, learning_rate=0.01)
    assert jnp.nanmean(metrics["episode/return"][-20:], 0).min() > 0.8


def test_an_objective_from_a_file_is_followed(file, tmp_path):
    batch = Targets(*[jnp.ones((2, 1))] * 4, jnp.full((2, 1, 3), 1 / 3), jnp.full((2, 1, 3), 1 / 3), 0.9)
    batch = batch._replace(terminated=jnp.zeros((2, 1), bool), truncated=jnp.zeros((2, 1), bool))
    time = Lifetime(jnp.int32(1), jnp.float32(4))
    other = write(
        tmp_path / "other.safetensors", network_objective(3, 5, "raw", False), temporal="raw", with_discount=False
    )
    for path, made in ((file, network_objective(3, 5)), (other, network_objective(3, 5, "raw", False))):
        objective = get_targets(path, 3)
        found = objective.apply(objective.init(jax.random.key(9)), batch, time)
        np.testing.assert_array_equal(found.score, made.apply(made.init(jax.random.key(0)), batch, time).score)
    assert resolve("lpg", "levels/chain", settings={"objective": file, "predictions": 3, "lifetime": 9}).config[
        "agent_config"
    ]["objective_digest"]


@pytest.mark.parametrize("name", sorted(list_learned("lpg_es", "lpg_meta")))
def test_what_comes_with_the_package_makes_what_paid_likelier_than_what_cost(name):
    """Two environments, in one of which the second of four steps pays, in the other it costs."""
    objective = get_targets(name, 8)
    reward, flags, even = (
        jnp.zeros((4, 2)).at[1].set(jnp.array([1.0, -1.0])),
        jnp.zeros((4, 2), bool),
        jnp.full(8, 1 / 8),
    )
    prediction = jnp.broadcast_to(even, (4, 2, 8))
    batch = Targets(reward, flags.at[1].set(True), flags, jnp.full((4, 2), 0.2), prediction, prediction, 0.99)
    aims = jax.jit(objective.apply)(objective.init(jax.random.key(0)), batch, Lifetime(jnp.int32(2), jnp.float32(20)))
    assert aims.score[1, 0] > aims.score[1, 1] + 0.1
    np.testing.assert_allclose(aims.prediction.sum(-1), 1.0, rtol=1e-5)


def test_objectives_that_do_not_fit_are_refused(file, tmp_path):
    with pytest.raises(ValueError, match="predictions of length 3, not 8: set predictions=3"):
        get_targets(file, 8)
    with pytest.raises(ValueError, match="of another architecture"):
        get_targets(write(tmp_path / "wide.safetensors", network_objective(3, 6)), 3)
    with pytest.raises(ValueError, match="there is no file"):
        get_targets(str(tmp_path / "none.safetensors"), 3)
    save_file({"x": np.zeros(3)}, tmp_path / "ppo.safetensors", {METADATA: json.dumps({"agent": "ppo"})})
    with pytest.raises(ValueError, match="a run of ppo, not of lpg_meta or lpg_es"):
        get_targets(str(tmp_path / "ppo.safetensors"), 3)
    with pytest.raises(ValueError, match="did you mean 'actor_critic'"):
        get_targets("actor_critics", 3)
    own = tmp_path / "own_objective.py"
    own.write_text(
        "from jaxreward.learning.objective import Objective\n"
        "wrong = Objective(lambda key: (), lambda p, b, life: b.reward)\nnumber = 3\n"
    )
    with pytest.raises(ValueError, match="expected Aims"):
        get_targets(f"{own}:wrong", 3)
    with pytest.raises(ValueError, match="is a int; expected an Objective"):
        get_targets(f"{own}:number", 3)


def test_a_lifetime_that_is_asked_for_must_be_said(file):
    settings = {"objective": file, "predictions": 3}
    with pytest.raises(ValueError, match="set lifetime, in iterations"):
        resolve("lpg", "levels/chain", settings=settings)
    assert resolve("lpg", "levels/chain", settings={**settings, "lifetime": 10}).member(0).lifetime == 10
    named = {**settings, "lifetime": 10, "objective.score.bias": 0.5}
    assert float(resolve("lpg", "levels/chain", settings=named).member(0).objective["score"]["bias"]) == 0.5


def test_environments_of_continuous_actions_are_refused():
    with pytest.raises(TypeError, match="reads the probability of an action"):
        lpg(*make("Pendulum-v1"))


def test_gradients_are_bounded_and_have_derivatives_where_they_are_zero():
    gradient = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])}
    clipped = bounded(0.5).update(gradient, ())[0]
    expected = optax.clip_by_global_norm(0.5).update(gradient, optax.EmptyState())[0]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), clipped, expected)
    small = bounded(10.0).update(gradient, ())[0]
    jax.tree.map(np.testing.assert_array_equal, small, gradient)
    slope = jax.jacobian(lambda x: bounded(0.5).update({"a": x}, ())[0]["a"])(jnp.zeros(2))
    np.testing.assert_array_equal(slope, np.eye(2))


def test_adam_is_optaxs_and_has_a_derivative_where_gradients_are_zero():
    ours, theirs = adam_of_first_moments(), optax.scale_by_adam()
    params = jnp.zeros(3)
    states = [ours.init(params), theirs.init(params)]
    for t in range(4):
        gradient = jax.random.normal(jax.random.key(t), (3,)) * jnp.array([1.0, 1e-3, 0.0])
        (one, states[0]), (other, states[1]) = ours.update(gradient, states[0]), theirs.update(gradient, states[1])
        np.testing.assert_allclose(one, other, rtol=1e-6)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), *states)
    slope = jax.jacobian(lambda g: ours.update(g, ours.init(params))[0])(jnp.zeros(3))
    # `d step / d g = 1 / (sqrt(v) + epsilon)` with `v = 0`.
    np.testing.assert_allclose(np.diag(slope), 1e8, rtol=1e-4)


def test_the_scale_of_hand_made_values_is_a_hyperparameter():
    experiment = resolve("lpg", "levels/chain", settings={"objective.scale": 3.0})
    assert float(experiment.member(0).objective["scale"]) == 3.0
    assert dataclasses.replace(experiment.member(0)).objective["entropy"] == actor_critic().init(SEEDS[0])["entropy"]
