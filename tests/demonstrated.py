"""A file of demonstrations for an environment by name, for tests that need one and not what is in it."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np

from jaxreward.contract.games import num_agents
from jaxreward.envs import make
from jaxreward.learning.demonstrations import observation_of


@cache
def demonstrated(name):
    """The path of two steps of zeros."""
    env, params = make(name)
    shown, space = observation_of(env, params), env.action_space(params)
    agents = [num_agents(env)] if num_agents(env) else []
    path = Path(os.environ["TESTS_STATE"]) / f"{name.replace('/', '-')}-{os.getpid()}.npz"
    action, ends = np.zeros((2, *agents, *space.shape), space.dtype), np.ones(2, bool)
    np.savez(path, observation=np.zeros((2, *shown.shape)), action=action, terminated=ends, truncated=~ends)
    return str(path)
