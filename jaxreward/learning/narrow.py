"""The narrowest types in which what a function gives can be kept without a loss.

Environments of pictures draw them with booleans or bytes and give them as floats, of four times the size. How they are
computed tells that, before anything is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jax.extend.core import Jaxpr, Literal, Var
from jaxtyping import Array, Key, PyTree

from jaxreward.learning.exploration import random_actions

FIRST, FIRST_TWO = slice(0, 1), slice(0, 2)
HANDED_ON = {
    "broadcast_in_dim": FIRST,
    "concatenate": slice(None),
    "convert_element_type": FIRST,
    "copy": FIRST,
    "dynamic_slice": FIRST,
    "dynamic_update_slice": FIRST_TWO,
    "pad": FIRST_TWO,
    "reshape": FIRST,
    "rev": FIRST,
    "scatter": slice(0, 3, 2),
    "select_n": slice(1, None),
    "slice": FIRST,
    "squeeze": FIRST,
    "stop_gradient": FIRST,
    "transpose": FIRST,
}
"""Which operands an operation puts into its result as they are."""
CALLED = ("jit", "pjit")
"""What calls a program by the name of `jaxpr`."""


def narrowest(function: Callable[..., PyTree], *args: PyTree) -> PyTree:
    """For each leaf of what a function gives, a type of which it was made a wider one, or its own.

    A boolean that became a float was one until then, and is that float again when it is made one. Only types that a
    wider one holds exactly are followed back, through what selects, moves or joins numbers and into programs that are
    called; anything else is taken as it comes.

    Args:
        function: Nothing of it is run.
        *args: What it is given, arrays or their shapes.

    Returns:
        NumPy dtypes, as the function's result is structured.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
    program = _Program(closed.jaxpr)
    return jax.tree.unflatten(jax.tree.structure(shape), [program.type_of(var) for var in closed.jaxpr.outvars])


def types_of_observations(env: Environment, env_params: PyTree, shown: PyTree) -> PyTree:
    """The narrowest types of an environment's observations, whether they come from a reset or from a step.

    Args:
        env: A gymnax `Environment`.
        env_params: Its params.
        shown: An observation, or some; arrays of the types in which it is shown.
    """
    key, space = jax.random.key(0), env.action_space(env_params)

    def step(key: Key[Array, ""]) -> PyTree:
        _, state = env.reset_env(key, env_params)
        return env.step_env(key, state, random_actions(space, key, ()), env_params)[0]

    own = jax.tree.map(lambda leaf: leaf.dtype, shown)
    first = narrowest(lambda key: env.reset_env(key, env_params)[0], key)
    if first == own:
        return own  # and a step, which may take long to trace, need not be looked at
    return jax.tree.map(lambda a, b, own: _together([a, b], own), first, narrowest(step, key), own)


@dataclass
class _Program:
    """A program, and where it was called what it was given: a variable each of the program around it."""

    jaxpr: Jaxpr
    around: _Program | None = None
    given: dict[Var, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.made = {var: (eqn, i) for eqn in self.jaxpr.eqns for i, var in enumerate(eqn.outvars)}

    def type_of(self, var: Any) -> Any:
        """The narrowest type that a variable is known to have had."""
        if isinstance(var, Literal):
            return _type_of_number(var)
        if var in self.given and self.around:
            return self.around.type_of(self.given[var])
        own = var.aval.dtype
        if var not in self.made:
            return own
        eqn, index = self.made[var]
        before = self._within(eqn, index) if eqn.primitive.name in CALLED else self._before(eqn, own)
        return before if _holds(own, before) else own

    def _before(self, eqn: Any, own: Any) -> Any:
        """The type of that which an operation hands on, if it does."""
        handed_on = eqn.invars[HANDED_ON.get(eqn.primitive.name, slice(0))]
        if not handed_on or _computes(eqn):
            return own
        return _together([self.type_of(var) for var in handed_on if isinstance(var.aval.dtype, np.dtype)], own)

    def _within(self, eqn: Any, index: int) -> Any:
        """The type of what a called program gives."""
        called = eqn.params["jaxpr"].jaxpr
        return _Program(called, self, dict(zip(called.invars, eqn.invars, strict=True))).type_of(called.outvars[index])


def _type_of_number(number: Any) -> Any:
    """Of a whole one that is written down the least that holds it."""
    whole = np.ndim(number.val) == 0 and jnp.issubdtype(number.aval.dtype, jnp.integer)
    if not whole:
        return number.aval.dtype
    return np.dtype(bool) if number.val in (0, 1) else np.min_scalar_type(int(number.val))


def _computes(eqn: Any) -> bool:
    """Whether an operation that puts numbers somewhere makes others of them first, as `x.at[i].apply(f)` does."""
    made = eqn.params.get("update_jaxpr")
    return made is not None and made.outvars != made.invars[1:]


def _together(types: list[Any], otherwise: Any) -> Any:
    """The least type that holds all of some, if there is one that does."""
    if not types:
        return otherwise
    joined = reduce(jnp.promote_types, types)
    return joined if all(_holds(joined, each) for each in types) else otherwise


def _holds(wide: Any, narrow: Any) -> bool:
    """Whether each number of one type is one of the other; types of keys hold nothing else."""
    known = isinstance(wide, np.dtype) and isinstance(narrow, np.dtype)
    return known and np.can_cast(narrow, wide, "safe")
