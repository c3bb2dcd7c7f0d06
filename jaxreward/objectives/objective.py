"""What is wanted of a policy: an order of stationary policies, by what is told of each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxreward.mdp import TabularMDP
from jaxreward.objectives.values import Policy

Order = Callable[[Array, Array], Bool[Array, ""]]
"""Whether the first is at least as good as the second."""


def greater(first: Float[Array, ""], second: Float[Array, ""]) -> Bool[Array, ""]:
    """The order of numbers; those within 64 roundings of 1, or of the larger one if that is more, are equal.

    In single precision that is 8e-6: use `jax.enable_x64` for smaller values.
    """
    rounding = 64 * jnp.finfo(first.dtype).eps * jnp.maximum(1, jnp.maximum(jnp.abs(first), jnp.abs(second)))
    return first >= second - rounding


class Objective(NamedTuple):
    """An objective in one of the formalisms, see `jaxreward.objectives.formalisms`.

    Attributes:
        formalism: Its abbreviation, one of `FORMALISMS`.
        summary: `(mdp, policy) -> array`: what a policy is judged by, a number where the formalism gives one.
        at_least: Whether what is judged first is at least as good as the second.
        check: Refuses an MDP on which it is not defined; on the host.
    """

    formalism: str
    summary: Callable[[TabularMDP, Policy], Array]
    at_least: Order = greater
    check: Callable[[TabularMDP], None] = lambda mdp: None

    @property
    def is_number(self) -> bool:
        """Whether policies are ordered by a number."""
        return self.at_least is greater


def summaries(objective: Objective, mdp: TabularMDP, policies: Float[Array, "N S A"]) -> Float[Array, "N ..."]:
    """What each of some policies is judged by.

    Raises:
        ValueError: The objective is not defined on this MDP.
    """
    objective.check(mdp)
    return jax.vmap(objective.summary, (None, 0))(mdp, policies)


def preferences(objective: Objective, mdp: TabularMDP, policies: Float[Array, "N S A"]) -> Bool[Array, "N N"]:
    """Whether each of some policies is at least as good as each other one, `[N, N]`.

    Raises:
        ValueError: The objective is not defined on this MDP.
    """
    found = summaries(objective, mdp, policies)
    return jax.vmap(jax.vmap(objective.at_least, (None, 0)), (0, None))(found, found)


def check_ends(mdp: TabularMDP, discount: float) -> None:
    """Refuses sums that may have no end.

    Raises:
        ValueError: The discount is not in `[0, 1]`, or is 1 and some policy may go on for ever, so that the equations
            of its value are singular.
    """
    if isinstance(discount, jax.core.Tracer):
        raise TypeError("the discount of an objective is known when it is made: it decides where that is defined")
    if not 0 <= discount <= 1:
        raise ValueError(f"a discount lies in [0, 1]; got {discount}")
    if discount < 1:
        return
    lasting = ~np.asarray(mdp.terminal)
    possible = np.asarray(mdp.transition) > 0
    for _ in range(mdp.num_states):
        lasting = lasting & ~(possible & ~lasting).any(-1).all(-1)
    if lasting.any():
        raise ValueError(
            f"at a discount of 1 the return is not defined: from state {np.flatnonzero(lasting)[0]} a policy may go on "
            "for ever, and the equations of its value are singular; expected a discount below 1, or the limit average"
        )
