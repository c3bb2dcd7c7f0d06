"""A lazy branch equals `cond` under every transformation, and what no member needs is not computed."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from jaxreward.learning.lazy import when


class State(NamedTuple):
    """Everything a state may be made of."""

    x: jax.Array
    count: jax.Array
    key: jax.Array
    nothing: tuple = ()


def update(state, scale, shift):
    key, draw = jax.random.split(state.key)
    x = state.x * scale["a"] + shift + jax.random.normal(draw, state.x.shape)
    return State(x, state.count + 1, key)


def lazy(pred, state, *operands):
    return when(pred, update, state, *operands)


def in_turn(group):
    return lambda pred, state, *operands: when(pred, update, state, *operands, group=group)


def eager(pred, state, *operands):
    return jax.lax.cond(pred, update, lambda state, *_: state, state, *operands)


def states(*batch):
    size = int(np.prod(batch))
    keys = jax.random.split(jax.random.key(3), size).reshape(batch)
    x = jnp.arange(size * 2.0).reshape(*batch, 2)
    return State(x, jnp.arange(size).reshape(batch), keys)


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        raw = jax.random.key_data if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray
        np.testing.assert_array_equal(raw(x), raw(y))


SCALE, SHIFT = {"a": jnp.array(2.0)}, jnp.array([0.5, -0.5])


@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_one_member(transform, needed):
    same(transform(lazy)(needed, states(), SCALE, SHIFT), eager(needed, states(), SCALE, SHIFT))


@pytest.mark.parametrize("axes", [(0, 0, None, None), (0, None, None, 0), (None, 0, 0, None), (None, None, None, 0)])
@pytest.mark.parametrize("needed", ["none", "some", "all"])
def test_vmap_with_any_arguments_batched(axes, needed):
    number = {"none": 0, "some": 2, "all": 4}[needed]
    pred = jnp.arange(4) < number if axes[0] == 0 else jnp.array(number > 0)
    state = states(4) if axes[1] == 0 else states()
    scale = {"a": jnp.arange(4.0)} if axes[2] == 0 else SCALE
    shift = jnp.arange(8.0).reshape(4, 2) if axes[3] == 0 else SHIFT
    arguments = pred, state, scale, shift
    same(jax.vmap(lazy, axes)(*arguments), jax.vmap(eager, axes)(*arguments))


@pytest.mark.parametrize("inner", [(0, 0, None, None), (None, 0, None, None), (0, None, None, 0)])
def test_vmap_of_vmap_within_jit_and_scan(inner):
    """Populations of seeds, of which some need it in some steps."""
    outer = (0, 0, None, None)
    shift = jnp.arange(6.0).reshape(3, 2) if inner[3] == 0 else SHIFT
    preds = jax.random.bernoulli(jax.random.key(1), 0.3, (5, 4, 3) if inner[0] == 0 else (5, 4))
    first = states(4, 3) if inner[1] == 0 else states(4)

    def run(fn):
        batched = jax.vmap(jax.vmap(fn, inner), outer)

        def step(state, pred):
            out = batched(pred, state, SCALE, shift)
            return (out if inner[1] == 0 else state), out

        return jax.jit(lambda: jax.lax.scan(step, first, preds)[1])()

    same(run(lazy), run(eager))


@pytest.mark.parametrize("group", [1, 2, 3, 9])
def test_members_in_groups_come_to_the_same(group):
    """Any number of those in need, also where a group is not full, and populations of seeds."""
    fn, axes = in_turn(group), (0, 0, 0, None)
    needs = jnp.array([[0, 0, 0, 0, 0], [1, 0, 0, 1, 0], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1]], bool)
    scale = {"a": jnp.arange(20.0).reshape(4, 5)}
    batched = jax.vmap(jax.vmap(fn, axes), axes)
    same(
        jax.jit(batched)(needs, states(4, 5), scale, SHIFT),
        jax.vmap(jax.vmap(eager, axes), axes)(needs, states(4, 5), scale, SHIFT),
    )
    one = lambda tree: jax.tree.map(lambda leaf: leaf[2], tree)  # noqa: E731
    got = jax.jit(jax.vmap(fn, axes))(needs[2], one(states(4, 5)), one(scale), SHIFT)
    same(got, jax.vmap(eager, axes)(needs[2], one(states(4, 5)), one(scale), SHIFT))


def test_in_groups_those_that_do_not_need_it_are_not_computed():
    """It would never return where it is not needed, and under a group of all it doesn't."""

    def call(pred, x, endlessly):
        return when(pred, endless, x, endlessly, group=1)

    needs = jnp.array([[True, False, True], [False, False, True]])
    x = jnp.arange(6.0).reshape(2, 3)
    same(jax.jit(jax.vmap(jax.vmap(call)))(needs, x, ~needs), x)


