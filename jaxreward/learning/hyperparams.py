"""Hyperparams by name, wherever they are in a pytree: those of the environment's params need no `env_params.`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Shaped

from jaxreward.learning.ranges import Range
from jaxreward.names import check_name, path_name

CARRIED = "hyperparams."
"""Where an agent's state has its hyperparams."""


def check_space(space: Mapping[str, Range], hyperparams: PyTree) -> None:
    """Refuses a space that does not fit an agent's hyperparams.

    Raises:
        ValueError: A name is none of them (says which is nearest), or is an array, or an integer on a range of others.
    """
    leaves = named_leaves(hyperparams)
    for name, within in space.items():
        if not _is_in(name, leaves):
            check_name("hyperparameter to search", name, (known.removeprefix("env_params.") for known in leaves))
        leaf = leaves[place(name, leaves)]
        if jnp.ndim(leaf):
            raise ValueError(f"{name} is an array of shape {jnp.shape(leaf)}; only single numbers can be searched")
        if jnp.issubdtype(jnp.result_type(leaf), jnp.integer) and not within.integer:
            raise ValueError(f"{name} is an integer, so its range must be of integers: integer(LOW,HIGH)")


def check_carries(space: Mapping[str, Range], members: PyTree) -> None:
    """Refuses an agent whose state has not all that is searched."""
    leaves = named_leaves(members)
    missing = [name for name in space if not _is_in(name, leaves, CARRIED)]
    if missing:
        raise ValueError(f"the agent's state must carry its hyperparams; it has no {CARRIED}{missing[0]}")


def with_values(tree: PyTree, values: Mapping[str, Shaped[Array, "..."]], prefix: str = "") -> PyTree:
    """A tree with other values of some leaves, named as in the space."""
    leaves = named_leaves(tree)
    new = {place(name, leaves, prefix): value for name, value in values.items()}

    def replace(path: tuple, leaf: Array) -> Array:
        name = path_name(path)
        return new[name].astype(leaf.dtype) if name in new else leaf

    return jax.tree_util.tree_map_with_path(replace, tree)


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """The leaves of a tree by their paths, `reward.weights.gain`."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def place(name: str, leaves: Mapping[str, Any], prefix: str = "") -> str:
    """Where a hyperparameter is: `reward.goal` and `env.gravity` may be within `env_params`."""
    places = [prefix + name, f"{prefix}env_params.{name}", f"{prefix}env_params.{name.removeprefix('env.')}"]
    return next((known for known in places if known in leaves), places[0])


def _is_in(name: str, leaves: Mapping[str, Any], prefix: str = "") -> bool:
    return place(name, leaves, prefix) in leaves
