"""Tasks that show a proxy reward beside the true one, which is the environment's own."""

from jaxreward.envs.hacking.tasks import TASKS

__all__ = ["TASKS"]
