"""Shaping by the environment's auxiliary reward: it is taken for a potential instead of being paid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxreward.names import check_name
from jaxreward.reward import Params, Reward, Transition, as_init
from jaxreward.rewards.arguments import discount_param, discount_value

Of = Literal["arrival", "action"]
Cut = Literal["keep", "zero"]
Draw = Callable[[Key[Array, ""]], Params]


def auxiliary_potential(
    scale: ArrayLike = 1.0, discount: ArrayLike | None = None, of: Of = "arrival", truncated: Cut = "keep"
) -> Reward:
    """The environment's own reward plus `discount * potential_{t+1} - potential_t`.

    The potential is `scale` times the auxiliary reward, which the environment shows in `info["reward/auxiliary"]`, see
    `beside`.

    `of="arrival"`: what it says of step `t` is `potential_{t+1}`, the potential of where the step led. At an episode's
    start the potential is zero, and where it terminates. Such a potential changes with time (Devlin & Kudenko 2012),
    but is known on arrival: the return to go loses `potential_t`, which the action at `t` has no part in, whatever the
    auxiliary reward depends on. So the expected policy gradient of REINFORCE stays what it is, and only its variance
    changes.

    `of="action"`, what the authors of BARFI compare with (arXiv:2310.19007, their code): what it says of step `t` is
    `potential_t`, zero behind an episode's end, so that the return to go `G_t` becomes `G_t - potential_t`. Where the
    auxiliary reward depends on the action or on where it leads, that is no potential of a state but look-ahead advice
    (Wiewiora, Cottrell & Elkan 2003), and biases REINFORCE. What a step earns is then known one step later, so it is
    for agents that learn from whole episodes, such as `reinforce`: step by step the reward is NaN.

    Params: `scale` and `discount`.

    Args:
        scale: Of the potential; negative to punish what the auxiliary reward likes.
        discount: A number in `[0, 1]`; by default the agent's, which it follows (and 1 until an agent binds it).
        of: What the auxiliary reward of a step is the potential of.
        truncated: What becomes of the potential where "arrival" finds the episode cut by a time limit. "keep" it, for
            agents that bootstrap there; "zero", for agents that expect nothing behind a time limit either, such as
            REINFORCE, which a last potential would bias. "action" always ends at zero.

    Raises:
        ValueError: If an option is unknown, or `discount` is not in `[0, 1]`.
    """
    check_name("step of an auxiliary potential", of, get_args(Of))
    check_name("potential at a time limit", truncated, get_args(Cut))
    discount_param(discount)  # refuses a wrong discount here rather than on initialisation

    def draw(key: Key[Array, ""]) -> Params:
        return {"scale": as_init(scale)(key), "discount": discount_param(discount)}

    return _of_arrival(draw, truncated) if of == "arrival" else _of_action(draw)


def _said(params: Params, steps: Transition) -> Float[Array, "*T"]:
    return params["scale"] * steps.info["reward/auxiliary"]


def _paid(
    params: Params, steps: Transition, before: Float[Array, "*T"], after: Float[Array, "*T"]
) -> Float[Array, "*T"]:
    return steps.reward + discount_value(params["discount"]) * after - before


def _of_arrival(draw: Draw, truncated: Cut) -> Reward:
    """Its memory is the potential of where the episode is."""

    def arrived(params: Params, steps: Transition) -> Float[Array, "*T"]:
        ended = steps.terminated | steps.truncated if truncated == "zero" else steps.terminated
        return jnp.where(ended, 0.0, _said(params, steps))

    def step(params: Params, before: Array, transition: Transition) -> tuple[Array, Float[Array, ""]]:
        after = arrived(params, transition)
        return after, _paid(params, transition, before, after)

    def episode(params: Params, steps: Transition) -> tuple[Float[Array, " T"], dict[str, Array]]:
        after = arrived(params, steps)
        before = jnp.concatenate([jnp.zeros_like(after[:1]), after[:-1]])
        return _paid(params, steps, before, after), {}

    return Reward(draw, lambda _: jnp.zeros((), float), step, episode=episode)


def _of_action(draw: Draw) -> Reward:
    def step(params: Params, memory: tuple, transition: Transition) -> tuple[tuple, Float[Array, ""]]:
        return memory, jnp.full_like(_said(params, transition), jnp.nan)

    def episode(params: Params, steps: Transition) -> tuple[Float[Array, " T"], dict[str, Array]]:
        before = _said(params, steps)
        after = jnp.concatenate([before[1:], jnp.zeros_like(before[:1])])
        return _paid(params, steps, before, jnp.where(steps.terminated | steps.truncated, 0.0, after)), {}

    return Reward(draw, lambda _: (), step, episode=episode)
