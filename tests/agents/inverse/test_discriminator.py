"""What a discriminator is made of, against closed forms, finite differences and NumPy's singular values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.baselines.parts.critics import MLP
from jaxreward.agents.inverse.parts.discriminator import (
    FORMS,
    between,
    beyond,
    cross_entropy,
    entropy,
    reward_of,
    slopes,
)
from jaxreward.agents.inverse.parts.spectral import first_vectors, spectral_norm, spectrally_normalised

EXPERT, POLICY = np.array([6, 3, 1, 2]), np.array([2, 2, 4, 2])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_best_discriminator_of_a_finite_problem_is_the_share_that_was_demonstrated(smoothing):
    """Gradient descent on a logit for each of four pairs, seen as often as counted."""
    seen = [jnp.asarray(np.repeat(np.arange(4), count)) for count in (EXPERT, POLICY)]
    scale = EXPERT.sum() / POLICY.sum()
    loss = lambda logits: cross_entropy(logits[seen[0]], logits[seen[1]], smoothing)  # noqa: E731
    step = lambda logits, _: (logits - 3 * jax.grad(loss)(logits), None)  # noqa: E731
    found = jax.jit(lambda: jax.lax.scan(step, jnp.zeros(4), None, 2_000)[0])()
    expected = (1 - smoothing) * EXPERT / (EXPERT + scale * POLICY)
    np.testing.assert_allclose(jax.nn.sigmoid(found), expected, atol=1e-4)


def test_rewards_are_the_logarithms_that_they_are_called_after():
    logit = jnp.linspace(-5, 5, 7)
    probability = 1 / (1 + np.exp(-np.asarray(logit, np.float64)))
    expected = {
        "positive": -np.log(1 - probability),
        "negative": np.log(probability),
        "logit": np.log(probability) - np.log(1 - probability),
    }
    assert set(expected) == set(FORMS)
    for form, values in expected.items():
        np.testing.assert_allclose(reward_of(logit, form), values, rtol=1e-4, atol=1e-6)
    surprise = -probability * np.log(probability) - (1 - probability) * np.log(1 - probability)
    np.testing.assert_allclose(entropy(logit), surprise, rtol=1e-4, atol=1e-6)


def test_a_linear_discriminator_is_penalised_for_the_norm_of_its_weights():
    """And the gradient of the penalty is known too: `2 (|w| - k) w / |w|`, or nothing below `k` if one-sided."""
    weights, x = jnp.array([3.0, 4.0]), jax.random.normal(jax.random.key(0), (6, 2))

    def penalty(weights, target, one_sided):
        return beyond(slopes(lambda x: x @ weights, x), target, one_sided).mean()

    value, gradient = jax.jit(jax.value_and_grad(penalty), static_argnums=2)(weights, 2.0, True)
    np.testing.assert_allclose(value, 9, rtol=1e-5)
    np.testing.assert_allclose(gradient, 2 * 3 * weights / 5, rtol=1e-5)
    below = jax.value_and_grad(penalty)
    np.testing.assert_array_equal(below(weights, 6.0, True)[1], 0)
    np.testing.assert_allclose(below(weights, 6.0, False)[0], 1, rtol=1e-5)
    np.testing.assert_allclose(below(weights, 6.0, False)[1], -2 * weights / 5, rtol=1e-5)


def test_slopes_of_a_network_are_those_of_finite_differences():
    with jax.enable_x64(True):
        network, x = MLP(1, (5,), jnp.tanh), jax.random.normal(jax.random.key(1), (3, 4))
        params = network.init(jax.random.key(0), x)
        logits = lambda x: network.apply(params, x)[..., 0]  # noqa: E731
        step = 1e-6 * jnp.eye(4)
        differences = jnp.stack([logits(x + e[None]) - logits(x - e[None]) for e in step], -1) / 2e-6
        np.testing.assert_allclose(slopes(logits, x), jnp.linalg.norm(differences, axis=-1), rtol=1e-7)
    np.testing.assert_array_equal(jax.grad(lambda w: slopes(lambda x: x @ w, jnp.ones((2, 3))).sum())(jnp.zeros(3)), 0)


def test_where_slopes_are_looked_at():
    key, expert, policy = jax.random.key(0), jnp.zeros((1_000, 2)), jnp.ones((1_000, 2))
    mixed = between("wgan", key, expert, policy, 5.0)
    np.testing.assert_allclose(mixed[:, 0], mixed[:, 1], rtol=1e-6)  # on the line between a row and another
    np.testing.assert_allclose(mixed.mean(), 0.5, atol=0.05)
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    for kind, middle in {"dragan": 0, "nagard": 1}.items():
        around = between(kind, key, expert, policy, 5.0)
        np.testing.assert_allclose(around.mean(), middle, atol=4 * 5 / np.sqrt(2_000))
        np.testing.assert_allclose(around.std(), 5, rtol=0.1)


def test_power_iteration_comes_to_the_largest_singular_value_of_each_layer():
    kernels = jax.random.normal(jax.random.key(0), (3, 6, 4))
    start = jax.random.normal(jax.random.key(1), (3, 4))
    norm, vector = jax.jit(spectral_norm, static_argnums=2)(kernels, start, 200)
    left, singular, right = np.linalg.svd(np.asarray(kernels))
    np.testing.assert_allclose(norm, singular[:, 0], rtol=1e-4)
    gradient = jax.grad(lambda k: spectral_norm(k, vector, 5)[0].sum())(kernels)
    outer = np.einsum("ni,no->nio", left[:, :, 0], right[:, 0])
    np.testing.assert_allclose(gradient, outer, atol=1e-3)


def test_hidden_layers_get_a_norm_of_one_and_the_last_is_left():
    network = MLP(1, (8, 8), jnp.tanh)
    params = jax.tree.map(lambda x: 3 * x, network.init(jax.random.key(0), jnp.zeros((1, 5))))
    vectors = first_vectors(jax.random.key(1), params)
    assert len(vectors) == 2
    step = lambda _, vectors: spectrally_normalised(params, vectors)[1]  # noqa: E731
    vectors = jax.jit(lambda vectors: jax.lax.fori_loop(0, 100, step, vectors))(vectors)
    normalised, _ = spectrally_normalised(params, vectors)
    inside = normalised["params"]["Torso_0"]
    for layer in inside.values():
        np.testing.assert_allclose(np.linalg.svd(layer["kernel"])[1][0], 1, rtol=1e-3)
    np.testing.assert_array_equal(normalised["params"]["Dense_0"]["kernel"], params["params"]["Dense_0"]["kernel"])
    assert spectrally_normalised(params, {})[0] is params
