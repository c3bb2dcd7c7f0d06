"""Tasks of submodular RL, by name."""

from jaxreward.envs.subrl.tasks import TASKS

__all__ = ["TASKS"]
