"""Finite horizons: backward induction. At step `h` of `H` there are `H - h` left, so everything depends on `h`."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.mdp.bellman import Discount, action_value, greedy
from jaxreward.mdp.tabular import TabularMDP


class FiniteSolution(NamedTuple):
    """An optimal policy for each of `H` steps.

    Attributes:
        value: Value of each state with steps `h .. H-1` to go, `[H, S]`.
        action_value: Value of an action at step `h`, `[H, S, A]`.
        policy: Action probabilities at step `h`, `[H, S, A]`.
    """

    value: Float[Array, "H S"]
    action_value: Float[Array, "H S A"]
    policy: Float[Array, "H S A"]


def backward_induction(mdp: TabularMDP, horizon: int, discount: Discount = 1.0) -> FiniteSolution:
    """Optimal values and policies for `horizon` steps (Puterman 1994, section 4.5).

    Args:
        mdp: The MDP.
        horizon: Number of steps `H`; static, it sets shapes.
        discount: Of each later step.
    """

    def step(value: Float[Array, " S"], _: None) -> tuple[Float[Array, " S"], FiniteSolution]:
        candidate = action_value(mdp, value, discount)
        best = jnp.max(candidate, axis=-1)
        return best, FiniteSolution(best, candidate, greedy(candidate))

    return jax.lax.scan(step, jnp.zeros_like(mdp.start), length=horizon, reverse=True)[1]


def finite_policy_value(
    mdp: TabularMDP, policy: Float[Array, "H S A"], discount: Discount = 1.0
) -> Float[Array, "H S"]:
    """Expected return of a policy that may change with the step, from each step and state to the end, `[H, S]`."""

    def step(value: Float[Array, " S"], policy: Float[Array, "S A"]) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
        value = jnp.sum(policy * action_value(mdp, value, discount), axis=-1)
        return value, value

    return jax.lax.scan(step, jnp.zeros_like(mdp.start), policy, reverse=True)[1]
