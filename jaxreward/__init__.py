"""jaxreward: reinforcement learning in which the reward function is the thing you design."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxreward.compilation.cpu_scheduler import protect
from jaxreward.compilation.late_import import import_late

if TYPE_CHECKING:
    from jaxreward.agent import Agent as Agent
    from jaxreward.agent import Policy as Policy
    from jaxreward.agent import shard as shard
    from jaxreward.agent import vmap as vmap
    from jaxreward.environment import with_reward as with_reward
    from jaxreward.envs.to_gymnasium import as_gymnasium as as_gymnasium
    from jaxreward.learning.population import pbt as pbt
    from jaxreward.results.load import load as load
    from jaxreward.results.tables import query as query
    from jaxreward.reward import Reward as Reward
    from jaxreward.reward import Transition as Transition
    from jaxreward.reward import markov as markov

protect()
import_late("seaborn")

_HOME = {
    "Agent": "agent",
    "Policy": "agent",
    "Reward": "reward",
    "Transition": "reward",
    "as_gymnasium": "envs.to_gymnasium",
    "load": "results.load",
    "markov": "reward",
    "pbt": "learning.population",
    "query": "results.tables",
    "shard": "agent",
    "vmap": "agent",
    "with_reward": "environment",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is: gymnax takes a second or two, which `jaxreward --help` should not."""
    if name not in _HOME:
        raise AttributeError(f"module 'jaxreward' has no attribute {name!r}")
    return getattr(import_module(f"jaxreward.{_HOME[name]}"), name)
