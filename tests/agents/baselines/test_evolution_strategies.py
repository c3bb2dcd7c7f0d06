"""Evolution strategies on policies: whose return is whose, and what is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.classic_control.pendulum import Pendulum

from jaxreward import vmap
from jaxreward.agents.baselines.evolution_strategies import Config, Hyperparams, evolution_strategies
from jaxreward.contract.agents import check_agent
from tests.probes import Probe, ProbeParams

SEEDS = 8  # all of them succeed: with 95 % confidence at least 69 % of all seeds would
LENGTH = 2
CONFIG = Config(population_size=16, num_episodes=4, num_steps=3, layers=())


def made(config=CONFIG, params=ProbeParams(length=LENGTH, match=1.0, cue_steps=LENGTH)):
    return evolution_strategies(Probe(), params, config)


def test_each_policy_has_the_return_of_its_own_episodes():
    """Where an action pays its sign at each of two steps, and every other policy always takes the second action."""
    agent = made(params=ProbeParams(length=LENGTH, action=1.0))
    signs = np.tile([-1.0, 1.0], 8)
    bias = np.stack([-signs, signs], -1)

    @jax.jit
    def played(key):
        state = agent.init(key, Hyperparams())
        population = jax.tree.map(lambda leaf: jnp.zeros((16, *leaf.shape)), state.params)
        population["params"]["Dense_0"]["bias"] = jnp.asarray(bias)
        return agent.step.__self__.play(state, population, key)

    fitness, _, metrics = played(jax.random.key(0))
    np.testing.assert_array_equal(fitness, LENGTH * signs)
    assert metrics["episode/return"] == 0
    assert metrics["episode/count"] == 64
    assert metrics["env_steps"] == 64 * LENGTH


def test_it_learns_which_action_matches_what_is_seen():
    agent = made()
    batched = vmap(agent)

    @jax.jit
    def run(keys):
        state, metrics = jax.lax.scan(
            lambda state, _: batched.step(state), batched.init(keys, Hyperparams()), length=30
        )
        act = jax.vmap(
            lambda state, cue: agent.policy(state).mode((), jnp.stack([cue, 0.0 * cue]), keys[0])[1], (0, None)
        )
        return metrics, act(state, jnp.float32(-1.0)), act(state, jnp.float32(1.0))

    metrics, left, right = run(jax.random.split(jax.random.key(0), SEEDS))
    assert not left.any()
    assert right.all()
    assert (metrics["episode/return"][-5:].mean(0) > 0.9 * LENGTH).all()
    assert (metrics["episode/return"][0] < 0.6 * LENGTH).all()


def test_continuous_actions_are_those_of_the_environment():
    env = Pendulum()
    agent = evolution_strategies(env, env.default_params, Config(population_size=2, num_steps=2))
    check_agent("evolution_strategies", agent, Hyperparams(), env, env.default_params)


@pytest.mark.parametrize(("options", "message"), [
    ({"population_size": 3}, "population_size=3 is odd.*try 4"),
    ({"activation": "tahn"}, "unknown activation 'tahn'.*tanh"),
    ({"strategy": "cma"}, "strategy.*'cma'.*open_es"),
    ({"num_steps": 0}, "num_steps=0, and Probe has no time limit"),
])  # fmt: skip
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        made(Config(**{"num_steps": 3, **options}))
