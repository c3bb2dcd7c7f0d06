"""Drift functions against numbers computed by hand, what mirror learning asks of them, and finite differences."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.learning.drifts import dpo, get_drift, list_drifts, lpo, ppo_drift
from jaxreward.learning.objective import Drift, Lifetime, Objective, reads_lifetime

NETWORKS = {(aware, from_ppo): lpo(aware=aware, from_ppo=from_ppo) for aware in (0, 1) for from_ppo in (0, 1)}
ADVANTAGES = jnp.linspace(-3.0, 3.0, 13)
RATIOS = jnp.exp(jnp.linspace(-1.5, 1.5, 31))
ONE = Drift(jnp.ones(3), jnp.ones(3))


def at(step, total=10.0):
    return Lifetime(jnp.asarray(step, jnp.int32), jnp.asarray(total))


def grid():
    """All ratios with all advantages."""
    ratio, advantage = jnp.meshgrid(RATIOS, ADVANTAGES)
    return Drift(ratio, advantage)


def random_params(objective, scale=5.0):
    """Of 16 networks, far from nothing."""
    keys = jax.random.split(jax.random.key(0), 16)
    return jax.vmap(lambda key: noisy(objective.init(key), key, scale))(keys)


def noisy(params, key, scale):
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves)) if leaves else []
    return jax.tree.unflatten(structure, [x + scale * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)])


@pytest.mark.parametrize("name", list_drifts())
def test_every_drift_is_valid(name):
    """Nowhere negative, and with value and slope 0 where the policy is the one that acted, at any time of the life.

    A hundredth to both sides of 1 the slope is small for all, and not what would be that of another sign.
    """
    objective = get_drift(name)
    params = random_params(objective)

    def drift(params, ratio, advantage, life):
        return objective.apply(params, Drift(ratio, advantage), life)

    ones = jnp.ones_like(ADVANTAGES)
    slope = jax.vmap(jax.grad(drift, 1), (None, 0, 0, None))
    checked = jax.jit(
        jax.vmap(
            lambda p, life: (
                drift(p, *grid()[:2], life),
                drift(p, ones, ADVANTAGES, life),
                slope(p, ones, ADVANTAGES, life),
            ),
            (0, None),
        )
    )
    members = params if jax.tree.leaves(params) else {"none": jnp.zeros(16)}
    for step in (0, 5, 10, 20):
        everywhere, value, slopes = checked(members, at(step))
        assert (everywhere >= 0).all()
        np.testing.assert_array_equal(value, 0)
        np.testing.assert_array_equal(slopes, 0)
    if name != "none":
        assert (everywhere > 0).any()


def test_a_drift_that_is_not_0_at_1_would_be_seen():
    """Negative control: with biases the network's value at a ratio of 1 is something."""
    params = random_params(NETWORKS[0, 0])
    biased = jax.vmap(lambda p: jnp.tanh(p["hidden"].sum(0)) @ p["out"])(params)
    assert (jnp.abs(biased) > 1e-3).all()


@pytest.mark.parametrize("network", NETWORKS.values())
def test_a_search_can_leave_where_a_network_begins(network):
    """Noise and its negative make different drifts there. From zero everywhere they make the same one."""
    start = network.init(jax.random.key(0))
    zero = jax.tree.map(jnp.zeros_like, start)

    def apart(params):
        noise = noisy(zero, jax.random.key(1), 0.3)
        both = [jax.tree.map(lambda a, b, s=sign: a + s * b, params, noise) for sign in (1, -1)]
        return jnp.abs(network.apply(both[0], grid(), at(5)) - network.apply(both[1], grid(), at(5))).max()

    assert apart(start) > 0.05
    np.testing.assert_allclose(apart(zero), 0, atol=1e-5)


@pytest.mark.parametrize("aware", [0, 1])
def test_a_network_that_says_nothing_leaves_ppos_drift(aware):
    params = NETWORKS[aware, 1].init(jax.random.key(0))
    np.testing.assert_allclose(NETWORKS[aware, 1].apply(params, grid(), at(3)), ppo_drift(grid()), atol=1.01e-4)
    np.testing.assert_array_equal(NETWORKS[aware, 0].apply(params, grid(), at(3)), 0)


def test_ppos_drift_is_what_clipping_takes():
    """And so are the slopes, but where the two meet, which no ratio here does."""
    batch = grid()

    def lesser(ratio):
        return jnp.minimum(ratio * batch.advantage, jnp.clip(ratio, 0.8, 1.2) * batch.advantage)

    less = lambda ratio: ratio * batch.advantage - ppo_drift(batch._replace(ratio=ratio))  # noqa: E731
    np.testing.assert_allclose(less(batch.ratio), lesser(batch.ratio), rtol=1e-6, atol=1e-6)
    slopes = [jax.grad(lambda ratio, f=f: f(ratio).sum())(batch.ratio) for f in (less, lesser)]
    np.testing.assert_allclose(*slopes, rtol=1e-6, atol=1e-6)
    assert (np.asarray(slopes[0]) == 0).any()


