"""Heads against closed forms and frequencies, and unrolling a memory against one episode at a time."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from scipy import stats

from jaxreward.learning.networks import ActorCritic, categorical_head, head_for, unroll

LEVEL = 1e-4  # of each statistical test, at fixed keys


def test_categorical_samples_are_as_frequent_as_the_softmax_says():
    head, draws = categorical_head(4), 40_000
    logits = jnp.asarray([1.0, -1.0, 0.0, 2.0])
    noise = head.noise(jax.random.key(0), (draws,))
    actions = jax.jit(head.sample)(jnp.broadcast_to(logits, (draws, 4)), noise)
    for action, probability in enumerate(np.exp(logits) / np.exp(logits).sum()):
        hits = int((actions == action).sum())
        assert stats.binomtest(hits, draws, float(probability)).pvalue > LEVEL
    # The same frequencies are another softmax's: the test can tell.
    assert stats.binomtest(int((actions == 3).sum()), draws, float(jax.nn.softmax(logits * 1.1)[3])).pvalue < LEVEL


def test_categorical_log_prob_and_mode():
    head, logits = head_for(spaces.Discrete(3)), jnp.asarray([0.3, 2.0, -1.0])
    expected = logits - np.log(np.exp(logits).sum())
    np.testing.assert_allclose(head.distribution(logits).log_prob(jnp.asarray(1)), expected[1], rtol=1e-6)
    assert head.distribution(logits).mode() == 1
    assert head.to_env(jnp.asarray(2)) == 2
    assert (head.size, head.free) == (3, 0)


BOX = spaces.Box(jnp.asarray([-2.0, 0.0, -jnp.inf]), jnp.asarray([2.0, 10.0, jnp.inf]), (3,))


def test_gaussian_log_prob_is_the_closed_form():
    head = head_for(spaces.Box(-1.0, 1.0, (2,)))
    mean, log_std, action = np.asarray([0.5, -1.0]), np.asarray([0.2, -0.7]), np.asarray([0.1, 3.0])
    outputs = jnp.asarray(np.concatenate([mean, log_std]), jnp.float32)
    assert (head.size, head.free) == (2, 2)
    distribution = head.distribution(outputs)
    expected = stats.norm(mean, np.exp(log_std)).logpdf(action).sum()
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(action, jnp.float32)), expected, rtol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), stats.norm(mean, np.exp(log_std)).entropy().sum(), rtol=1e-5)
    np.testing.assert_allclose(distribution.mode(), mean, rtol=1e-6)


def test_gaussian_sample_is_mean_plus_deviation_times_noise_in_any_batch():
    head = head_for(spaces.Box(-1.0, 1.0, (2,)))
    outputs = jax.random.normal(jax.random.key(0), (5, 4, 4))
    noise = head.noise(jax.random.key(1), (5, 4))
    assert noise.shape == (5, 4, 2)
    expected = outputs[..., :2] + np.exp(outputs[..., 2:]) * noise
    np.testing.assert_allclose(jax.jit(head.sample)(outputs, noise), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(head.sample)(outputs, noise), expected, rtol=1e-5)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_raw_actions_of_one_are_the_bounds_and_what_lies_beyond_is_clipped(batch):
    head = head_for(spaces.Box(jnp.asarray([-2.0, 0.0]), jnp.asarray([2.0, 10.0]), (2,)))
    for raw, expected in [(-1.0, [-2, 0]), (0.0, [0, 5]), (1.0, [2, 10]), (7.0, [2, 10]), (-7.0, [-2, 0])]:
        action = head.to_env(jnp.full((*batch, 2), raw))
        np.testing.assert_allclose(action, np.broadcast_to(np.asarray(expected, float), (*batch, 2)), rtol=1e-6)


def test_a_side_without_bounds_is_left_alone():
    head = head_for(BOX)
    np.testing.assert_allclose(head.to_env(jnp.asarray([0.5, 0.5, 7.0])), [1.0, 7.5, 7.0], rtol=1e-6)


@pytest.mark.parametrize("bound", [np.inf, float(np.finfo(np.float32).max)])
def test_a_box_of_endless_bounds_gives_finite_actions(bound):
    head = head_for(spaces.Box(-bound, bound, (1,)))
    assert np.isfinite(head.to_env(jnp.asarray([0.5]))).all()


def test_actions_get_the_shape_of_the_space():
    head = head_for(spaces.Box(-1.0, 1.0, (2, 3)))
    assert head.size == 6
    assert head.to_env(jnp.zeros((4, 6))).shape == (4, 2, 3)


def test_other_spaces_are_refused_with_what_is_supported():
    with pytest.raises(TypeError, match="Discrete and Box"):
        head_for(spaces.Dict({"a": spaces.Discrete(2)}))


FREE = ActorCritic(outputs=2, free=3, layers=(8,))
GRU = ActorCritic(outputs=3, layers=(8,), memory=5)
apply = jax.jit(GRU.apply)
unrolled = jax.jit(lambda *args: unroll(GRU.apply, *args))


def test_free_outputs_are_the_same_whatever_is_observed():
    params = FREE.init(jax.random.key(0), (), jnp.zeros((1, 4)))
    params["params"]["free_outputs"] = jnp.asarray([1.0, 2.0, 3.0])
    carry, outputs, value = FREE.apply(params, (), jax.random.normal(jax.random.key(1), (6, 4)))
    assert (carry, outputs.shape, value.shape) == ((), (6, 5), (6,))
    np.testing.assert_array_equal(outputs[:, 2:], np.broadcast_to(np.asarray([1.0, 2.0, 3.0]), (6, 3)))
    assert np.ptp(outputs[:, 0]) > 0


def gru_inputs():
    params = GRU.init(jax.random.key(0), GRU.initial_carry(2), jnp.zeros((2, 4)))
    features = jax.random.normal(jax.random.key(1), (9, 2, 4))
    carry = jax.random.normal(jax.random.key(2), (2, 5))
    return params, features, carry


def test_unrolling_with_resets_equals_unrolling_each_episode_by_itself():
    params, features, carry = gru_inputs()
    start = np.zeros((9, 2), bool)
    start[[3, 4, 7], 0] = True  # episodes of 3, 1, 3 and 2 steps beside one of 9 steps
    memories, outputs, values = unrolled(params, carry, features, jnp.asarray(start))

    def episode(environment, first, last, memory):
        expected = []
        for t in range(first, last):
            memory, out, value = apply(params, memory, features[t, environment])
            expected.append((memory, out, value))
        return [np.stack(x) for x in zip(*expected, strict=True)]

    for environment, bounds in [(0, (0, 3, 4, 7, 9)), (1, (0, 9))]:
        for first, last in pairwise(bounds):
            memory = carry[environment] if first == 0 else jnp.zeros(5)
            for got, expected in zip(
                (memories, outputs, values), episode(environment, first, last, memory), strict=True
            ):
                # The same float32 products, batched differently.
                np.testing.assert_allclose(got[first:last, environment], expected, rtol=1e-5, atol=1e-6)


def test_unrolling_depends_on_the_past_within_an_episode_and_not_across_its_start():
    params, features, carry = gru_inputs()
    start = jnp.zeros((9, 2), bool).at[4].set(True)
    values = lambda features: unrolled(params, carry, features, start)[2]  # noqa: E731
    changed = np.asarray(values(features) != values(features.at[1].add(1.0)))
    assert changed[1:4].all()
    assert not changed[0].any()
    assert not changed[4:].any()


def test_unrolling_without_memory_is_one_batched_pass():
    params = FREE.init(jax.random.key(0), (), jnp.zeros((1, 4)))
    features = jax.random.normal(jax.random.key(1), (7, 2, 4))
    _, outputs, values = unroll(FREE.apply, params, (), features, jnp.zeros((7, 2), bool))
    _, expected, expected_values = FREE.apply(params, (), features[3])
    np.testing.assert_allclose(outputs[3], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values[3], expected_values, rtol=1e-5, atol=1e-6)


def test_the_initial_memory_is_zeros_or_nothing():
    np.testing.assert_array_equal(GRU.initial_carry(3), jnp.zeros((3, 5)))
    assert GRU.initial_carry().shape == (5,)
    assert FREE.initial_carry(3) == ()
