import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.nn import relu, selu

from jaxreward.agents.quality_diversity.parts.autoencoder import Autoencoder, errors
from jaxreward.agents.quality_diversity.parts.autoencoder import selu as our_selu
from jaxreward.agents.quality_diversity.parts.convolution import Double, Halve
from jaxreward.agents.quality_diversity.parts.evaluation import Outcome
from jaxreward.agents.quality_diversity.parts.fitting import Fitted, Fitting, fit, not_yet, split, start, validated
from jaxreward.agents.quality_diversity.parts.learned_space import learned_space
from jaxreward.agents.quality_diversity.parts.retraining import advanced, new_training
from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.envs.qd.point2d import Point2DState
from jaxreward.rewards import environment_reward
from tests.probes import Probe

KEY = jax.random.key(0)
ENV, PARAMS = make("qd/point2d")
TINY = Autoencoder(size=16, channels=(4, 3), code=2)
SHALLOW = Autoencoder(size=16, channels=(4,), code=2)  # compiles faster


@pytest.mark.parametrize(("channels", "features"), [(2, 9), (6, 5)])
@pytest.mark.parametrize(
    ("layer", "reference"),
    [
        (Halve, lambda features: nn.Conv(features, (4, 4), (2, 2), ((1, 1), (1, 1)))),
        (Double, lambda features: nn.ConvTranspose(features, (4, 4), (2, 2))),
    ],
)
def test_convolutions_are_those_of_flax(layer, reference, channels, features):
    x = jax.random.normal(KEY, (3, 2, 4, 6, channels))
    weights = jax.jit(jax.vmap(layer(features).init))(jax.random.split(KEY, 3), x)
    ours, theirs = (jax.jit(jax.vmap(network(features).apply))(weights, x) for network in (layer, reference))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@jax.jit
def by_flax(weights, images):
    """The network made of flax's layers."""
    weights = weights["params"]
    conv = lambda width: nn.Conv(width, (4, 4), (2, 2), ((1, 1), (1, 1)))  # noqa: E731
    x = images
    for i, width in enumerate(TINY.channels):
        x = selu(conv(width).apply({"params": weights[f"halve_{i}"]}, x))
    side, widths = x.shape[1], (*TINY.channels[::-1][1:], 3)
    codes = selu(nn.Dense(TINY.code).apply({"params": weights["to_code"]}, x.reshape(len(x), -1)))
    x = selu(nn.Dense(x[0].size).apply({"params": weights["from_code"]}, codes)).reshape(-1, side, side, x.shape[-1])
    for i, width in enumerate(widths):
        x = nn.ConvTranspose(width, (4, 4), (2, 2)).apply({"params": weights[f"double_{i}"]}, x)
        x = relu(x) if i == len(widths) - 1 else selu(x)
    return codes, x


@pytest.fixture(scope="module")
def weights():
    return jax.jit(learned_space(ENV, network=TINY).init)(KEY).weights


