"""Inverse reinforcement learning on a tabular MDP: a reward for which the best soft policy does as an expert does.

Of all policies that meet features as often as the expert, maximum causal entropy chooses the one that acts most at
random (Ziebart 2010, "Modeling purposeful adaptive behavior with the principle of maximum causal entropy"; a primer is
Gleave and Toyer 2022, arXiv:2203.11409). It is the soft policy of a reward that is linear in the features, and its
weights are those of maximum likelihood. Everything is exact: occupancies by linear solves, policies by soft value
iteration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxreward.mdp.bellman import EXACT, Discount
from jaxreward.mdp.discounted import Solution
from jaxreward.mdp.iteration import failed_unless_finite, sup_norm
from jaxreward.mdp.occupancy import discounted_occupancy
from jaxreward.mdp.soft import Temperature, soft_value_iteration
from jaxreward.mdp.tabular import TabularMDP

Occupancy = Float[Array, "S A"]
Features = Float[Array, "S A K"]
Weights = Float[Array, " K"]


class Inferred(NamedTuple):
    """A reward that explains what an expert does.

    Attributes:
        weights: Of the features, `[K]`.
        reward: What it pays for a state and an action, `[S, A]`; nothing in terminal states.
        solution: Its soft policy and what that is worth.
        residual: `max_k` of the gradient: by how much the policy misses the expert's features, less the penalty;
            infinite if a number that it takes is not finite.
        iterations: Steps that were taken.
    """

    weights: Weights
    reward: Float[Array, "S A"]
    solution: Solution
    residual: Float[Array, ""]
    iterations: Int[Array, ""]


def empirical_occupancy(
    state: Int[Array, " N"], action: Int[Array, " N"], done: Bool[Array, " N"], discount: Discount, mdp: TabularMDP
) -> Occupancy:
    """The mean over episodes of `sum_t discount^t 1(s_t = s, a_t = a)`, `[S, A]`.

    Args:
        state: The states of all steps, episodes one after the other.
        action: What was done in them.
        done: Where an episode ended, or its recording; the last is taken to end in any case.
        discount: Per step.
        mdp: Whose states and actions they are.
    """
    dtype = mdp.start.dtype
    ended = done.at[-1].set(True)

    def step(time: Int[Array, ""], done: Bool[Array, ""]) -> tuple[Int[Array, ""], Int[Array, ""]]:
        return jnp.where(done, 0, time + 1), time

    time = jax.lax.scan(step, jnp.int32(0), ended)[1]
    weight = jnp.asarray(discount, dtype) ** time.astype(dtype)
    visits = jnp.zeros((mdp.num_states, mdp.num_actions), dtype).at[state, action].add(weight)
    return visits / ended.sum()


def feature_expectations(occupancy: Occupancy, features: Features) -> Weights:
    """`sum_{s, a} occupancy(s, a) features(s, a)`, `[K]`: the discounted sum of features in an episode."""
    return jnp.einsum("sa,sak->k", occupancy, features, precision=EXACT)


def with_linear_reward(mdp: TabularMDP, features: Features, weights: Weights) -> TabularMDP:
    """The MDP whose reward is linear in the features of state and action."""
    reward = jnp.where(mdp.terminal[:, None], 0, jnp.einsum("sak,k->sa", features, weights, precision=EXACT))
    return mdp._replace(reward=jnp.broadcast_to(reward[..., None], mdp.transition.shape))


def causal_log_likelihood(
    mdp: TabularMDP,
    occupancy: Occupancy,
    features: Features,
    weights: Weights,
    discount: Discount,
    temperature: Temperature = 1.0,
) -> Float[Array, ""]:
    """`sum_{s, a} occupancy(s, a) log pi(a | s)` of the soft policy of a linear reward, times the temperature.

    It is concave in the weights where the occupancy is one that the MDP allows, and its gradient is
    `likelihood_gradient`: by the soft Bellman equations it is `weights . expert - E_start[V]` then.

    Args:
        mdp: The MDP, whose own reward counts for nothing.
        occupancy: The expert's.
        features: Of states and actions.
        weights: Of the features.
        discount: Per step.
        temperature: Of the expert's policy, above 0.
    """
    solution = soft_value_iteration(with_linear_reward(mdp, features, weights), discount, temperature)
    return jnp.sum(occupancy * (solution.action_value - solution.value[:, None]))


def likelihood_gradient(
    mdp: TabularMDP,
    expert: Weights,
    features: Features,
    weights: Weights,
    discount: Discount,
    temperature: Temperature = 1.0,
) -> Weights:
    """What an expert meets of the features less what the soft policy does, `[K]`: none where weights explain it.

    Args:
        mdp: The MDP.
        expert: The expert's feature expectations.
        features: Of states and actions.
        weights: Of the features.
        discount: Per step.
        temperature: Of the expert's policy, above 0.
    """
    solution = soft_value_iteration(with_linear_reward(mdp, features, weights), discount, temperature)
    return expert - feature_expectations(discounted_occupancy(mdp, solution.policy, discount), features)


def infer_reward(
    mdp: TabularMDP,
    expert: Weights,
    features: Features,
    discount: Discount,
    temperature: Temperature = 1.0,
    *,
    penalty: Float[Array, ""] | float = 0.0,
    tolerance: float | None = None,
    max_iterations: int = 1_000,
) -> Inferred:
    """The linear reward whose soft policy meets an expert's features, by L-BFGS on the convex dual.

    What is minimised is `E_start[V] - weights . expert + penalty / 2 |weights|^2`. Without a penalty there is no
    minimum where the expert never does what it could: weights grow on then, as far as iterations go. The dual is
    that of the whole problem and holds for expectations of a sample too, which no policy need meet.

    Args:
        mdp: The MDP, whose own reward counts for nothing.
        expert: The expert's feature expectations, see `feature_expectations`.
        features: Of states and actions.
        discount: In `[0, 1)`, or 1 if episodes end soon enough for the entropy to stay finite, also for no reward.
        temperature: Of the expert's policy, above 0.
        penalty: Weight of the squares of the weights.
        tolerance: Stops when no entry of the gradient is larger, relative to the largest of the expert's (to 1 if that
            is smaller); the square root of the dtype's resolution by default.
        max_iterations: Bound on the number of steps.
    """
    limit = jnp.sqrt(jnp.finfo(expert.dtype).eps) if tolerance is None else tolerance
    limit = limit * jnp.maximum(1, sup_norm(expert))

    def dual(weights: Weights) -> Float[Array, ""]:
        solution = soft_value_iteration(with_linear_reward(mdp, features, weights), discount, temperature)
        return mdp.start @ solution.value - weights @ expert + penalty / 2 * jnp.sum(jnp.square(weights))

    weights, iterations = _minimised(dual, jnp.zeros_like(expert), limit, max_iterations)
    priced = with_linear_reward(mdp, features, weights)
    solution = soft_value_iteration(priced, discount, temperature)
    missed = feature_expectations(discounted_occupancy(mdp, solution.policy, discount), features) - expert
    residual = failed_unless_finite(sup_norm(missed + penalty * weights), weights)
    return Inferred(weights, priced.reward[..., 0], solution, residual, iterations)


def _minimised(
    dual: Callable[[Weights], Float[Array, ""]], weights: Weights, limit: Float[Array, ""], max_iterations: int
) -> tuple[Weights, Int[Array, ""]]:
    """Where a convex function's gradient is within a limit, and after how many steps of L-BFGS."""
    optimiser = optax.lbfgs()
    told = optax.value_and_grad_from_state(dual)

    def unfinished(carry: tuple) -> Array:
        _, state, iterations = carry
        steep = sup_norm(optax.tree.get(state, "grad")) > limit
        return (iterations == 0) | (steep & (iterations < max_iterations))

    def advance(carry: tuple) -> tuple:
        weights, state, iterations = carry
        value, grad = told(weights, state=state)
        step, state = optimiser.update(grad, state, weights, value=value, grad=grad, value_fn=dual)
        return optax.apply_updates(weights, step), state, iterations + 1

    start = weights, optimiser.init(weights), jnp.int32(0)
    weights, _, iterations = jax.lax.while_loop(unfinished, advance, start)
    return weights, iterations
