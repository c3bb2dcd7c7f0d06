"""The tasks of quality-diversity with sparse rewards by name, `qd/NAME`.

Beside what every environment has, each has `descriptor_bounds`, `num_areas`, and `image(state, params, size)`, a
picture for autoencoders, drawn in traced code; in `info` are `descriptor` and `area`, of which those of the last step
of an episode count.
"""

from __future__ import annotations

from collections.abc import Callable

from gymnax.environments.environment import Environment

from jaxreward.envs.hard_maze import HardMaze
from jaxreward.envs.point2d import Point2D
from jaxreward.envs.redundant_arm import RedundantArm

TASKS: dict[str, Callable[..., Environment]] = {"point2d": Point2D, "arm": RedundantArm, "hard_maze": HardMaze}
