"""Networks that give a value to each of some actions, of vectors or of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxreward.learning.networks import Torso, flatten, lecun
from jaxreward.learning.reading import PLAIN, Reading


class ActionValues(nn.Module):
    """The value of each action.

    Weights start as `lecun` has them: on CartPole, after 2,000 steps, DQN's policy keeps the pole up three times as
    long as with orthogonal ones, which make little of few inputs (217 steps and 74, means over 16 seeds).

    Attributes:
        num_actions: How many, `A`.
        layers: Widths of the hidden layers.
        activation: Between them.
        duelling: Whether it is a value and what each action has over the mean (Wang et al. 2016, arXiv:1511.06581,
            equation 9).
        layer_norm: Whether hidden layers are normalised.
        reading: What comes before them.
        dropout: Which share of units is left out at random, where a key "dropout" is given.
    """

    num_actions: int
    layers: Sequence[int] = (64, 64)
    activation: Callable[[Array], Array] = nn.relu
    duelling: bool = False
    layer_norm: bool = False
    reading: Reading = PLAIN
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "*batch F"]) -> Float[Array, "*batch A"]:
        x = self.reading(x, self.activation)
        x = Torso(self.layers, self.activation, self.layer_norm, orthogonal=False, dropout=self.dropout)(x)
        if not self.duelling:
            return lecun(self.num_actions)(x)
        outputs = lecun(1 + self.num_actions)(x)
        value, advantage = outputs[..., :1], outputs[..., 1:]
        return value + advantage - advantage.mean(-1, keepdims=True)

    def read(self, observation: PyTree, batch_axes: int = 1) -> Float[Array, "*batch F"]:
        """What the network is given of observations behind some batch axes: a vector of floats each."""
        return flatten(observation, batch_axes)


class RecurrentActionValues(nn.Module):
    """The value of each action by what was seen so far, which a GRU remembers.

    Attributes:
        memory: Its units.
        values: What reads it.
        reading: What comes before it.
    """

    memory: int
    values: ActionValues
    reading: Reading = PLAIN

    @nn.compact
    def __call__(
        self, carry: Float[Array, "*batch M"], x: Float[Array, "*batch F"]
    ) -> tuple[Float[Array, "*batch M"], Float[Array, "*batch A"]]:
        """One step: `(memory, seen) -> (memory, values)`."""
        x = self.reading(x, self.values.activation)
        cell = nn.GRUCell(self.memory, param_dtype=jnp.result_type(float))
        carry, x = cell(carry, self.values.activation(lecun(self.memory)(x)))
        return carry, self.values(x)

    def initial_carry(self, *batch: int) -> Float[Array, "*batch M"]:
        """The memory at the start of an episode: nothing."""
        return jnp.zeros((*batch, self.memory))

    def read(self, observation: PyTree, batch_axes: int = 1) -> Float[Array, "*batch F"]:
        """See `ActionValues.read`."""
        return flatten(observation, batch_axes)
