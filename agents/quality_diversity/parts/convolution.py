"""Convolutions that halve or double a picture, as products of matrices.

Under `vmap` over networks with different weights XLA makes of a convolution a grouped one, which on a CPU is several
times slower than the same sums as a product of matrices: a kernel of 4 with a stride of 2 sees two by two blocks of two
by two pixels.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jaxtyping import Array, Float

KERNEL = 4


def uniform(fan_in: int) -> Initializer:
    """What PyTorch starts weights and biases of dense and convolutional layers with: `U(-1, 1) / sqrt(fan_in)`."""
    bound = 1 / math.sqrt(fan_in)
    return lambda key, shape, dtype=float, out_sharding=None: jax.random.uniform(key, shape, dtype, -bound, bound)


class Halve(nn.Module):
    """A convolution with a kernel of 4, a stride of 2 and a border of 1 pixel of zeros; sizes must be even.

    Its parameters are those of `flax.linen.Conv`.
    """

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H/2 W/2 F"]:
        channels = x.shape[-1]
        start = uniform(KERNEL**2 * channels)
        kernel = self.param("kernel", start, (KERNEL, KERNEL, channels, self.features))
        bias = self.param("bias", start, (self.features,))
        # Axes: block and pixel in it, of rows and of columns.
        parts = kernel.reshape(2, 2, 2, 2, channels, -1).transpose(0, 2, 1, 3, 4, 5).reshape(4, 4 * channels, -1)
        return _of_windows(_blocks(x), parts) + bias[None, None, None]


class Double(nn.Module):
    """The transposed convolution with a kernel of 4, a stride of 2, that cuts off 1 pixel at each border.

    Its parameters are those of `flax.linen.ConvTranspose`.
    """

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W F"]:
        channels = x.shape[-1]
        start = uniform(KERNEL**2 * self.features)  # PyTorch takes the outputs here
        kernel = self.param("kernel", start, (KERNEL, KERNEL, channels, self.features))
        bias = self.param("bias", start, (self.features,))
        parts = kernel.reshape(2, 2, 2, 2, channels, -1)[:, ::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return _pixels(_of_windows(padded, parts.reshape(4, channels, -1))) + bias[None, None, None]


def _blocks(x: Float[Array, "B H W C"]) -> Float[Array, "B H/2+1 W/2+1 4*C"]:
    """The two by two pixels of each block of a picture with a border."""
    batch, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    cut = padded.reshape(batch, height // 2 + 1, 2, width // 2 + 1, 2, channels)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // 2 + 1, width // 2 + 1, -1)


def _pixels(blocks: Float[Array, "B H+1 W+1 4*F"]) -> Float[Array, "B 2*H 2*W F"]:
    """The picture, without its border, that is made of blocks of two by two pixels."""
    batch, height, width, size = blocks.shape
    cut = blocks.reshape(batch, height, width, 2, 2, size // 4).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(batch, 2 * height, 2 * width, -1)[:, 1:-1, 1:-1]


def _windows(x: Float[Array, "B H W C"]) -> Float[Array, "B H-1 W-1 4*C"]:
    """What each window of two by two sees."""
    return jnp.concatenate(_shifted([x] * 4), -1)


def _of_windows(x: Float[Array, "B H W C"], parts: Float[Array, "4 C F"]) -> Float[Array, "B H-1 W-1 F"]:
    """The product of what each window sees with a matrix, made the way that needs less memory."""
    features = parts.shape[-1]
    if features > x.shape[-1]:
        return _product(_windows(x), parts.reshape(-1, features))
    products = _product(x, parts.transpose(1, 0, 2).reshape(x.shape[-1], -1))
    return sum(_shifted(jnp.split(products, 4, -1)), jnp.zeros(()))


def _product(x: Float[Array, "B H W C"], matrix: Float[Array, "C F"]) -> Float[Array, "B H W F"]:
    """Of one matrix with another: the gradient of a product over three axes copies both under `vmap`."""
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], -1)


def _shifted(of: list[Array]) -> list[Array]:
    """The upper left, upper right, lower left and lower right of every window of two by two, of one picture each."""
    return [of[0][:, :-1, :-1], of[1][:, :-1, 1:], of[2][:, 1:, :-1], of[3][:, 1:, 1:]]
