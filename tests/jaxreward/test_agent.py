"""Transformations of an agent: a batch of it is its members, alone."""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import Agent, Policy, shard, vmap
from jaxreward.agents.baselines.ppo import Config, Hyperparams, ppo
from tests.probes import Probe, ProbeParams


class Walk(NamedTuple):
    place: jax.Array
    size: jax.Array
    key: jax.Array


def walker():
    """An agent that walks at random in steps of its one hyperparameter; all numbers are whole, so equality is exact."""

    def init(key, size):
        return Walk(jnp.zeros(()), jnp.asarray(size, float), key)

    def step(state):
        key, now = jax.random.split(state.key)
        place = state.place + state.size * jax.random.rademacher(now, (), float)
        return Walk(place, state.size, key), {"place": place, "env_steps": jnp.ones((), jnp.int32)}

    def act(state, carry, observation, key):
        return carry + 1, state.place + observation + carry + jax.random.bernoulli(key)

    def mode(state, carry, observation, key):
        return carry, state.place - observation

    def policy(state):
        return Policy(lambda: jnp.zeros(()), partial(act, state), partial(mode, state))

    return Agent(init, step, policy)


WALKER = walker()
KEYS = jax.random.split(jax.random.key(0), 8)
SIZES = jnp.arange(1.0, 9.0)


def run(agent, keys, hyperparams, steps=5):
    state, step = agent.init(keys, hyperparams), jax.jit(agent.step)
    for _ in range(steps):
        state, metrics = step(state)
    return state, metrics


def equal(x, y):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(plain(a), plain(b)), x, y)


def plain(x):
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def test_seeds_of_one_configuration_are_the_runs_of_their_keys():
    state, metrics = run(vmap(WALKER), KEYS, 3.0)
    assert len(set(np.asarray(state.place).tolist())) > 1
    for i, key in enumerate(KEYS):
        equal(jax.tree.map(lambda x: x[i], (state, metrics)), run(WALKER, key, 3.0))


def test_a_population_batches_hyperparameters_too():
    state, _ = run(vmap(WALKER, population=True), KEYS, SIZES)
    np.testing.assert_array_equal(state.size, SIZES)
    for i, key in enumerate(KEYS):
        equal(jax.tree.map(lambda x: x[i], state), run(WALKER, key, SIZES[i])[0])


def test_a_population_of_seeds_has_the_axes_in_that_order():
    keys = KEYS.reshape(2, 4)
    state, metrics = run(vmap(vmap(WALKER), population=True), keys, SIZES[:2])
    assert metrics["place"].shape == (2, 4)
    np.testing.assert_array_equal(state.size, np.repeat(np.asarray(SIZES[:2]), 4).reshape(2, 4))
    for p in range(2):
        for s in range(4):
            member = jax.tree.map(lambda x: x[p, s], (state, metrics))
            equal(member, run(WALKER, keys[p, s], SIZES[p]))


@pytest.mark.parametrize("depth", [1, 2])
def test_a_batched_policy_acts_for_each_member_by_its_own_state(depth):
    keys, agent = (KEYS, vmap(WALKER)) if depth == 1 else (KEYS.reshape(2, 4), vmap(vmap(WALKER)))
    state, _ = run(agent, keys, 2.0)
    policy, observations = agent.policy(state), jnp.arange(8.0).reshape(keys.shape)
    carry = policy.reset()
    assert carry.shape == keys.shape
    carry, _ = policy.act(carry, observations, keys)
    carry, actions = jax.jit(policy.act)(carry, observations, keys)
    np.testing.assert_array_equal(carry, np.full(keys.shape, 2.0))
    noise = np.asarray([jax.random.bernoulli(key) for key in KEYS]).reshape(keys.shape)
    np.testing.assert_array_equal(actions, state.place + observations + 1.0 + noise)
    np.testing.assert_array_equal(policy.mode(carry, observations, keys)[1], state.place - observations)


def mesh(*shape):
    names = ("a", "b")[: len(shape)]
    return jax.make_mesh(shape, names, axis_types=(jax.sharding.AxisType.Auto,) * len(shape))


