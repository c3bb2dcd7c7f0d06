"""The contract of a `Reward`, its lifting from functions, and what is read off its memory and params."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import Transition, markov
from jaxreward.reward import (
    AgentDiscount,
    Components,
    bind_discount,
    components,
    environment_reward,
    mean_over_environments,
)

KEY = jax.random.key(0)
TRANSITION = Transition(
    jnp.asarray([1.0, 2.0]),
    jnp.asarray(1),
    jnp.asarray(3.0),
    jnp.asarray([4.0, 5.0]),
    jnp.asarray(False),
    jnp.asarray(True),
)


def value(reward, transition=TRANSITION, params=None):
    params = reward.init(KEY) if params is None else params
    return reward.step(params, reward.reset(params), transition)[1]


def test_a_function_of_a_transition_is_a_reward_without_params_and_memory():
    reward = markov(lambda t: t.observation[0] - t.next_observation[1])
    assert reward.init(KEY) == ()
    assert reward.reset(()) == ()
    memory, got = reward.step((), (), TRANSITION)
    assert (memory, got.dtype, float(got)) == ((), jnp.float32, -4.0)


def test_a_function_of_params_too_gets_them():
    reward = markov(lambda params, t: params["w"] * t.reward, init={"w": 2})
    params = reward.init(KEY)
    assert params["w"].dtype == jnp.float32
    assert value(reward) == 6.0
    assert value(reward, params={"w": jnp.asarray(-1.0)}) == -3.0


def test_params_may_be_drawn_with_a_key():
    reward = markov(lambda params, t: params, init=lambda key: jax.random.normal(key))
    assert reward.init(KEY) == jax.random.normal(KEY)
    assert reward.init(KEY) != reward.init(jax.random.key(1))


def test_a_bool_or_an_integer_becomes_a_number():
    assert value(markov(lambda t: t.truncated)).dtype == jnp.float32
    assert value(markov(lambda t: t.action)) == 1.0
    assert value(markov(lambda t: 2)).dtype == jnp.float32


def test_only_arguments_without_default_count():
    assert value(markov(lambda t, scale=2.0: scale * t.reward)) == 6.0


@pytest.mark.parametrize(("fn", "count"), [(lambda: 0.0, 0), (lambda a, b, c: 0.0, 3)])
def test_other_functions_are_refused_with_what_was_given_and_expected(fn, count):
    with pytest.raises(TypeError, match=rf"fn\(transition\) or fn\(params, transition\).* takes {count} positional"):
        markov(fn)


def test_the_environment_reward_is_the_transitions():
    assert value(environment_reward()) == 3.0


def test_a_reward_is_differentiable_and_batches_over_its_params():
    reward = markov(lambda w, t: (w * t.observation).sum() ** 2, init=jnp.asarray([1.0, -1.0]))
    gradient = jax.grad(lambda w: value(reward, params=w))(jnp.asarray([1.0, -1.0]))
    np.testing.assert_allclose(gradient, [-2.0, -4.0])  # 2 (w.x) x with w.x = -1
    batch = jnp.asarray([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda w: value(reward, params=w)))(batch), [1.0, 4.0, 36.0])


def test_binding_sets_each_agent_discount_and_nothing_else():
    params = {"a": AgentDiscount(jnp.asarray(0.5)), "b": (jnp.asarray(0.5), [AgentDiscount(jnp.asarray(0.1))]), "c": ()}
    bound = bind_discount(params, jnp.asarray(0.9))
    np.testing.assert_allclose(jax.tree.leaves(bound), [0.9, 0.5, 0.9])
    assert jax.tree.structure(bound) == jax.tree.structure(params)


def test_binding_batches_over_discounts():
    discounts = jnp.asarray([0.1, 0.7])
    bound = jax.jit(jax.vmap(lambda d: bind_discount({"a": AgentDiscount(jnp.asarray(0.0))}, d)["a"].value))(discounts)
    np.testing.assert_array_equal(bound, discounts)


def test_components_are_found_anywhere_and_named_by_their_path():
    inner = Components({"x": 1.0}, {"x": ()})
    outer = Components({"a": 2.0, "b": 3.0}, {"a": (inner, jnp.zeros(2)), "b": ()})
    assert components(((), {"deep": outer})) == {"a": 2.0, "b": 3.0, "a/x": 1.0}
    assert components(()) == {}


def test_the_mean_over_environments_is_of_the_named_axis_or_nothing_at_all():
    x = jnp.asarray([1.0, 2.0, 6.0])
    np.testing.assert_array_equal(jax.vmap(mean_over_environments, axis_name="environments")(x), [3.0, 3.0, 3.0])
    np.testing.assert_array_equal(jax.vmap(mean_over_environments)(x), x)
