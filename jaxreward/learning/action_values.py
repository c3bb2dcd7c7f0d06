"""Networks that give a value to each of some actions, of vectors or of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxreward.learning.networks import Torso, flatten, lecun

WINDOW = 3
"""Rows and columns that a unit of a convolution sees."""


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
        conv: Channels of convolutions before them, for pictures; `()` for vectors.
        dropout: Which share of units is left out at random, where a key "dropout" is given.
    """

    num_actions: int
    layers: Sequence[int] = (64, 64)
    activation: Callable[[Array], Array] = nn.relu
    duelling: bool = False
    layer_norm: bool = False
    conv: Sequence[int] = ()
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "*batch F"] | Float[Array, "*batch H W C"]) -> Float[Array, "*batch A"]:
        for channels in self.conv:
            x = self.activation(Convolution(channels)(x))
        x = x.reshape(*x.shape[:-3], -1) if self.conv else x
        x = Torso(self.layers, self.activation, self.layer_norm, orthogonal=False, dropout=self.dropout)(x)
        if not self.duelling:
            return lecun(self.num_actions)(x)
        outputs = lecun(1 + self.num_actions)(x)
        value, advantage = outputs[..., :1], outputs[..., 1:]
        return value + advantage - advantage.mean(-1, keepdims=True)

    def read(self, observation: PyTree, batch_axes: int = 1) -> Array:
        """What the network is given of observations behind some batch axes: floats, a vector or a picture each."""
        return read_by(self.conv, observation, batch_axes)


class RecurrentActionValues(nn.Module):
    """The value of each action by what was seen so far, which a GRU remembers.

    Attributes:
        memory: Its units.
        values: What reads it.
        conv: Channels of convolutions before it, for pictures; `()` for vectors.
    """

    memory: int
    values: ActionValues
    conv: Sequence[int] = ()

    @nn.compact
    def __call__(
        self, carry: Float[Array, "*batch M"], x: Float[Array, "*batch F"] | Float[Array, "*batch H W C"]
    ) -> tuple[Float[Array, "*batch M"], Float[Array, "*batch A"]]:
        """One step: `(memory, seen) -> (memory, values)`."""
        for channels in self.conv:
            x = self.values.activation(Convolution(channels)(x))
        x = x.reshape(*x.shape[:-3], -1) if self.conv else x
        cell = nn.GRUCell(self.memory, param_dtype=jnp.result_type(float))
        carry, x = cell(carry, self.values.activation(lecun(self.memory)(x)))
        return carry, self.values(x)

    def initial_carry(self, *batch: int) -> Float[Array, "*batch M"]:
        """The memory at the start of an episode: nothing."""
        return jnp.zeros((*batch, self.memory))

    def read(self, observation: PyTree, batch_axes: int = 1) -> Array:
        """See `ActionValues.read`."""
        return read_by(self.conv, observation, batch_axes)


class Convolution(nn.Module):
    """Windows of 3 by 3 with a stride of 1, without a border, as one product of matrices.

    Under `vmap` over networks a convolution proper becomes a grouped one, which is slow on a CPU.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "*batch H W C"]) -> Float[Array, "*batch H-2 W-2 F"]:
        height, width = (side - WINDOW + 1 for side in x.shape[-3:-1])
        offsets = [(row, column) for row in range(WINDOW) for column in range(WINDOW)]
        seen = [x[..., row : row + height, column : column + width, :] for row, column in offsets]
        return lecun(self.channels)(jnp.concatenate(seen, -1))


def read_by(conv: Sequence[int], observation: PyTree, batch_axes: int) -> Array:
    """Observations as floats: pictures as they are where there are convolutions, else one vector each."""
    return jnp.asarray(observation, float) if conv else flatten(observation, batch_axes)


def check_pictures(env_name: str, observation: PyTree, conv: Sequence[int]) -> None:
    """Refuses convolutions of what is no picture, or is too small for them.

    Args:
        env_name: Whose observations they are.
        observation: The shape of one.
        conv: Channels of each convolution.

    Raises:
        ValueError: It is not one array `[H, W, C]`, or nothing would be left of it.
    """
    leaves: list[Any] = jax.tree.leaves(observation)
    shapes = [tuple(leaf.shape) for leaf in leaves]
    if conv and (len(shapes) != 1 or len(shapes[0]) != 3):
        raise ValueError(f"conv={tuple(conv)} is for pictures [H, W, C]; {env_name} shows {shapes}: leave conv out")
    lost = (WINDOW - 1) * len(conv)
    if conv and min(shapes[0][:2]) <= lost:
        most = (min(shapes[0][:2]) - 1) // (WINDOW - 1)
        raise ValueError(
            f"{len(conv)} convolutions take {lost} rows and columns away, and pictures of {env_name} are {shapes[0]}: "
            f"give {most} at the most"
        )
