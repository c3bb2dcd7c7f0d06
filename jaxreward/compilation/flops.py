"""How many operations on numbers a function takes, counted in what JAX traces of it.

XLA's own count (`jax.stages.Compiled.cost_analysis`) takes the body of a loop once, however often it runs: a rollout of
a hundred steps counts as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Jaxpr, JaxprEqn

_CALLED = ("jaxpr", "call_jaxpr", "cond_jaxpr", "body_jaxpr", "call")
"""The functions that an equation calls as they are, by their names among its params."""
_FACTORISED: dict[str, Callable[[int, int], float]] = {
    "lu": lambda long, short: long * short**2 - short**3 / 3,
    "cholesky": lambda long, short: short**3 / 3,
    "geqrf": lambda long, short: 2 * long * short**2 - 2 * short**3 / 3,
    "householder_product": lambda long, short: 2 * long * short**2 - 2 * short**3 / 3,
    "qr": lambda long, short: 4 * long * short**2 - 4 * short**3 / 3,
    "eigh": lambda long, short: 9 * short**3,
    "eig": lambda long, short: 25 * short**3,
    "svd": lambda long, short: 14 * long * short**2 + 8 * short**3,
}
"""Of a matrix with such sides, with all vectors: leading terms, as in Golub and Van Loan, "Matrix Computations"."""


def flops(fn: Callable[..., Any], *args: Any) -> int:
    """Operations of a function.

    Two for each product in a matrix product or convolution, one for each number that is summed up or written into an
    array, for factorisations and solutions of matrices what is usual, and one for each number that anything else makes.
    Of branches the dearest counts, as if it were always taken; a loop whose length depends on data counts once.

    Args:
        fn: A function that can be traced.
        args: What it is given, or the shapes of that.
    """
    return _of(jax.make_jaxpr(fn)(*args))


def _of(jaxpr: Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "cond":
        return max(_of(branch) for branch in params["branches"])
    if name == "custom_linear_solve":  # beside what solves it is told what would check or transpose that
        return _of(params["jaxprs"].solve)
    called = [params[key] for key in _CALLED if params.get(key) is not None]
    if called and not name.startswith("reduce"):  # that has a function too, of two numbers
        return sum(map(_of, called)) * (params["length"] if name == "scan" else 1)
    return _of_numbers(equation)


def _of_numbers(equation: JaxprEqn) -> int:
    """Of an equation that calls no function."""
    name, params = equation.primitive.name, equation.params
    given, made = ([math.prod(_shape(each)) for each in side] for side in (equation.invars, equation.outvars))
    if name == "dot_general":
        (summed, _), _ = params["dimension_numbers"]
        return 2 * made[0] * math.prod(_shape(equation.invars[0])[axis] for axis in summed)
    if name == "conv_general_dilated":
        kernel = _shape(equation.invars[1])
        return 2 * made[0] * (given[1] // kernel[params["dimension_numbers"].rhs_spec[0]])
    if name in _FACTORISED:
        *batch, short, long = (*_shape(equation.invars[0])[:-2], *sorted(_shape(equation.invars[0])[-2:]))
        return math.prod(batch) * round(_FACTORISED[name](long, short))
    if name == "triangular_solve":
        return made[0] * _shape(equation.invars[0])[-1]
    if name.startswith("reduce_window"):
        return sum(made) * math.prod(params["window_dimensions"])
    if name.startswith(("reduce", "arg")):
        return sum(given)
    if name.startswith("scatter"):
        return given[2]
    return given[1] if name == "dynamic_update_slice" else sum(made)


def _shape(array: Any) -> tuple[int, ...]:
    return array.aval.shape
