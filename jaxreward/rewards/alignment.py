"""The behaviour-alignment reward of BARFI: what of a primary and of an auxiliary reward is to be paid, and what else.

Gupta et al., Behavior Alignment via Reward Function Optimization, NeurIPS 2023 (arXiv:2310.19007).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxreward.names import check_name
from jaxreward.reward import Params, Reward, Transition, markov

Initial = Literal["random", "sum"]
Primary = Literal["learned", "fixed"]


def alignment(
    features: Callable[[Transition], Float[Array, " F"]] | None = None,
    num_features: int = 0,
    primary: Primary = "learned",
    initial: Initial = "random",
) -> Reward:
    """`x_0 + x_1 r_p + x_2 r_aux`, each `x_i` linear in features of the transition.

    `r_p` is the environment's own reward, `r_aux` the one it shows in `info["reward/auxiliary"]`.

    Params: `weights` `[3, F]` and `bias` `[3]`; without the row of `r_p` where that is fixed.

    Args:
        features: Of a transition; None for three numbers that are the same everywhere.
        num_features: How many there are.
        primary: Whether the weight of `r_p` is learned, or always 1. The authors' code learns it in MountainCar and
            CartPole, not in the grid world and HalfCheetah.
        initial: "random", all numbers uniform within `1 / sqrt(F)` of zero, as in the authors' code for all but
            HalfCheetah; "sum", as there, so that it starts as `r_p + r_aux`.

    Raises:
        ValueError: If an option is unknown, features have no size, or there are none to draw random weights for.
    """
    check_name("weight of the primary reward", primary, get_args(Primary))
    check_name("initial alignment reward", initial, get_args(Initial))
    if (features is None) != (num_features == 0):
        raise ValueError(f"features and their number go together; got {features} and num_features={num_features}")
    if features is None and initial == "random":
        raise ValueError("without features the alignment reward starts as the sum; use initial='sum'")
    start = jnp.array([0.0, 1.0, 1.0] if primary == "learned" else [0.0, 1.0])

    def init(key: Key[Array, ""]) -> Params:
        shape = (len(start), num_features)
        if initial == "sum":
            return {"weights": jnp.zeros(shape), "bias": start}
        bound, (key_weights, key_bias) = 1 / math.sqrt(num_features), jax.random.split(key)
        draw = lambda key, shape: jax.random.uniform(key, shape, minval=-bound, maxval=bound)  # noqa: E731
        return {"weights": draw(key_weights, shape), "bias": draw(key_bias, shape[:1])}

    def value(params: Params, transition: Transition) -> Float[Array, ""]:
        x = params["bias"] + (params["weights"] @ features(transition) if features is not None else 0.0)
        added, of_primary, of_auxiliary = x if primary == "learned" else (x[0], 1.0, x[1])
        return added + of_primary * transition.reward + of_auxiliary * transition.info["reward/auxiliary"]

    return markov(value, init)
