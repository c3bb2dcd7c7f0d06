"""Tasks that never end, for average-reward RL: what counts is the reward a step in the long run."""

from jaxreward.envs.average.tasks import TASKS

__all__ = ["TASKS"]