@pytest.mark.parametrize("shape", [(8,), (4,), (2, 4)])
@pytest.mark.parametrize("population", [False, True])
def test_a_sharded_agent_is_the_same_agent_on_more_devices(shape, population):
    batched, hyperparams = vmap(WALKER, population=population), SIZES if population else 3.0
    agent = shard(batched, mesh(*shape), population=population)
    state, metrics = run(agent, KEYS, hyperparams)
    equal((state, metrics), run(batched, KEYS, hyperparams))
    assert len(state.place.sharding.device_set) == int(np.prod(shape))
    assert len(metrics["place"].sharding.device_set) == int(np.prod(shape))


def test_sharding_spreads_the_population_and_keeps_its_seeds_together():
    keys = jax.random.split(jax.random.key(1), (8, 3))
    batched = vmap(vmap(WALKER), population=True)
    state, _ = run(shard(batched, mesh(8), population=True), keys, SIZES)
    equal(state, run(batched, keys, SIZES)[0])
    assert state.place.addressable_shards[0].data.shape == (1, 3)


@pytest.mark.parametrize(("names", "shape", "block"), [
    (("population", "seed"), (4, 2), (2, 2)), (("seed", "population"), (4, 2), (4, 1)), (("seed",), (4,), (8, 1)),
    (("population",), (4,), (2, 4)), (("a", "population", "seed"), (2, 2, 2), (2, 2)),
])  # fmt: skip
def test_each_axis_of_a_mesh_spreads_the_batch_axis_of_its_name(names, shape, block):
    keys = jax.random.split(jax.random.key(1), (8, 4))
    batched = vmap(vmap(WALKER), population=True)
    state, metrics = run(shard(batched, jax.make_mesh(shape, names), population=True), keys, SIZES)
    equal((state, metrics), run(batched, keys, SIZES))
    assert {s.data.shape for s in state.place.addressable_shards} == {block}
    assert len({str(s.index) for s in state.place.addressable_shards}) == np.prod(shape)


def test_an_axis_that_does_not_divide_is_refused():
    keys = jax.random.split(jax.random.key(1), (8, 3))
    agent = shard(vmap(vmap(WALKER), population=True), jax.make_mesh((4, 2), ("population", "seed")), population=True)
    with pytest.raises(ValueError, match=r"batch of 3 .* 2 devices; try 2"):
        agent.init(keys, SIZES)


def test_a_sharded_agent_still_has_its_policy():
    agent = shard(vmap(WALKER), mesh(8))
    state, _ = run(agent, KEYS, 2.0)
    _, actions = agent.policy(state).mode(jnp.zeros(8), jnp.ones(8), KEYS)
    np.testing.assert_array_equal(actions, state.place - 1.0)


def test_a_sharded_step_is_compiled_once(caplog):
    agent = shard(vmap(WALKER), mesh(8))
    state, step = jax.jit(agent.init)(KEYS, 2.0), jax.jit(agent.step)
    with jax.log_compiles():
        for _ in range(4):
            state, _ = step(state)
    assert sum("Finished XLA compilation" in message for message in caplog.messages) == 1


def with_empty_leaves(agent):
    """The agent with arrays without elements in its state, one of them of keys, its metrics and its constants."""
    table, nothing = jnp.zeros((0, 3)), {"numbers": jnp.zeros((0, 2), jnp.int8), "keys": jax.random.split(KEYS[0], 0)}

    def init(key, hyperparams):
        size, unused = hyperparams
        return agent.init(key, size), nothing, unused

    def step(state):
        walk, metrics = agent.step(state[0])
        walk, _ = jax.lax.scan(lambda walk, row: (walk._replace(place=walk.place + row.sum()), None), walk, table)
        return (walk, *state[1:]), metrics | {"nothing": state[1]["numbers"]}

    return Agent(init, step, lambda state: agent.policy(state[0]))


def crossing(fn, *args):
    """The shapes of what a function hands to several devices and gets back."""
    [equation] = [e for e in jax.make_jaxpr(fn)(*args).eqns if e.primitive.name == "shard_map"]
    return [variable.aval.shape for variable in (*equation.invars, *equation.outvars)]


