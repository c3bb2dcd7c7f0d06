"""From observations to the numbers of an agent with a target objective: a table, or layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.environment import stage
from jaxreward.envs.levels.grid_world import CLOCK, GridWorld
from jaxreward.learning.networks import Torso, flatten, lecun
from jaxreward.names import check_name

NETWORKS = ("auto", "table", "mlp")


class Network(NamedTuple):
    """From observations to numbers.

    Attributes:
        init: `(key, number of outputs) -> params`.
        apply: `(params, observation [*batch, ...], batch axes) -> [*batch, O]`.
        is_table: Whether it is a row of numbers for each state.
    """

    init: Callable[[Key[Array, ""], int], PyTree]
    apply: Callable[[PyTree, PyTree, int], Array]
    is_table: bool


def network_for(env: Environment, env_params: PyTree, kind: str, layers: tuple[int, ...]) -> Network:
    """The network that fits an environment.

    Args:
        env: The environment.
        env_params: Its params.
        kind: "table", numbers for each state: of its number where one is observed, or linear in what is observed,
            without a bias. "mlp", rectified linear layers. "auto", a table where states are numbered or are those of a
            level whose objects stay where they are, else the layers.
        layers: Widths of the layers.

    Raises:
        ValueError: If there is no such kind.
    """
    check_name("network", kind, NETWORKS)
    inside, space = stage(env, env_params)[0], env.observation_space(env_params)
    start = jax.eval_shape(lambda: env.reset_env(jax.random.key(0), env_params)[0])
    numbered = isinstance(space, spaces.Discrete)
    of_level = isinstance(inside, GridWorld) and inside.observation != "planes"
    if kind == "table" or (kind == "auto" and (numbered or of_level)):
        if numbered:
            return _table(int(space.n), lambda table, observation, axes: table[observation])
        if of_level and inside.observation == "index":
            return _table(inside.num_states + 1, _rows_and_clock)
        number = jax.eval_shape(lambda: flatten(jnp.zeros(start.shape), 0)).shape[0]
        return _table(number, lambda table, observation, axes: flatten(observation, axes) @ table)
    return _layers(start, layers)


def _table(rows: int, read: Callable[[Array, PyTree, int], Array]) -> Network:
    init = lambda key, outputs: nn.initializers.lecun_normal()(key, (rows, outputs), jnp.result_type(float))  # noqa: E731
    return Network(init, read, True)


def _rows_and_clock(table: Float[Array, "S O"], observation: PyTree, axes: int) -> Float[Array, "*batch O"]:
    """The product of a one-hot observation with the table: the row of the state, and the clock's share of another."""
    number, time = observation[..., 0], observation[..., 1]
    rows = table[number]
    return rows + CLOCK * time[..., None].astype(rows.dtype) * jnp.broadcast_to(table[-1], rows.shape)


def _layers(observation: PyTree, layers: tuple[int, ...]) -> Network:
    def module(outputs: int) -> nn.Module:
        return nn.Sequential([Torso(layers, nn.relu, orthogonal=False), lecun(outputs)])

    def init(key: Key[Array, ""], outputs: int) -> PyTree:
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), observation)
        return module(outputs).init(key, flatten(zeros, 0))

    def apply(params: PyTree, seen: PyTree, axes: int) -> Array:
        width = params["params"]["layers_1"]["bias"].shape[-1]
        made: Any = module(width).apply(params, flatten(seen, axes))
        return made

    return Network(init, apply, False)
