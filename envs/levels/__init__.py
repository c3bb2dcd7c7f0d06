"""Distributions of small worlds, for objectives that are learned, by name."""

from jaxreward.envs.levels.tasks import TASKS

__all__ = ["TASKS"]
