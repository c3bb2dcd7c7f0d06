"""Tasks of behaviour alignment, with an auxiliary reward beside the primary one, by name."""

from jaxreward.envs.barfi.tasks import TASKS

__all__ = ["TASKS"]
