"""The criterion of inverse soft Q-learning in exact expectation, on tabular games whose players are an equilibrium."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreward.agents.mamql.parts.criterion import DIVERGENCES, Judged, criterion, judged, mean, phi
from jaxreward.distances import starc_distance
from jaxreward.envs.games.markov_game import induced, random_game
from jaxreward.envs.games.soft_equilibrium import soft_equilibrium
from jaxreward.mdp import discounted_occupancy
from jaxreward.mdp.bellman import expected_reward
from jaxreward.mdp.soft import soft_max, soft_policy

DISCOUNT, ALPHAS, SEEDS = 0.9, (0.5, 1.0, 10.0, 100.0), 3


def told(values, mdp):
    """What a table of action values says of all pairs of state and action, what follows in expectation."""
    value = soft_max(values, 1.0)
    following = DISCOUNT * mdp.transition @ value
    every = jnp.broadcast_to(value[:, None], values.shape)
    return Judged(values.ravel(), every.ravel(), following.ravel())


def occupied(mdp, policy):
    return (1 - DISCOUNT) * discounted_occupancy(mdp, policy, DISCOUNT).ravel()


def loss(values, mdp, shown, alpha, states="start", divergence="chi2"):
    """The criterion, its value term from where episodes start, from demonstrations, or from the policy itself."""
    here = told(values, mdp)
    if states == "start":
        lost = (1 - DISCOUNT) * mdp.start @ soft_max(values, 1.0)
    else:
        weight = shown if states == "expert" else jax.lax.stop_gradient(occupied(mdp, soft_policy(values, 1.0)))
        lost = mean(here.lost, weight)
    return criterion(here, lost, divergence, alpha, shown)


def game_of(seed):
    """Each agent's MDP while the others play the equilibrium, and its policy in it, leaves `[2, ...]`."""
    game = random_game(jax.random.key(seed))
    found = soft_equilibrium(game, DISCOUNT, 1.0)
    mdps = [induced(game, found.policy, agent) for agent in range(2)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *mdps), found


def fitted(mdp, shown, alpha):
    """The action values of least loss, by Adam."""
    optimiser = optax.adam(optax.cosine_decay_schedule(0.02, 6_000))

    def update(now, _):
        values, state = now
        updates, state = optimiser.update(jax.grad(loss)(values, mdp, shown, alpha), state)
        return (optax.apply_updates(values, updates), state), None

    start = jnp.zeros(mdp.transition.shape[:2])
    return jax.lax.scan(update, (start, optimiser.init(start)), length=6_000)[0][0]


@pytest.fixture(scope="module")
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def games(double):
    """Three games, leaves `[3, 2, ...]`: MDPs and policies of agents, and how often each pair of theirs is met."""
    mdps, found = jax.jit(jax.vmap(game_of))(jnp.arange(SEEDS))
    assert found.residual.max() < 1e-11
    shown = jax.jit(jax.vmap(jax.vmap(occupied)))(mdps, found.policy)
    return mdps, found.policy, shown


@pytest.fixture(scope="module")
def fits(games):
    """The minimisers, by seed, agent and alpha, how far they are from what was shown, and their reward from its."""
    mdps, policy, shown = games

    def one(mdp, policy, shown, alpha):
        values = fitted(mdp, shown, alpha)
        logs = jax.nn.log_softmax(values)
        divergence = shown @ (jnp.log(policy) - logs).ravel()
        reward = told(values, mdp).reward.reshape(values.shape)
        distance = starc_distance(mdp, jnp.broadcast_to(reward[..., None], mdp.transition.shape), DISCOUNT)
        raw = jnp.corrcoef(reward.ravel(), expected_reward(mdp).ravel())[0, 1]
        left = jax.grad(loss)(values, mdp, shown, alpha)
        return values, divergence, distance, raw, jnp.abs(left).max()

    over_alphas = jax.vmap(one, (None, None, None, 0))
    return jax.jit(jax.vmap(jax.vmap(over_alphas, (0, 0, 0, None)), (0, 0, 0, None)))(
        mdps, policy, shown, jnp.array(ALPHAS)
    )


def test_larger_alphas_come_nearer_to_what_was_shown(fits):
    """Divergences by alpha are .023 to .032, .010 to .014, 2.0e-4 to 2.6e-4 and about 2e-6: they fall as its square."""
    _, divergence, _, _, gradient = fits
    assert gradient.max() < 2e-4
    assert (np.diff(divergence, axis=-1) < 0).all()
    np.testing.assert_array_equal(np.round(divergence[..., 1], 2), 0.01)
    assert (divergence[..., 2] < 5e-4).all()
    np.testing.assert_allclose(divergence[..., 2] / divergence[..., 3], 100, rtol=0.15)


def test_the_reward_comes_back_but_for_shaping(fits):
    """STARC distances go to 0 with alpha. Raw correlations don't go to 1, as no demonstrations tell shaping."""
    _, _, distance, raw, _ = fits
    assert (np.diff(distance, axis=-1) < 0).all()
    assert (distance[..., 2] < 0.01).all()
    assert (distance[..., 3] < 2e-3).all()
    assert ((raw > 0.4) & (raw < 0.9)).all()


