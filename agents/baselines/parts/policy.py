"""A policy that is a network and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.learning.networks import Torso, dense
from jaxreward.learning.reading import PLAIN, Reading


class PolicyNetwork(nn.Module):
    """Hidden layers and the outputs of a policy, `[*batch, F] -> [*batch, O + free]`.

    Attributes:
        outputs: Number of outputs that depend on the observation, `O`, a head's `size`.
        layers: Widths of the hidden layers.
        activation: Between them.
        free: Number of further outputs that do not, a head's `free`; they start at zero.
        dropout: Which share of hidden units is left out at random, where a key "dropout" is given.
        reading: What comes before them.
    """

    outputs: int
    layers: Sequence[int]
    activation: Callable[[Array], Array]
    free: int = 0
    dropout: float = 0.0
    reading: Reading = PLAIN

    @nn.compact
    def __call__(self, features: Float[Array, "*batch F"]) -> Float[Array, "*batch O"]:
        torso = Torso(self.layers, self.activation, dropout=self.dropout, reading=self.reading)
        outputs = dense(self.outputs, 0.01)(torso(features))
        if not self.free:
            return outputs
        free = self.param("free_outputs", nn.initializers.zeros, (self.free,), outputs.dtype)
        return jnp.concatenate([outputs, jnp.broadcast_to(free, (*outputs.shape[:-1], self.free))], -1)
