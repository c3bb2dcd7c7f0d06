"""Measures of recovered rewards: what they don't see, and what they make of opposites, by enumeration and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.distances import cosine, linear_reward, recovery, regret_to_uniform
from jaxreward.distances.canonical import shaped
from jaxreward.mdp import deterministic_policies, garnet, policy_value, uniform_policy
from jaxreward.mdp.bellman import expected_reward

DISCOUNT = 0.8


@pytest.fixture(scope="module", autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def mdp():
    found = garnet(jax.random.key(0), 4, 3, 2)
    reward = jax.random.normal(jax.random.key(1), found.transition.shape)
    return found._replace(reward=reward)


def test_shaping_scale_and_chance_are_seen_by_raw_measures_alone(mdp):
    potential = jnp.array([3.0, -2.0, 1.0, 0.5])
    alike = 2 * shaped(mdp.reward, potential, DISCOUNT)
    alike = jnp.broadcast_to((mdp.transition * alike).sum(-1, keepdims=True), alike.shape)
    found = jax.jit(recovery)(mdp, alike, DISCOUNT)
    assert found.starc < 1e-9
    assert found.regret < 1e-9
    assert found.epic > 0.05
    assert min(found.pearson, found.spearman) > 0.05
    assert found.error > 0.1
    many = jax.vmap(recovery, (None, 0, None))(mdp, jnp.stack([mdp.reward, -mdp.reward, 0 * mdp.reward]), DISCOUNT)
    np.testing.assert_allclose(many.starc, [0, 2, 1], atol=1e-9)
    np.testing.assert_allclose(many.epic[:2], [0, 1], atol=1e-9)
    np.testing.assert_allclose(many.pearson[:2], [0, 1], atol=1e-7)
    np.testing.assert_allclose(many.spearman[:2], [0, 1], atol=1e-7)
    zero = jnp.square(expected_reward(mdp)).mean()
    np.testing.assert_allclose(many.error, [0, 4 * zero, zero], atol=1e-12)
    np.testing.assert_allclose(many.error_of_zero, zero)


def test_regret_in_units_of_acting_at_random_by_trying_every_policy(mdp):
    other = -mdp.reward
    policies = deterministic_policies(mdp)
    worth = jax.vmap(lambda reward, policy: mdp.start @ policy_value(mdp._replace(reward=reward), policy, DISCOUNT))
    by_both = [worth(jnp.broadcast_to(r, (len(policies), *r.shape)), policies) for r in (mdp.reward, other)]
    at_random = mdp.start @ policy_value(mdp, uniform_policy(mdp), DISCOUNT)
    best = by_both[0].max()
    expected = (best - by_both[0][by_both[1].argmax()]) / (best - at_random)
    assert expected > 1
    np.testing.assert_allclose(regret_to_uniform(mdp, other, DISCOUNT), expected, rtol=1e-9)
    halfway = mdp.reward.at[:2].multiply(-1.0)
    expected = (best - by_both[0][worth(jnp.broadcast_to(halfway, (81, 4, 3, 4)), policies).argmax()]) / (
        best - at_random
    )
    np.testing.assert_allclose(regret_to_uniform(mdp, halfway, DISCOUNT), expected, rtol=1e-9)
    assert regret_to_uniform(mdp._replace(reward=jnp.ones_like(mdp.reward)), other, DISCOUNT) == 0


@pytest.mark.parametrize("shaping", [0.0, 5.0])
def test_weights_of_features_are_found_whatever_the_shaping(mdp, shaping):
    """Transitions with a reward of two features; one of them has no part in it, and an episode ends at state 3."""
    state, _, following = (x.ravel() for x in np.indices((4, 3, 4)))
    features = jax.random.normal(jax.random.key(2), (len(state), 3))
    potential = shaping * jnp.array([1.0, -2.0, 3.0, 9.0])
    after = jnp.eye(4)[following] * (following != 3)[:, None]
    weights = jnp.array([2.0, -1.0, 0.0])
    reward = features @ weights + DISCOUNT * after @ potential - jnp.eye(4)[state] @ potential
    found = jax.jit(linear_reward)(reward, features, jnp.eye(4)[state], after, DISCOUNT)
    np.testing.assert_allclose(found.weights, weights, atol=1e-9)
    np.testing.assert_allclose(found.potential, potential, atol=1e-9)
    assert found.unexplained < 1e-12
    noise = jax.random.normal(jax.random.key(3), reward.shape) * jnp.sqrt(jnp.square(reward).mean())
    noisy = linear_reward(reward + noise, features, jnp.eye(4)[state], after, DISCOUNT)
    assert 0.2 < noisy.unexplained < 0.6  # half of it is noise, of which 7 of 48 dimensions are fitted
    plain = jnp.linalg.lstsq(features, reward)[0]
    assert (cosine(plain, weights) < 0.999) == bool(shaping)


def test_cosines():
    np.testing.assert_allclose(cosine(jnp.array([3.0, 4.0]), jnp.array([6.0, 8.0])), 1)
    np.testing.assert_allclose(cosine(jnp.array([3.0, 4.0]), jnp.array([-3.0, 4.0])), 7 / 25)
    assert jnp.isnan(cosine(jnp.zeros(2), jnp.ones(2)))