def test_at_the_least_a_reward_is_how_much_too_rare_the_policy_is(games, fits):
    """Where the gradient is zero, `r = 2 alpha (1 - rho / rho_shown)` with the policy's occupancy: below 2 alpha."""
    mdps, _, shown = games
    values = fits[0]

    def both(mdp, shown, values, alpha):
        rho = occupied(mdp, soft_policy(values, 1.0))
        return told(values, mdp).reward, 2 * alpha * (1 - rho / shown)

    every = jax.vmap(jax.vmap(jax.vmap(both, (None, None, 0, 0)), (0, 0, 0, None)), (0, 0, 0, None))
    found, expected = jax.jit(every)(mdps, shown, values, jnp.array(ALPHAS))
    np.testing.assert_allclose(found[:, :, :2], expected[:, :, :2], atol=1e-3)
    assert (np.asarray(found).max(-1) < 2 * np.array(ALPHAS)).all()


def drawn(games, seed):
    """An agent's MDP, its pairs' shares, and action values at random."""
    mdps, _, shown = games
    mdp = jax.tree.map(lambda leaf: leaf[seed, 1], mdps)
    return jax.random.normal(jax.random.key(seed), mdp.transition.shape[:2]), mdp, shown[seed, 1]


@pytest.mark.parametrize("alpha", [0.5, 10.0, 1e4])
def test_the_value_term_is_the_same_wherever_it_is_taken(games, alpha):
    """Means over what any policy does from the start on telescope; so do their gradients."""
    for seed in range(SEEDS):
        of = [jax.value_and_grad(loss)(*drawn(games, seed), alpha, states) for states in ("start", "expert", "policy")]
        for value, slope in of[1:]:
            np.testing.assert_allclose(value, of[0][0], rtol=1e-10)
            np.testing.assert_allclose(slope, of[0][1], atol=1e-12)


def test_with_demonstrated_states_it_is_likelihood_and_the_size_of_rewards(games):
    values, mdp, shown = drawn(games, 0)
    here = told(values, mdp)
    likelihood = -shown @ jax.nn.log_softmax(values).ravel()
    np.testing.assert_allclose(mean(here.surprise, shown), likelihood, rtol=1e-12)
    expected = likelihood + shown @ jnp.square(here.reward) / (4 * 2.5)
    np.testing.assert_allclose(loss(values, mdp, shown, 2.5, "expert"), expected, rtol=1e-12)


def test_terms_by_hand():
    x = jnp.array([-0.5, 0.0, 1.0])
    np.testing.assert_allclose(phi("chi2", x, 2.0), [-0.5 - 0.25 / 8, 0, 1 - 1 / 8])
    np.testing.assert_allclose(phi("hellinger", x, 2.0), [-1, 0, 0.5])
    np.testing.assert_allclose(phi("js", x, 2.0), np.log(2 - np.exp(-np.asarray(x))))
    np.testing.assert_allclose(phi("kl", x, 2.0), [-np.exp(-0.5), -np.exp(-1), -np.exp(-2)])
    with pytest.raises(ValueError, match="no divergence 'chi'; did you mean 'chi2'"):
        phi("chi", x, 1.0)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_terms_are_concave_and_finite_everywhere(double, divergence):
    """Slopes, against finite differences, fall; also across where a term goes on as its tangent."""
    with jax.enable_x64(True):
        x = jnp.linspace(-20.0, 20.0, 4001) + 1e-4
        slope = jax.vmap(jax.grad(partial(phi, divergence)), (0, None))(x, 3.0)
        steps = (phi(divergence, x + 1e-6, 3.0) - phi(divergence, x - 1e-6, 3.0)) / 2e-6
    np.testing.assert_allclose(slope, steps, rtol=1e-4, atol=1e-7)
    assert (np.diff(slope) < 1e-12).all()
    assert np.isfinite(slope).all()
    assert divergence == "chi2" or (slope > 0).all()


def test_gradients_of_one_state_in_closed_form():
    """Without a discount a reward is a value: each is pulled up by its share times the slope, down by the softmax."""
    with jax.enable_x64(True):
        shares, values = jnp.array([0.2, 0.5, 0.3]), jnp.array([0.1, -0.2, 0.3])
        for divergence in DIVERGENCES:

            def total(values, divergence=divergence):
                each = jnp.broadcast_to(soft_max(values, 1.0), (3,))
                here = Judged(values, each, jnp.zeros(3))
                return criterion(here, soft_max(values, 1.0), divergence, 2.0, shares)

            slopes = jax.vmap(jax.grad(partial(phi, divergence)), (0, None))(values, 2.0)
            np.testing.assert_allclose(jax.grad(total)(values), jax.nn.softmax(values) - shares * slopes, rtol=1e-9)


def test_transitions_are_judged_agent_by_agent():
    """Two transitions of two agents with numbers by hand; behind a termination there is nothing."""
    values = jnp.array([[[1.0, 2.0], [0.0, 0.0]], [[3.0, 3.0], [-1.0, 1.0]]])
    action, over = jnp.array([[1, 0], [0, 1]]), jnp.array([False, True])
    found = jax.jit(judged)(values, action, 2 * values, over, 0.5, 2.0)
    soft = lambda *x: 2 * np.log(np.exp(np.array(x) / 2).sum())  # noqa: E731
    np.testing.assert_allclose(found.taken, [[2, 0], [3, 1]])
    np.testing.assert_allclose(found.value, [[soft(1, 2), soft(0, 0)], [soft(3, 3), soft(-1, 1)]], rtol=1e-6)
    np.testing.assert_allclose(found.following, [[soft(2, 4) / 2, soft(0, 0) / 2], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(found.reward, found.taken - found.following)
    chance = jax.nn.log_softmax(values / 2)
    np.testing.assert_allclose(found.surprise[0], -2 * np.array([chance[0, 0, 1], chance[0, 1, 0]]), rtol=1e-6)
