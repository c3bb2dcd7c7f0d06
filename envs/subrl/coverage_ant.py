"""An ant that is to cover an arena: the continuous coverage task of submodular reinforcement learning.

Prajapat et al. 2024, arXiv:2307.13372. Theirs walks in MuJoCo, this one in brax, whose contacts differ; the arena, its
cells and the rewards are theirs.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreward.environment import WithReward, with_reward
from jaxreward.envs.adapters.brax import BraxEnv
from jaxreward.envs.adapters.physics import PhysicsParams, PhysicsState
from jaxreward.names import check_name
from jaxreward.reward import Components, Memory, Params, Reward, Transition
from jaxreward.rewards.sets import marginal_gains, patches

ARENA = 20.0
"""Half the width of the arena, which is centred at the origin, in m."""

CELLS, PATCH = 100, 5
"""Cells along each side of the arena, and of what is covered from one position."""

MODULAR = ("single", "covered")
"""What `info["reward/modular"]` can be."""


class ArenaAnt(BraxEnv):
    """brax's ant in the arena. It observes where it is, `[29]` with x and y first; leaving the arena terminates."""

    def __init__(self, backend: str = "spring", max_steps_in_episode: int = 400, **kwargs: Any) -> None:
        """Makes the world.

        Args:
            backend: See `BraxEnv`.
            max_steps_in_episode: The time limit, which truncates.
            **kwargs: Arguments of brax's ant.

        Raises:
            ValueError: If there is no such backend or argument.
        """
        kwargs = {"exclude_current_positions_from_observation": False} | kwargs
        super().__init__("ant", backend, max_steps_in_episode, **kwargs)

    def is_terminated(self, state: PhysicsState, params: PhysicsParams) -> Bool[Array, ""]:
        """Whether the ant has fallen, has jumped too high, or is outside of the arena."""
        return super().is_terminated(state, params) | (jnp.abs(position(state)) > ARENA).any()


def position(state: PhysicsState) -> Float[Array, " 2"]:
    """Where the torso is, x and y in m."""
    return state.sim.obs[:2]


def coverage_ant(backend: str = "spring", modular: str = "single", max_steps_in_episode: int = 400) -> WithReward:
    """The ant whose reward is what it newly covers: a tenth for each cell of 0.4 m.

    From each position, that of the start among them, it covers 5 x 5 cells: its own and those towards larger x and y,
    as in the authors' code. An episode's return is a tenth of the cells that are covered at its end.
    `info["reward/modular"]` is what a learner that knows nothing of diminishing returns maximises, `info["env_reward"]`
    the reward of brax's ant.

    Args:
        backend: Of brax, see `BraxEnv`.
        modular: `"single"` for what the position alone would cover, as in the paper, or `"covered"` for all that is
            covered so far, paid again at each step, as in the authors' code for the ant.
        max_steps_in_episode: The time limit, which truncates.

    Raises:
        ValueError: If there is no such backend or modular reward.
    """
    check_name("modular reward of the ant", modular, MODULAR)
    world = ArenaAnt(backend, max_steps_in_episode)
    return with_reward(world, arena_coverage() if modular == "single" else with_total(arena_coverage()))


def arena_coverage() -> Reward:
    """A tenth for each cell of the arena that is newly covered; see `coverage_ant`."""
    covered = patches((-ARENA, -ARENA), (ARENA, ARENA), (CELLS, CELLS), (PATCH, PATCH), worth=0.1)
    return marginal_gains(covered, position)


def with_total(gains: Reward) -> Reward:
    """The marginal gains whose part `modular` is their sum so far: what all that was visited is worth, at each step."""

    def step(params: Params, memory: Memory, transition: Transition) -> tuple[Memory, Float[Array, ""]]:
        total = memory.values["modular"]
        memory, gain = gains.step(params, memory, transition)
        return Components({"modular": total + gain}, memory.memories), gain

    def episode(params: Params, transitions: Transition) -> tuple[Float[Array, " T"], dict[str, Float[Array, " T"]]]:
        assert gains.episode is not None, "marginal gains know the rewards of an episode"
        rewards = gains.episode(params, transitions)[0]
        return rewards, {"modular": jnp.cumsum(rewards)}

    return Reward(gains.init, gains.reset, step, episode=episode)
