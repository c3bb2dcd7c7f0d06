"""Equilibria of players that are not quite rational: each plays a softmax of what its actions are worth.

A logit quantal response equilibrium (McKelvey and Palfrey 1995, "Quantal response equilibria for normal form games") of
a `MarkovGame` with discounted, entropy-regularised returns. Its players are what MAMQL takes demonstrators to be
(arXiv:2503.04679), with a temperature of `1 / lambda`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Policy
from jaxreward.envs.games.markov_game import MarkovGame, induced
from jaxreward.mdp.bellman import Discount, action_value
from jaxreward.mdp.iteration import failed_unless_finite, fixed_point, sup_norm
from jaxreward.mdp.soft import Temperature, soft_max, soft_policy

Step = Float[Array, ""] | float


class SoftEquilibrium(NamedTuple):
    """What each of `n` agents does and thinks of it.

    Attributes:
        policy: Probabilities of actions, `[n, S, A]`.
        action_value: What each action is worth while the others play their policies, the marginal critic `[n, S, A]`.
        value: What a state is worth with the entropy that is collected in it, `[n, S]`.
        residual: By how much an action value differs, at the most, from what the others' policies make of it. Where it
            is not small these are players that learned for themselves, and no equilibrium; infinite if a number is not
            finite.
        iterations: How many were needed.
    """

    policy: Float[Array, "n S A"]
    action_value: Float[Array, "n S A"]
    value: Float[Array, "n S"]
    residual: Float[Array, ""]
    iterations: Int[Array, ""]


def soft_equilibrium(
    game: MarkovGame,
    discount: Discount,
    temperature: Temperature,
    *,
    step: Step = 0.2,
    tolerance: float | None = None,
    max_iterations: int = 10_000,
) -> SoftEquilibrium:
    """Iterates `Q_i <- (1 - step) Q_i + step E[r_i + discount V_i(s')]` for all agents at once, from zero.

    The mean is over what the others do, `pi_j = softmax(Q_j / temperature)`, and over next states, and `V_i` is
    `temperature log sum exp(Q_i / temperature)`. There may be several equilibria, and at low temperatures the iteration
    need not come to any: look at the residual, and take smaller steps or a higher temperature.

    Args:
        game: One game.
        discount: In `[0, 1)`.
        temperature: Above 0, in units of the reward.
        step: How far a step goes, in `(0, 1]`.
        tolerance: Ends when a step changes values by less, relative to the largest (to 1 if that is smaller); 8 times
            the resolution of the dtype by default.
        max_iterations: Bound on the number of steps.
    """

    def respond(values: Float[Array, "n S A"]) -> Float[Array, "n S A"]:
        return marginal_action_value(game, soft_policy(values, temperature), soft_max(values, temperature), discount)

    def damped(values: Float[Array, "n S A"]) -> Float[Array, "n S A"]:
        return values + jnp.asarray(step, values.dtype) * (respond(values) - values)

    zeros = jnp.zeros((game.num_agents, game.num_states, game.num_actions), game.transition.dtype)
    values, iterations = fixed_point(damped, zeros, sup_norm, tolerance, max_iterations)
    residual = failed_unless_finite(sup_norm(respond(values) - values), values)
    return SoftEquilibrium(
        soft_policy(values, temperature), values, soft_max(values, temperature), residual, iterations
    )


def marginal_action_value(
    game: MarkovGame, policy: Float[Array, "n S A"], value: Float[Array, "n S"], discount: Discount
) -> Float[Array, "n S A"]:
    """What each agent's actions are worth, `E[r_i + discount value_i(s')]`, while the others play a policy."""
    each = [action_value(induced(game, policy, agent), value[agent], discount) for agent in range(game.num_agents)]
    return jnp.stack(each)


def tabular_policy(policy: Float[Array, "n S A"]) -> Policy:
    """A policy in a table as one that acts in `RandomGame`, whose states are shown one-hot; to be recorded."""

    def probabilities(observation: Float[Array, "n S"]) -> Float[Array, "n A"]:
        return jnp.einsum("ns,nsa->na", observation, policy)

    def act(carry: PyTree, observation: Float[Array, "n S"], key: Key[Array, ""]) -> tuple[PyTree, Int[Array, " n"]]:
        return carry, jax.random.categorical(key, jnp.log(probabilities(observation))).astype(jnp.int32)

    def mode(carry: PyTree, observation: Float[Array, "n S"], key: Key[Array, ""]) -> tuple[PyTree, Int[Array, " n"]]:
        return carry, probabilities(observation).argmax(-1).astype(jnp.int32)

    return Policy(lambda: (), act, mode)