def test_the_autoencoder_is_its_layers_one_after_the_other(weights):
    images = jax.random.uniform(KEY, (2, 16, 16, 3))
    for ours, theirs in zip(jax.jit(TINY.apply)(weights, images), by_flax(weights, images), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_default_is_the_authors_network_with_pytorchs_first_weights():
    """3-32-64-32-16 channels, 10 numbers, and back, with a bias each; the sum is made by hand."""
    network = Autoencoder()
    weights = jax.eval_shape(network.init, KEY, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
    assert sum(leaf.size for leaf in jax.tree.leaves(weights)) == 156_189
    drawn = jax.jit(Halve(64).init)(KEY, jnp.zeros((1, 8, 8, 32)))["params"]
    bound = 1 / np.sqrt(16 * 32)
    assert bound * 0.999 < jnp.abs(drawn["kernel"]).max() < bound
    assert bound * 0.8 < jnp.abs(drawn["bias"]).max() < bound
    drawn = jax.jit(Double(3).init)(KEY, jnp.zeros((1, 8, 8, 32)))["params"]["kernel"]
    assert 0.99 / np.sqrt(16 * 3) < jnp.abs(drawn).max() < 1 / np.sqrt(16 * 3)


SCRIPTS = {
    "rises at once": ([1.0, 2.0, 2.0, 2.0, 2.0, 0.0], 5),
    "an equal error is not above": ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 6),
    "three above are borne": ([1.0, 2.0, 2.0, 2.0, 1.0, 2.0, 2.0, 2.0, 0.5, 0.4], 10),
    "above the lowest, not above the last": ([1.0, 5.0, 4.0, 3.0, 2.0, 0.0], 5),
    "falls for a while": ([3.0, 2.0, 1.0, 1.5, 1.5, 1.5, 1.5, 0.0], 7),
}
"""Validation errors, and how many of them there are until the training ends."""


@pytest.mark.parametrize(("script", "expected"), SCRIPTS.values(), ids=SCRIPTS)
def test_training_ends_with_the_fourth_error_in_a_row_above_the_lowest(script, expected):
    stopping, taken = not_yet(), 0
    while taken < len(script) and stopping.above < Fitting().patience:
        stopping, taken = validated(stopping, jnp.asarray(script[taken])), taken + 1
    assert taken == expected


def test_a_training_stops_as_scripted():
    """One weight that each step of Adam raises by 1, by which the error is looked up; 20 rows, two steps an epoch."""
    scripts = np.full((len(SCRIPTS), 11), 9.0, np.float32)
    for row, (script, _) in zip(scripts, SCRIPTS.values(), strict=True):
        row[: len(script)] = script
    config = Fitting(batch_size=10, learning_rate=1.0, epochs=11)

    def epochs(script):
        def looked_up(weight, rows):
            error = script[jnp.round(weight).astype(int) // 2 - 2]  # the second epoch is the first that is validated
            slope = jax.lax.stop_gradient(weight) - weight
            return jnp.full(rows.shape, jax.lax.stop_gradient(error) + slope)

        begun, rows = start(jnp.zeros(()), config), jnp.arange(25)
        return fit(begun, KEY, looked_up, rows, rows < 20, config).weights / 2

    # One epoch more than validations, and 11 at most.
    np.testing.assert_allclose(jax.jit(jax.vmap(epochs))(scripts), [6, 11, 11, 6, 8], rtol=1e-5)


def test_rows_are_split_at_random_into_what_is_held_back_and_the_rest():
    exists = jnp.array([True, False] * 11)
    rows, held, exist = jax.jit(split, static_argnums=2)(KEY, exists, 0.2)
    assert (held, exist) == (2, 11)
    assert sorted(rows[:11].tolist()) == list(range(0, 22, 2))
    other = split(jax.random.key(1), exists, 0.2).rows
    assert not (other == rows).all()


def test_an_epoch_learns_from_every_row_that_exists_and_is_not_held_back():
    """A weight for each row, that moves when it is learned from."""
    config = Fitting(epochs=1, batch_size=4)
    exists = jnp.arange(30) % 3 != 0
    begun = start(jnp.zeros(30), config)
    moved = jax.jit(lambda key: fit(begun, key, lambda w, rows: -w[rows], jnp.arange(30), exists, config).weights > 0)
    for seed in range(3):
        learned = moved(jax.random.key(seed))
        assert learned.sum() == 20 - 4
        assert not (learned & ~exists).any()


def test_a_smaller_last_batch_has_the_mean_of_its_rows():
    """Five equal rows in batches of two are three equal steps."""
    config = Fitting(epochs=3, batch_size=2, validation=0.0, learning_rate=0.1)
    loss = lambda w, x: jnp.square(w[None] - x).sum(-1)  # noqa: E731
    data, exists = jnp.broadcast_to(jnp.array([1.0, -3.0]), (7, 2)), jnp.arange(7) >= 2
    fitted = jax.jit(lambda: fit(start(jnp.zeros(2), config), KEY, loss, data, exists, config))()
    adam, weights = optax.adam(0.1), jnp.zeros(2)
    optimiser = adam.init(weights)
    for _ in range(9):
        change, optimiser = adam.update(2 * (weights - data[0]), optimiser)
        weights = weights + change
    np.testing.assert_allclose(fitted.weights, weights, rtol=1e-5)
    assert fitted.optimiser[0].count == 9


def test_a_linear_autoencoder_learns_the_principal_component():
    """No rank of one leaves less than all variances but the largest."""
    data = jax.random.normal(KEY, (200, 3)) * jnp.array([[3.0, 1.0, 0.5]])
    data = jnp.concatenate([data - data.mean(0, keepdims=True), jnp.full((20, 3), 1e3)])
    exists = jnp.arange(220) < 200
    config = Fitting(epochs=300, batch_size=200, validation=0.0, learning_rate=0.03)
    loss = lambda w, x: jnp.square(x - (x @ w[0]) @ w[1]).sum(-1)  # noqa: E731
    begun = start((jnp.ones((3, 1)) * 0.3, jnp.ones((1, 3)) * 0.3), config)
    fitted = jax.jit(lambda: fit(begun, KEY, loss, data, exists, config))()
    least = np.linalg.eigvalsh(np.cov(data[:200].T, bias=True))[:2].sum()
    found = loss(fitted.weights, data[:200]).mean()
    assert least * (1 - 1e-5) <= found < least * 1.001 < loss(begun.weights, data[:200]).mean()


def test_nothing_is_learned_from_nothing():
    config = Fitting(epochs=2)
    begun = start(jnp.ones(2), config)
    fitted = fit(begun, KEY, lambda w, x: w.sum() * x, jnp.ones(4), jnp.zeros(4, bool), config)
    assert (fitted.weights == begun.weights).all()


def test_trainings_are_due_after_chunks_of_exploration_1_3_6_10_and_15():
    training, found = new_training(), []
    for chunk in range(1, 16):
        training, due = jax.jit(advanced)(training, jnp.array(True))
        found += [chunk] if due else []
        training, due = advanced(training, jnp.array(False))
        assert not due
    assert found == [1, 3, 6, 10, 15]


def outcomes(number, frames, empty=0):
    """Points here and there, the last few of them empty slots."""
    position = jax.random.uniform(KEY, (number, frames, 2), minval=-1, maxval=1)
    position = position.at[number - empty :].set(0)
    state = Point2DState(position, jnp.zeros((number, frames), jnp.int32), jnp.zeros((number, frames), jnp.int32))
    zero, steps = jnp.zeros(number), jnp.where(jnp.arange(number) < number - empty, 50, 0)
    return Outcome(zero, jnp.zeros(number, jnp.int32), position[:, -1], steps, state)


def test_a_behaviour_is_the_codes_of_its_pictures_and_surprises_by_the_sum_of_their_errors(weights):
    space, evaluated = learned_space(ENV, 3, network=TINY, block_size=4), outcomes(7, 3)
    behaviour, surprise = jax.jit(space.place)(Fitted(weights, ()), evaluated, PARAMS)
    image = jax.jit(lambda state: ENV.image(state, PARAMS, 16))
    for row in range(7):
        states = jax.tree.map(lambda leaf: leaf[row], evaluated.record)
        images = jnp.stack([image(jax.tree.map(lambda leaf: leaf[i], states)) for i in range(3)])
        codes, made = by_flax(weights, images)
        np.testing.assert_allclose(behaviour[row], np.ravel(codes), rtol=1e-4, atol=1e-5)
        expected = sum(np.mean((images[i] - made[i]) ** 2) for i in range(3))
        np.testing.assert_allclose(surprise[row], expected, rtol=1e-5)


@pytest.fixture(scope="module")
def begun():
    """A small autoencoder that nothing was learned with yet."""
    return jax.jit(learned_space(ENV, network=SHALLOW).init)(KEY)


def test_empty_slots_are_nowhere_and_surprise_nobody(begun):
    place = jax.jit(learned_space(ENV, 2, network=SHALLOW, block_size=4).place)
    behaviour, surprise = place(begun, outcomes(16, 2, empty=10), PARAMS)
    full = place(begun, outcomes(16, 2), PARAMS)
    np.testing.assert_allclose(behaviour[:6], full[0][:6], rtol=1e-5)
    assert (behaviour[6:] == 0).all()
    assert (surprise[6:] == 0).all()
    assert (full[1] > 0).all()


@pytest.fixture(scope="module")
def learned(begun):
    """Two seeds that learned from 30 points, each from its own weights."""
    space = learned_space(ENV, network=SHALLOW, fitting=Fitting(epochs=6, batch_size=8, learning_rate=1e-2))
    known, exists = outcomes(40, 1), jnp.arange(40) < 30
    keys = jax.random.split(KEY, 2)
    learn = lambda key, fitted: space.learn(fitted, key, known, exists, PARAMS)  # noqa: E731
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.9 * leaf]).astype(leaf.dtype), begun)
    return space, known, keys, learn, two, jax.jit(jax.vmap(learn))(keys, two)


