"""How many operations on numbers a function takes, counted in what JAX traces of it.

XLA's own count (`jax.stages.Compiled.cost_analysis`) takes the body of a loop once, however often it runs: a rollout of
a hundred steps counts as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def flops(fn: Callable[..., Any], *args: Any) -> int:
    """Two for each product in a matrix product or convolution, one for each number that anything else makes.

    Of branches the dearest counts, as if it were always taken; a loop whose length depends on data counts once.

    Args:
        fn: A function that can be traced.
        args: What it is given, or the shapes of that.
    """
    return _of(jax.make_jaxpr(fn)(*args).jaxpr)


def _of(jaxpr: Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "cond":
        return max(_of(branch.jaxpr) for branch in params["branches"])
    inner = sum(map(_of, _inside(params)))
    if inner:
        return inner * (params["length"] if name == "scan" else 1)
    out = math.prod(_shape(equation.outvars[0])) if equation.outvars else 0
    return out * _of_each(equation)


def _of_each(equation: JaxprEqn) -> int:
    """For each number that comes out."""
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (summed, _), _ = params["dimension_numbers"]
        return 2 * math.prod(_shape(equation.invars[0])[axis] for axis in summed)
    if name == "conv_general_dilated":
        kernel = _shape(equation.invars[1])
        return 2 * math.prod(kernel) // kernel[params["dimension_numbers"].rhs_spec[0]]
    return 1


def _shape(array: Any) -> tuple[int, ...]:
    return array.aval.shape


def _inside(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """The functions that an equation calls."""
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, Jaxpr):
                yield each
