"""The objective that comes with the package: what agents under it earn on levels that it has not met."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.figures.meta._common import courses, one_of
from jaxreward.agents.meta.parts.learned import LearnedConfig
from jaxreward.agents.meta.parts.objectives import get_targets
from jaxreward.envs import make

LEVELS = 32


@pytest.mark.slow
def test_agents_under_it_earn_more_than_newborn_ones():
    """Level by level, after 16 updates, which is as the page has it, by Student's interval of 95 %, 31 degrees."""
    env, params = make("levels/small?observation=index")
    config = LearnedConfig(num_envs=16, num_steps=20).for_env(env, params)
    objective = get_targets("ta_lpg_small", config.predictions)
    lives = dataclasses.replace(config.follower(env, params, "a test"), objective=one_of([objective]))
    numbers = jax.tree.map(lambda leaf: jnp.stack([leaf] * LEVELS), objective.init(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(2**31), (LEVELS, 1))
    told = jax.jit(courses(lives, config.judged_steps, params))([numbers], jnp.array([0, 16], jnp.int32), keys)
    newborn, grown = np.asarray(told["earned"])[:, 0]
    gained = grown - newborn
    assert gained.mean() - 2.04 * gained.std(ddof=1) / np.sqrt(LEVELS) > 0
