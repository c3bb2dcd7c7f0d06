"""An ant in a maze of three walls, which is paid if the episode ends near one of two places.

The maze, the rewards and what is observed are those of `AntObstacles-v0` as it comes with the authors' code of SERENE
(Paolo et al., Sparse Reward Exploration via Novelty Search and Emitters, GECCO 2021, arXiv:2102.03140). Theirs walks in
MuJoCo, this one in brax.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.envs.adapters.brax import BraxEnv
from jaxreward.envs.adapters.foreign import lenient
from jaxreward.envs.adapters.physics import PhysicsState
from jaxreward.envs.parts.boxes import into_boxes, to_boxes
from jaxreward.envs.parts.painting import BLACK, BLUE, RED, painted, pixel_centres, soft, to_point
from jaxreward.envs.qd.discs import DiscsParams, paid_in_disc

CENTRE, SIDE = 5.0, 70.0
"""Of the square arena, in m: what is observed of the position is `(position - CENTRE) / SIDE`."""
HALF_BORDER = 0.3
"""Half the thickness of the walls on the arena's sides."""
WALLS = np.array([(-15.3, 3, -14.7, 37), (-16, -15.3, 10, -14.7), (9.7, -30, 10.3, 0)], np.float32)
"""Lower and upper corner of each wall within, `(x, y, x, y)` in m."""
TORSO = 0.25
"""How near the middle of the torso comes to a wall: its radius."""

START = (-25.0, -25.0)
GOALS, GOAL_RADIUS = ((35.0, -25.0), (-25.0, 35.0)), 3.0

_SKIN = 1e-3
"""How far beside a wall one is put, so that rounding never puts one into it."""
_DOT = 1.5
"""The radius of the dot that stands for the ant in the picture: a little more than its legs reach."""


