"""How a network reads an observation, before its hidden layers: as a vector, by convolutions, by a module of a user's.

Observations come to all networks as one vector each, so that they can be stored, normalised and have an action beside
them. A picture, or whatever else an environment shows, is made of it again here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.contract.sizes import Sized, size
from jaxreward.lookup import check_reference, load_reference, users_code

WINDOW = 3
"""Rows and columns that a unit of a convolution sees."""
_BATCH = 17
"""Observations that a user's module is traced with; hardly a size of one, so that none is taken for it."""


@dataclass(frozen=True)
class ReadingConfig(Sized):
    """What comes before the hidden layers.

    Attributes:
        conv: Channels of convolutions, of windows of 3 by 3, for pictures; none by default.
        network: A network of your own in their place, `path/to/file.py:factory` or `module:factory`: a class of flax
            modules, or a function without arguments that makes one, `observations [B, ...] -> [B, H]`.
    """

    conv: tuple[int, ...] = size(())
    network: str = ""


@dataclass(frozen=True)
class Reading:
    """What is done with the part of a vector that an observation is; what is beside it, such as an action, stays.

    Attributes:
        shapes: Of the observation's leaves.
        structure: Of the observation; None where all is read as it comes.
        conv: Channels of convolutions.
        make: Makes a user's module.
    """

    shapes: tuple[tuple[int, ...], ...] = ()
    structure: Any = None
    conv: tuple[int, ...] = ()
    make: Callable[[], nn.Module] | None = None

    def __call__(self, x: Float[Array, "*batch F"], activation: Callable[[Array], Array]) -> Float[Array, "*batch G"]:
        """What the hidden layers are given; within a module, whose submodules do it."""
        if self.structure is None:
            return x
        seen, beside = jnp.split(x, [sum(map(math.prod, self.shapes))], -1)
        batch, flat = seen.shape[:-1], seen.reshape(-1, seen.shape[-1])
        read = self.convolved(flat, activation) if self.make is None else self.make()(self.restored(flat))
        return jnp.concatenate([read.reshape(*batch, -1), beside], -1)

    def convolved(self, flat: Float[Array, "B F"], activation: Callable[[Array], Array]) -> Float[Array, "B H W C"]:
        """What convolutions make of pictures."""
        x = self.restored(flat)
        for channels in self.conv:
            x = activation(Convolution(channels)(x))
        return x

    def restored(self, flat: Float[Array, "B F"]) -> PyTree:
        """Observations as the environment shows them, as floats."""
        ends = [sum(map(math.prod, self.shapes[: i + 1])) for i in range(len(self.shapes) - 1)]
        parts = [part.reshape(-1, *shape) for part, shape in zip(jnp.split(flat, ends, -1), self.shapes, strict=True)]
        return jax.tree.unflatten(self.structure, parts)


PLAIN = Reading()
"""Vectors as they come."""


