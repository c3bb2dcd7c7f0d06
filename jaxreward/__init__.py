"""jaxreward: reinforcement learning in which the reward function is the thing you design."""

from jaxreward.cpu_scheduler import protect

protect()

from jaxreward.agent import Agent, Policy, shard, vmap  # noqa: E402
from jaxreward.environment import with_reward  # noqa: E402
from jaxreward.reward import Reward, Transition, markov  # noqa: E402

__all__ = ["Agent", "Policy", "Reward", "Transition", "markov", "shard", "vmap", "with_reward"]
