"""Potential-based shaping: rewards that speed up learning and leave the optimal policies as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxreward.names import check_name
from jaxreward.reward import Params, Reward, Transition, as_init, markov
from jaxreward.rewards.algebra import weighted
from jaxreward.rewards.arguments import (
    RewardLike,
    as_reward,
    discount_param,
    discount_value,
)

Potential = Callable[..., Float[Array, "..."]]
"""`(x) -> potential`, or `(params, x) -> potential` when params are given for it; a scalar or `[K]`."""


def potential_shaping(
    potential: Potential,
    discount: ArrayLike | None = None,
    terminal: Literal["zero", "keep"] = "zero",
    of: Literal["observation", "state"] = "observation",
    init: Any = None,
) -> Reward:
    """The shaping reward `discount * potential(s') - potential(s)` (Ng, Harada & Russell 1999, theorem 1).

    Over an episode its discounted sum is `discount**T * potential(s_T) - potential(s_0)`. Where the episode terminates
    the potential counts as zero, without which the last term would favour some terminal states over others and change
    the optimal policies (Grzes 2017). A truncated episode goes on, so its last potential counts.

    Params: `discount` and `potential`, what `init` gave.

    Args:
        potential: `potential(x)`, or `potential(params, x)` if `init` is given; a scalar or `[K]`.
        discount: A number in `[0, 1]`; by default the agent's, which it follows (and 1 until an agent binds it).
        terminal: `"zero"` for episodic tasks; `"keep"` for continuing tasks whose `terminated` ends nothing.
        of: What the potential is a function of, the observation or the environment's state.
        init: The potential's params, or a function `(key) -> params` that draws them.

    Raises:
        ValueError: If `terminal` or `of` is none of its choices, or `discount` is not in `[0, 1]`.
    """
    check_name("potential at a terminal state", terminal, ("zero", "keep"))
    check_name("argument of a potential", of, ("observation", "state"))
    discount_param(discount)  # refuses a wrong discount here rather than on initialisation
    phi = potential if init is not None else lambda _, x: potential(x)

    def draw(key: Key[Array, ""]) -> Params:
        return {"discount": discount_param(discount), "potential": as_init(() if init is None else init)(key)}

    def difference(params: Params, transition: Transition) -> Float[Array, "..."]:
        before = phi(params["potential"], getattr(transition, of))
        after = phi(params["potential"], getattr(transition, f"next_{of}"))
        if terminal == "zero":
            after = jnp.where(transition.terminated, 0.0, after)
        return discount_value(params["discount"]) * after - before

    return markov(difference, draw)


def shaped(reward: RewardLike, potential: Potential, **kwargs: Any) -> Reward:
    """A scalar reward and a shaping of it, logged as `task` and `shaping`.

    For a vector reward use `add` with a potential `[K]`.

    Params: `weights` and `rewards`, dicts by `task` and `shaping`. Another weight of the shaping is another potential,
    so it can be searched too.

    Args:
        reward: The task's reward.
        potential: See `potential_shaping`.
        **kwargs: What else `potential_shaping` takes.
    """
    return weighted(task=as_reward(reward), shaping=potential_shaping(potential, **kwargs))
