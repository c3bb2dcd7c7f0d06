"""The criterion of inverse soft Q-learning, as pure functions of what critics say of transitions.

Garg et al., "IQ-Learn: Inverse soft-Q Learning for Imitation", NeurIPS 2021, arXiv:2106.12142. A critic is trained
to maximise `E_demonstrations[phi(Q(s, a) - discount V(s'))] - (1 - discount) E_start[V(s)]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreward.agents.baselines.parts.action_values import value_of
from jaxreward.mdp.soft import soft_max
from jaxreward.names import check_name

Scalar = Float[Array, ""] | float


class Judged(NamedTuple):
    """What critics say of `B` transitions, of a game each agent's.

    Attributes:
        taken: What the action was worth, `Q(s, a)`.
        value: What the state is worth, `V(s) = temperature log sum_a exp(Q(s, a) / temperature)`.
        following: What followed is worth, `discount V(s')`, and nothing behind a termination.
    """

    taken: Float[Array, "B *n"]
    value: Float[Array, "B *n"]
    following: Float[Array, "B *n"]

    @property
    def reward(self) -> Float[Array, "B *n"]:
        """The reward that explains the critic, `Q(s, a) - discount V(s')`; of a game the marginal one."""
        return self.taken - self.following

    @property
    def lost(self) -> Float[Array, "B *n"]:
        """`V(s) - discount V(s')`, whose mean over a policy's transitions is `(1 - discount) E_start[V]`."""
        return self.value - self.following

    @property
    def surprise(self) -> Float[Array, "B *n"]:
        """`V(s) - Q(s, a)`, which is `-temperature log pi(a | s)`."""
        return self.value - self.taken


def judged(
    values: Float[Array, "B *n A"],
    action: Int[Array, "B *n"],
    next_values: Float[Array, "B *n A"],
    terminated: Bool[Array, " B"],
    discount: Scalar,
    temperature: Scalar,
) -> Judged:
    """What critics say of transitions.

    Args:
        values: Of each action, `Q(s, .)`.
        action: What was done.
        next_values: Of each action in what followed.
        terminated: Whether the episode ended there. A cut is no end: its value goes on.
        discount: Per step.
        temperature: What a unit of entropy is worth, `1 / lambda`.
    """
    goes_on = 1 - terminated.astype(values.dtype).reshape(-1, *[1] * (action.ndim - 1))
    following = discount * goes_on * soft_max(next_values, temperature)
    return Judged(value_of(values, action), soft_max(values, temperature), following)


_TERMS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array], float]] = {
    "hellinger": (lambda x: x / (1 + x), lambda x: 1 / jnp.square(1 + x), -0.9),
    "js": (lambda x: jnp.log(2 - jnp.exp(-x)), lambda x: 1 / (2 * jnp.exp(x) - 1), -0.65),
    "kl": (lambda x: -jnp.exp(-x - 1), lambda x: jnp.exp(-x - 1), -5.0),
}
"""Each with its slope, and from where on downwards it goes on as its tangent."""
DIVERGENCES = ("chi2", *_TERMS)
"""What the difference of two policies' occupancies is measured by: see `phi`."""


def phi(divergence: str, reward: Float[Array, "*batch"], alpha: Scalar) -> Float[Array, "*batch"]:
    """What a recovered reward counts where it was demonstrated, a concave function of it.

    `x - x^2 / (4 alpha)` for Pearson's chi-squared, `x / (1 + x)` for the squared Hellinger distance, `log(2 - e^-x)`
    for Jensen and Shannon's, `-e^(-x - 1)` for the reverse one of Kullback and Leibler. Of the last three the slope
    has no bound, and the first two of those end at -1 and at -log 2: below -0.9, -0.65 and -5 they go on as their
    tangents.

    Args:
        divergence: One of `DIVERGENCES`.
        reward: `Q(s, a) - discount V(s')`.
        alpha: Of chi-squared alone: the larger, the less a reward's size matters, and the nearer to likelihood.

    Raises:
        ValueError: If there is no such divergence.
    """
    check_name("divergence", divergence, DIVERGENCES)
    if divergence == "chi2":
        return reward - jnp.square(reward) / (4 * alpha)
    value, slope, end = _TERMS[divergence]
    least = jnp.asarray(end, reward.dtype)
    return value(jnp.maximum(reward, least)) + slope(least) * jnp.minimum(reward - least, 0)


def mean(x: Float[Array, "B *n"], weight: Float[Array, " B"] | None = None) -> Float[Array, "*n"]:
    """Over transitions, each as much as it weighs."""
    return jnp.average(x, 0, weight)


def criterion(
    demonstrated: Judged,
    lost: Float[Array, "*n"],
    divergence: str,
    alpha: Scalar,
    weight: Float[Array, " B"] | None = None,
) -> Float[Array, "*n"]:
    """What is minimised, of each agent.

    Args:
        demonstrated: What critics say of demonstrated transitions.
        lost: `(1 - discount) E_start[V]`, by whatever mean it was found: see `Judged.lost`.
        divergence: One of `DIVERGENCES`.
        alpha: See `phi`.
        weight: How much each demonstrated transition counts; all the same by default.
    """
    return lost - mean(phi(divergence, demonstrated.reward, alpha), weight)
