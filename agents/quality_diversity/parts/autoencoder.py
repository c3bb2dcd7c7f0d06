"""The convolutional autoencoder of STAX: pictures to a few numbers and back (Paolo et al., arXiv:2111.01919)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import relu
from jaxtyping import Array, Float

from jaxreward.agents.quality_diversity.parts.convolution import Double, Halve, uniform

COLOURS = 3


class Autoencoder(nn.Module):
    """The network of the authors' code, with its widths as settings: convolutions that halve, one dense layer, SELU.

    The decoder mirrors the encoder; its last layer is rectified. Weights start as PyTorch's do.

    Attributes:
        size: Rows and columns of a picture, a multiple of 2 to the power of the number of convolutions.
        channels: Of each convolution.
        code: How many numbers describe a picture.
    """

    size: int = 64
    channels: tuple[int, ...] = (32, 64, 32, 16)
    code: int = 10

    def setup(self) -> None:
        self.halve = [Halve(channels) for channels in self.channels]
        self.double = [Double(channels) for channels in (*self.channels[-2::-1], COLOURS)]
        self.to_code = _dense(self.code, self._side**2 * self.channels[-1])
        self.from_code = _dense(self._side**2 * self.channels[-1], self.code)

    @property
    def _side(self) -> int:
        return self.size // 2 ** len(self.channels)

    def __call__(self, images: Float[Array, "B S S 3"]) -> tuple[Float[Array, "B code"], Float[Array, "B S S 3"]]:
        """Codes of pictures, and the pictures made of these."""
        codes = self.encode(images)
        return codes, self.decode(codes)

    def encode(self, images: Float[Array, "B S S 3"]) -> Float[Array, "B code"]:
        """Codes of pictures."""
        x = images
        for layer in self.halve:
            x = selu(layer(x))
        return selu(self.to_code(x.reshape(len(x), -1)))

    def decode(self, codes: Float[Array, "B code"]) -> Float[Array, "B S S 3"]:
        """Pictures of codes."""
        x = selu(self.from_code(codes)).reshape(-1, self._side, self._side, self.channels[-1])
        for layer in self.double[:-1]:
            x = selu(layer(x))
        return relu(self.double[-1](x))


def selu(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """What `jax.nn.selu` is, up to a rounding of 1, in less than half the time.

    By `exp` in place of `expm1`, and once for each pixel: XLA would compute it for each window that has the pixel.
    """
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return jax.lax.optimization_barrier(scale * jnp.where(x > 0, x, alpha * (jnp.exp(jnp.minimum(x, 0)) - 1)))


def _dense(features: int, inputs: int) -> nn.Dense:
    return nn.Dense(features, kernel_init=uniform(inputs), bias_init=uniform(inputs))


def errors(images: Float[Array, "B S S 3"], made: Float[Array, "B S S 3"]) -> Float[Array, " B"]:
    """How far pictures are from those made of their codes: the mean squared difference of each."""
    return jnp.square(images - made).mean((1, 2, 3))


def check_autoencoder(network: Autoencoder) -> None:
    """Refuses sizes that don't fit.

    Raises:
        ValueError: If there is no channel or no number in the code, or the picture can't be halved so often.
    """
    if not network.channels or min(*network.channels, network.code, 1) < 1:
        raise ValueError(f"channels and code must be positive; got {list(network.channels)} and {network.code}")
    step = 2 ** len(network.channels)
    if network.size < step or network.size % step:
        near = max(step, round(network.size / step) * step)
        raise ValueError(
            f"{len(network.channels)} convolutions halve a picture {len(network.channels)} times, so its size must be "
            f"a multiple of {step}; got {network.size}, try {near}"
        )
