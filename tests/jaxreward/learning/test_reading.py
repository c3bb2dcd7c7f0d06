"""What comes before hidden layers: against itself left out, against sums over windows, and what is refused."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.registry import get_agent
from jaxreward.envs.registry import make
from jaxreward.learning.networks import ActorCritic, for_agents
from jaxreward.learning.reading import PLAIN, Reading, ReadingConfig, reading_for

NETS = '''
import flax.linen as nn
import jax.numpy as jnp


class Flat(nn.Module):
    """No change at all."""

    def __call__(self, observation):
        return observation.reshape(len(observation), -1)


class Conv(nn.Module):
    features: int = 2

    @nn.compact
    def __call__(self, observation):
        x = nn.relu(nn.Conv(self.features, (3, 3), (4, 4))(observation))
        return x.reshape(len(x), -1)


class Whole(nn.Module):
    def __call__(self, observation):
        return observation.reshape(1, -1)


class Norm(nn.Module):
    @nn.compact
    def __call__(self, observation):
        return nn.BatchNorm(True)(observation.reshape(len(observation), -1))


class Picture(nn.Module):
    def __call__(self, observation):
        return observation


class Counts(nn.Module):
    def __call__(self, observation):
        return jnp.argmax(observation.reshape(len(observation), -1), -1)[:, None]


class Broken(nn.Module):
    def __call__(self, observation):
        return observation.colour


def needs(width):
    return Conv(width)


made = Conv()
number = lambda: 3
'''
PIXELS = "Breakout-MinAtar"


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    path = tmp_path_factory.mktemp("nets") / "nets.py"
    path.write_text(NETS)
    return path


def reading_of(nets, name, env="Breakout-MinAtar", **given):
    return reading_for(*make(env), ReadingConfig(network=f"{nets}:{name}", **given))


def test_parts_of_a_vector_are_the_leaves_they_were():
    shapes, tree = ((2, 3), (), (4,)), {"a": 0, "b": 0, "c": 0}
    reading = Reading(shapes, jax.tree.structure(tree))
    flat = np.arange(22.0, dtype=np.float32).reshape(2, 11)
    restored = reading.restored(jnp.asarray(flat))
    np.testing.assert_array_equal(restored["a"], flat[:, :6].reshape(2, 2, 3))
    np.testing.assert_array_equal(restored["b"], flat[:, 6])
    np.testing.assert_array_equal(restored["c"], flat[:, 7:])


class Scaled(nn.Module):
    """Of a picture the sum of rows, twice."""

    def __call__(self, picture):
        assert picture.shape[1:] == (2, 3, 1)
        return 2 * picture.sum(1)[..., 0]


def test_what_is_beside_an_observation_stays_beside_what_was_read():
    reading = Reading(((2, 3, 1),), jax.tree.structure(0), make=Scaled)
    rng = np.random.default_rng(0)
    for batch in ((), (4,), (3, 2)):
        picture, action = (rng.normal(size=(*batch, *shape)).astype(np.float32) for shape in ((2, 3, 1), (2,)))
        given = np.concatenate([picture.reshape(*batch, 6), action], -1)
        found = reading(jnp.asarray(given), nn.relu)
        expected = np.concatenate([2 * picture[..., 0].sum(-2), action], -1)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert PLAIN(given, nn.relu) is given


def test_convolutions_are_before_a_memory_once_and_elsewhere_in_each_part():
    reading = Reading(((5, 4, 2),), jax.tree.structure(0), conv=(3,))
    one = ActorCritic(2, layers=(4,), memory=3, reading=reading)
    made = jax.eval_shape(one.init, jax.random.key(0), jnp.zeros((1, 3)), jnp.zeros((1, 40)))["params"]
    where = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(made)}
    assert {name.split("'")[1] for name in where if "Convolution" in name} == {"reader"}
    assert made["embed"]["kernel"].shape == (3 * 2 * 3, 3)  # 5 by 4 less a border of 1
    two = ActorCritic(2, layers=(4,), reading=reading)
    made = jax.eval_shape(two.init, jax.random.key(0), (), jnp.zeros((1, 40)))["params"]
    assert made["actor"]["Convolution_0"]["Dense_0"]["kernel"].shape == (18, 3)
    assert made["critic"]["Dense_0"]["kernel"].shape == (18, 4)


def test_a_network_that_changes_nothing_gives_the_outputs_there_are_without(nets):
    """Of a policy and a value with a memory, and of those of a game's agents, one each."""
    reading = reading_of(nets, "Flat")
    seen = jax.random.normal(jax.random.key(1), (2, 400))

    @jax.jit
    def outputs(key):
        found = []
        for before in (PLAIN, reading):
            network = ActorCritic(3, 1, (4,), memory=3, reading=before)
            carry = network.initial_carry(2)
            found.append(network.apply(network.init(key, carry, seen), carry, seen))
            each = for_agents(nn.Sequential, (2,))([Torso(before), nn.Dense(2)])
            found[-1] = found[-1], each.apply(each.init(key, seen), seen)
        return found

    plain, own = outputs(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, plain, own)
    assert all(np.ptp(leaf) > 0 for leaf in jax.tree.leaves(plain))


