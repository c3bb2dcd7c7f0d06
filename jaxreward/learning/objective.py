"""Objectives: what an agent is moved towards, as a pure function that may be learned.

A reward says what is good; an objective says how an agent follows it. Its params are numbers like a reward's: they may
be vmapped, searched, evolved and differentiated. It knows how much of an agent's lifetime has passed, so it may explore
first and settle later (Jackson et al., ICLR 2024, arXiv:2402.05828).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, Key, PyTree


class Lifetime(NamedTuple):
    """How far an agent is in its life, in its own updates.

    Attributes:
        step: Which update is about to be made, `n`, from 0.
        total: How many it will make in all, `N`.
    """

    step: Int[Array, ""]
    total: Int[Array, ""]


class Objective(NamedTuple):
    """What an agent's update follows.

    Attributes:
        init: `(key) -> params`; `()` if it has none.
        apply: `(params, batch, lifetime) -> what`. Batch and result are those of a kind of agent, such as `Drift`.
    """

    init: Callable[[Key[Array, ""]], PyTree]
    apply: Callable[[PyTree, Any, Lifetime], Any]


class Drift(NamedTuple):
    """The batch of a drift function, whose result is `D(r, A) [*batch]`: the agent ascends the mean of `r A - D`.

    Attributes:
        ratio: `pi(a | s)` by that of the policy that acted, `r`.
        advantage: Of the action, normalised, `A`.
    """

    ratio: Float[Array, "*batch"]
    advantage: Float[Array, "*batch"]
