"""Entropy-regularised MDPs: the return gains `temperature` times the entropy of the policy at every step.

Entropy is in nats. As the temperature goes to 0 everything here goes to its hard counterpart, policies to a uniform
choice among optimal actions. A terminal state has no entropy to collect.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import entr, logsumexp
from jaxtyping import Array, Float

from jaxreward.mdp.bellman import Discount, action_value
from jaxreward.mdp.discounted import Solution, policy_value
from jaxreward.mdp.finite import FiniteSolution
from jaxreward.mdp.iteration import failed_unless_finite, fixed_point, sup_norm
from jaxreward.mdp.tabular import TabularMDP

Temperature = Float[Array, ""] | float


def soft_policy(action_value: Float[Array, "*batch A"], temperature: Temperature) -> Float[Array, "*batch A"]:
    """`softmax(action_value / temperature)`, `[..., A]`: the best policy at a temperature above 0."""
    return jax.nn.softmax(action_value / jnp.asarray(temperature, action_value.dtype), axis=-1)


def soft_max(action_value: Float[Array, "*batch A"], temperature: Temperature) -> Float[Array, "*batch"]:
    """`temperature * log sum_a exp(action_value / temperature)`, `[...]`: what the best policy gets."""
    temperature = jnp.asarray(temperature, action_value.dtype)
    return temperature * logsumexp(action_value / temperature, axis=-1)


def soft_policy_value(
    mdp: TabularMDP, policy: Float[Array, "S A"], discount: Discount, temperature: Temperature
) -> Float[Array, " S"]:
    """Expected discounted return of a policy with its entropy, from each state, `[S]`, by a linear solve."""
    entropy = jnp.where(mdp.terminal, 0, jnp.sum(entr(policy), axis=-1))
    bonus = jnp.asarray(temperature, entropy.dtype) * entropy
    return policy_value(mdp._replace(reward=mdp.reward + bonus[:, None, None]), policy, discount)


def soft_value_iteration(
    mdp: TabularMDP,
    discount: Discount,
    temperature: Temperature,
    *,
    tolerance: float | None = None,
    max_iterations: int = 100_000,
) -> Solution:
    """Soft value iteration from zero, then one exact evaluation (Haarnoja et al. 2017, theorem 3).

    The last step is Newton's and makes value, action value and policy differentiable once (not twice) in the MDP, the
    discount and the temperature. `residual` is `max_s |soft_max(action_value) - value|`,
    infinite if a number is not finite.

    Args:
        mdp: The MDP; the dtype of its numbers is that of the solution.
        discount: In `[0, 1)`, or 1 if episodes end soon enough for the entropy to stay finite.
        temperature: Above 0.
        tolerance: Stops when a step changes values by less, relative to the largest (to 1 if that is smaller); 8
            times the resolution of the dtype by default.
        max_iterations: Bound on the number of sweeps.
    """
    constant, rate, heat = jax.lax.stop_gradient((mdp, discount, temperature))

    def sweep(value: Float[Array, " S"]) -> Float[Array, " S"]:
        return _best(constant, action_value(constant, value, rate), heat)

    value, iterations = fixed_point(sweep, jnp.zeros_like(constant.start), sup_norm, tolerance, max_iterations)
    candidate = action_value(constant, value, rate)
    value = soft_policy_value(mdp, soft_policy(candidate, heat), discount, temperature)
    following = action_value(mdp, value, discount)
    residual = failed_unless_finite(sup_norm(_best(mdp, following, temperature) - value), candidate, value)
    return Solution(value, following, soft_policy(following, temperature), residual, iterations)


def soft_backward_induction(
    mdp: TabularMDP, horizon: int, temperature: Temperature, discount: Discount = 1.0
) -> FiniteSolution:
    """Optimal soft values and policies for `horizon` steps, as in maximum-causal-entropy models (Ziebart 2010, 6.2).

    Args:
        mdp: The MDP.
        horizon: Number of steps `H`; static, it sets shapes.
        temperature: Above 0.
        discount: Of each later step.
    """

    def step(value: Float[Array, " S"], _: None) -> tuple[Float[Array, " S"], FiniteSolution]:
        candidate = action_value(mdp, value, discount)
        best = _best(mdp, candidate, temperature)
        return best, FiniteSolution(best, candidate, soft_policy(candidate, temperature))

    return jax.lax.scan(step, jnp.zeros_like(mdp.start), length=horizon, reverse=True)[1]


def _best(mdp: TabularMDP, candidate: Float[Array, "S A"], temperature: Temperature) -> Float[Array, " S"]:
    return jnp.where(mdp.terminal, 0, soft_max(candidate, temperature))
