"""What is evolved for PPO: that a candidate's fitness is what PPO comes to by it, and that evolution finds the way."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import vmap, with_reward
from jaxreward.agents.baselines import ppo
from jaxreward.agents.meta.lpo_es import Config, Hyperparams, lpo_es
from jaxreward.agents.meta.reward_es import Config as RewardConfig
from jaxreward.agents.meta.reward_es import Hyperparams as RewardHyperparams
from jaxreward.agents.meta.reward_es import reward_es
from jaxreward.environment import WithRewardParams
from jaxreward.reward import Reward, markov
from jaxreward.run.spec import resolve
from tests.probes import Probe, ProbeParams

SEEDS = 4
SIZES = {"num_envs": 16, "num_steps": 4, "layers": (8,), "num_epochs": 2, "num_minibatches": 2}
LIFE = {"inner_iterations": 10, "judged_iterations": 3}
CONFIG = Config(population_size=8, shaping="pairwise", objective=f"{__file__}:weighted", **SIZES, **LIFE)
MATCH = ProbeParams(match=1.0)
INNER = ppo.Hyperparams(learning_rate=0.03, entropy_coefficient=0.0)
SETTINGS = Hyperparams(sigma=0.5, learning_rate=0.1, b1=0.5, inner=INNER)


def weighted(params, ratio, advantage, lifetime):
    """No drift, but a way to weigh the objective: `r A` less this is `weight r A`."""
    return (1 - params["weight"]) * ratio * advantage


weighted.params = {"weight": 0.0}


def late(params, ratio, advantage, lifetime):
    """Nothing is learned before nine tenths of the life have passed, or at all, as the second param has it."""
    counts = jnp.where(lifetime.fraction >= 0.9, params["late"], params["early"])
    return (1 - counts) * ratio * advantage


late.params = {"late": 0.0, "early": 0.0}


def run(agent, generations, settings=SETTINGS):
    agent, keys = vmap(agent), jax.random.split(jax.random.key(0), SEEDS)

    @jax.jit
    def run(keys):
        return jax.lax.scan(lambda s, _: agent.step(s), agent.init(keys, settings), length=generations)

    return run(keys)


def test_a_candidates_fitness_is_what_ppo_comes_to_by_it():
    """The middle of the search, without noise, against PPO with those params and that key, iteration by iteration."""
    config = replace(CONFIG, population_size=2, objective="ta_lpo_from_ppo", same_task=True)
    settings = replace(SETTINGS, sigma=0.0, sigma_least=0.0)
    outer, inner = lpo_es(Probe(), MATCH, config), ppo.ppo(Probe(), MATCH, config)

    @jax.jit
    def both(key):
        state = outer.init(key, settings)
        after, metrics = outer.step(state)
        task = jax.random.split(jax.random.split(state.key, 3)[2])[0]  # the other is for new episodes
        hyperparams = INNER.replace(objective=state.params, lifetime=10.0)
        alone, told = jax.lax.scan(lambda s, _: inner.step(s), inner.init(task, hyperparams), length=10)
        return after.left, metrics, alone.params, told

    (left, _), metrics, params, told = both(jax.random.key(0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), left, params)
    count, earned = told["episode/count"], told["episode/env_return"]
    expected = (count * earned)[-3:].sum() / count[-3:].sum()
    for name in ("fitness/mean", "fitness/best"):
        np.testing.assert_allclose(metrics[name], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["episode/return"], (count * earned).sum() / count.sum(), rtol=1e-5)
    assert metrics["env_steps"] == 2 * 10 * 16 * 4
    assert metrics["episode/count"] == 2 * count.sum()


def test_an_objective_is_evolved_that_makes_ppo_learn():
    """From a weight of 0, by which nothing is learned, to one above: below, PPO would learn to do the opposite."""
    state, metrics = run(lpo_es(Probe(), MATCH, CONFIG), 8)
    assert (state.params["weight"] > 0.2).all()
    early, last = metrics["fitness/mean"][0], metrics["fitness/mean"][-1]
    assert (jnp.abs(early) < 0.6).all()
    assert (last > early + 0.2).all()


def test_a_lifetime_may_be_judged_by_new_episodes():
    """An action pays its sign, in an episode of two steps: in the end 2, while it learned less."""
    config = replace(CONFIG, population_size=2, objective="lpo_from_ppo", judged_episodes=50, inner_iterations=30)
    outer = lpo_es(Probe(), ProbeParams(action=1.0, length=2), config)
    settings = replace(SETTINGS, sigma=0.0)
    metrics = jax.jit(lambda key: outer.step(outer.init(key, settings))[1])(jax.random.key(0))
    assert 1.9 < metrics["fitness/mean"] <= 2
    assert metrics["episode/return"] < metrics["fitness/mean"] - 0.1


def test_an_objective_is_told_how_much_of_the_lifetime_has_passed():
    """What counts in the last iteration alone: of ten, the tenth. With nothing before, nothing was learned by then."""
    config = replace(CONFIG, population_size=2, objective=f"{__file__}:late", judged_iterations=1, same_task=True)
    settings = replace(SETTINGS, sigma=0.0, sigma_least=0.0)

    outer = lpo_es(Probe(), MATCH, config)

    @jax.jit
    def lives(key, params):
        live = outer.step.__self__.problem.live
        return jax.vmap(live, (0, None, None))(params, key, outer.init(key, settings).hyperparams)

    params = {"late": jnp.asarray([0.0, 1.0, 0.0]), "early": jnp.asarray([0.0, 0.0, 1.0])}
    lived = lives(jax.random.key(0), params)
    assert lived.fitness[2] > 0.8
    assert abs(lived.fitness[1]) < 0.5  # it is judged by what it did before it learned
    actor = lived.left[0]["params"]["actor_out"]["kernel"]
    late, early = (jnp.abs(actor[index] - actor[0]).max() for index in (1, 2))
    assert 1e-3 < late < early


def scaled(params, transition):
    return params["weight"] * transition.reward


def test_a_reward_is_evolved_for_what_the_environment_pays():
    """From one that pays nothing; what is paid by a negative weight is the opposite of what is wanted."""
    env = with_reward(Probe(), markov(scaled, {"weight": 0.0}))
    params = WithRewardParams(MATCH, {"weight": jnp.zeros(())})
    config = RewardConfig(population_size=8, shaping="pairwise", **SIZES, **LIFE)
    settings = RewardHyperparams(sigma=0.5, learning_rate=0.1, b1=0.5, inner=INNER)
    state, metrics = run(reward_es(env, params, config), 8, settings)
    assert (state.params["weight"] > 0.2).all()
    assert (metrics["fitness/mean"][-1] > metrics["fitness/mean"][0] + 0.2).all()
    assert (metrics["episode/env_return"][-1] > 0).all()


def test_evolution_of_a_reward_begins_where_it_was_set():
    sizes = {"population_size": 2, **SIZES}
    experiment = resolve("reward_es", "barfi/gridworld", "auxiliary", {"reward.scale": 0.25, **sizes})
    state = jax.eval_shape(experiment.agent.init, jax.random.key(0), experiment.member(0))
    start = experiment.agent.step.__self__.problem.init(jax.random.key(0), experiment.member(0))
    assert jax.tree.structure(start) == jax.tree.structure(state.params)
    assert [float(leaf) for leaf in jax.tree.leaves(start)] == [0.25]


def test_ppos_settings_are_those_of_the_inner_loop():
    settings = {"inner.learning_rate": 0.5, "learning_rate": 0.25, "inner_iterations": 10}
    made = resolve("lpo_es", "CartPole-v1", settings=settings).member(0)
    assert (made.inner.learning_rate, made.learning_rate) == (0.5, 0.25)


@pytest.mark.parametrize(("settings", "message"), [
    ({"objective": "ppo"}, "objective=ppo has no params to evolve; lpo"),
    ({"objective": "none"}, "objective=none has no params to evolve"),
    ({"judged": "rewards"}, "no judge of a lifetime 'rewards'; did you mean 'reward'"),
    ({"inner_iterations": 5}, "judged_iterations=10 are more than a lifetime has, inner_iterations=5"),
    ({"inner.lifetime": 5}, "a lifetime is inner_iterations long: set that"),
    ({"num_minibatches": 3}, "num_minibatches=3 does not divide"),
    ({"generation_parts": 3}, "generation_parts=3 does not divide"),
])  # fmt: skip
def test_what_cannot_work_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        resolve("lpo_es", "CartPole-v1", settings=settings)


def test_a_reward_without_numbers_is_refused():
    with pytest.raises(ValueError, match="CartPole-v1's reward has no params"):
        resolve("reward_es", "CartPole-v1")
    with pytest.raises(ValueError, match="judged=environment, not reward"):
        resolve("reward_es", "barfi/gridworld", "auxiliary", {"judged": "reward"})
    whole = Reward(lambda key: jnp.ones((), jnp.int32), lambda params: (), lambda p, m, t: (m, p * t.reward))
    with pytest.raises(ValueError, match="reward has params of type int32"):
        reward_es(with_reward(Probe(), whole), WithRewardParams(MATCH, jnp.ones((), jnp.int32)), RewardConfig())
    with pytest.raises(ValueError, match=r"inner\.objective is set by the outer loop"):
        lpo_es(Probe(), MATCH, CONFIG).init(jax.random.key(0), SETTINGS.replace(inner=INNER.replace(objective=())))


def test_what_is_evolved_does_not_depend_on_parts_and_devices():
    """A lifetime's numbers may be rounded otherwise. Its fitness is not, as long as it is a mean of -1 and 1."""
    made = []
    for spread in ({}, {"generation_parts": 2, "num_devices": 2}):
        agent = lpo_es(Probe(), MATCH, replace(CONFIG, inner_iterations=4, **spread))
        state, metrics = jax.jit(lambda key, a=agent: a.step(a.init(key, SETTINGS)))(jax.random.key(0))
        made.append(((state.params, metrics["fitness/mean"]), (state.left, metrics)))
    one, other = made
    jax.tree.map(np.testing.assert_array_equal, one[0], other[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one[1], other[1])
