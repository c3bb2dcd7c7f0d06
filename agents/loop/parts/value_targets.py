"""Value-targeted regression (Jia et al. 2020; Ayoub et al. 2020): a mixture of models, learned by what it predicts.

The probability that `a` in `s` leads to `s'` is `theta' phi(s, a, s')`. Each step is a target `V(s')` at the regressor
`x = sum_s' phi(s, a, s') V(s')`, for the `V` of what was held then. Rewards are counted pair by pair.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.agents.loop.parts.counts import Counts, counted, no_counts
from jaxreward.agents.loop.parts.learner import Visit
from jaxreward.agents.loop.parts.regression import Fit, learned

Features = Float[Array, "S A S d"]


class Targets(NamedTuple):
    """What was counted, and the regression of all values that were predicted."""

    counts: Counts
    fit: Fit

    @property
    def visits(self) -> Float[Array, "S A"]:
        """How often each pair was visited."""
        return self.counts.visits


class Seen(NamedTuple):
    """A target, and what was known of it before.

    Attributes:
        target: `V(s')`.
        prediction: Of it, by the regression.
        leverage: `x' Lambda^-1 x`.
    """

    target: Float[Array, ""]
    prediction: Float[Array, ""]
    leverage: Float[Array, ""]


def no_targets(phi: Features, regularisation: Float[Array, ""] | float) -> Targets:
    """Before anything was seen."""
    num_states, num_actions, _, dimension = phi.shape
    return Targets(no_counts(num_states, num_actions), Fit(jnp.zeros(dimension), jnp.eye(dimension) / regularisation))


def with_target(targets: Targets, phi: Features, value: Float[Array, " S"], visit: Visit) -> tuple[Targets, Seen]:
    """With one more step, of which the held `value` said something."""
    counts, fit = targets
    x, target = value @ phi[visit.state, visit.action], value[visit.next_state]
    image, prediction = fit.covariance @ x, x @ fit.value
    leverage = x @ image
    fit = learned(fit, image, prediction, leverage, target)
    return Targets(counted(counts, visit), fit), Seen(target, prediction, leverage)


def predicted(fit: Fit, phi: Features, value: Float[Array, " S"]) -> tuple[Float[Array, "S A"], Float[Array, "S A"]]:
    """What the next value is at each pair, and the norm of its regressor: how little is known of it."""
    x = jnp.einsum("satd,t->sad", phi, value)
    return x @ fit.value, jnp.sqrt(jnp.maximum(0.0, jnp.einsum("sad,de,sae->sa", x, fit.covariance, x)))
