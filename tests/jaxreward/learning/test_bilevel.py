"""Implicit gradients against closed forms, finite differences and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import markov
from jaxreward.learning.bilevel import cg, dense, first_order, gmres, implicit_gradient, neumann, unrolled_gradient
from jaxreward.reward import Transition
from jaxreward.rewards import scale, weighted

N = 5


def symmetric(eigenvalues, seed=0):
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(N, N)))[0]
    return jnp.asarray(vectors @ np.diag(eigenvalues) @ vectors.T, float)


NEGATIVE = symmetric([-0.5, -1.0, -2.0, -3.0, -4.0])
INDEFINITE = symmetric([-4.0, -2.0, -1.0, 0.5, 2.0])
ASYMMETRIC = NEGATIVE + 0.5 * jnp.asarray(np.triu(np.ones((N, N)), 1), float)
V = jnp.asarray(np.random.default_rng(1).normal(size=N), float)
EXACT = {"dense": dense(), "cg": cg(N + 3), "gmres": gmres(N), "neumann": neumann(400, 0.4)}


def solved(solver, matrix):
    return jax.jit(lambda m, v: solver(lambda u: m.T @ u, v))(matrix, V)


@pytest.mark.parametrize("name", EXACT)
def test_at_a_maximum_all_solvers_agree(name):
    u, _ = solved(EXACT[name], NEGATIVE)
    np.testing.assert_allclose(u, np.linalg.solve(np.asarray(NEGATIVE, float), V), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["dense", "gmres"])
@pytest.mark.parametrize("matrix", [INDEFINITE, ASYMMETRIC], ids=["indefinite", "asymmetric"])
def test_some_need_no_maximum(name, matrix):
    u, _ = solved(EXACT[name], matrix)
    np.testing.assert_allclose(u, np.linalg.solve(np.asarray(matrix, float).T, V), rtol=2e-4, atol=2e-5)


def test_the_neumann_series_term_by_term():
    alpha, matrix = 0.1, np.asarray(NEGATIVE, float)
    for terms in (1, 2, 5):
        powers = [np.linalg.matrix_power(np.eye(N) + alpha * matrix, k) for k in range(terms + 1)]
        u, metrics = solved(neumann(terms, alpha), NEGATIVE)
        np.testing.assert_allclose(u, -alpha * sum(powers) @ V, rtol=1e-5)
        assert metrics["implicit/diverged"] == 0


def test_a_short_series_is_the_first_order_gradient():
    u, _ = solved(neumann(5, 1e-5), NEGATIVE)
    first, _ = solved(first_order(), NEGATIVE)
    np.testing.assert_allclose(u, 6e-5 * first, rtol=1e-3)


@pytest.mark.parametrize(
    ("matrix", "alpha", "diverged"),
    [(NEGATIVE, 0.4, 0), (NEGATIVE, 0.6, 1), (INDEFINITE, 0.1, 1), (INDEFINITE, 1e3, 1)],
    ids=["within", "alpha too large", "positive curvature", "beyond all numbers"],
)
def test_divergence_is_named(matrix, alpha, diverged):
    assert solved(neumann(60, alpha), matrix)[1]["implicit/diverged"] == diverged


def test_damping_is_added_to_the_curvature():
    damped = np.linalg.solve(np.asarray(NEGATIVE, float) - 0.7 * np.eye(N), V)
    for solver in (dense(0.7), cg(N + 3, 0.7), gmres(N, 0.7)):
        np.testing.assert_allclose(solved(solver, NEGATIVE)[0], damped, rtol=1e-4, atol=1e-5)


def test_clipped_eigenvalues_are_those_of_a_maximum():
    u, metrics = solved(dense(clip=0.1), INDEFINITE)
    expected = np.linalg.solve(np.asarray(symmetric([-4.0, -2.0, -1.0, -0.1, -0.1]), float), V)
    np.testing.assert_allclose(u, expected, rtol=1e-4)
    assert metrics["implicit/clipped"] == 2
    np.testing.assert_allclose(metrics["implicit/largest_eigenvalue"], 2.0, rtol=1e-5)
    np.testing.assert_allclose(metrics["implicit/smallest_eigenvalue"], -4.0, rtol=1e-5)


def test_conjugate_gradients_stop_where_a_maximum_has_no_curvature():
    u, metrics = solved(cg(20), INDEFINITE)
    assert metrics["implicit/curved"] == 1
    assert jnp.isfinite(u).all()
    assert u @ V < 0  # still a direction in which the first-order one agrees
    up, metrics = solved(cg(20), -NEGATIVE)
    np.testing.assert_array_equal(up, -V)
    assert metrics["implicit/curved"] == 1
    assert solved(cg(20), NEGATIVE)[1]["implicit/curved"] == 0


def test_conjugate_gradients_keep_the_steps_before_the_curvature_they_stop_at():
    """Of two directions the second has none: one step of steepest ascent, `v^T v / -v^T H v`, is left."""
    v = jnp.array([1.0, 0.5])
    u, metrics = jax.jit(lambda v: cg(20)(lambda x: jnp.array([-3.0, 1.0]) * x, v))(v)
    assert metrics["implicit/curved"] == 1
    np.testing.assert_allclose(u, -1.25 / (3 - 0.25) * v, rtol=1e-6)


def test_no_gradient_has_no_solution_to_look_for():
    for solver in (*EXACT.values(), dense(clip=0.1)):
        u, _ = jax.jit(lambda v, solver=solver: solver(lambda u: NEGATIVE @ u, v))(np.zeros(N, np.float32))
        np.testing.assert_array_equal(u, np.zeros(N))


def test_solvers_vmap():
    matrices = np.stack([NEGATIVE, 2 * np.asarray(NEGATIVE), INDEFINITE])
    for solver in (dense(), cg(N + 3), gmres(N), neumann(10, 0.1)):
        of = lambda m, solver=solver: solver(lambda u: m @ u, V)[0]  # noqa: E731
        together, alone = np.asarray(jax.jit(jax.vmap(of))(matrices)), jax.jit(of)
        for index, matrix in enumerate(matrices):
            np.testing.assert_allclose(together[index], alone(matrix), rtol=1e-4, atol=1e-5)


# A bandit with entropy: the policy that maximises sum_a pi(a) r(a) + c H(pi) is softmax(r / c).

ENTROPY = 0.5
TRUTH = jnp.array([1.0, 0.0, -1.0])
OWN = markov(lambda p, t: p["bonus"][t.action], {"bonus": jnp.array([0.2, -0.4, 0.9])})
REWARD = weighted(own=OWN, given=(scale(markov(lambda t: TRUTH[t.action]), 1.0), 0.3))


def reward_of(phi):
    nothing = jnp.zeros(())
    step = lambda a: REWARD.step(phi, REWARD.reset(phi), Transition(nothing, a, *[nothing] * 4))[1]  # noqa: E731
    return jax.vmap(step)(jnp.arange(3))


def inner(theta, phi):
    log_policy = jax.nn.log_softmax(theta["logits"])
    return (jnp.exp(log_policy) * (reward_of(phi) - ENTROPY * log_policy)).sum()


def outer(theta):
    return (jax.nn.softmax(theta["logits"]) * TRUTH).sum()


def fixed_point(phi):
    return {"logits": reward_of(phi) / ENTROPY}


PHI = REWARD.init(jax.random.key(0))
THETA = fixed_point(PHI)
UPDATE = jax.grad(inner)


def test_the_fixed_point_is_one():
    np.testing.assert_allclose(UPDATE(THETA, PHI)["logits"], 0, atol=1e-6)


@pytest.mark.parametrize(
    "solver",
    # Adding a number to all logits changes nothing, so the Hessian is singular: each solver has its way around.
    [dense(1e-4), dense(clip=1e-4), cg(6), cg(6, 1e-4), gmres(3, 1e-4), neumann(2000, 5.0)],
    ids=["dense", "dense clipped", "cg", "cg damped", "gmres", "neumann"],
)
def test_the_gradient_is_that_of_the_closed_form(solver):
    """Through the params of a composed reward, against differentiating the closed form of what is learned."""
    expected = jax.grad(lambda phi: outer(fixed_point(phi)))(PHI)
    found = jax.jit(lambda: implicit_gradient(UPDATE, THETA, PHI, jax.grad(outer)(THETA), solver))()
    for ours, theirs in zip(jax.tree.leaves(found.phi), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=5e-3, atol=2e-4)
    assert found.metrics["implicit/residual"] < 1e-2
    assert max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(expected)) > 0.1


def test_the_gradient_is_that_of_finite_differences():
    found = jax.jit(lambda: implicit_gradient(UPDATE, THETA, PHI, jax.grad(outer)(THETA), dense(1e-4)).phi)()
    flat, unravel = jax.flatten_util.ravel_pytree(PHI)
    flat = np.asarray(flat)

    @jax.jit
    def learned(flat):
        """By 2,000 steps of the learner itself."""
        phi = unravel(flat)
        climb = lambda _, theta: jax.tree.map(lambda x, g: x + 2 * g, theta, UPDATE(theta, phi))  # noqa: E731
        return outer(jax.lax.fori_loop(0, 2000, climb, {"logits": jnp.zeros(3)}))

    steps = 0.01 * np.eye(flat.size, dtype=np.float32)
    numeric = [(float(learned(flat + step)) - float(learned(flat - step))) / 0.02 for step in steps]
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(found)[0], numeric, rtol=2e-2, atol=1e-3)


def test_unrolled_far_enough_is_implicit():
    step = lambda theta, phi, _: jax.tree.map(lambda x, g: x + 2 * g, theta, UPDATE(theta, phi))  # noqa: E731
    exact = jax.jit(lambda: implicit_gradient(UPDATE, THETA, PHI, jax.grad(outer)(THETA), dense(1e-4)).phi)()
    start = {"logits": jnp.zeros(3)}
    errors, unrolled = [], jax.jit(lambda rest: unrolled_gradient(step, outer, start, PHI, rest))
    for steps in (1, 10, 100):
        found, last = unrolled(np.zeros(steps, np.float32))
        both = zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True)
        errors.append(max(float(jnp.abs(x - y).max()) for x, y in both))
    assert errors[0] > errors[1] > 10 * errors[2]
    np.testing.assert_allclose(
        last["logits"] - last["logits"].mean(), THETA["logits"] - THETA["logits"].mean(), atol=1e-4
    )


def test_one_step_is_the_meta_gradient():
    """Of theta + rate dL/dtheta: `rate v^T d2L/(dtheta dphi)`, the mixed derivative by itself."""
    start, rate = {"logits": jnp.array([0.3, -0.2, 0.1])}, 0.7
    step = lambda theta, phi, _: jax.tree.map(lambda x, g: x + rate * g, theta, UPDATE(theta, phi))  # noqa: E731
    found, arrived = unrolled_gradient(step, outer, start, PHI, jnp.zeros(1))
    v = jax.grad(outer)(arrived)["logits"]
    mixed = jax.jacobian(lambda phi: UPDATE(start, phi)["logits"])(PHI)
    expected = jax.tree.map(lambda m: rate * jnp.tensordot(v, m, 1), mixed)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_an_update_that_is_no_gradient():
    """`Delta = A theta + B phi` with any A: theta* = -A^-1 B phi."""
    b = jnp.asarray(np.random.default_rng(2).normal(size=(N, 2)), float)
    phi = jnp.array([0.5, -1.0])
    theta = -jnp.linalg.solve(ASYMMETRIC, b @ phi)
    found = implicit_gradient(lambda t, p: ASYMMETRIC @ t + b @ p, theta, phi, V, dense())
    np.testing.assert_allclose(found.phi, -V @ jnp.linalg.solve(ASYMMETRIC, b), rtol=1e-4)
    np.testing.assert_allclose(found.metrics["implicit/residual"], 0, atol=1e-5)


@pytest.mark.parametrize("make", [lambda: neumann(0, 0.1), lambda: cg(0), lambda: gmres(0)])
def test_no_steps_are_refused(make):
    with pytest.raises(ValueError, match="1 or more"):
        make()
