"""brax's robots without episodes: one that falls is put back on its feet, at a cost."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Key

from jaxreward.contract.wrappers import select
from jaxreward.envs.adapters.brax import BraxEnv
from jaxreward.envs.adapters.physics import PhysicsParams, PhysicsState
from jaxreward.envs.average.never_ending import NeverEnding


@struct.dataclass
class ContinuingState(PhysicsState):
    """State of a robot: as without a reset, and `start`, the simulator's state that it is put back to."""

    start: Any


@struct.dataclass
class ContinuingBraxParams:
    """What a fall costs, once, which may be vmapped over. There is no time limit to be set."""

    reset_cost: Float[Array, ""] | float = 10.0


class ContinuingBrax(NeverEnding, BraxEnv):
    """One of brax's environments in which a step that would have ended the episode leads back to the start.

    That is a step like any other: what it shows is the start, and it pays what it would have paid less `reset_cost`,
    which is `info["reward/resets"]`, so that training logs it. A simulation with numbers that are not finite has fallen
    too, and pays nothing else. Each copy returns to the start that it was given first, as brax's own resets do. Robots
    that nothing ends in brax, such as "halfcheetah", are never put back, also if they lie on their backs.
    """

    def __init__(
        self, robot: str = "ant", backend: str = "spring", action_repeat: int = 1, observation_key: str = "state"
    ) -> None:
        """Makes it; the arguments are those of `BraxEnv`, `robot` being its name.

        Raises:
            ValueError: If there is no such environment or backend; says which is nearest.
        """
        super().__init__(robot, backend, action_repeat=action_repeat, observation_key=observation_key)
        self._name = f"average/brax?robot={robot}"

    @property
    def default_params(self) -> ContinuingBraxParams:  # type: ignore[override]
        return ContinuingBraxParams()

    def reset_env(self, key: Key[Array, ""], params: ContinuingBraxParams) -> tuple[Array, ContinuingState]:
        observation, state = super().reset_env(key, PhysicsParams())
        return observation, ContinuingState(time=state.time, sim=state.sim, start=state.sim)

    def step_env(
        self, key: Key[Array, ""], state: ContinuingState, action: Float[Array, " action"], params: ContinuingBraxParams
    ) -> tuple[Array, ContinuingState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        _, after, reward, _, info = super().step_env(key, state, action, PhysicsParams())
        finite = jnp.isfinite(reward) & jnp.stack([jnp.isfinite(x).all() for x in _floats(after.sim)]).all()
        fell = after.sim.done.astype(bool) | ~finite
        sim = select(fell, state.start, after.sim)
        cost = jnp.where(fell, -params.reset_cost, 0.0)
        following = ContinuingState(time=after.time, sim=sim, start=state.start)
        info = {name: jnp.where(finite, value, 0) for name, value in info.items()} | {"reward/resets": cost}
        paid = jnp.where(finite, reward, 0.0) + cost
        return self._select(sim.obs), following, paid, self.is_terminated(following, params), info


def _floats(tree: Any) -> list[Array]:
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
