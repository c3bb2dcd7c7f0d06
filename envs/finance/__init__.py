"""Tasks of investing, by name."""

from jaxreward.envs.finance.tasks import TASKS

__all__ = ["TASKS"]