def test_what_is_learned_surprises_less(learned):
    space, known, _, _, two, after = learned
    surprise = jax.jit(jax.vmap(lambda fitted: space.place(fitted, known, PARAMS)[1][:30].mean()))
    assert (surprise(after) < 0.9 * surprise(two)).all()


def test_a_seed_among_others_learns_what_it_learns_alone(learned):
    *_, keys, learn, two, after = learned
    alone = jax.jit(learn)(keys[1], jax.tree.map(lambda leaf: leaf[1], two))
    same = lambda one, all_: np.testing.assert_allclose(all_[1], one, rtol=1e-3, atol=1e-4)  # noqa: E731
    jax.tree.map(same, alone, after)


def test_a_reset_starts_from_other_weights_and_without_training_nothing_is_learned(begun):
    known, exists = outcomes(4, 1), jnp.ones(4, bool)
    once = Fitting(epochs=1, learning_rate=0.0)
    space = learned_space(ENV, network=SHALLOW, fitting=once, reset=True)
    after = jax.jit(lambda: space.learn(begun, jax.random.key(7), known, exists, PARAMS))()
    kernel = lambda fitted: fitted.weights["params"]["to_code"]["kernel"]  # noqa: E731
    assert (kernel(after) != kernel(begun)).all()
    assert learned_space(ENV, network=SHALLOW, trained=False).learn is None


