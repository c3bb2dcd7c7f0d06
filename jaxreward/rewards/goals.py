"""Rewards for being near a goal: smooth ones, in tiers, and as far as a route was completed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from jaxreward.names import check_name
from jaxreward.reward import Params, Reward, Transition, as_init, markov
from jaxreward.rewards.algebra import stack, transform
from jaxreward.rewards.arguments import RewardLike, as_reward, check_scalars


def gaussian_goal(
    of: Callable[[Transition], Float[Array, "..."]], goal: ArrayLike, width: ArrayLike = 1.0, height: ArrayLike = 1.0
) -> Reward:
    """`height * exp(-sum(((x - goal) / width)**2) / 2)`: smooth, never 0, and highest at the goal.

    With the goal in the middle of a box and a width of `alpha` times the box's sides it is the point reward of GUI-G2,
    whose authors' code takes `alpha = 0.5`: the middles of the box's edges are then one width away.

    Params: `goal`, `width` and `height`.

    Args:
        of: What is to be at the goal, a number or a vector `[d]`, for example `lambda t: t.next_observation[:2]`.
        goal: Where to, `[d]`.
        width: The standard deviation of each coordinate, a number or `[d]`.
        height: What is paid at the goal.

    Raises:
        ValueError: If a width is a number and not positive.
    """
    if isinstance(width, int | float | list | tuple | np.ndarray) and not (np.asarray(width) > 0).all():
        raise ValueError(f"the width of a Gaussian is positive; got width={width}")

    def paid(params: Params, transition: Transition) -> Float[Array, ""]:
        away = (of(transition) - params["goal"]) / params["width"]
        return params["height"] * jnp.exp(-jnp.square(away).sum() / 2)

    numbers = {"goal": goal, "width": width, "height": height}
    return markov(paid, lambda _: {name: jnp.asarray(value, float) for name, value in numbers.items()})


def tiered(reward: RewardLike, edges: Sequence[float], values: Sequence[float]) -> Reward:
    """`values[i]` where `i` of the edges are at or below the reward: progressively larger tiers for coming nearer.

    The tiers of sweet-spot learning (arXiv:2601.22491), which adds `alpha` times them to a reward of 0 or 1: with
    `alpha` times the highest below 1, nothing that fails is worth more than what succeeds. How many tiers there are
    and what they pay is for the task to say.

    Params: `edges`, `values` and `reward`.

    Args:
        reward: What is put into tiers, for example a `gaussian_goal`.
        edges: Where tiers begin, rising.
        values: What each pays, one more than there are edges.

    Raises:
        ValueError: If they are not.
    """
    edges, values = list(edges), list(values)
    if len(values) != len(edges) + 1 or (np.diff(edges) <= 0).any():
        raise ValueError(f"tiers have rising edges and one value more; got edges={edges} and values={values}")

    def tier(value: Array, edges: Array, values: Array) -> Float[Array, "..."]:
        return jnp.where(jnp.isnan(value), value, values[jnp.searchsorted(edges, value, side="right")])

    return transform(reward, tier, edges=jnp.asarray(edges, float), values=jnp.asarray(values, float))


def route_completion(
    completed: Callable[[PyTree], Float[Array, ""]],
    penalties: Sequence[RewardLike] = (),
    infraction: RewardLike | None = None,
    scale: ArrayLike = 1.0,
    terminal: ArrayLike = 0.0,
    of: Literal["observation", "state"] = "observation",
) -> Reward:
    """What of a route was newly completed, times what each soft penalty leaves of it, less what an infraction costs.

    `scale * (furthest_t - furthest_{t-1}) * prod_i (1 - penalty_i) - terminal * infraction`: of an episode without
    penalties it sums up to `scale` times the completed share, and going back and forth pays nothing. That is the idea
    of CaRL (Jaeger et al. 2025, arXiv:2504.17838), where hard infractions end the episode too: see
    `jaxreward.envs.ending.terminate_when`. The authors' own penalties are in `jaxreward.rewards.penalties`.

    Params: `scale`, `terminal`, and `factors`, a tuple of the penalties' and the infraction's.

    Args:
        completed: The completed share of the route, from 0 to 1, of an observation or a state.
        penalties: Rewards from 0, nothing to punish, to 1, nothing is paid. Others count as the nearest of these.
        infraction: A reward that is 1 where a hard infraction happens and 0 elsewhere.
        scale: Of the whole route.
        terminal: The cost of an infraction.
        of: What `completed` is a function of.

    Raises:
        ValueError: If `of` is none of its choices.
    """
    check_name("argument of a completed share", of, ("observation", "state"))
    parts = stack(*penalties, 0.0 if infraction is None else as_reward(infraction))
    numbers = as_init({"scale": scale, "terminal": terminal})

    def reset(params: Params) -> tuple[Array, PyTree]:
        return jnp.asarray(-jnp.inf, float), parts.reset(params["factors"])

    def step(params: Params, memory: tuple, transition: Transition) -> tuple[tuple, Float[Array, ""]]:
        furthest, inner = memory
        inner, values = parts.step(params["factors"], inner, transition)
        check_scalars("route_completion", values, len(penalties) + 1)
        before = jnp.maximum(furthest, completed(getattr(transition, of)))
        after = jnp.maximum(before, completed(getattr(transition, f"next_{of}")))
        kept = jnp.prod(1 - jnp.clip(values[:-1], 0.0, 1.0))
        paid = params["scale"] * (after - before) * kept - params["terminal"] * values[-1]
        return (after.astype(float), inner), paid

    def persist(ended: tuple, fresh: tuple) -> tuple:
        return fresh[0], parts.persist(ended[1], fresh[1])

    return Reward(lambda key: {**numbers(key), "factors": parts.init(key)}, reset, step, persist)
