"""A policy that is a network and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
from jaxtyping import Array, Float

from jaxreward.learning.networks import Torso, dense


class PolicyNetwork(nn.Module):
    """Hidden layers and the outputs of a policy, `[*batch, F] -> [*batch, O]`.

    Attributes:
        outputs: `O`.
        layers: Widths of the hidden layers.
        activation: Between them.
    """

    outputs: int
    layers: Sequence[int]
    activation: Callable[[Array], Array]

    @nn.compact
    def __call__(self, features: Float[Array, "*batch F"]) -> Float[Array, "*batch O"]:
        return dense(self.outputs, 0.01)(Torso(self.layers, self.activation)(features))
