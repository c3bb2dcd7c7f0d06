"""The objective that comes with the package: what agents under it earn on levels that it has not met."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxreward.agents.meta.parts.learned import LearnedConfig
from jaxreward.agents.meta.parts.objectives import get_targets
from jaxreward.envs import make
from jaxreward.experiments.figures.meta._lives import Lives

LEVELS = 32


@pytest.mark.slow
def test_agents_under_it_earn_more_than_newborn_ones():
    """Level by level, after 16 updates, which is as the page has it, by Student's interval of 95 %, 31 degrees."""
    env, params = make("levels/small?observation=index")
    config = LearnedConfig(num_envs=16, num_steps=20).for_env(env, params)
    objective = get_targets("ta_lpg_small", config.predictions)
    follower = dataclasses.replace(config.follower(env, params, "a test"), objective=objective)
    lives = Lives(follower, params, config.judged_steps, (0, 16))
    keys = jax.random.split(jax.random.key(2**31), LEVELS)
    numbers = objective.init(jax.random.key(0))
    newborn, grown = np.asarray(jax.jit(jax.vmap(lives.in_level, (None, 0)))(numbers, keys)["earned"]).T
    gained = grown - newborn
    assert gained.mean() - 2.04 * gained.std(ddof=1) / np.sqrt(LEVELS) > 0
