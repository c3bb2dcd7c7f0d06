"""Tasks of quality-diversity, by name."""

from jaxreward.envs.qd.tasks import TASKS

__all__ = ["TASKS"]
