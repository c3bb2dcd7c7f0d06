"""Games: tasks that several agents act in at once, each for a reward of its own."""

from jaxreward.envs.games.tasks import TASKS

__all__ = ["TASKS"]
