"""A pendulum to be swung up and held there for ever: `Pendulum` of github.com/google-deepmind/csuite."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.envs.average.never_ending import NeverEnding

SUBSTEPS, SECONDS = 4, 0.05
"""How often an action is repeated, and for how long each time."""


@struct.dataclass
class PendulumState:
    """The angle from hanging down, in `[-pi, pi)`, and its velocity, without bound."""

    angle: Float[Array, ""]
    velocity: Float[Array, ""]


@struct.dataclass
class PendulumParams:
    """Numbers of the task, which may be vmapped over.

    Attributes:
        friction: What of the velocity is lost a second.
        gravity: Of a rod of unit length and mass.
        torque: What actions 0 and 2 turn with, one way and the other.
        reward_angle: Within how many degrees of upright a step pays 1.
    """

    friction: Float[Array, ""] | float = 0.1
    gravity: Float[Array, ""] | float = 9.81
    torque: Float[Array, ""] | float = 1.0
    reward_angle: Float[Array, ""] | float = 30.0


class ContinuingPendulum(NeverEnding):
    """`angle'' = torque - friction * angle' - gravity * sin(angle)`, from rest, hanging down.

    Actions 0, 1 and 2 turn one way, not at all, and the other; the torque lifts it to a few degrees, so it has to be
    swung. The velocity is integrated before the angle, `SUBSTEPS` times `SECONDS` a step. It sees the cosine and the
    sine of the angle, and the velocity, `[3]`.
    """

    def __init__(self, continuous: bool = False) -> None:
        """Makes it; `continuous` (ours) for an action in [-1, 1], the share of the torque, in place of three."""
        self.continuous = continuous

    @property
    def name(self) -> str:
        return "average/pendulum" + "?continuous=true" * self.continuous

    @property
    def num_actions(self) -> int:
        return 1 if self.continuous else 3

    @property
    def default_params(self) -> PendulumParams:
        return PendulumParams()

    def reset_env(self, key: Key[Array, ""], params: PendulumParams) -> tuple[Float[Array, "3"], PendulumState]:
        state = PendulumState(jnp.zeros(()), jnp.zeros(()))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key[Array, ""], state: PendulumState, action: Int[Array, ""], params: PendulumParams
    ) -> tuple[Float[Array, "3"], PendulumState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        share = jnp.clip(action[0], -1, 1) if self.continuous else jnp.asarray(action, float) - 1
        torque = params.torque * share
        angle, velocity = state.angle, state.velocity
        for _ in range(SUBSTEPS):
            push = torque - params.friction * velocity - params.gravity * jnp.sin(angle)
            velocity = velocity + SECONDS * push
            angle = angle + SECONDS * velocity
        following = PendulumState((angle + jnp.pi) % (2 * jnp.pi) - jnp.pi, velocity)
        upright = jnp.pi - jnp.abs(following.angle) < jnp.deg2rad(jnp.asarray(params.reward_angle, float))
        shown = self.observe(key, following, action, params)
        return shown, following, upright.astype(float), self.is_terminated(following, params), {}

    def observe(
        self, key: Key[Array, ""], state: PendulumState, action: Int[Array, ""] | None, params: PendulumParams
    ) -> Float[Array, "3"]:
        return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.velocity])

    def action_space(self, params: PendulumParams | None = None) -> spaces.Discrete | spaces.Box:
        return spaces.Box(-1.0, 1.0, (1,)) if self.continuous else spaces.Discrete(3)

    def observation_space(self, params: PendulumParams | None = None) -> spaces.Box:
        high = jnp.asarray([1.0, 1.0, jnp.inf])
        return spaces.Box(-high, high, (3,))
