"""The tasks of quality-diversity with sparse rewards by name, `qd/NAME`.

Beside what every environment has, each has `descriptor_bounds`, `num_areas`, and `image(state, params, size)`, a
picture for autoencoders, drawn in traced code; in `info` are `descriptor` and `area`, of which those of the last step
of an episode count.
"""

from __future__ import annotations

from collections.abc import Callable

from gymnax.environments.environment import Environment

from jaxreward.envs.qd.collect_ball import CollectBall
from jaxreward.envs.qd.curling import Curling
from jaxreward.envs.qd.hard_maze import HardMaze
from jaxreward.envs.qd.planar_arm import PlanarArm
from jaxreward.envs.qd.point2d import Point2D
from jaxreward.envs.qd.redundant_arm import RedundantArm


def ant_maze() -> Environment:
    """`jaxreward.envs.qd.ant_maze.AntMaze`, and with it brax, which takes seconds to import."""
    from jaxreward.envs.qd.ant_maze import AntMaze

    return AntMaze()


TASKS: dict[str, Callable[..., Environment]] = {
    "point2d": Point2D,
    "arm": RedundantArm,
    "hard_maze": HardMaze,
    "curling": Curling,
    "collect_ball": CollectBall,
    "ant_maze": ant_maze,
    "planar_arm": PlanarArm,
}
