"""Soft actor-critic: losses in numpy, the soft-optimal policy, the temperature, the bootstrap."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from jaxreward.agents.baselines.sac import SAC, Config, Hyperparams, networks
from jaxreward.learning.n_step import Batch

LOSS = {"temperature": 0.3, "entropy_per_dimension": -0.7, "entropy_share": 0.4, "discount": 0.9, "target_step": 0.2}
SPACES = {"box": spaces.Box(np.array([-1.0, 0.0]), np.array([3.0, 0.5]), (2,)), "discrete": spaces.Discrete(3)}
SIZE, FEATURES = 5, 3


def random_batch(kind):
    """A batch, and noise for it; the second transition is a termination."""
    rng = np.random.default_rng(1)
    act = rng.uniform([-1, 0], [3, 0.5], (SIZE, 2)) if kind == "box" else rng.integers(0, 3, SIZE)
    discount = np.where(np.arange(SIZE) == 1, 0, 0.9)
    see = lambda: rng.normal(size=(SIZE, FEATURES))  # noqa: E731
    batch = Batch(see(), act, rng.normal(size=SIZE), see(), discount, np.ones(SIZE))
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.int32 if x.dtype.kind == "i" else jnp.float32), batch)


@cache
def computed(kind):
    """One update and all that it is made of, in one program; float64 arrays."""
    algorithm = SAC(*networks(SPACES[kind], Config(layers=(4,), activation="tanh"), "sac"))
    batch, hyperparams = random_batch(kind), Hyperparams(**LOSS)

    @jax.jit
    def program(key):
        learner = algorithm.start(key, batch.observation, hyperparams)
        # Further apart than they start, so that a mistaken part shows.
        moved = jax.tree.map(lambda x: x + 0.3 * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), learner)
        learner = learner._replace(params=moved.params._replace(log_temperature=learner.params.log_temperature))
        noise = algorithm.noise(key, (2, SIZE))
        value = algorithm.soft_value(learner, batch.next_observation, noise[1])
        target = algorithm.target(learner, batch, value)
        gradient, metrics = jax.grad(algorithm.loss, has_aux=True)(learner.params, hyperparams, batch, target, noise[0])
        after = algorithm.update(learner, hyperparams, batch, key)
        return learner, noise, target, gradient, metrics, after

    doubled = lambda x: np.asarray(x, np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else np.asarray(x)  # noqa: E731
    return jax.tree.map(doubled, (batch, *program(jax.random.key(3))))


def mlp(params, x):
    layers = params["params"]
    hidden = layers["Torso_0"]["Dense_0"]
    x = np.tanh(x @ hidden["kernel"] + hidden["bias"])
    return x @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"]


def worth(critics, read):
    """The two critics, `[2, B, values]`."""
    return np.stack([mlp(jax.tree.map(lambda x: x[k], critics), read) for k in range(2)])


def expected(kind, policy, critics, features, noise):
    """The smaller value of what the policy does, and its entropy."""
    outputs = mlp(policy, features)
    if kind == "discrete":
        probability = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
        smaller = worth(critics, features).min(0)
        return (probability * smaller).sum(-1), -(probability * np.log(probability)).sum(-1)
    mean, log_std = np.split(outputs, 2, -1)
    action = np.tanh(mean + np.exp(log_std) * noise)
    density = np.exp(-(noise**2) / 2 - log_std) / np.sqrt(2 * np.pi) / (1 - action**2)
    return worth(critics, np.concatenate([features, action], -1))[..., 0].min(0), -np.log(density).sum(-1)


def losses(kind, params, batch, target, noise, parts=(True, True, True)):
    """The losses of the critics, the policy and the temperature."""
    if kind == "box":
        low, high = SPACES[kind].low, SPACES[kind].high
        unit = 2 * (batch.action - low) / (high - low) - 1
        taken = worth(params.critics, np.concatenate([batch.observation, unit], -1))[..., 0]
    else:
        taken = worth(params.critics, batch.observation)[:, np.arange(SIZE), batch.action]
    value, entropy = expected(kind, params.policy, params.critics, batch.observation, noise)
    heat = np.exp(params.log_temperature)
    wanted = -0.7 * 2 if kind == "box" else 0.4 * np.log(3)
    return (
        0.5 * np.square(taken - target).mean(1).sum(),
        -(value + heat * entropy).mean(),
        heat * (entropy.mean() - wanted),
    )


@pytest.mark.parametrize("kind", SPACES)
def test_targets_and_losses_equal_those_in_numpy(kind):
    batch, learner, noise, target, _, metrics, _ = computed(kind)
    value, entropy = expected(kind, learner.params.policy, learner.target, batch.next_observation, noise[1])
    soft = value + 0.3 * entropy
    by_hand = batch.reward + np.where(np.arange(SIZE) == 1, 0, 0.9 * soft)
    np.testing.assert_allclose(target, by_hand, rtol=1e-5, atol=1e-5)
    critic_loss, policy_loss, _ = losses(kind, learner.params, batch, target, noise[0])
    np.testing.assert_allclose(metrics["loss/critics"], critic_loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/policy"], policy_loss, rtol=1e-4, atol=1e-5)
    now = expected(kind, learner.params.policy, learner.params.critics, batch.observation, noise[0])[1].mean()
    np.testing.assert_allclose(metrics["policy/entropy"], now, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["policy/temperature"], 0.3, rtol=1e-6)


@pytest.mark.parametrize("kind", SPACES)
def test_each_loss_has_its_gradient_in_its_own_part(kind):
    """Against finite differences in double precision, of the last layer's bias of each part."""
    batch, learner, noise, target, gradient, _, _ = computed(kind)
    for part, name in enumerate(("critics", "policy", "log_temperature")):
        own, slope = getattr(learner.params, name), getattr(gradient, name)
        place = lambda tree: tree if name == "log_temperature" else tree["params"]["Dense_0"]["bias"]  # noqa: E731
        for where in np.ndindex(np.shape(place(own))):
            sides = []
            for step in (1e-6, -1e-6):
                moved = jax.tree.map(np.array, own)
                if name == "log_temperature":
                    moved = moved + step
                else:
                    place(moved)[where] += step
                sides.append(losses(kind, learner.params._replace(**{name: moved}), batch, target, noise[0])[part])
            difference = (sides[0] - sides[1]) / 2e-6
            np.testing.assert_allclose(place(slope)[where], difference, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", SPACES)
def test_an_update_is_a_step_of_adam_and_the_targets_follow(kind):
    """Adam's first step is its step size against the sign of the gradient, but for its epsilon."""
    _, learner, _, _, _, _, (after, _) = computed(kind)
    step = jax.tree.map(lambda new, old: np.abs(new - old).max(), after.params, learner.params)
    assert max(jax.tree.leaves(step)) == pytest.approx(3e-4, rel=1e-2)
    follow = lambda old, new: old + 0.2 * (new - old)  # noqa: E731
    expected_target = jax.tree.map(follow, learner.target, after.params.critics)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), after.target, expected_target)
    assert after.rate == 0