@pytest.mark.parametrize("population", [False, True])
def test_arrays_without_elements_never_cross_to_several_devices(population):
    """XLA of jaxlib 0.11.2 would end with a segmentation fault: the shapes are looked at before it compiles them."""
    batched = vmap(with_empty_leaves(WALKER), population=population)
    hyperparams = (SIZES, jnp.zeros((8, 0))) if population else (3.0, jnp.zeros(0))
    agent = shard(batched, mesh(2), population=population)
    state = jax.eval_shape(batched.init, KEYS, hyperparams)
    shapes = crossing(agent.init, KEYS, hyperparams) + crossing(agent.step, state)
    assert (8,) in shapes
    assert all(0 not in shape for shape in shapes)
    equal(run(agent, KEYS, hyperparams), run(batched, KEYS, hyperparams))


@pytest.mark.parametrize(("size", "near"), [(6, 8), (12, 8), (20, 16)])
def test_a_batch_that_does_not_divide_is_refused_with_one_that_does(size, near):
    with pytest.raises(ValueError, match=f"batch of {size} .* 8 devices; try {near}"):
        shard(vmap(WALKER), mesh(8)).init(jax.random.split(KEYS[0], size), 1.0)


# The same of a real agent. Batched matrix products are summed in another order than single ones: float32 rounding,
# grown by three updates, in which Adam can at most turn around its steps of 1e-3 where a gradient is next to nothing.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
CONFIG = Config(num_envs=4, num_steps=4, num_epochs=1, num_minibatches=2, layers=(8,))
MEMBERS = [Hyperparams(learning_rate=1e-4 * (1 + i), env_params=ProbeParams(constant=float(i))) for i in range(8)]
HYPERPARAMS = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *MEMBERS)
PPO_KEYS = jax.random.split(jax.random.key(2), (8, 2))


def program(agent):
    def three(keys, hyperparams):
        state = agent.init(keys, hyperparams)
        return jax.lax.scan(lambda state, _: agent.step(state), state, length=3)

    return jax.jit(three)


@cache
def ppo_runs():
    agent = ppo(Probe(), ProbeParams(), CONFIG)
    nested = vmap(vmap(agent), population=True)
    return agent, nested, program(nested)(PPO_KEYS, HYPERPARAMS)


def close(x, y):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(plain(a), plain(b), **CLOSE), x, y)


def test_ppo_in_a_population_of_seeds_equals_each_run_alone():
    agent, _, (state, metrics) = ppo_runs()
    alone = program(agent)
    for p, s in [(0, 0), (3, 1), (7, 0)]:
        hyperparams = jax.tree.map(lambda x: x[p], HYPERPARAMS)
        expected = alone(PPO_KEYS[p, s], hyperparams)
        got = jax.tree.map(lambda x: x[p, s], state), {name: x[:, p, s] for name, x in metrics.items()}
        close(got, expected)
        equal(got[0].key, expected[0].key)


def test_ppo_on_one_of_many_devices_has_the_bits_of_its_block_alone():
    """What a device computes depends on its block of the batch, and not on how many others there are."""
    _, nested, _ = ppo_runs()
    agent = shard(nested, jax.make_mesh((4, 2), ("population", "seed")), population=True)
    spread, alone = program(agent)(PPO_KEYS, HYPERPARAMS), program(nested)
    for p, s in [(0, 0), (3, 1)]:
        members = slice(2 * p, 2 * p + 2)
        state, metrics = alone(PPO_KEYS[members, s : s + 1], jax.tree.map(lambda x: x[members], HYPERPARAMS))
        equal(jax.tree.map(lambda x: x[members, s : s + 1], spread[0]), state)
        equal({name: x[:, members, s : s + 1] for name, x in spread[1].items()}, metrics)


def test_ppo_over_eight_devices_equals_ppo_on_one():
    _, nested, expected = ppo_runs()
    agent = shard(nested, mesh(8), population=True)
    state, metrics = program(agent)(PPO_KEYS, HYPERPARAMS)
    close((state, metrics), expected)
    assert len(jax.tree.leaves(state.params)[0].sharding.device_set) == 8
