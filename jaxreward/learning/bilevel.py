"""Gradients through what a learner converges to: of an outer objective, in the params of the reward it learned from.

Inside, a learner moves its params by an update `Delta(theta, phi)` until that is zero, at `theta*(phi)`; `phi` are the
params of any `Reward`, discounts, or whatever else the update depends on. Outside, `J(theta*(phi))` is to be raised,
and the implicit function theorem says how it changes with `phi`:

    dJ/dphi = -v^T (dDelta/dtheta)^-1 dDelta/dphi,    v = dJ/dtheta.

`implicit_gradient` computes that with one of several solvers of `(dDelta/dtheta)^T u = v`, and `unrolled_gradient` what
comes of differentiating some steps of the learner instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse import linalg
from jaxtyping import Array, Float, PyTree

Vector: TypeAlias = Float[Array, " n"]
Operator: TypeAlias = Callable[[Vector], Vector]
"""`u -> (dDelta/dtheta)^T u`. It is the Hessian where the update is a gradient, negative definite at its maximum."""

Solver: TypeAlias = Callable[[Operator, Vector], tuple[Vector, dict[str, Float[Array, ""]]]]
"""`(operator, v) -> (u, metrics)`, where the operator takes `u` to about `v`."""

Scalar: TypeAlias = Float[Array, ""] | float


class Gradient(NamedTuple):
    """How an outer objective changes.

    Attributes:
        phi: Its gradient in the outer params.
        metrics: `implicit/residual`, how far from solved the linear system is, relative to its right-hand side, and
            what the solver has to say.
    """

    phi: PyTree
    metrics: dict[str, Float[Array, ""]]


def implicit_gradient(
    update: Callable[[PyTree, PyTree], PyTree], theta: PyTree, phi: PyTree, outer_gradient: PyTree, solver: Solver
) -> Gradient:
    """The gradient of an outer objective in the outer params, at a fixed point of the inner learner.

    Exact where `update(theta, phi)` is zero and the solver is; elsewhere it is that of the fixed point which the update
    would have if it were linear in `theta`.

    Args:
        update: How the inner learner moves, `(theta, phi)` to a tree as `theta`: a direction of ascent. It need not be
            a gradient.
        theta: The inner params.
        phi: The outer params, floating-point leaves.
        outer_gradient: That of the outer objective in the inner params, `v`.
        solver: Which linear solver, such as `dense()`.
    """
    v, unravel = ravel_pytree(outer_gradient)
    pull = jax.vjp(update, theta, phi)[1]

    def operator(u: Vector) -> Vector:
        return ravel_pytree(pull(unravel(u))[0])[0]

    u, metrics = solver(operator, v)
    residual = jnp.linalg.norm(operator(u) - v) / jnp.maximum(jnp.linalg.norm(v), 1e-30)
    gradient = jax.tree.map(jnp.negative, pull(unravel(u))[1])
    return Gradient(gradient, {"implicit/residual": residual, **metrics})


def unrolled_gradient(
    step: Callable[[PyTree, PyTree, PyTree], PyTree],
    outer: Callable[[PyTree], Any],
    theta: PyTree,
    phi: PyTree,
    inputs: PyTree,
    has_aux: bool = False,
) -> tuple[PyTree, PyTree]:
    """The gradient of an outer objective in the outer params, through the inner learner's next steps.

    One step is the meta-gradient of LIRPG (Zheng, Oh, Singh 2018). Memory holds `theta` after each step and nothing of
    what lies between.

    Args:
        step: What the learner does, `(theta, phi, input) -> theta`; theta may hold its optimiser's state too.
        outer: The objective of what it arrives at.
        theta: Where it starts.
        phi: The outer params.
        inputs: One for each step, leaves `[K, ...]`, such as keys or data.
        has_aux: Whether `outer` returns something beside.

    Returns:
        The gradient, and where the learner arrives, or in its place what the objective returned beside.
    """

    def arrive(phi: PyTree) -> tuple[Float[Array, ""], PyTree]:
        one_step = jax.checkpoint(lambda theta, x: (step(theta, phi, x), None))
        last = jax.lax.scan(one_step, theta, inputs)[0]
        return outer(last) if has_aux else (outer(last), last)

    return jax.grad(arrive, has_aux=True)(phi)


def first_order() -> Solver:
    """Takes the operator for minus the identity: no second derivatives, `u = -v`."""
    return lambda operator, v: (-v, {})


def neumann(num_terms: int, alpha: Scalar) -> Solver:
    """`u = -alpha sum_{k=0}^K (I + alpha H)^k v`, `K = num_terms` (Lorraine, Vicol, Duvenaud 2020, section 3).

    It converges if all eigenvalues of `H` lie in `(-2 / alpha, 0)`. `implicit/growth` is how much larger the last term
    is than the one before: above 1, which makes `implicit/diverged` 1, there is an eigenvalue outside. With few terms
    and a small alpha it is `first_order` times `alpha (K + 1)`.

    Raises:
        ValueError: If there are no terms beyond the first.
    """
    if num_terms < 1:
        raise ValueError(f"a Neumann series has 1 or more terms beyond the first; got num_terms={num_terms}")

    def solve(operator: Operator, v: Vector) -> tuple[Vector, dict[str, Float[Array, ""]]]:
        def add(now: tuple[Vector, Vector], _: None) -> tuple[tuple[Vector, Vector], Float[Array, ""]]:
            term, total = now
            following = term + alpha * operator(term)
            growth = jnp.linalg.norm(following) / jnp.maximum(jnp.linalg.norm(term), 1e-30)
            return (following, total + following), growth

        (_, total), growth = jax.lax.scan(add, (v, v), length=num_terms)
        # What is not finite has grown, too.
        diverged = ~(growth[-1] <= 1)
        return -alpha * total, {"implicit/growth": growth[-1], "implicit/diverged": diverged.astype(float)}

    return solve


def cg(num_steps: int, damping: Scalar = 0.0, tolerance: float = 1e-6) -> Solver:
    """Conjugate gradients on `(damping I - H) w = v`, `u = -w`, for symmetric `H`.

    Where a direction of positive curvature is met, which a maximum has none of, it stops and keeps what it has, as
    truncated Newton methods do (Nocedal & Wright 2006, algorithm 7.1); `implicit/curved` is then 1. If the first
    direction is one, `w` is `v`.

    Args:
        num_steps: The most steps.
        damping: Added to the curvature; 0 for none.
        tolerance: At which norm of the residual, relative to that of `v`, to stop.

    Raises:
        ValueError: If `num_steps` is not positive.
    """
    if num_steps < 1:
        raise ValueError(f"conjugate gradients take 1 or more steps; got num_steps={num_steps}")

    def solve(operator: Operator, v: Vector) -> tuple[Vector, dict[str, Float[Array, ""]]]:
        def step(now: tuple, _: None) -> tuple[tuple, None]:
            w, residual, direction, stopped, curved = now
            image = damping * direction - operator(direction)
            curvature, squared = direction @ image, residual @ residual
            stopped = stopped | (squared <= tolerance**2 * (v @ v))
            curved = curved | (~stopped & (curvature <= 0))
            stopped = stopped | curved
            length = jnp.where(stopped, 0.0, squared / jnp.where(stopped, 1.0, curvature))
            w, following = w + length * direction, residual - length * image
            turn = (following @ following) / jnp.maximum(squared, 1e-30)
            direction = jnp.where(stopped, direction, following + turn * direction)
            return (w, following, direction, stopped, curved), None

        start = (jnp.zeros_like(v), v, v, jnp.zeros((), bool), jnp.zeros((), bool))
        w, _, _, _, curved = jax.lax.scan(step, start, length=num_steps)[0]
        w = jnp.where(curved & (w == 0).all(), v, w)
        return -w, {"implicit/curved": curved.astype(float)}

    return solve


def gmres(num_steps: int, damping: Scalar = 0.0, tolerance: float = 1e-6) -> Solver:
    """GMRES on `(H - damping I) u = v` (Saad & Schultz 1986), for any `H`, indefinite or asymmetric ones too.

    Args:
        num_steps: The most steps, and the dimension of the space it searches.
        damping: Taken off the diagonal; 0 for none.
        tolerance: At which norm of the residual, relative to that of `v`, to stop.

    Raises:
        ValueError: If `num_steps` is not positive.
    """
    if num_steps < 1:
        raise ValueError(f"GMRES takes 1 or more steps; got num_steps={num_steps}")

    def solve(operator: Operator, v: Vector) -> tuple[Vector, dict[str, Float[Array, ""]]]:
        damped = lambda u: operator(u) - damping * u  # noqa: E731
        u, _ = linalg.gmres(damped, v, tol=tolerance, restart=min(num_steps, v.size), maxiter=1)
        return u, {}

    return solve


def dense(damping: Scalar = 0.0, clip: Scalar | None = None) -> Solver:
    """The matrix itself, for some hundreds of inner params.

    Args:
        damping: Taken off the diagonal.
        clip: If given, the matrix is made symmetric and its eigenvalues at most `-clip`, as those of a maximum are;
            `implicit/clipped` is how many had to be.
    """

    def solve(operator: Operator, v: Vector) -> tuple[Vector, dict[str, Float[Array, ""]]]:
        matrix = jax.vmap(operator)(jnp.eye(v.size)).T - damping * jnp.eye(v.size)
        if clip is None:
            return jnp.linalg.solve(matrix, v), {}
        values, vectors = jnp.linalg.eigh(0.5 * (matrix + matrix.T))
        extremes = {"implicit/smallest_eigenvalue": values[0], "implicit/largest_eigenvalue": values[-1]}
        clipped = {"implicit/clipped": (values > -clip).sum().astype(float)}
        return vectors @ ((vectors.T @ v) / jnp.minimum(values, -clip)), {**extremes, **clipped}

    return solve