class Torso(nn.Module):
    """A layer behind what was read."""

    reading: Reading

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(self.reading(x, nn.relu))


SMALL = {"num_envs": 2, "num_steps": 2, "layers": (3,)}
REPLAY = {"batch_size": 4, "warm_up": 4, "capacity": 16}
AGENTS = [
    ("ppo", PIXELS, {"num_minibatches": 1, "memory": 2}, 1),
    ("a2c", PIXELS, {}, 2),
    ("ippo", "games/overcooked?observation=planes", {"num_minibatches": 1}, 2),
    ("dqn", PIXELS, REPLAY, 1),
    ("recurrent_dqn", PIXELS, {**REPLAY, "warm_up": 64, "capacity": 64, "length": 2, "burn_in": 1}, 1),
    ("pqn", PIXELS, {"num_minibatches": 1}, 1),
    ("sac", PIXELS, REPLAY, 2),
    ("evolution_strategies", PIXELS, {"population_size": 2}, 1),
]


@pytest.mark.parametrize(("agent", "env", "sizes", "networks"), AGENTS, ids=[row[0] for row in AGENTS])
def test_agents_read_pictures_by_a_network_of_ones_own(nets, agent, env, sizes, networks):
    spec, (env, params) = get_agent(agent), make(env)
    known = spec.config_defaults()
    small = {name: value for name, value in SMALL.items() if name in known and name not in sizes}
    config = spec.Config(**small, **sizes, network=f"{nets}:Conv")
    made = spec.make(env, params, config)
    state = jax.eval_shape(made.init, jax.random.key(0), spec.Hyperparams())
    leaves = jax.tree_util.tree_leaves_with_path(state.params)
    kernels = [leaf for path, leaf in leaves if "Conv_0" in jax.tree_util.keystr(path) and leaf.ndim >= 4]
    assert len(kernels) == networks
    assert all(kernel.shape[-4:-2] == (3, 3) for kernel in kernels)
    if agent in ("ppo", "sac"):  # nothing has another shape after an iteration
        after, _ = jax.eval_shape(made.step, state)
        assert jax.tree.map(lambda leaf: leaf.shape, after.params) == jax.tree.map(
            lambda leaf: leaf.shape, state.params
        )
    with pytest.raises(ValueError, match="reads in place of conv"):
        spec.make(env, params, replace(config, conv=(2,)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Whole",
            r"gives float32\[1, 6800\] of 17 .* of Breakout-MinAtar, \(17, 10, 10, 4\); expected floats \[17, H\]",
        ),
        ("Picture", r"gives float32\[17, 10, 10, 4\] of 17 observations"),
        ("Counts", r"gives int32\[17, 1\] of 17 observations"),
        ("Norm", "keeps batch_stats beside its params"),
        ("Broken", r"network .*nets\.py:Broken failed: AttributeError at .*nets\.py:\d+"),
        ("needs", "needs 'width' to make a module; expected a class"),
        ("made", "is one Conv; expected a class of flax modules"),
        ("number", "makes one int; expected a class of flax modules"),
        ("Convv", "did you mean 'Conv'"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(nets, name, message):
    with pytest.raises(ValueError, match=message):
        reading_of(nets, name)


def test_a_file_without_a_name_and_a_file_that_is_not_there_are_refused(nets):
    with pytest.raises(ValueError, match=r"say what in it is the network.*there are: needs, made, number"):
        reading_for(*make(PIXELS), ReadingConfig(network=str(nets)))
    with pytest.raises(ValueError, match=r"no network file .*nots\.py.*did you mean .*nets\.py"):
        reading_for(*make(PIXELS), ReadingConfig(network=f"{nets.parent}/nots.py:Conv"))
