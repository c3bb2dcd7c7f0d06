"""PPO with other objectives than its own: that they are what it ascends, and when in its life."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import vmap
from jaxreward.agents.baselines.ppo import PPO, Config, Hyperparams, ppo
from jaxreward.learning.drifts import clipped
from jaxreward.learning.objective import Objective
from jaxreward.run.job import Job, Setup, job_of, split
from jaxreward.run.spec import resolve
from tests.probes import Probe, ProbeParams

SMALL = Config(num_envs=16, num_steps=12, layers=(16,))
SEEDS = 8  # all of them succeed: with 95 % confidence at least 69 % of all seeds would
MATCH = ProbeParams(match=1.0)


def with_drift(drift, config=SMALL):
    agent = ppo(Probe(), MATCH, config)
    algorithm = dataclasses.replace(agent.step.__self__, drift=drift)
    return agent._replace(init=algorithm.init, step=algorithm.step, policy=algorithm.policy)


def one_step(agent, hyperparams=Hyperparams(learning_rate=0.01, clip=0.05)):
    return jax.jit(lambda key: agent.step(agent.init(key, hyperparams)))(jax.random.key(0))


def test_clipping_and_ppos_drift_are_the_same_objective():
    """Up to rounding, through sixteen minibatch steps, some of whose ratios are clipped; and its own is not this."""
    own, other = one_step(ppo(Probe(), MATCH, SMALL)), one_step(with_drift(clipped()))
    assert own[1]["policy/clipped"] > 0.05
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), own[0].params, other[0].params)
    np.testing.assert_allclose(own[1]["loss/policy"], other[1]["loss/policy"], atol=1e-5)
    plain = one_step(ppo(Probe(), MATCH, dataclasses.replace(SMALL, objective="none")))
    apart = jax.tree.map(lambda a, b: np.abs(a - b).max(), own[0].params, plain[0].params)
    assert max(jax.tree.leaves(apart)) > 1e-3


def test_an_objective_is_told_which_iteration_it_is_and_of_how_many():
    def drift(params, batch, life):
        return 1000.0 * life.step + life.total + 0 * batch.ratio

    agent = with_drift(Objective(lambda key: (), drift))
    hyperparams = Hyperparams(learning_rate=0.0, lifetime=7)

    @jax.jit
    def run(key):
        return jax.lax.scan(lambda state, _: agent.step(state), agent.init(key, hyperparams), length=3)[1]

    # Advantages have mean 0, and with a ratio of 1 nothing else is ascended.
    np.testing.assert_allclose(run(jax.random.key(0))["loss/policy"], [7, 1007, 2007], rtol=1e-3)


@pytest.mark.parametrize("objective", ["dpo", "lpo_from_ppo"])
def test_it_learns_with_other_objectives(objective):
    """What matches pays 1, and -1 what does not. The network's params are small: PPO's drift, nearly."""
    agent = vmap(ppo(Probe(), MATCH, dataclasses.replace(SMALL, objective=objective)))
    params = jax.tree.map(lambda leaf: 0.1 * leaf, agent_params(objective))
    hyperparams = Hyperparams(learning_rate=0.01, entropy_coefficient=0.0, objective=params)

    @jax.jit
    def run(keys):
        return jax.lax.scan(lambda state, _: agent.step(state), agent.init(keys, hyperparams), length=40)[1]

    returns = run(jax.random.split(jax.random.key(0), SEEDS))["episode/return"]
    assert (returns[-5:].mean(0) > 0.9).all()
    assert (returns[0] < 0.5).all()


def agent_params(objective):
    params = Config(objective=objective).with_numbers(Hyperparams()).objective
    return {name: 10.0 * value for name, value in params.items()} if objective == "dpo" else params


def test_its_params_are_settings_and_a_grid_of_them_is_one_program():
    experiment = resolve("ppo", "CartPole-v1", settings={"objective": "dpo", "objective.alpha": [1.0, 3.0]})
    assert experiment.hyperparams.objective["alpha"].tolist() == [1.0, 3.0]
    np.testing.assert_allclose(experiment.hyperparams.objective["beta"], [0.6, 0.6])
    alphas = [{"objective": "dpo", "objective.alpha": alpha} for alpha in (1.0, 2.0)]
    assert [len(group.members) for group in split(Setup(), [*alphas, {"objective": "ppo"}])] == [2, 1]
    assert resolve("ppo", "CartPole-v1", settings={"objective": "dpo"}).hyperparams.objective is None


@pytest.mark.parametrize(("settings", "message"), [
    ({"objective": "dpoo"}, "no objective 'dpoo'; did you mean 'dpo'"),
    ({"objective": "ta_lpo"}, "ta_lpo asks how much of the lifetime has passed: set lifetime"),
    ({"objective": "ta_lpo", "lifetime": [10.0, 0.0]}, "ta_lpo asks how much of the lifetime"),
    ({"objective": "dpo", "objective.alhpa": 1.0}, r"no setting 'objective.alhpa'; did you mean 'objective.alpha'"),
    ({"objective.alpha": 1.0}, "no setting 'objective.alpha'"),
    ({"objective": "lpo", "objective.out": 1.0}, r"objective.out is an array of shape \(128,\)"),
])  # fmt: skip
@pytest.mark.parametrize("agent", ["ppo", "pbt/ppo"])
def test_what_cannot_work_is_refused(agent, settings, message):
    with pytest.raises(ValueError, match=message):
        resolve(agent, "CartPole-v1", settings=settings)


@pytest.mark.parametrize(
    ("agent", "env"), [("ppo", "CartPole-v1"), ("ippo", "games/gems"), ("barfi_ppo", "barfi/gridworld")]
)
def test_agents_on_ppo_have_its_objectives(agent, env):
    made = resolve(agent, env, settings={"objective": "ta_lpo", "lifetime": 10})
    algorithm = made.agent.step.__self__
    learner = next(part for part in (algorithm, *vars(algorithm).values()) if isinstance(part, PPO))
    assert learner.drift is not None


@pytest.mark.parametrize(
    ("agent", "env", "settings", "expected"),
    [
        ("ppo", "CartPole-v1", {"num_envs": 8, "num_steps": 16}, 8),  # 1000 steps of 128 each
        ("pbt/ppo", "CartPole-v1", {"num_envs": 8, "num_steps": 16, "population": 2}, 4),
        ("barfi_ppo", "barfi/gridworld", {"num_envs": 8, "num_steps": 16, "inner_iterations": 3}, None),
    ],
)
def test_a_run_whose_length_is_known_is_a_lifetime_unless_one_is_said(agent, env, settings, expected):
    made = resolve(agent, env, settings={**settings, "objective": "ta_lpo"}, steps=1000)
    # Where iterations are of several of PPO's, a lifetime is of those.
    known = 3 * made.iterations(1000) if expected is None else expected
    assert made.member(0).lifetime == known
    said = resolve(agent, env, settings={**settings, "objective": "ta_lpo", "lifetime": [5.0, 7.0]}, steps=1000)
    assert said.hyperparams.lifetime.tolist() == [5.0, 7.0]
    for objective in ("ppo", "lpo"):  # they don't ask
        plain = resolve(agent, env, settings={**settings, "objective": objective}, steps=1000)
        assert np.isinf(plain.member(0).lifetime)


def test_a_run_in_a_folder_has_the_lifetime_it_was_begun_with(tmp_path):
    """Whoever evaluates it needn't say how long it was, and one that is to grow has another."""
    setup = Setup(settings={"objective": "ta_lpo", "num_envs": 8, "num_steps": 16})
    begun = Job(setup, tmp_path, steps=1000)
    assert begun.experiment().member(0).lifetime == 8
    described = {"config": {**vars(setup)}, "population": [{}], "seeds": [0], "log_every": 1, "iterations": 8}
    (tmp_path / "config.json").write_text(json.dumps(described))
    assert job_of(tmp_path, steps=0).experiment().member(0).lifetime == 8
    assert job_of(tmp_path).experiment().member(0).lifetime == 8
    assert job_of(tmp_path).steps == 1024
    assert job_of(tmp_path, steps=2000).experiment().member(0).lifetime == 16


def test_nobody_forgets_how_long_a_life_is():
    """Where it could not be refused, numbers that are none show that the run failed."""
    agent = ppo(Probe(), MATCH, dataclasses.replace(SMALL, objective="ta_lpo"))
    assert jnp.isnan(one_step(agent, Hyperparams())[1]["loss/policy"])
    assert jnp.isfinite(one_step(agent, Hyperparams(lifetime=10))[1]["loss/policy"])