def test_dpo_by_hand():
    """`relu(x - b tanh(x / b))`: `x = (r - 1) A`, `b = 2` above; `x = A log r`, `b = 0.6` below."""
    ratio, advantage = jnp.asarray([3.0, 0.5, math.e, 1 / math.e]), jnp.asarray([1.5, 2.0, -1.0, -1.0])
    expected = [3 - 2 * math.tanh(1.5), 0, 0, 1 - 0.6 * math.tanh(1 / 0.6)]
    drift = dpo()
    params = drift.init(jax.random.key(0))
    np.testing.assert_allclose(drift.apply(params, Drift(ratio, advantage), at(0)), expected, rtol=1e-5)


def test_dpos_branches_meet():
    """Just below an advantage of 0 it is as good as 0, as it is at 0."""
    params = dpo().init(jax.random.key(0))
    near = dpo().apply(params, Drift(RATIOS, jnp.full_like(RATIOS, -1e-3)), at(0))
    np.testing.assert_allclose(near, 0, atol=1e-8)
    np.testing.assert_array_equal(dpo().apply(params, Drift(RATIOS, jnp.zeros_like(RATIOS)), at(0)), 0)


def test_time_multiplies_what_the_network_sees():
    """At the start TA-LPO is LPO with the first half of its weights; later the other half counts, in proportion."""
    aware, plain = NETWORKS[1, 0], NETWORKS[0, 0]
    params = noisy(aware.init(jax.random.key(0)), jax.random.key(1), 1.0)
    for step in (0, 4, 10, 15):
        hidden = params["hidden"][:8] + min(step / 10, 1) * params["hidden"][8:]
        same = plain.apply({"hidden": hidden, "out": params["out"]}, grid(), at(step))
        np.testing.assert_allclose(aware.apply(params, grid(), at(step)), same, rtol=1e-4, atol=1e-5)
    assert jnp.isnan(aware.apply(params, ONE, at(0, math.inf))).all()


@pytest.mark.parametrize("name", ["dpo", "ta_lpo_from_ppo"])
def test_params_are_vmapped_and_differentiated(name):
    """The slope along a random direction against central differences, in double precision."""
    with jax.enable_x64(True):
        objective = get_drift(name)
        batch = Drift(*(leaf.astype(float) for leaf in grid()[:2]), clip=0.2)
        params = jax.vmap(lambda key: noisy(objective.init(key), key, 0.1))(jax.random.split(jax.random.key(1), 4))
        keys = jax.random.split(jax.random.key(2), 4)
        way = jax.vmap(lambda key, p: jax.tree.map(lambda leaf: jax.random.normal(key, leaf.shape), p))(keys, params)
        mean = jax.vmap(lambda p: objective.apply(p, batch, at(7)).mean())
        moved = lambda step: mean(jax.tree.map(lambda a, b: a + step * b, params, way))  # noqa: E731
        _, slope = jax.jvp(mean, (params,), (way,))
        assert slope.dtype == jnp.float64
        np.testing.assert_allclose(slope, (moved(1e-6) - moved(-1e-6)) / 2e-6, rtol=1e-4)
        assert (jnp.abs(slope) > 1e-6).all()


@pytest.mark.parametrize("name", list_drifts())
def test_whether_it_asks_for_the_lifetime_is_seen(name):
    assert reads_lifetime(get_drift(name), ONE) == name.startswith("ta_")


OWN = """
import jax.numpy as jnp
from jaxreward.learning.drifts import lpo

def soft(params, ratio, advantage, lifetime):
    return params["strength"] * jnp.square(ratio - 1) * (1 - lifetime.fraction)

soft.params = {"strength": 2.0}

def plain(params, ratio, advantage, lifetime):
    return jnp.square(jnp.log(ratio))

def network():
    return lpo(aware=True)

fixed = lpo()

def scalar(params, ratio, advantage, lifetime):
    return jnp.square(ratio - 1).mean()

def two(ratio, advantage):
    return ratio

def broken(params, ratio, advantage, lifetime):
    return params["missing"] * ratio

number = 3
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(OWN)
    return path


def test_your_own_function_is_a_drift(own):
    drift = get_drift(f"{own}:soft")
    params = drift.init(jax.random.key(0))
    assert params == {"strength": 2.0}
    np.testing.assert_allclose(drift.apply(params, Drift(jnp.asarray([1.5]), jnp.ones(1)), at(5)), [0.25])
    for name, asks in (("soft", True), ("plain", False), ("network", True), ("fixed", False)):
        found = get_drift(f"{own}:{name}")
        assert isinstance(found, Objective)
        assert reads_lifetime(found, ONE) == asks


@pytest.mark.parametrize(("name", "message"), [
    ("scalar", r"gives float32\[\] for 3 steps; expected a float for each"),
    ("two", "takes 2 arguments; expected an Objective, a function .params, ratio, advantage, lifetime."),
    ("broken", "objective .*broken failed: .*mine.py"),
    ("number", "is a int; expected an Objective"),
    ("sofd", "no objective in .* called 'sofd'; did you mean 'soft'"),
])  # fmt: skip
def test_what_is_no_drift_is_refused(own, name, message):
    with pytest.raises(ValueError, match=message):
        get_drift(f"{own}:{name}")


def test_a_name_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"no objective 'ta_lpp'; did you mean 'ta_lpo'.*dpo"):
        get_drift("ta_lpp")
    with pytest.raises(ValueError, match="is a file; say what in it is the objective"):
        get_drift("mine.py")
