"""Objectives: what an agent is moved towards, as a pure function that may be learned.

A reward says what is good; an objective says how an agent follows it. Its params are numbers like a reward's: they may
be vmapped, searched, evolved and differentiated. It knows how much of an agent's lifetime has passed, so it may explore
first and settle later (Jackson et al., ICLR 2024, arXiv:2402.05828).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree


class Lifetime(NamedTuple):
    """How far an agent is in its life, in its own updates.

    Attributes:
        step: Which update is about to be made, `n`, from 0.
        total: How many it will make in all, `N`; infinity where nobody said, which only an objective that does not ask
            can do with.
    """

    step: Int[Array, ""]
    total: Int[Array, ""] | Float[Array, ""]

    @property
    def fraction(self) -> Float[Array, ""]:
        """How much of it has passed, `n / N`, and 1 after its end; NaN where nobody said how long it is.

        A run whose numbers are NaN is seen to have failed, where one that stayed young for ever would look well.
        """
        total = jnp.asarray(self.total, float)
        return jnp.where(jnp.isfinite(total), jnp.minimum(self.step / total, 1.0), jnp.nan)


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
        clip: How far the agent would let a ratio move from 1, `epsilon`, for drifts that ask.
    """

    ratio: Float[Array, "*batch"]
    advantage: Float[Array, "*batch"]
    clip: Float[Array, ""] | float = 0.2


class Targets(NamedTuple):
    """The batch of a target function, whose result is `Aims`: a rollout of an agent that makes predictions.

    What a prediction means is for the objective to say: a vector of probabilities of each state, `y(s)`.

    Attributes:
        reward: `r_t`.
        terminated: Where an episode ended.
        truncated: Where one was cut.
        probability: Of the action taken, `pi(a_t | s_t)`.
        prediction: `y(s_t)`.
        next_prediction: `y` of what followed, before any reset.
        discount: The agent's.
    """

    reward: Float[Array, "T *batch"]
    terminated: Bool[Array, "T *batch"]
    truncated: Bool[Array, "T *batch"]
    probability: Float[Array, "T *batch"]
    prediction: Float[Array, "T *batch m"]
    next_prediction: Float[Array, "T *batch m"]
    discount: Float[Array, ""] | float

    @property
    def done(self) -> Bool[Array, "T *batch"]:
        """Whether the episode ended, either way."""
        return self.terminated | self.truncated


class Aims(NamedTuple):
    """What a target function asks for: the agent ascends the mean of `score log pi(a | s) - c KL(y(s) || prediction)`.

    Attributes:
        score: How much more likely each action is to become, `pi_hat`.
        prediction: Where to each prediction is to go, `y_hat`: probabilities.
    """

    score: Float[Array, "T *batch"]
    prediction: Float[Array, "T *batch m"]


def reads_lifetime(objective: Objective, batch: Any) -> bool:
    """Whether an objective asks how much of a lifetime has passed, by what it is traced to.

    Args:
        objective: It.
        batch: One of its kind; its values are not used.
    """
    params = jax.eval_shape(objective.init, jax.random.key(0))
    life = Lifetime(jnp.zeros((), jnp.int32), jnp.ones(()))
    traced = jax.make_jaxpr(objective.apply)(params, batch, life).jaxpr
    times = {id(variable) for variable in traced.invars[-len(life) :]}
    read = [variable for equation in traced.eqns for variable in equation.invars]
    return any(id(variable) in times for variable in [*read, *traced.outvars])