class AntMaze(BraxEnv):
    """brax's ant, by its spring engine, in an arena of 70 m with walls. It is never terminated, whatever its posture.

    It sees `[29]`: x and y of the torso, moved and scaled to `[-0.5, 0.5]`, its height, its orientation as a
    quaternion, the angles of its eight joints, and the velocities: of the torso in m/s, of its rotation and of the
    joints in rad/s. An episode starts in a corner, posture and velocities a little off at random. The last step pays
    `(r - d) / r`, `d` being the torso's distance from the first goal that is not farther than the goal's radius `r`.

    In `info` are `descriptor`, x and y as they are seen, and `area`, the index of the goal that the last step was paid
    for, or `NO_AREA`, beside brax's metrics.

    What differs from the authors' environment:

    * The physics: brax's ant is as strong and bends as far, but its masses and contacts are not those of MuJoCo, and a
      step is 0.05 s instead of 0.025 s.
    * Only the feet and the torso meet the ground. (Of brax's own ant it is the feet alone; on its back it sinks.)
    * Only the torso meets walls, as a circle: legs reach through them. A step that would lead into a wall, or through
      it, ends beside it; the ant then loses the velocity that the torso has towards the wall.
    * 1000 steps instead of the 3000 of SERENE's, `max_steps_in_episode` in the params.
    * The picture is a drawing from above.
    """

    descriptor_bounds = ((-0.5, -0.5), (0.5, 0.5))
    """Between which corners `info["descriptor"]` lies."""
    num_areas = len(GOALS)
    """How many goals there are; `info["area"]` counts them from 0."""

    def __init__(self) -> None:
        super().__init__(
            "ant", "spring", exclude_current_positions_from_observation=False, terminate_when_unhealthy=False
        )
        brax_env: Any = self.simulator
        sys = brax_env.sys
        solid = sys.geom_contype.copy()
        solid[sys.mj_model.geom("torso_geom").id] = 1
        brax_env.sys = self._system = sys.replace(init_q=sys.init_q.at[:2].set(jnp.array(START)), geom_contype=solid)

    @property
    def default_params(self) -> Any:
        return DiscsParams(jnp.asarray(GOALS), jnp.asarray(GOAL_RADIUS), jnp.asarray(1000, jnp.int32))

    def reset_env(self, key: Key[Array, ""], params: Any) -> tuple[Float[Array, "29"], PhysicsState]:
        _, state = super().reset_env(key, params)
        sim = state.sim.replace(obs=observed(state.sim.pipeline_state))
        return sim.obs, PhysicsState(state.time, sim)

    def step_env(
        self, key: Key[Array, ""], state: PhysicsState, action: Float[Array, "8"], params: Any
    ) -> tuple[Float[Array, "29"], PhysicsState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        observation, state, _, terminated, metrics = super().step_env(key, state, action, params)
        pays = self.is_truncated(state, params)
        reward, area = paid_in_disc(position(state), params.goals, params.goal_radius, pays)
        info = metrics | {"descriptor": observation[:2], "area": area}
        return observation, state, reward, terminated, info

    def image(self, state: PhysicsState, params: DiscsParams, size: int = 64) -> Float[Array, "size size 3"]:
        """The arena from above, `y` upwards: walls in black on white, goals in red, the ant as a blue dot."""
        unit = SIDE / size
        points = unit * (pixel_centres(size) - size / 2)[::-1] + CENTRE
        image = painted(jnp.ones((size, size, 3)), soft(_clearance(points) / unit), BLACK)
        for goal in params.goals:
            image = painted(image, soft((to_point(points, goal) - params.goal_radius) / unit), RED)
        return painted(image, soft((to_point(points, position(state)) - _DOT) / unit), BLUE)

    def _step(self, sim: PyTree, action: Float[Array, "8"]) -> PyTree:
        stepped = super()._step(sim, action)
        before, after = sim.pipeline_state.q[:2], stepped.pipeline_state.q[:2]
        kept, speed = kept_out(before, after), stepped.pipeline_state.qd[:2]
        loss = jnp.where((after - kept) * speed > 0, -speed, 0)
        pipeline_state = pushed(self._system, stepped.pipeline_state, kept - after, loss)
        return stepped.replace(pipeline_state=pipeline_state, obs=observed(pipeline_state))


def position(state: PhysicsState) -> Float[Array, "2"]:
    """Where the torso is, x and y in m."""
    return state.sim.pipeline_state.q[:2]


def observed(pipeline_state: PyTree) -> Float[Array, "29"]:
    """What the ant sees of brax's state."""
    q, qd = pipeline_state.q, pipeline_state.qd
    return jnp.concatenate([(q[:2] - CENTRE) / SIDE, q[2:], qd])


def kept_out(before: Float[Array, "2"], after: Float[Array, "2"]) -> Float[Array, "2"]:
    """Where a step ends that walls stop: of the way into a wall only what is along it is made.

    Args:
        before: Where the torso was, not in a wall.
        after: Where it would be.
    """
    room = SIDE / 2 - HALF_BORDER - TORSO
    after = jnp.clip(after, CENTRE - room, CENTRE + room)
    low, high = WALLS[:, :2] - TORSO, WALLS[:, 2:] + TORSO
    for wall in [*range(len(WALLS))] * 2:  # what one wall stops may still meet one that was asked before
        box = slice(wall, wall + 1)
        way = after - before
        share, axis = into_boxes(before, way, low[box], high[box])
        side = jnp.where(way > 0, low[wall] - _SKIN, high[wall] + _SKIN)
        after = jnp.where((share[0] <= 1) & (axis[0] == jnp.arange(2)), side, after)
    return after


def pushed(sys: Any, pipeline_state: PyTree, way: Float[Array, "2"], speed: Float[Array, "2"]) -> PyTree:
    """The state of brax's spring engine with all parts moved, and made faster, by as much.

    Args:
        sys: brax's system.
        pipeline_state: What is moved.
        way: By how much, along x and y, in m.
        speed: What is added to the velocities, in m/s.
    """
    from brax import kinematics  # only what has imported brax has such a state

    way, speed = (jnp.pad(vector, (0, 1))[None] for vector in (way, speed))
    x, x_i = (at.replace(pos=at.pos + way) for at in (pipeline_state.x, pipeline_state.x_i))
    xd, xd_i = (motion.replace(vel=motion.vel + speed) for motion in (pipeline_state.xd, pipeline_state.xd_i))
    with lenient():
        j, jd, a_p, a_c = kinematics.world_to_joint(sys, x, xd)
        q, qd = kinematics.inverse(sys, j, jd)
    return pipeline_state.replace(x=x, x_i=x_i, xd=xd, xd_i=xd_i, j=j, jd=jd, a_p=a_p, a_c=a_c, q=q, qd=qd)


def _clearance(points: Float[Array, "H W 2"]) -> Float[Array, "H W"]:
    """How far each point is from the nearest wall, those around the arena included, negative inside."""
    within = jax.vmap(jax.vmap(lambda point: to_boxes(point, WALLS[:, :2], WALLS[:, 2:])[0].min()))(points)
    return jnp.minimum(within, SIDE / 2 - HALF_BORDER - jnp.abs(points - CENTRE).max(-1))
