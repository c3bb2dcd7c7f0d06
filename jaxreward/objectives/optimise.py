"""Maximises any objective that is a number, on an MDP that is known."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from jaxreward.mdp import TabularMDP
from jaxreward.objectives.formalisms import FORMALISMS
from jaxreward.objectives.objective import Objective


class Optimised(NamedTuple):
    """A policy that was climbed to.

    Attributes:
        policy: `[S, A]`.
        value: What it is worth.
        gradient: The largest entry of the last gradient in its logits, by which to tell whether the top was reached.
    """

    policy: Float[Array, "S A"]
    value: Float[Array, ""]
    gradient: Float[Array, ""]


def optimise(
    objective: Objective,
    mdp: TabularMDP,
    *,
    key: Key[Array, ""],
    starts: int = 4,
    steps: int = 500,
    learning_rate: float = 0.1,
) -> Optimised:
    """Climbs the exact gradient by Adam in the logits of a softmax policy, from several starts, and keeps the best.

    What is found is a local optimum, and of most formalisms there may be several. A softmax policy comes close to a
    deterministic one without being it. The policy is one of states alone: for one that sees the automaton of RM or LTL,
    solve what `jaxreward.objectives.product` gives.

    Args:
        objective: One that gives a number; functions in it are to be differentiable.
        mdp: The MDP.
        key: Draws the starts; the first one is the uniform policy.
        starts: How many.
        steps: Of each.
        learning_rate: Adam's.

    Raises:
        ValueError: The objective is an order without a number, or is not defined on the MDP.
    """
    if not objective.is_number:
        numbers = ", ".join(name for name in FORMALISMS if name not in ("GOMORL", "OMO", "TLO", "PO"))
        raise ValueError(
            f"{objective.formalism} orders policies without a number, so there is no gradient to climb; expected one "
            f"of {numbers}"
        )
    objective.check(mdp)
    rule = optax.adam(learning_rate)
    worth = lambda logits: objective.summary(mdp, jax.nn.softmax(logits))  # noqa: E731

    def climb(logits: Float[Array, "S A"]) -> Optimised:
        def step(now: tuple, _: None) -> tuple[tuple, None]:
            logits, memory = now
            gradient = jax.grad(worth)(logits)
            updates, memory = rule.update(-gradient, memory)
            return (optax.apply_updates(logits, updates), memory), None

        logits = jax.lax.scan(step, (logits, rule.init(logits)), length=steps)[0][0]
        value, gradient = jax.value_and_grad(worth)(logits)
        return Optimised(jax.nn.softmax(logits), value, jnp.max(jnp.abs(gradient)))

    first = jax.random.normal(key, (starts, mdp.num_states, mdp.num_actions), mdp.start.dtype).at[0].set(0)
    found = jax.jit(jax.vmap(climb))(first)
    best = jnp.argmax(jnp.where(jnp.isnan(found.value), -jnp.inf, found.value))
    return jax.tree.map(lambda leaf: leaf[best], found)
