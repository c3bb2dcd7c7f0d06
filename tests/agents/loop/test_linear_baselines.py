"""Baselines for worlds that are linear in features: their regressions and plans against NumPy in float64."""

from math import log, sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import vmap
from jaxreward.agents.loop import fopo, lscvi_ucb, ucrl2_vtr
from jaxreward.agents.loop.parts.counts import Counts
from jaxreward.agents.loop.parts.features import features_of
from jaxreward.agents.loop.parts.learner import Visit
from jaxreward.agents.loop.parts.planning import Plan
from jaxreward.agents.loop.parts.regression import Fit, across_pairs
from jaxreward.agents.loop.parts.value_targets import Targets
from jaxreward.agents.loop.parts.world import FiniteWorld
from jaxreward.agents.registry import get_agent
from jaxreward.envs.registry import make

STATES, ACTIONS, DIMENSION = 3, 2, 4
RNG = np.random.default_rng(0)
FOLLOWING = RNG.integers(0, 6, (STATES, ACTIONS, STATES)).astype(float)
REWARD = FOLLOWING.sum(-1) * RNG.uniform(0, 1, (STATES, ACTIONS))
WORLD = FiniteWorld(None, STATES, ACTIONS)
WALK = Visit(*map(jnp.array, (RNG.integers(0, 3, 30), RNG.integers(0, 2, 30), RNG.random(30), RNG.integers(0, 3, 30))))


def walked(method, start, hyperparams):
    """What is remembered after the walk."""
    observe = lambda memory, visit: (method.observe(memory, visit, hyperparams), None)  # noqa: E731
    return jax.jit(lambda start: jax.lax.scan(observe, start, WALK)[0])(start)


@pytest.mark.parametrize("span", [0.7, np.inf])
def test_lscvi_ucb_plans_the_fixed_point_of_the_clipped_operator(span):
    phi = RNG.normal(size=(6, DIMENSION)) / 2
    hyperparams = lscvi_ucb.Hyperparams(0.8, span, 0.3, 0.5, tolerance=1e-6)
    precision = 0.5 * np.eye(DIMENSION) + phi.T @ (FOLLOWING.sum(-1).ravel()[:, None] * phi)
    inverse = np.linalg.inv(precision)
    bonus = 0.3 * np.sqrt(np.einsum("nd,de,ne->n", phi, inverse, phi)).reshape(3, 2)

    def predicted(targets):
        return (phi @ inverse @ phi.T @ targets.ravel()).reshape(3, 2)

    def action_value(value):
        ahead = predicted(REWARD + 0.8 * FOLLOWING @ (value - value.min())) + 0.8 * value.min()
        return np.clip(ahead + bonus, 0, 5)

    value = np.full(3, 5.0)
    for _ in range(500):
        best = action_value(value).max(1)
        value = np.minimum(best, best.min() + span)

    @jax.jit
    def plan():
        regression = across_pairs(lambda hyperparams: jnp.asarray(phi, float))
        counts = Counts(*(jnp.asarray(each, float) for each in (FOLLOWING, REWARD, REWARD)))
        covariance = regression.covariance(counts.visits.ravel(), hyperparams)
        return lscvi_ucb.discounted_plan(counts, covariance, regression, hyperparams)

    ours = plan()
    np.testing.assert_allclose(ours.action_value, action_value(value), atol=2e-5)
    np.testing.assert_allclose(ours.bias, value - value.max(), atol=2e-5)
    assert ours.gain == pytest.approx(0.2 * value.max(), abs=1e-5)
    assert np.ptp(value) == pytest.approx(min(span, np.ptp(value)))  # with 0.7 the clip is met


def test_lscvi_ucb_knows_how_much_the_determinant_grew():
    phi = features_of("rotated", (STATES, ACTIONS)).reshape(6, 6)[:, :DIMENSION]
    method = lscvi_ucb.method_of(WORLD, across_pairs(lambda hyperparams: jnp.asarray(phi, float)))
    hyperparams = lscvi_ucb.Hyperparams(regularisation=0.5)
    after = walked(method, method.start(jax.random.key(0), hyperparams), hyperparams)
    rows = phi[np.array(WALK.state) * ACTIONS + np.array(WALK.action)]
    precision = 0.5 * np.eye(DIMENSION) + rows.T @ rows
    grown = np.linalg.slogdet(precision)[1] - DIMENSION * log(0.5)
    assert after.held.growth == pytest.approx(grown, rel=1e-4)
    np.testing.assert_allclose(after.held.fit.covariance, phi @ np.linalg.solve(precision, phi.T), atol=1e-5)
    assert bool(method.due(after, hyperparams))  # nothing was planned yet
    planned = after._replace(held=after.held._replace(switches=jnp.int32(1)))
    for ratio, due in ((np.exp(grown) * 1.01, False), (np.exp(grown) / 1.01, True)):
        assert bool(method.due(planned, hyperparams.replace(ratio=ratio))) == due


