"""The contract of a `Reward`, its lifting from functions, and what is read off its memory and params."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import Reward, Transition, markov
from jaxreward.names import path_name
from jaxreward.reward import (
    AgentDiscount,
    Components,
    Shared,
    bind_discount,
    components,
    environment_reward,
    episode_rewards,
    of_all_environments,
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
    assert components([outer, Components({"a": 5.0}, {"a": ()})])["a"] == 7.0  # side by side they are added up
    assert components(()) == {}


def test_what_all_environments_bring_is_of_the_named_axis_and_says_whose_step_counts():
    def bring(x, valid):
        return of_all_environments({"x": x}, TRANSITION._replace(valid=valid))

    x, valid = jnp.asarray([1.0, jnp.nan, 6.0]), jnp.asarray([True, False, True])
    brought, whose = jax.vmap(bring, axis_name="environments")(x, valid)
    np.testing.assert_array_equal(brought["x"], np.tile(x, (3, 1)))
    np.testing.assert_array_equal(whose, np.tile(valid, (3, 1)))
    assert jax.vmap(lambda x: bring(x, ())[1], axis_name="environments")(x).all()
    brought, whose = jax.vmap(bring)(x, valid)  # each alone
    np.testing.assert_array_equal(brought["x"], x[:, None])
    np.testing.assert_array_equal(whose, valid[:, None])


def test_what_is_shared_goes_on_behind_an_episodes_end_and_what_is_not_does_not():
    def step(params, memory, transition):
        own, shared = memory
        brought, whose = of_all_environments(transition.reward, transition)
        return (own + 1.0, Shared(shared.value + (brought * whose).sum())), shared.value

    reward = Reward(lambda _: (), lambda _: (0.0, Shared(0.0)), step)
    rewards = jnp.asarray([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]])
    valid = jnp.asarray([[True, False, False], [True, True, False]])

    def earned(rewards, valid):
        transitions = jax.tree.map(lambda x: jnp.broadcast_to(x, (3, *x.shape)), TRANSITION)
        return episode_rewards(reward, (), reward.reset(()), transitions._replace(reward=rewards), valid)[0]

    own, shared = jax.vmap(earned, axis_name="environments")(rewards, valid)
    np.testing.assert_array_equal(own, [1.0, 2.0])
    np.testing.assert_array_equal(shared.value, [23.0, 23.0])
    assert [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path({"m": (own, shared)})] == ["m.0", "m.1"]
