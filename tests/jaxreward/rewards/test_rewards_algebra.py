"""The algebra: what sums, weights, gates and vectors must satisfy for any rewards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxreward.reward import Transition, components, environment_reward, markov
from jaxreward.rewards import add, clip, constant, ensemble, gate, scalarise, scale, stack, weighted
from tests.jaxreward.rewards.test_rewards import random_transitions, rollout

# Whole numbers and halves of moderate size: sums and products of them are exact in float32, so equations hold exactly.
numbers = st.integers(-64, 64).map(lambda n: n / 2)
vectors = arrays(np.float32, 3, elements=numbers)
compiled = settings(max_examples=50, deadline=None)  # the first example of each pays for the compilation

x = markov(lambda t: t.observation[0])
y = markov(lambda t: t.observation[1])
z = markov(lambda t: t.observation[2])
vector = markov(lambda t: t.observation)
flag = markov(lambda t: t.action)


def transition(observation, action=1):
    no = jnp.zeros((), bool)
    return Transition(jnp.asarray(observation), jnp.asarray(action), jnp.zeros(()), jnp.asarray(observation), no, no)


def evaluator(reward):
    """`(observation, params=None, action=1) -> value`, compiled once."""
    default = reward.init(jax.random.key(0))

    @jax.jit
    def value(params, observation, action):
        return reward.step(params, reward.reset(params), transition(observation, action))[1]

    return lambda observation, params=default, action=1: np.asarray(value(params, observation, jnp.asarray(action)))


SUMS = {name: evaluator(reward) for name, reward in {
    "x+y": add(x, y), "y+x": add(y, x), "(x+y)+z": add(add(x, y), z), "x+(y+z)": add(x, add(y, z)),
    "x+y+z": add(x, y, z), "x+0": add(x, 0.0), "x": x, "x-x": add(x, scale(x, -1.0)),
}.items()}  # fmt: skip


@compiled
@given(vectors)
def test_addition_commutes_associates_and_has_a_zero_and_inverses(v):
    value = {name: run(v) for name, run in SUMS.items()}
    assert value["x+y"] == value["y+x"] == v[0] + v[1]
    assert value["(x+y)+z"] == value["x+(y+z)"] == value["x+y+z"] == v[0] + v[1] + v[2]
    assert value["x+0"] == value["x"]
    assert value["x-x"] == 0.0


SCALED = {name: evaluator(reward) for name, reward in {
    "a(x+y)": scale(add(x, y), 1.0), "ax+ay": add(scale(x, 1.0), scale(y, 1.0)), "ab x": scale(scale(x, 1.0), 1.0),
    "v": scale(vector, 1.0),
}.items()}  # fmt: skip


@compiled
@given(vectors, numbers, numbers)
def test_scaling_distributes_and_composes(v, a, b):
    inner = {"weight": jnp.float32(a), "reward": ()}
    left = SCALED["a(x+y)"](v, {"weight": jnp.float32(a), "reward": ((), ())})
    assert left == SCALED["ax+ay"](v, (inner, inner)) == a * (v[0] + v[1])
    assert SCALED["ab x"](v, {"weight": jnp.float32(b), "reward": inner}) == a * b * v[0]
    np.testing.assert_array_equal(SCALED["v"](v, inner), a * v)


clipped, twice = evaluator(clip(vector, -1.0, 1.0)), evaluator(clip(clip(vector, -1.0, 1.0), -1.0, 1.0))


@compiled
@given(vectors, numbers, st.integers(0, 8))
def test_clipping_is_idempotent_and_keeps_what_lies_within(v, low, width):
    params = {"low": jnp.float32(low), "high": jnp.float32(low + width), "reward": ()}
    value = clipped(v, params)
    np.testing.assert_array_equal(value, np.clip(v, low, low + width))
    np.testing.assert_array_equal(twice(v, {**params, "reward": params}), value)


def test_clipping_on_one_side():
    np.testing.assert_array_equal(evaluator(clip(vector, low=0.0))(np.array([-5.0, 0.0, 5.0])), [0, 0, 5])
    np.testing.assert_array_equal(evaluator(clip(vector, high=0.0))(np.array([-5.0, 0.0, 5.0])), [-5, 0, 0])


GATES = {name: evaluator(reward) for name, reward in {
    "true": gate(vector, lambda t: True), "false": gate(vector, lambda t: False), "flag": gate(vector, flag),
    "twice": gate(gate(vector, flag), flag),
}.items()}  # fmt: skip


@compiled
@given(vectors, st.booleans())
def test_gates(v, is_open):
    np.testing.assert_array_equal(GATES["true"](v), v)
    np.testing.assert_array_equal(GATES["false"](v), 0 * v)
    np.testing.assert_array_equal(GATES["flag"](v, action=is_open), v if is_open else 0 * v)
    np.testing.assert_array_equal(GATES["twice"](v, action=is_open), GATES["flag"](v, action=is_open))


def test_a_closed_gate_hides_what_is_not_a_number_and_an_ajar_one_multiplies():
    logarithm = markov(lambda t: jnp.log(t.observation[0]))
    assert evaluator(gate(logarithm, lambda t: t.observation[0] > 0))(np.zeros(3)) == 0.0
    assert evaluator(gate(logarithm, y))(np.zeros(3)) == 0.0
    assert evaluator(gate(x, 0.25))(np.array([8.0, 0.0, 0.0])) == 2.0


def test_a_gated_reward_goes_on_counting_while_the_gate_is_closed():
    count = markov(lambda t: 1.0)._replace(reset=lambda _: jnp.zeros(()), step=lambda p, m, t: (m + 1, m + 1))
    transitions = random_transitions(0, 4, 1, done_rate=0.0)._replace(action=jnp.array([[0], [1], [0], [1]]))
    np.testing.assert_array_equal(rollout(gate(count, flag), ((), ()), transitions)[0], [[0], [2], [0], [4]])


SUM = weighted(goal=(x, 2.0), energy=(y, -0.5), alive=1.0)


@compiled
@given(vectors, numbers)
def test_weighted_components_add_up_to_the_total(v, weight):
    params = SUM.init(jax.random.key(0))
    params["weights"]["energy"] = jnp.float32(weight)
    memory, total = jax.jit(SUM.step)(params, SUM.reset(params), transition(v))
    assert components(memory) == {"goal": 2 * v[0], "energy": weight * v[1], "alive": 1.0}
    assert total == sum(components(memory).values())


def test_weights_are_named_params_with_the_components_sums_as_gradients():
    transitions = random_transitions(0, 10, 3)
    reward = weighted(goal=(environment_reward(), 2.0), action=(lambda t: t.action, -1.0))
    params = reward.init(jax.random.key(0))
    total = lambda weights: rollout(reward, {**params, "weights": weights}, transitions)[0].sum()  # noqa: E731
    grad = jax.jit(jax.grad(total))({"goal": jnp.float32(3.0), "action": jnp.float32(0.5)})
    np.testing.assert_allclose(grad["goal"], transitions.reward.sum(), rtol=1e-6)
    assert grad["action"] == transitions.action.sum()


def test_nested_parts_have_names_within_names():
    reward = weighted(task=weighted(goal=(x, 3.0)), energy=(y, -1.0))
    params = reward.init(jax.random.key(0))
    memory, _ = reward.step(params, reward.reset(params), transition(np.array([1.0, 2.0, 0.0])))
    assert components(memory) == {"task": 3.0, "energy": -2.0, "task/goal": 3.0}


@compiled
@given(vectors, vectors)
def test_scalarise_undoes_stack(v, weights):
    stacked = stack(x, y, z)
    params = {"weights": jnp.asarray(weights), "reward": ((), (), ())}
    np.testing.assert_array_equal(stacks(v), v)
    assert linear(v, params) == weights @ v
    assert chebyshev(v, params) == (weights * v).min()
    assert stacked.step(((), (), ()), ((), (), ()), transition(v))[1].shape == (3,)


stacks = evaluator(stack(x, stack(y, z)))
linear = evaluator(scalarise(stack(x, y, z), jnp.ones(3)))
chebyshev = evaluator(scalarise(stack(x, y, z), jnp.ones(3), utility=lambda weights, value: (weights * value).min()))


@pytest.mark.parametrize(("reduce", "expected"), [(jnp.mean, 2.0), (jnp.min, 1.0), (jnp.max, 3.0)])
def test_ensembles_reduce_their_members(reduce, expected):
    reward = ensemble(weighted(part=(x, 1.0)), 3, reduce)
    params = reward.init(jax.random.key(0))
    params["weights"]["part"] = jnp.array([3.0, 1.0, 2.0])
    memory, value = jax.jit(reward.step)(params, reward.reset(params), transition(np.ones(3)))
    assert value == expected
    assert components(memory) == {}


def test_ensembles_of_rewards_without_params_and_of_vectors():
    assert evaluator(ensemble(x, 2))(np.ones(3)) == 1.0
    np.testing.assert_array_equal(evaluator(ensemble(vector, 2))(np.arange(3.0)), np.arange(3.0))


def test_constants_are_params():
    value = jax.vmap(lambda params: constant(0.0).step(params, (), transition(np.ones(3)))[1])(jnp.arange(3.0))
    np.testing.assert_array_equal(value, np.arange(3.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (add, "add needs at least one reward; got none"),
        (stack, "stack needs at least one reward"),
        (weighted, "weighted needs at least one named reward"),
        (lambda: weighted(goal=(x, 1.0, 2.0)), r"goal is a reward or a pair \(reward, weight\); got a tuple of 3"),
        (lambda: clip(x, 1.0, -1.0), "clip needs low <= high; got low=1.0, high=-1.0"),
        (lambda: ensemble(x, 0), "at least one member; got size=0"),
        (lambda: evaluator(weighted(v=vector))(np.ones(3)), r"'v' has shape \(3,\): scalarise it first"),
    ],
)
def test_what_cannot_be_combined_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
