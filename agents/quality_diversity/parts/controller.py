"""From a genome, a flat vector of numbers, to actions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from gymnax.environments.environment import Environment
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from jaxreward.names import check_name

Kind = Literal["shared_bias", "mlp", "constant"]


class Controller(NamedTuple):
    """A family of deterministic policies.

    Attributes:
        size: How many genes there are, `D`.
        act: `(genome [D], observation) -> action [...]`.
    """

    size: int
    act: Callable[[Float[Array, " D"], PyTree], Array]


def controller_of(
    env: Environment, env_params: PyTree, kind: Kind = "shared_bias", layers: int = 2, width: int = 5
) -> Controller:
    """The policies among which to search.

    Args:
        env: An environment whose observations and actions are arrays of numbers.
        env_params: Its params.
        kind: "shared_bias", the network of the authors' code of SERENE and STAX (arXiv:2102.03140, 2111.01919): every
            layer, the last included, adds one number to all its units and gives `2 sigmoid(z) - 1`. "mlp", a flax
            network with a bias for each unit and tanh. "constant", the genome is the action at every step.
        layers: Hidden layers of a network.
        width: Units of each.

    Raises:
        ValueError: If the kind is unknown, a size can't be, or actions aren't continuous.
    """
    check_name("controller", kind, get_args(Kind))
    if layers < 0 or width < 1:
        raise ValueError(f"a network has 0 or more layers of at least 1 unit; got layers={layers} and width={width}")
    shape = getattr(env.action_space(env_params), "shape", None)
    if not shape or not jnp.issubdtype(env.action_space(env_params).dtype, jnp.floating):
        raise ValueError(f"a genome gives continuous actions, a Box; {env.name} has {env.action_space(env_params)}")
    if kind == "constant":
        size = int(np.prod(shape))
        return Controller(size, lambda genome, _: genome.reshape(shape))
    observation = jax.eval_shape(lambda: env.reset_env(jax.random.key(0), env_params)[0])
    sizes = (int(np.prod(observation.shape)), *(width,) * layers, int(np.prod(shape)))
    make = _shared_bias if kind == "shared_bias" else _mlp
    controller = make(sizes)
    return Controller(controller.size, lambda genome, seen: controller.act(genome, jnp.ravel(seen)).reshape(shape))


def _shared_bias(sizes: tuple[int, ...]) -> Controller:
    """Genes are, layer by layer, the weights `[in, out]` row by row, then the layer's bias."""
    lengths = [before * after + 1 for before, after in pairwise(sizes)]
    starts = np.concatenate([[0], np.cumsum(lengths)])

    def act(genome: Float[Array, " D"], observation: Float[Array, " in"]) -> Float[Array, " out"]:
        signal = observation
        for start, (before, after) in zip(starts, pairwise(sizes), strict=False):
            total = genome[start + before * after]
            # Sums of vectors in place of a matrix product, which under `vmap` over genomes is a loop over tiny ones.
            for row in range(before):
                total = total + signal[row] * genome[start + row * after : start + (row + 1) * after]
            signal = jnp.tanh(total / 2)
        return signal

    return Controller(int(starts[-1]), act)


class _Network(nn.Module):
    """Dense layers with tanh, the last included."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        for width in self.widths:
            x = jnp.tanh(nn.Dense(width)(x))
        return x


def _mlp(sizes: tuple[int, ...]) -> Controller:
    network = _Network(sizes[1:])
    like = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(sizes[0]))
    flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), like))
    return Controller(flat.size, lambda genome, observation: jnp.asarray(network.apply(unravel(genome), observation)))
