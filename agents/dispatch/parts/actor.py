"""A policy without a critic, where an algorithm on rollouts expects both."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.agents.baselines.parts.policy import PolicyNetwork

NEVER = -1e8
"""The output for what can't be chosen."""


class Actor(nn.Module):
    """What `jaxreward.learning.networks.ActorCritic` is without memory and without a critic: its value is 0.

    Attributes:
        outputs: Number of outputs of the policy that depend on the observation, `O`.
        free: Number of further outputs that do not; they start at zero.
        layers: Widths of the hidden layers.
        activation: Between them.
        dispatch: Whether the features are `O - 1` rows of one size, of which one network makes an output each. Where
            the first number of a row is 0, and for the last output, it is `NEVER`.
    """

    outputs: int
    free: int
    layers: Sequence[int]
    activation: Callable[[Array], Array]
    dispatch: bool

    def initial_carry(self, *batch: int) -> tuple[()]:
        """No memory."""
        del batch
        return ()

    @nn.compact
    def __call__(
        self, carry: tuple[()], features: Float[Array, "*batch F"]
    ) -> tuple[tuple[()], Float[Array, "*batch O"], Float[Array, "*batch"]]:
        made = self.scored(features) if self.dispatch else self.policy(self.outputs)(features)
        return carry, made, jnp.zeros(features.shape[:-1], features.dtype)

    def scored(self, features: Float[Array, "*batch F"]) -> Float[Array, "*batch O"]:
        """The outputs made row by row."""
        rows = features.reshape(*features.shape[:-1], self.outputs - 1, -1)
        scores = jnp.where(rows[..., 0] > 0, self.policy(1)(rows)[..., 0], NEVER)
        return jnp.concatenate([scores, jnp.full_like(scores[..., :1], NEVER)], -1)

    def policy(self, outputs: int) -> PolicyNetwork:
        """The network with so many outputs."""
        return PolicyNetwork(outputs, self.layers, self.activation, self.free)
