"""Proxies: the bound on random tables, where it is met with equality, and divergences against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.distances import least_improvement, least_regularisation, proxy_correlation
from jaxreward.mdp import TabularMDP, discounted_occupancy, expected_reward, occupancy_divergence, tabular_mdp

S, A, GAMMA, TABLES = 4, 3, 0.8, 1_000
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module", autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def bandit(true):
    """One state that goes on for ever: an occupancy is a policy."""
    return tabular_mdp(np.ones((1, len(true), 1)), np.asarray(true)[None, :, None])


@pytest.fixture(scope="module")
def tables():
    """Random MDPs, proxies, policies and references, and what the functions say of them, all at once."""
    dirichlet = lambda *shape: RNG.dirichlet(np.ones(shape[-1]), (TABLES, *shape[:-1]))  # noqa: E731
    true, noise = RNG.normal(size=(2, TABLES, S, A, S))
    proxy = true + RNG.uniform(0, 2, (TABLES, 1, 1, 1)) * noise
    mdps = TabularMDP(dirichlet(S, A, S), true, dirichlet(S), np.zeros((TABLES, S), bool))
    given = jax.tree.map(jnp.asarray, (mdps, proxy, dirichlet(S, A), dirichlet(S, A)))

    @jax.jit
    @jax.vmap
    def told(mdp, proxy, policy, reference):
        occupancies = [discounted_occupancy(mdp, each, GAMMA) * (1 - GAMMA) for each in (policy, reference)]
        rewards = [expected_reward(mdp._replace(reward=reward)) for reward in (mdp.reward, proxy)]
        found = least_improvement(mdp, proxy, policy, reference, GAMMA)
        numbers = [fn(mdp, proxy, reference, GAMMA) for fn in (proxy_correlation, least_regularisation)]
        return occupancies, rewards, found, numbers

    return jax.tree.map(np.asarray, told(*given))


def test_no_policy_gains_less_than_the_bound(tables):
    _, _, found, (correlation, _) = tables
    assert (correlation > 0).mean() > 0.9
    assert (found.gained - found.least > -1e-9).all()
    assert np.isneginf(found.least[correlation <= 0]).all()
    finite = found.least[correlation > 0]
    assert ((found.gained[correlation > 0] - finite) < 0.5).any()  # nor is it empty
    assert (found.gained < 0).mean() > 0.2


def test_correlations_and_deviations_are_numpys(tables):
    (policy, reference), rewards, found, (correlation, strength) = tables
    for i in range(20):
        covariance = np.cov(*(reward[i].ravel() for reward in rewards), aweights=reference[i].ravel(), ddof=0)
        expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        np.testing.assert_allclose(correlation[i], expected, rtol=1e-9)
        own = np.sqrt(covariance[1, 1] * (1 - expected**2)) if expected > 0 else np.inf
        np.testing.assert_allclose(strength[i], own, rtol=1e-9)
        true, proxy = (((policy[i] - reference[i]) * reward[i]).sum() for reward in rewards)
        np.testing.assert_allclose(found.gained[i], true / np.sqrt(covariance[0, 0]), rtol=1e-9)
        chi2 = (policy[i] ** 2 / reference[i]).sum() - 1
        least = (proxy / np.sqrt(covariance[1, 1]) - np.sqrt((1 - expected**2) * chi2)) / expected
        np.testing.assert_allclose(found.least[i], least if expected > 0 else -np.inf, rtol=1e-9)


def test_divergences_are_their_sums(tables):
    policies, references = tables[0]
    every = lambda p, q: {kind: occupancy_divergence(kind, 3 * p, q) for kind in ("kl", "chi2", "sqrt_chi2", "tv")}  # noqa: E731
    found = jax.tree.map(np.asarray, jax.jit(jax.vmap(every))(policies, references))
    ratio = policies / references
    each = {"kl": policies * np.log(ratio), "chi2": policies * (ratio - 1), "tv": np.abs(policies - references) / 2}
    for kind, parts in each.items():
        np.testing.assert_allclose(found[kind], parts.sum((1, 2)), rtol=1e-9, err_msg=kind)
    np.testing.assert_allclose(found["sqrt_chi2"] ** 2, found["chi2"], rtol=1e-9)
    same, nowhere = jnp.full((1, 2), 0.5), jnp.array([[1.0, 0.0]])
    root = lambda p: occupancy_divergence("sqrt_chi2", p, same)  # noqa: E731
    slope, apart = jax.jit(lambda p, q: (jax.grad(root)(p), every(p, q)))(same, nowhere)
    assert np.isfinite(slope).all()
    assert np.isposinf(apart["kl"])
    assert apart["tv"] == 0.5
    with pytest.raises(ValueError, match="did you mean 'chi2'"):
        occupancy_divergence("chi", same, same)


def test_the_bound_is_met_where_a_policy_follows_what_the_proxy_adds():
    """With `p = q (1 + t e)`, `e` what of the proxy is not correlated with the true reward."""
    reference = RNG.dirichlet(np.ones(6))
    true, noise = RNG.normal(size=(2, 6))
    off = noise - reference @ noise
    centred = true - reference @ true
    off = off - (reference @ (off * centred)) / (reference @ centred**2) * centred
    proxy = (2 * true + off)[None, :, None]
    policies = [reference * (1 + sign * 0.9 / np.abs(off).max() * off) for sign in (1, -1)]
    judged = jax.jit(jax.vmap(lambda policy: least_improvement(bandit_mdp, proxy, policy, reference[None], GAMMA)))
    bandit_mdp = bandit(true)
    found = judged(np.stack(policies)[:, None])
    np.testing.assert_allclose(found.gained, 0, atol=1e-9)
    np.testing.assert_allclose(found.least[0], 0, atol=1e-9)
    assert found.least[1] < -0.1


def test_a_reward_that_does_not_vary_is_no_proxy():
    constant = jnp.full((1, 3, 1), 0.1)
    mdp, uniform = bandit([0.0, 1.0, 2.0]), np.full((1, 3), 1 / 3)
    told = jax.jit(
        lambda proxy: (
            proxy_correlation(mdp, proxy, uniform, GAMMA),
            least_improvement(mdp, proxy, uniform, uniform, GAMMA),
        )
    )
    correlation, found = told(constant)
    assert correlation == 0
    assert np.isneginf(found.least)


def test_a_multiple_of_the_true_reward_loses_nothing_but_where_the_reference_never_goes():
    """In single precision, where the correlation of two such rewards may come out above 1."""
    with jax.enable_x64(False):
        draws, one = RNG.normal(size=(64, 1, 12, 1)).astype(np.float32), bandit(np.zeros(12, np.float32))
        uniform, sure = np.full((1, 12), 1 / 12, np.float32), np.eye(12, dtype=np.float32)[:1]
        ask = lambda reward, policy, reference: (  # noqa: E731
            least_regularisation(one._replace(reward=reward), 2 * reward, reference, GAMMA),
            least_improvement(one._replace(reward=reward), 2 * reward, policy, reference, GAMMA),
        )
        on = jax.jit(jax.vmap(ask, (0, None, None)))
        strength, found = on(draws, sure, uniform)
        _, away = on(draws, uniform, sure)
    assert (strength < 2e-3).all()
    np.testing.assert_allclose(found.least, found.gained, atol=5e-3)
    assert np.isneginf(away.least).all()