def test_ucrl2_vtr_regresses_values_on_what_the_mixture_says():
    phi, bias = RNG.normal(size=(STATES, ACTIONS, STATES, DIMENSION)), np.array([-3.0, 0.0, -1.0])
    method = ucrl2_vtr.method_of(WORLD, jnp.asarray(phi, float))
    hyperparams = ucrl2_vtr.Hyperparams(regularisation=0.5)
    held = ucrl2_vtr.Held(Plan(jnp.zeros((3, 2)), jnp.float32(bias), jnp.ones(())), jnp.zeros(()), jnp.int32(1))
    start = method.start(jax.random.key(0), hyperparams)._replace(held=held)
    after = walked(method, start, hyperparams)
    value = bias + 1.5  # between -1.5 and 1.5
    x = np.einsum("satd,t->sad", phi, value)[np.array(WALK.state), np.array(WALK.action)]
    precision = 0.5 * np.eye(DIMENSION) + x.T @ x
    np.testing.assert_allclose(
        after.counts.fit.value, np.linalg.solve(precision, x.T @ value[np.array(WALK.next_state)]), atol=1e-4
    )
    grown = np.linalg.slogdet(precision)[1] - DIMENSION * log(0.5)
    assert after.held.growth == pytest.approx(grown, rel=1e-4)


def test_ucrl2_vtr_hopes_for_the_best_of_the_ellipsoid():
    """No point of the ellipsoid promises more, and the one that the Lagrangian gives promises it."""
    phi, bias = RNG.normal(size=(STATES, ACTIONS, STATES, DIMENSION)), np.array([-3.0, 0.0, -1.0])
    root = RNG.normal(size=(DIMENSION, DIMENSION))
    centre, covariance = RNG.normal(size=DIMENSION) / 9, root @ root.T / 400
    hyperparams = ucrl2_vtr.Hyperparams(0.1, 2.0, 0.5, 4.0, scale=0.1, pseudo_reward=1.0)
    following = jnp.asarray(FOLLOWING, float)

    @jax.jit
    def look_ahead():
        fit = Fit(jnp.asarray(centre, float), jnp.asarray(covariance, float))
        seen = Targets(Counts(following, jnp.asarray(REWARD, float), following.sum(-1)), fit)
        return ucrl2_vtr.look_ahead_of(seen, jnp.asarray(phi, float), hyperparams)(jnp.float32(bias))

    beta = 0.1 * (2 * sqrt(4 * log((4 + FOLLOWING.sum() * 4) / (0.1 * 4))) + 2 * 0.5)
    reward = (REWARD + 1) / (FOLLOWING.sum(-1) + 1)
    predicted = np.array(look_ahead()) - reward + 1.5  # of the centred bias, as the largest is 0
    x = np.einsum("satd,t->sad", phi, bias + 1.5).reshape(6, DIMENSION)
    directions = RNG.normal(size=(20_000, DIMENSION))
    points = (
        centre + beta * (directions / np.linalg.norm(directions, axis=1)[:, None]) @ np.linalg.cholesky(covariance).T
    )
    best = x @ centre + beta * np.sqrt(np.einsum("nd,de,ne->n", x, covariance, x))
    assert ((x @ points.T).max(1) <= best + 1e-6).all()
    theta = centre + beta * (x @ covariance) / np.sqrt(np.einsum("nd,de,ne->n", x, covariance, x))[:, None]
    np.testing.assert_allclose((theta * x).sum(1), best)
    np.testing.assert_allclose(predicted.ravel(), np.clip(best, -1.5, 1.5), atol=2e-5)
    assert (np.abs(best) < 1.5).any()
    assert (best > 1.5).any()


def test_theories_at_numbers_computed_by_hand():
    ours = lscvi_ucb.in_theory(10_000, 8, 3.0, 0.2)
    assert ours.discount == pytest.approx(1 - sqrt(log(10_000)) / 100)
    assert ours.max_span == 6
    assert ours.beta == pytest.approx(6 * 8 * sqrt(log(8 * 10_000 / 0.2)))
    ours = fopo.in_theory(10_000, 8, 3.0, 0.2, constant=0.5)
    assert ours.beta == pytest.approx((0.5 * 3 * 8) ** 2 * log(50_000))
    assert ours.max_span == 3


@pytest.mark.parametrize("name", ["fopo", "lscvi_ucb"])
def test_it_finds_the_way_up_the_river(name):
    """All of 4 seeds hold the optimal policy, always right, after 10,000 steps in a random basis of pairs."""
    env, env_params = make("average/river_swim")
    chosen = get_agent(name)
    agent = vmap(chosen.make(env, env_params, chosen.Config(num_steps=10_000, steps_per_check=5, features="rotated")))
    run = jax.jit(lambda keys: agent.step(agent.init(keys, chosen.Hyperparams())))
    state, metrics = run(jax.random.split(jax.random.key(0), 4))
    assert (state.memory.held.plan.action_value.argmax(-1) == 1).all()
    assert (metrics["regret"] < metrics["gain"] * 10_000 / 4).all()


@pytest.mark.parametrize("name", ["fopo", "lscvi_ucb", "ucrl2_vtr"])
def test_features_are_checked(name):
    env, env_params = make("average/river_swim")
    with pytest.raises(ValueError, match="no features 'onehot'; did you mean 'one_hot'"):
        get_agent(name).make(env, env_params, get_agent(name).Config(features="onehot"))