def test_pictures_are_those_beneath_a_reward(begun):
    rewarded, evaluated = with_reward(ENV, environment_reward()), outcomes(2, 1)
    placed = jax.jit(learned_space(rewarded, network=SHALLOW).place)(begun, evaluated, rewarded.default_params)
    bare = jax.jit(learned_space(ENV, network=SHALLOW).place)(begun, evaluated, PARAMS)
    np.testing.assert_allclose(placed[0], bare[0], rtol=1e-6)


def test_it_is_said_what_does_not_fit():
    with pytest.raises(ValueError, match="multiple of 4; got 18, try 16"):
        learned_space(ENV, network=Autoencoder(18, (4, 3)))
    with pytest.raises(ValueError, match=r"channels and code must be positive; got \[\] and 10"):
        learned_space(ENV, network=Autoencoder(16, ()))
    with pytest.raises(ValueError, match="frames and block_size must be at least 1; got 0"):
        learned_space(ENV, 0)
    with pytest.raises(ValueError, match="does not draw itself"):
        learned_space(Probe())
    assert learned_space(ENV, 5).steps(50) == (10, 20, 30, 40, 49)


def test_errors_are_means_of_each_picture():
    images, made = np.random.default_rng(0).uniform(size=(2, 3, 4, 4, 3))
    np.testing.assert_allclose(
        errors(jnp.asarray(images), jnp.asarray(made)), ((images - made) ** 2).mean((1, 2, 3)), rtol=1e-5
    )


def test_selu_is_jax_s():
    x = jnp.concatenate([jnp.linspace(-20, 5, 1001), jnp.array([-1e-6, 0.0, 1e-6, 100.0])])
    np.testing.assert_allclose(our_selu(x), selu(x), rtol=1e-6, atol=3e-7)
    slopes = [jax.grad(lambda x, f=f: f(x).sum())(x[x != 0]) for f in (our_selu, selu)]
    np.testing.assert_allclose(*slopes, rtol=1e-6, atol=3e-7)
