"""What levels are worth, against what can be listed or is known of them."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import strong
from jaxreward.agents.meta.lpg_meta import Config, Hyperparams, lpg_meta
from jaxreward.agents.meta.parts.scores import OF_VALUES
from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.envs.levels.grid_world import DOWN, RIGHT, STAY
from jaxreward.rewards import environment_reward, weighted

LEVELS = "levels/tiny?observation=number"
CHAINS = "levels/chain?shortest=2&longest=2"


def learner(name, score="regret", **settings):
    sizes = {"num_envs": 4, "num_steps": 8, "width": 2, "num_agents": 2, "curation": "rank"}
    return lpg_meta(*make(name), Config(**{**sizes, "curation_score": score, **settings})).step.__self__


def always(learner, world, table):
    """An agent that has lived in a world, whose policy's logits are a table."""
    citizen = learner.citizens.born(jax.random.key(1), learner.env_params)
    params = citizen.life.params._replace(policy=50.0 * jnp.asarray(table, float))
    return citizen._replace(world=world, life=citizen.life._replace(params=params))


def test_optimal_regret_is_what_the_best_of_all_action_sequences_earns_more():
    """Nothing is left to chance: one object is gone for good, the other is there again after a step."""
    env, level = make(LEVELS)
    level = level.replace(
        walls=jnp.zeros_like(level.walls),
        start=jnp.int32(0),
        cells=jnp.array([1, 4], jnp.int32),
        reward=jnp.array([0.5, 0.75]),
        termination=jnp.zeros(2),
        respawn=jnp.array([1.0, 0.0]),
        max_steps_in_episode=jnp.int32(5),
    )

    def earned(actions):
        step = lambda state, action: env.step_env(jax.random.key(0), state, action, level)[1:3]  # noqa: E731
        return jax.lax.scan(step, env.reset_env(jax.random.key(0), level)[1], actions)[1].sum()

    sequences = jnp.array(list(itertools.product(range(5), repeat=5)), jnp.int32)
    best = float(jax.jit(jax.vmap(earned))(sequences).max())
    made = learner(LEVELS, "optimal_regret", judged_steps=5)
    tables = jnp.stack([jnp.zeros((env.num_states, 5)).at[:, action].set(1.0) for action in (STAY, RIGHT, DOWN)])
    score = lambda table: made.scores(always(made, level, table), strong(Hyperparams()), jax.random.key(2))  # noqa: E731
    found = jax.jit(jax.vmap(score))(tables)
    assert best == 1.75  # down, back up, right, and after a step of waiting once more there
    np.testing.assert_allclose(found, [best, best - 0.5, best - 0.75], atol=1e-6)


def test_value_losses_are_of_advantages_by_hand():
    """In chains of two steps, whose state is `right`, then `2 + 2 chosen`, an agent is always right or always wrong.

    By values of 0.25 at the end of a chain that goes well, of -0.5 there otherwise, and of 0 at its beginning:
    `A_1 = r - V_1`, and `A_0 = 0.8 V_1 + 0.8 0.5 A_1`.
    """
    made = learner(CHAINS)
    hyperparams = strong(Hyperparams(discount=0.8, gae_lambda=0.5))
    value = jnp.zeros((6, 1)).at[2:4].set(-0.5).at[4:].set(0.25)
    right = jnp.zeros((6, 2)).at[0, 0].set(1.0).at[1, 1].set(1.0)

    def scores(table):
        citizen = always(made, made.env_params, table)._replace(value=value)
        return {kind: replace(made.scores, kind=kind)(citizen, hyperparams, jax.random.key(0)) for kind in OF_VALUES}

    found = jax.jit(jax.vmap(scores))(jnp.stack([right, right[:, ::-1]]))
    well, badly = (0.8 * 0.25 + 0.4 * 0.75, 0.75), (0.8 * -0.5 + 0.4 * -0.5, -0.5)
    np.testing.assert_allclose(found["l1_value_loss"], [np.mean(np.abs(x)) for x in (well, badly)], rtol=1e-5)
    np.testing.assert_allclose(found["positive_value_loss"], [np.mean(well), 0.0], atol=1e-6)


def test_regret_is_what_an_actor_critic_earns_more():
    """Of a newborn at the beginning of a chain, nearly 1: its first action is a coin's, theirs is right."""
    made = learner("levels/chain", num_envs=32, num_steps=20)
    citizen = lambda key: made.citizens.born(key, made.env_params)._replace(total=jnp.int32(100))  # noqa: E731
    regret = jax.jit(lambda key: made.scores(citizen(key), strong(Hyperparams()), key))
    found = [float(regret(jax.random.key(seed))) for seed in range(3)]
    # The mean of 32 coins from -1 to 1, within 5 standard deviations.
    assert np.abs(np.array(found) - 1.0).max() < 5 / 32**0.5
    assert min(found) > 0


def test_scores_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="did you mean 'regret'"):
        learner(LEVELS, "regrets")
    with pytest.raises(ValueError, match=r"best return of .* is not known.*curation_score=regret"):
        learner("levels/chain", "optimal_regret")
    with pytest.raises(ValueError, match="is not known"):
        learner("levels/rand_small", "optimal_regret")
    env = with_reward(make(LEVELS)[0], weighted(task=(environment_reward(), 7.0)))
    with pytest.raises(ValueError, match="it has another"):
        lpg_meta(env, env.default_params, Config(curation="rank", curation_score="optimal_regret"))