class Convolution(nn.Module):
    """Windows of 3 by 3 with a stride of 1, without a border, as one product of matrices.

    Under `vmap` over networks a convolution proper becomes a grouped one, which is slow on a CPU. Weights start with a
    variance of `1 / inputs`.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "*batch H W C"]) -> Float[Array, "*batch H-2 W-2 F"]:
        height, width = (side - WINDOW + 1 for side in x.shape[-3:-1])
        offsets = [(row, column) for row in range(WINDOW) for column in range(WINDOW)]
        seen = [x[..., row : row + height, column : column + width, :] for row, column in offsets]
        return nn.Dense(self.channels, param_dtype=jnp.result_type(float))(jnp.concatenate(seen, -1))


def reading_for(env: Environment, env_params: PyTree, config: ReadingConfig, agents: tuple[int, ...] = ()) -> Reading:
    """How the networks of an agent read an environment's observations.

    Args:
        env: The environment.
        env_params: Its params.
        config: What comes before hidden layers.
        agents: `(n,)` of a game, of whose observations each agent reads its own; `()` of one agent.

    Raises:
        ValueError: Convolutions do not fit what is shown, there is no such network, or it does not keep its contract.
    """
    if not (config.conv or config.network):
        return PLAIN
    if config.conv and config.network:
        raise ValueError(f"network={config.network} reads in place of conv={tuple(config.conv)}: leave one of them out")
    shown = jax.eval_shape(lambda key: env.reset_env(key, env_params)[0], jax.random.key(0))
    leaves, structure = jax.tree.flatten(shown)
    shapes = tuple(tuple(leaf.shape[len(agents) :]) for leaf in leaves)
    if config.conv:
        check_pictures(env.name, shapes, config.conv)
        return Reading(shapes, structure, tuple(config.conv))
    check_reference(config.network, "network")
    with users_code(f"network {config.network}"):
        reading = Reading(shapes, structure, make=load_reference(config.network, "network"))
        check_module(config.network, reading, env.name)
    return reading


def check_module(name: str, reading: Reading, env_name: str) -> None:
    """Refuses a user's module that does not give a vector for each observation, before anything is compiled.

    Args:
        name: What it is called.
        reading: It, and what it is given.
        env_name: Whose observations these are.

    Raises:
        ValueError: It is no module, has more than params, or gives something else.
    """
    module = _made(name, reading.make)
    given = [jax.ShapeDtypeStruct((_BATCH, *shape), jnp.result_type(float)) for shape in reading.shapes]
    observations = jax.tree.unflatten(reading.structure, given)
    variables = jax.eval_shape(module.init, jax.random.key(0), observations)
    if extra := sorted(set(variables) - {"params"}):
        raise ValueError(
            f"network {name} keeps {', '.join(extra)} beside its params, which no agent updates (batch normalisation "
            "does; layer normalisation does not)"
        )
    made = jax.eval_shape(module.apply, variables, observations)
    shapes = [tuple(leaf.shape) for leaf in given]
    if not _is_vectors(made):
        said = _described(made)
        raise ValueError(
            f"network {name} gives {said} of {_BATCH} observations of {env_name}, "
            f"{shapes[0] if len(shapes) == 1 else shapes}; expected floats [{_BATCH}, H], a vector for each: the "
            "agent's own layers and outputs come behind it"
        )


def _made(name: str, make: Any) -> nn.Module:
    """What a class or a function makes, if that is a module."""
    makes = callable(make) and not isinstance(make, nn.Module)
    needed = (
        [part for part in inspect.signature(make).parameters.values() if part.default is part.empty] if makes else []
    )
    if needed and needed[0].kind in (needed[0].POSITIONAL_OR_KEYWORD, needed[0].POSITIONAL_ONLY):
        said = f"needs {needed[0].name!r} to make a module"
    else:
        module = make() if makes else make
        if makes and isinstance(module, nn.Module):
            return module
        said = f"{'makes' if makes else 'is'} one {type(module).__name__}"
    raise ValueError(
        f"network {name} {said}; expected a class of flax modules whose fields have defaults, or a function without "
        "arguments that makes a module"
    )


def _is_vectors(made: Any) -> bool:
    fits = isinstance(made, jax.ShapeDtypeStruct) and len(made.shape) == 2 and made.shape[0] == _BATCH
    return fits and made.shape[1] > 0 and jnp.issubdtype(made.dtype, jnp.floating)


def _described(made: Any) -> str:
    if isinstance(made, jax.ShapeDtypeStruct):
        return f"{made.dtype}{list(made.shape)}"
    return f"a {type(made).__name__}"


def check_pictures(env_name: str, shapes: Sequence[tuple[int, ...]], conv: Sequence[int]) -> None:
    """Refuses convolutions of what is no picture, or is too small for them.

    Args:
        env_name: Whose observations they are.
        shapes: Of the leaves of one.
        conv: Channels of each convolution.

    Raises:
        ValueError: It is not one array `[H, W, C]`, or nothing would be left of it.
    """
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise ValueError(
            f"conv={tuple(conv)} is for pictures [H, W, C]; {env_name} shows {list(shapes)}: leave conv out"
        )
    lost = (WINDOW - 1) * len(conv)
    if min(shapes[0][:2]) <= lost:
        most = (min(shapes[0][:2]) - 1) // (WINDOW - 1)
        raise ValueError(
            f"{len(conv)} convolutions take {lost} rows and columns away, and pictures of {env_name} are {shapes[0]}: "
            f"give {most} at the most"
        )
