"""Returns and advantages from trajectories.

Arrays are time-major, `[T, ...]` with any batch axes after time. `next_value_t[t]` is the value of what followed step
`t` before any auto-reset: the true final observation's where an episode ends. What terminated is worth nothing from
there on (its `next_value_t` is not looked at); what was truncated, or goes on beyond the last step, is bootstrapped.
Nothing is carried over from one episode to the one before it. Gradients are not stopped.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Scalar = Float[Array, ""] | float


def gae(
    reward_t: Float[Array, "T *batch"],
    value_t: Float[Array, "T *batch"],
    next_value_t: Float[Array, "T *batch"],
    terminated_t: Bool[Array, "T *batch"],
    truncated_t: Bool[Array, "T *batch"],
    discount: Scalar,
    gae_lambda: Scalar,
) -> Float[Array, "T *batch"]:
    """Generalised advantage estimates (Schulman et al. 2016, equation 16).

    `A_t = sum_k (discount * gae_lambda)**k * delta_{t+k}` up to the end of the episode or of the trajectory, where
    `delta_t = reward_t + discount * next_value_t - value_t`.
    """
    chex.assert_equal_shape([reward_t, value_t, next_value_t, terminated_t, truncated_t])
    delta_t = reward_t + discount * _unless(terminated_t, next_value_t) - value_t
    trace_t = discount * gae_lambda * _continues(terminated_t | truncated_t, reward_t)
    return _recurrence(delta_t, trace_t, jnp.zeros_like(delta_t[0]))


def lambda_returns(
    reward_t: Float[Array, "T *batch"],
    next_value_t: Float[Array, "T *batch"],
    terminated_t: Bool[Array, "T *batch"],
    truncated_t: Bool[Array, "T *batch"],
    discount: Scalar,
    return_lambda: Scalar,
) -> Float[Array, "T *batch"]:
    """Lambda-returns (Sutton & Barto 2018, equation 12.3).

    `G_t = (1 - l) * sum_{n < m} l**(n - 1) * G_t^(n) + l**(m - 1) * G_t^(m)` with the `n`-step returns `G_t^(n)`
    and `m` steps from `t` to the end of the episode or of the trajectory.
    """
    chex.assert_equal_shape([reward_t, next_value_t, terminated_t, truncated_t])
    bootstrap_t = _unless(terminated_t, next_value_t)
    trace_t = return_lambda * _continues(terminated_t | truncated_t, reward_t)
    return _recurrence(reward_t + discount * (1 - trace_t) * bootstrap_t, discount * trace_t, bootstrap_t[-1])


def n_step_returns(
    reward_t: Float[Array, "T *batch"],
    next_value_t: Float[Array, "T *batch"],
    terminated_t: Bool[Array, "T *batch"],
    truncated_t: Bool[Array, "T *batch"],
    discount: Scalar,
    n: int,
) -> Float[Array, "T *batch"]:
    """N-step returns (Sutton & Barto 2018, equation 7.1).

    `G_t = sum_{k < m} discount**k * reward_{t+k} + discount**m * next_value_{t+m-1}` with `m` the lesser of `n` and the
    number of steps from `t` to the end of the episode or of the trajectory.

    Raises:
        ValueError: If `n` is not positive.
    """
    if n < 1:
        raise ValueError(f"an n-step return has 1 or more steps; got n={n}")
    chex.assert_equal_shape([reward_t, next_value_t, terminated_t, truncated_t])
    bootstrap_t = _unless(terminated_t, next_value_t)
    done_t = terminated_t | truncated_t

    def one_step_longer(_: int, return_t: Array) -> Array:
        return reward_t + discount * _following(return_t, bootstrap_t, done_t)

    return jax.lax.fori_loop(1, n, one_step_longer, reward_t + discount * bootstrap_t)


def discounted_returns(
    reward_t: Float[Array, "T *batch"], done_t: Bool[Array, "T *batch"], discount: Scalar
) -> Float[Array, "T *batch"]:
    """What was earned from `t` to the end of the episode or of the trajectory, without bootstrap.

    `G_t = sum_k discount**k * reward_{t+k}`, `done_t` being where an episode ends, either way.
    """
    chex.assert_equal_shape([reward_t, done_t])
    return _recurrence(reward_t, discount * _continues(done_t, reward_t), jnp.zeros_like(reward_t[0]))


class VTrace(NamedTuple):
    """What V-trace gives.

    Attributes:
        target_t: What the value function is regressed on.
        advantage_t: What weighs the policy gradient, the truncated importance ratio included.
    """

    target_t: Float[Array, "T *batch"]
    advantage_t: Float[Array, "T *batch"]


def vtrace(
    reward_t: Float[Array, "T *batch"],
    value_t: Float[Array, "T *batch"],
    next_value_t: Float[Array, "T *batch"],
    terminated_t: Bool[Array, "T *batch"],
    truncated_t: Bool[Array, "T *batch"],
    ratio_t: Float[Array, "T *batch"],
    discount: Scalar,
    trace_lambda: Scalar = 1.0,
    rho_bar: Scalar = 1.0,
    c_bar: Scalar = 1.0,
) -> VTrace:
    """V-trace targets and advantages (Espeholt et al. 2018, equation 1 and section 4.2).

    With `rho_t = min(rho_bar, ratio_t)` and `c_t = trace_lambda * min(c_bar, ratio_t)`,
    `target_t = value_t + sum_k discount**k * (prod_{i < k} c_{t+i}) * rho_{t+k} * delta_{t+k}` up to the end of the
    episode or of the trajectory, where `delta_t = reward_t + discount * next_value_t - value_t`, and
    `advantage_t = rho_t * (reward_t + discount * target_{t+1} - value_t)`, with `next_value_t` for `target_{t+1}` at
    either end.

    Args:
        reward_t: Rewards.
        value_t: Values of what was observed before each step.
        next_value_t: Values of what followed it.
        terminated_t: Where an episode terminated.
        truncated_t: Where one was cut.
        ratio_t: Probability of the action under the learned policy over that under the policy that acted.
        discount: Discount in `[0, 1]`.
        trace_lambda: How far corrections reach, in `[0, 1]`.
        rho_bar: Bound on the ratios that decides what the targets converge to.
        c_bar: Bound on the ratios that decides how fast; at most `rho_bar`.
    """
    chex.assert_equal_shape([reward_t, value_t, next_value_t, terminated_t, truncated_t, ratio_t])
    bootstrap_t = _unless(terminated_t, next_value_t)
    rho_t = jnp.minimum(rho_bar, ratio_t)
    trace_t = discount * trace_lambda * jnp.minimum(c_bar, ratio_t) * _continues(terminated_t | truncated_t, reward_t)
    correction_t = rho_t * (reward_t + discount * bootstrap_t - value_t)
    target_t = value_t + _recurrence(correction_t, trace_t, jnp.zeros_like(correction_t[0]))
    following_t = _following(target_t, bootstrap_t, terminated_t | truncated_t)
    return VTrace(target_t, rho_t * (reward_t + discount * following_t - value_t))


def _unless(terminated_t: Bool[Array, "T *batch"], next_value_t: Float[Array, "T *batch"]) -> Float[Array, "T *batch"]:
    return jnp.where(terminated_t, 0.0, next_value_t)


def _continues(done_t: Bool[Array, "T *batch"], reward_t: Float[Array, "T *batch"]) -> Float[Array, "T *batch"]:
    """1 where the episode goes on, else 0, in the precision of the rewards."""
    return 1 - jnp.asarray(done_t, reward_t.dtype)


def _following(
    x_t: Float[Array, "T *batch"], bootstrap_t: Float[Array, "T *batch"], done_t: Bool[Array, "T *batch"]
) -> Float[Array, "T *batch"]:
    """`x_{t+1}`, or `bootstrap_t` at the end of an episode and of the trajectory."""
    return jnp.where(done_t, bootstrap_t, jnp.concatenate([x_t[1:], bootstrap_t[-1:]]))


def _recurrence(
    addend_t: Float[Array, "T *batch"], factor_t: Float[Array, "T *batch"], last: Float[Array, "*batch"]
) -> Float[Array, "T *batch"]:
    """Solves `x_t = addend_t + factor_t * x_{t+1}` with `x_T = last`, backwards in time."""

    def step(following: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        addend, factor = inputs
        x = addend + factor * following
        return x, x

    return jax.lax.scan(step, last, (addend_t, factor_t), reverse=True)[1]
