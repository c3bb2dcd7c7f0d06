"""A point in a square with four small areas that pay: the smallest task of quality-diversity with sparse rewards.

The rules and the picture are those of `Walker2D-v0` in the authors' code of SERENE (Paolo et al., Sparse Reward
Exploration via Novelty Search and Emitters, GECCO 2021, arXiv:2102.03140), called Point2D in that of STAX
(arXiv:2111.01919).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.envs.barfi.box_world import inside
from jaxreward.envs.parts.painting import BLUE, RED, painted
from jaxreward.envs.qd.discs import NO_AREA

STRIDE = 0.05
"""How far an action of 1 moves the point."""

AREAS = (
    ((0.75, 0.75), (0.8, 0.8)),
    ((-0.98, 0.9), (-0.93, 0.95)),
    ((0.0, -0.75), (0.05, -0.7)),
    ((-0.75, -0.05), (-0.7, 0.0)),
)
"""The lower and the upper corner of each area that pays."""


@struct.dataclass
class Point2DState:
    """Where the point is, which area it entered first, or `NO_AREA`, and since when the episode runs."""

    position: Float[Array, "2"]
    area: Int[Array, ""]
    time: Int[Array, ""]


@struct.dataclass
class Point2DParams:
    """Numbers of the task, which may be vmapped over.

    Attributes:
        areas: The lower and the upper corner of each area that pays.
        max_steps_in_episode: The time limit, which truncates: the policy does not see the time.
    """

    areas: Float[Array, "areas 2 2"]
    max_steps_in_episode: Int[Array, ""]


class Point2D(Environment):
    """A point that starts in the middle of `[-1, 1]^2`, sees where it is, `[2]`, and stays in the square.

    An action adds `STRIDE` times itself to the position; as in the authors' code it is the position that is clipped and
    not the action. Each step that ends in an area, border included, pays 1; the area that was entered first is the only
    one that pays in that episode.

    In `info` are `descriptor`, the position, and `area`, the index of the area entered first, or `NO_AREA`.
    """

    descriptor_bounds = ((-1.0, -1.0), (1.0, 1.0))
    """Between which corners `info["descriptor"]` lies."""
    num_areas = len(AREAS)
    """How many areas pay; `info["area"]` counts them from 0."""

    @property
    def num_actions(self) -> int:
        return 2

    @property
    def default_params(self) -> Point2DParams:
        return Point2DParams(jnp.asarray(AREAS), jnp.asarray(50, jnp.int32))

    def reset_env(self, key: Key[Array, ""], params: Point2DParams) -> tuple[Float[Array, "2"], Point2DState]:
        position = jnp.zeros(2)
        return position, Point2DState(position, jnp.asarray(NO_AREA, jnp.int32), jnp.zeros((), jnp.int32))

    def step_env(
        self, key: Key[Array, ""], state: Point2DState, action: Float[Array, "2"], params: Point2DParams
    ) -> tuple[Float[Array, "2"], Point2DState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        position = jnp.clip(state.position + STRIDE * jnp.asarray(action, float), -1.0, 1.0)
        there = jax.vmap(inside, (None, 0))(position, params.areas)
        pays = there & ((state.area == NO_AREA) | (state.area == jnp.arange(len(there))))
        area = jnp.where(pays.any(), jnp.argmax(pays).astype(jnp.int32), state.area)
        state = Point2DState(position, area, state.time + 1)
        info = {"descriptor": position, "area": area}
        return position, state, pays.any().astype(float), self.is_terminated(state, params), info

    def is_terminated(self, state: Point2DState, params: Point2DParams) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def image(self, state: Point2DState, params: Point2DParams, size: int = 64) -> Float[Array, "size size 3"]:
        """The square with the areas in red and the point as a blue disc, on black: the authors' picture if 64 wide.

        A position `p` is at pixel `size / 2 (1 + p)`; rows are along the first coordinate, columns along the second.
        """
        pixel = jnp.stack(jnp.meshgrid(jnp.arange(size), jnp.arange(size), indexing="ij"), -1).astype(float)
        corners = jnp.round((params.areas + 1) * (size / 2))
        image = jnp.zeros((size, size, 3))
        for area in corners:
            image = painted(image, inside(pixel, area), RED)
        centre = (state.position + 1) * (size / 2)
        squared_distance = jnp.square(pixel - centre[None, None]).sum(-1)
        return painted(image, squared_distance < (size / 32) ** 2, BLUE)

    def action_space(self, params: PyTree = None) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (2,), jnp.float32)

    def observation_space(self, params: PyTree = None) -> Any:
        return spaces.Box(-1.0, 1.0, (2,), jnp.float32)
