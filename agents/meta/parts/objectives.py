"""Target objectives by name: an actor-critic's, written by hand; those that were learned, from a file; a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from safetensors.numpy import load_file

from jaxreward.agents.meta.parts.lpg_network import TEMPORAL, lpg
from jaxreward.learning.estimators import gae
from jaxreward.learning.objective import Aims, Lifetime, Objective, Targets
from jaxreward.lookup import check_reference, is_reference, load_reference, users_code
from jaxreward.names import check_name
from jaxreward.reward import as_init

ACTOR_CRITIC = "actor_critic"
SUFFIXES = (".safetensors", ".npz")
"""How the names of files with the params of a learned objective end."""


def actor_critic(predictions: int = 8) -> Objective:
    """An actor-critic as a target function, to compare learned ones with.

    A prediction stands for the value `V(s) = z . y(s)`, `z` evenly spaced from `-scale` to `scale`. The score is the
    advantage (generalised, see `jaxreward.learning.estimators.gae`), its mean taken away and divided by its standard
    deviation, less `entropy log pi`, whose mean is the slope of an entropy bonus. The prediction asked for is `y`
    weighed by `exp(z A)`: the slope of `KL(y || y_hat)` is then exactly that of `-A V`, where `A` is a constant, and
    the value moves towards `V + A`.

    Its params are `gae_lambda`, `entropy` and `scale`.

    Args:
        predictions: Length of a prediction.
    """
    spaced = np.linspace(-1.0, 1.0, predictions)

    def apply(params: PyTree, batch: Targets, lifetime: Lifetime) -> Aims:
        del lifetime
        worth = params["scale"] * jnp.asarray(spaced, batch.reward.dtype)
        value, next_value = batch.prediction @ worth, batch.next_prediction @ worth
        ends = batch.terminated, batch.truncated
        advantage = gae(batch.reward, value, next_value, *ends, batch.discount, params["gae_lambda"])
        score = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        tilt = advantage[..., None] * jnp.broadcast_to(worth, batch.prediction.shape)
        aim = jax.nn.softmax(jnp.log(batch.prediction) + tilt)
        return Aims(score - params["entropy"] * jnp.log(batch.probability), aim)

    return Objective(as_init({"gae_lambda": 0.95, "entropy": 0.01, "scale": 1.0}), apply)


def get_targets(name: str, predictions: int, temporal: str = "normalised") -> Objective:
    """The target objective called `name`.

    Args:
        name: "actor_critic"; a file of params of `lpg`, their names dotted (`gru.input.weight`), as `jaxreward export`
            writes them, `.safetensors` or `.npz`; or `module:attribute`, `path/to/file.py:attribute`, an `Objective` or
            a function without arguments that returns one.
        predictions: Length of a prediction, `m`.
        temporal: What an objective from a file reads of the lifetime, see `lpg`.

    Raises:
        ValueError: If there is no such objective or file, or it is of another length of predictions or reads more or
            less.
    """
    if name.endswith(SUFFIXES):
        return _from_file(Path(name), predictions, temporal)
    check_reference(name, "objective")
    if not is_reference(name):
        hint = f"One that was learned is a file, {' or '.join(SUFFIXES)}; your own is `path/to/file.py:function`."
        check_name("target objective", name, [ACTOR_CRITIC], hint)
        return actor_critic(predictions)
    with users_code(f"objective {name}"):
        found = load_reference(name, "objective")
        made = found() if callable(found) and not isinstance(found, Objective) else found
        if not isinstance(made, Objective):
            raise ValueError(
                f"{name} is a {type(made).__name__}; expected an Objective, or a function that returns one"
            )
        _check(name, made, predictions)
    return made


def load_params(path: Path) -> dict[str, Any]:
    """Params from a file of arrays by dotted names.

    Raises:
        ValueError: If there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"there is no objective's file {path}")
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            named = dict(arrays)
    else:
        named = load_file(path)
    params: dict[str, Any] = {}
    for name, array in named.items():
        *folders, leaf = name.split(".")
        place = params
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = jnp.asarray(array, float)
    return params


def _from_file(path: Path, predictions: int, temporal: str) -> Objective:
    check_name("temporal input", temporal, TEMPORAL)
    params = load_params(path)
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)  # noqa: E731
    width = jnp.size(params.get("gru", {}).get("hidden", {}).get("bias", 0))
    known = {}
    for with_discount in (True, False):
        objective = lpg(predictions, width, temporal, with_discount)
        known[with_discount] = shapes(jax.eval_shape(objective.init, jax.random.key(0)))
        if known[with_discount] == shapes(params):
            return Objective(lambda key: params, objective.apply)
    expected = jax.tree_util.tree_leaves_with_path(known[True], is_leaf=lambda x: isinstance(x, tuple))
    given = dict(jax.tree_util.tree_leaves_with_path(shapes(params), is_leaf=lambda x: isinstance(x, tuple)))
    wrong = [(p, shape) for p, shape in expected if given.get(p) != shape]
    path_, shape = wrong[0]
    raise ValueError(
        f"{path} has no params of LPG for predictions={predictions} and temporal={temporal}: "
        f"{jax.tree_util.keystr(path_)} is {given.get(path_, 'not there')}, expected {shape}; set predictions and "
        "temporal to those it was learned with"
    )


def _check(name: str, objective: Objective, predictions: int) -> None:
    """Refuses an objective whose result is no aims of each step."""
    steps, flags = jnp.ones((3, 2)), jnp.zeros((3, 2), bool)
    even = jnp.full((3, 2, predictions), 1 / predictions)
    batch = Targets(steps, flags, flags, steps, even, even, 0.99)
    life = Lifetime(jnp.zeros((), jnp.int32), jnp.ones(()))
    params = jax.eval_shape(objective.init, jax.random.key(0))
    found = jax.eval_shape(lambda params: objective.apply(params, batch, life), params)
    shapes = tuple(leaf.shape for leaf in jax.tree.leaves(found))
    if not isinstance(found, Aims) or shapes != ((3, 2), (3, 2, predictions)):
        raise ValueError(
            f"{name} gives {found} for 3 steps of 2 environments; expected Aims of a score [3, 2] and a prediction "
            f"[3, 2, {predictions}]"
        )