def test_what_is_used_from_around_it_may_be_batched():
    def call(fn, pred, x, key, offset):
        return fn(pred, lambda s: s + x[offset] + jax.random.uniform(key), x.sum())

    arguments = (
        jnp.array([True, False, True]),
        jnp.arange(6.0).reshape(3, 2),
        jax.random.split(jax.random.key(0), 3),
        jnp.array([0, 1, 1]),
    )

    def cond(pred, update, state):
        return jax.lax.cond(pred, update, lambda state: state, state)

    same(jax.vmap(partial(call, when))(*arguments), jax.vmap(partial(call, cond))(*arguments))


def test_each_device_decides_for_its_own_members():
    mesh = Mesh(np.array(jax.devices()[:4]), ("seed",))
    spec = PartitionSpec("seed")
    pred = jnp.arange(8) == 5

    def batched(fn, pred, state):
        return jax.vmap(fn, (0, 0, None, None))(pred, state, SCALE, SHIFT)

    spread = jax.shard_map(partial(batched, lazy), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    same(jax.jit(spread)(pred, states(8)), batched(eager, pred, states(8)))


def endless(x, go):
    """An update that ends only where `go` is false."""
    return jax.lax.while_loop(lambda x: go, lambda x: x + 1, x)


def test_what_no_member_needs_is_not_computed():
    """It would never return; under `vmap` of `cond` it doesn't."""

    def call(pred, x, go):
        return when(pred, endless, x, go)

    nested = jax.jit(jax.vmap(jax.vmap(call, (0, 0, None)), (0, 0, None)))
    x = jnp.arange(6.0).reshape(2, 3)
    same(nested(jnp.zeros((2, 3), bool), x, jnp.array(True)), x)
    same(nested(jnp.ones((2, 3), bool), x, jnp.array(False)), x)


@pytest.mark.parametrize(("fn", "conditionals"), [(lazy, 1), (eager, 0)])
def test_the_compiled_program_has_one_conditional(fn, conditionals):
    batched = jax.vmap(jax.vmap(fn, (0, 0, None, None)), (0, 0, None, None))
    text = jax.jit(batched).lower(jnp.zeros((2, 3), bool), states(2, 3), SCALE, SHIFT).compile().as_text()
    assert text.count(" conditional(") == conditionals


@pytest.mark.parametrize("needed", [[True, False, True], [False] * 3])
def test_derivatives_are_those_of_cond(needed):
    pred, x, y = jnp.array(needed), jnp.array([0.5, 1.0, 2.0]), jnp.array([3.0, 4.0, 5.0])

    def lazy_sine(pred, x, y):
        return when(pred, lambda s, y: {"x": jnp.sin(s["x"]) * y, "n": s["n"] + 1}, {"x": x, "n": 0}, y)["x"]

    def eager_sine(pred, x, y):
        return jax.lax.cond(pred, lambda: jnp.sin(x) * y, lambda: x)

    expected = jnp.where(pred, jnp.cos(x) * y, 1.0), jnp.where(pred, jnp.sin(x), 0.0)
    for fn in (lazy_sine, eager_sine):

        def total(x, y, fn=fn):
            return jax.vmap(fn)(pred, x, y).sum()

        of_sum = jax.jit(jax.grad(total, (0, 1)))(x, y)
        each = jax.vmap(jax.grad(fn, (1, 2)))(pred, x, y)
        tangent = jax.jvp(lambda x: jax.vmap(fn)(pred, x, y), (x,), (jnp.ones(3),))[1]
        for got in (of_sum, each):
            np.testing.assert_allclose(got, expected, rtol=1e-6)
        np.testing.assert_allclose(tangent, expected[0], rtol=1e-6)
        np.testing.assert_allclose(
            jax.hessian(total)(x, y), jnp.diag(jnp.where(pred, -jnp.sin(x) * y, 0.0)), rtol=1e-6, atol=0
        )


def test_an_update_to_something_else_is_refused():
    with pytest.raises(TypeError, match=r"state\['a'\] was float32\[2\] and became float32\[3\]"):
        when(True, lambda s: {"a": jnp.zeros(3)}, {"a": jnp.zeros(2)})
    with pytest.raises(TypeError, match="became int32"):
        when(True, lambda s: s.astype(int), jnp.zeros(2))
    with pytest.raises(TypeError, match="must return what it is given"):
        when(True, lambda s: (s, s), jnp.zeros(2))
