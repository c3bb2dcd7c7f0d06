"""Two critics at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.learning.networks import Torso, dense
from jaxreward.learning.reading import PLAIN, Reading


class MLP(nn.Module):
    """Hidden layers and linear outputs, `[*batch, F] -> [*batch, outputs]`.

    Attributes:
        outputs: How many.
        layers: Widths of the hidden layers.
        activation: Between them.
        scale: Of the last layer's initial weights.
        reading: What comes before them.
    """

    outputs: int
    layers: tuple[int, ...]
    activation: Callable[[Array], Array]
    scale: float = 1.0
    reading: Reading = PLAIN

    @nn.compact
    def __call__(self, features: Float[Array, "*batch F"]) -> Float[Array, "*batch O"]:
        return dense(self.outputs, self.scale)(Torso(self.layers, self.activation, reading=self.reading)(features))


@dataclass(frozen=True)
class Twins:
    """Two critics that differ in their initial weights; a layer of both is one batched product.

    Fujimoto et al. 2018 (arXiv:1802.09477, section 4.2): the smaller of two estimates is biased low where one is biased
    high.
    """

    network: MLP

    def init(self, key: Key[Array, ""], features: Float[Array, "*batch F"]) -> PyTree:
        """Params of both, leaves `[2, ...]`."""
        return jax.vmap(self.network.init, (0, None))(jax.random.split(key, 2), features)

    def __call__(self, params: PyTree, features: Float[Array, "*batch F"]) -> Float[Array, "2 *batch O"]:
        """What each says."""
        apply: Any = jax.vmap(self.network.apply, (0, None))
        return apply(params, features)
