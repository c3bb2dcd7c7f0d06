"""Population based training: selection by enumeration, moves in closed form, and the toy problem of the paper."""

import subprocess
import sys
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from scipy import stats

from jaxreward.agent import Agent, Policy, vmap
from jaxreward.learning.population import PBT, Config, Window, explore, pbt, truncation
from jaxreward.learning.ranges import Range, draw, perturb

RATE = 0.02
NOISE = 1e-3


class Weights(NamedTuple):
    """How much of each parameter the surrogate sees."""

    h0: float = 1.0
    h1: float = 1.0
    rate: float = RATE


@struct.dataclass
class StructWeights:
    """The same as a dataclass."""

    h0: float = 1.0
    h1: float = 1.0
    rate: float = RATE


class Toy(NamedTuple):
    """A worker of the paper's toy problem, with keys of both kinds."""

    params: dict
    hyperparams: object
    key: jax.Array
    env: dict
    count: jax.Array


def value(theta):
    """Figure 2 of Jaderberg et al. 2017: Q(theta) = 1.2 - (theta_0^2 + theta_1^2)."""
    return 1.2 - jnp.sum(theta**2)


def _init(key, hyperparams):
    key, rng, env_key = jax.random.split(key, 3)
    params = {"theta": jnp.array([0.9, 0.9])}
    env = {"rng": jax.random.key_data(rng), "key": env_key, "position": jax.random.uniform(env_key)}
    return Toy(params, hyperparams, key, env, jnp.zeros((), jnp.int32))


def _step(state):
    """Ascends 1.2 - (h_0 theta_0^2 + h_1 theta_1^2); the score has noise, or the two workers would always be equal."""
    key, noise_key = jax.random.split(state.key)
    h = state.hyperparams
    h = Weights(**h) if isinstance(h, dict) else h
    theta = state.params["theta"] * (1 - 2 * h.rate * jnp.stack([h.h0, h.h1]))
    q = value(theta)
    noise = NOISE * jax.random.normal(noise_key)
    metrics = {"env_steps": jnp.int32(3), "q": q, "score": q + noise, "cost": -q + noise}
    return state._replace(params={"theta": theta}, key=key, count=state.count + 1), metrics


def _policy(state):
    act = lambda carry, observation, key: (carry, state.params["theta"])  # noqa: E731
    return Policy(lambda: (), act, act)


TOY = Agent(_init, _step, _policy)
UNIT = {"h0": Range(0.0, 1.0), "h1": Range(0.0, 1.0)}
TWO = Config(population=2, ready_iterations=10, score="score")


def opposite(state):
    """The paper's two workers, each blind to one of the parameters."""
    weights = state.members.hyperparams._replace(h0=jnp.array([1.0, 0.0]), h1=jnp.array([0.0, 1.0]))
    return state._replace(members=state.members._replace(hyperparams=weights))


def trained(agent, seeds, iterations, prepare=lambda state: state, hyperparams=Weights()):
    """The states and metrics of some seeds."""
    batched = vmap(agent)

    @jax.jit
    def run(keys):
        first = jax.vmap(prepare)(batched.init(keys, hyperparams))
        return jax.lax.scan(lambda state, _: batched.step(state), first, length=iterations)

    return run(jax.random.split(jax.random.key(0), seeds))


def begun(agent, seed=1, hyperparams=Weights()):
    """A state, and not by many small programs."""
    return jax.jit(lambda key: agent.init(key, hyperparams))(jax.random.key(seed))


def raw(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(raw(x), raw(y))


# The toy problem of the paper.


def best_value(state):
    """Q of the policy a population shows."""
    shown = lambda s: value(pbt(TOY, UNIT, TWO).policy(s).act((), None, None)[1])  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(shown))(state))


def test_without_exploitation_each_worker_stays_blind():
    """theta_0 shrinks by 1 - 2 rate in each of 400 steps, theta_1 stays: Q = 1.2 - 0.81 (1 + (1 - 2 rate)^800)."""
    state, metrics = trained(pbt(TOY, UNIT, replace(TWO, ready_iterations=0)), 3, 400, opposite)
    exact = 1.2 - 0.81 * (1 + (1 - 2 * RATE) ** 800)
    np.testing.assert_allclose(jax.vmap(jax.vmap(value))(state.members.params["theta"]), exact, rtol=1e-6)
    assert not metrics["pbt/exploited"].any()


@pytest.mark.parametrize(("score", "maximise"), [("score", True), ("cost", False)])
def test_a_population_sees_everything(score, maximise):
    """All of 64 populations come within 0.01 of the optimum of 1.2."""
    state, metrics = trained(pbt(TOY, UNIT, replace(TWO, score=score, maximise=maximise)), 64, 400, opposite)
    assert float(best_value(state).min()) > 1.19
    assert metrics["pbt/exploited"].sum(0).min() > 10


def test_a_population_that_copies_the_worse_does_not():
    state, _ = trained(pbt(TOY, UNIT, replace(TWO, maximise=False)), 64, 400, opposite)
    assert np.median(best_value(state)) < 0.8


# What it is without exploitation, and under vmap.


@pytest.mark.parametrize("config", [replace(TWO, population=1), replace(TWO, population=3, ready_iterations=0)])
def test_without_anyone_to_copy_it_is_a_vmapped_agent(config):
    agent = pbt(TOY, UNIT, config)
    first, alone = begun(agent, 4), vmap(TOY)

    def run(step, state):
        return jax.jit(lambda: jax.lax.scan(lambda s, _: step(s), state, length=25))()

    state, metrics = run(agent.step, first)
    members, each = run(alone.step, first.members)
    same(state.members, members)
    # A difference of numbers of about 1.
    np.testing.assert_allclose(metrics["q"], each["q"].mean(1), rtol=0, atol=2.4e-7)
    assert not metrics["pbt/exploited"].any()


def test_each_seed_is_what_it_is_alone():
    """To the bit, copying and all, though others exploit beside it."""
    agent = pbt(TOY, UNIT, Config(population=5, ready_iterations=3, score="score"))
    batch, metrics = trained(agent, 4, 20)
    assert metrics["pbt/exploited"].sum() > 0
    assert set(np.flatnonzero(metrics["pbt/exploited"].any(1))) <= set(range(2, 20, 3))  # after each third iteration

    @jax.jit
    def run(key):
        return jax.lax.scan(lambda state, _: agent.step(state), agent.init(key, Weights()), length=20)

    for i, key in enumerate(jax.random.split(jax.random.key(0), 4)):
        alone, rows = run(key)
        same(alone, jax.tree.map(lambda leaf: leaf[i], batch))
        same(rows, {name: column[:, i] for name, column in metrics.items()})


def test_exploitation_stays_a_branch_within_populations_of_seeds():
    nested = vmap(vmap(pbt(TOY, UNIT, TWO)), population=True)
    weights = Weights(*(jnp.ones(3) for _ in range(3)))
    state = jax.eval_shape(nested.init, jax.random.split(jax.random.key(0), (3, 2)), weights)
    text = jax.jit(nested.step).lower(state).compile().as_text()
    assert text.count(" conditional(") == 1


# Selection.


def allowed(scores, broken, number):
    """Whom each member may copy, by the definition."""
    known = [i for i in range(len(scores)) if np.isfinite(scores[i]) and not broken[i]]
    order = sorted(known, key=lambda i: (-scores[i], i))
    worst = min(number, len(order) // 2)
    best, losers = order[: max(worst, 1)], order[len(order) - worst :]
    choices = []
    for i in range(len(scores)):
        if broken[i]:
            choices.append(set(best) or {i})
        elif i in losers:
            choices.append({j if scores[j] > scores[i] else i for j in best})
        else:
            choices.append({i})
    return choices


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_selection_is_its_definition(number):
    """For random scores with ties, unknown and broken ones: exactly the allowed sources turn up in 500 draws."""
    rng = np.random.default_rng(number)
    scores = rng.integers(-3, 3, (60, 7)).astype(np.float32)
    scores[rng.random((60, 7)) < 0.15] = np.nan
    broken = rng.random((60, 7)) < rng.choice([0, 0.2, 0.9], (60, 1))
    scores[0], broken[1], scores[2, 3] = np.nan, True, np.inf
    broken[2] = ~np.isfinite(scores[2])
    keys = jax.random.split(jax.random.key(number), 500)
    draws = jax.vmap(jax.vmap(lambda k, s, b: truncation(k, s, b, number), (0, None, None)), (None, 0, 0))
    sources = np.asarray(jax.jit(draws)(keys, scores, broken))
    for row, (values, wrong) in enumerate(zip(scores, broken, strict=True)):
        assert [set(sources[row, :, i].tolist()) for i in range(7)] == allowed(values, wrong, number)


def test_the_best_are_copied_equally_often():
    scores = jnp.arange(9.0)
    keys = jax.random.split(jax.random.key(0), 6000)
    sources = jax.jit(jax.vmap(lambda k: truncation(k, scores, jnp.zeros(9, bool), 3)))(keys)
    counts = np.bincount(np.asarray(sources[:, :3]).ravel(), minlength=9)
    assert counts[:6].sum() == 0
    # 18000 draws of three: five standard deviations.
    np.testing.assert_allclose(counts[6:], 6000, atol=5 * np.sqrt(18000 * 2 / 9))


# Copying.


def scored(state, scores, weight=1.0):
    scores = np.asarray(scores, np.float32)
    window = Window(np.int32(10), scores * np.float32(weight), np.full_like(scores, weight))
    return state._replace(window=jax.tree.map(jnp.asarray, window))


@pytest.mark.parametrize("kind", [Weights, StructWeights, lambda: Weights()._asdict()])
def test_a_copy_has_everything_but_its_keys(kind):
    config = Config(population=6, fraction=0.2, resample=0.0, score="score")
    agent = PBT(TOY, UNIT, config)
    state = begun(agent, hyperparams=kind())
    members, _ = jax.jit(vmap(TOY).step)(state.members)
    members = members._replace(
        count=jnp.asarray(np.arange(6, dtype=np.int32)),
        params={"theta": jnp.asarray(np.arange(12.0, dtype=np.float32).reshape(6, 2))},
        env=members.env | {"position": jnp.asarray(np.arange(6.0, dtype=np.float32))},
    )
    state = scored(state._replace(members=members), [0.0, 5.0, 3.0, 9.0, 4.0, 1.0])
    after, replaced = jax.jit(agent.evolve)(state)
    assert int(replaced) == 1
    old, new = state.members, after.members
    for before, now in ((old.params["theta"], new.params["theta"]), (old.count, new.count),
                        (old.env["position"], new.env["position"])):  # fmt: skip
        np.testing.assert_array_equal(now, np.asarray(before)[[3, 1, 2, 3, 4, 5]])
    for before, now in ((old.key, new.key), (old.env["key"], new.env["key"]), (old.env["rng"], new.env["rng"])):
        np.testing.assert_array_equal(raw(now), raw(before))
        assert len(np.unique(raw(now).reshape(6, -1), axis=0)) == 6
    read = lambda tree, name: tree[name] if isinstance(tree, dict) else getattr(tree, name)  # noqa: E731
    for name in ("h0", "h1"):
        before, now = (np.asarray(read(tree.hyperparams, name)) for tree in (old, new))
        np.testing.assert_array_equal(now[1:], before[1:])
        near = np.clip([before[3] - 0.1, before[3] + 0.1], 0, 1)
        assert np.abs(now[0] - near).min() < 1e-6
    np.testing.assert_array_equal(read(new.hyperparams, "rate"), read(old.hyperparams, "rate"))
    np.testing.assert_array_equal(after.scores, [np.nan, 5, 3, 9, 4, 1])
    assert not any(leaf.any() for leaf in after.window)
    assert not np.array_equal(raw(after.key), raw(state.key))


def test_broken_members_are_replaced_and_never_copied():
    """By their score, or by what they have learned though it looks best; unknown ones are left alone."""
    agent = PBT(TOY, {}, Config(population=6, fraction=0.0, score="score"))
    state, theta = begun(agent), np.arange(12.0, dtype=np.float32).reshape(6, 2)
    theta[4, 1] = np.nan
    state = state._replace(members=state.members._replace(params={"theta": theta}))
    state = scored(state, [jnp.nan, 2.0, -jnp.inf, 7.0, 100.0, 0.0])
    state = state._replace(window=state.window._replace(weight=jnp.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])))
    assert int(agent.best(state)) == 3
    after, replaced = jax.jit(agent.evolve)(state)
    assert int(replaced) == 3
    np.testing.assert_array_equal(after.members.params["theta"], theta[[3, 1, 3, 3, 3, 5]])
    np.testing.assert_array_equal(after.scores, [np.nan, 2, np.nan, 7, np.nan, np.nan])


def test_a_population_that_is_all_broken_says_so():
    agent = PBT(TOY, UNIT, Config(population=3, score="score"))
    state = scored(begun(agent), [jnp.nan] * 3)
    after, replaced = jax.jit(agent.evolve)(state)
    same(after.members, state.members)
    assert int(replaced) == 0
    report = agent.report(state, {"env_steps": jnp.ones(3), "q": jnp.full(3, jnp.nan)})
    assert np.isnan(report["q"])
    assert int(report["pbt/broken"]) == 3


# Scores and metrics.


def test_scores_are_means_over_the_episodes_of_a_window():
    agent = PBT(TOY, {"h0": Range(0.1, 1.0, log=True)}, Config(population=3, score="episode/return"))
    state = begun(agent, 0)
    counts = np.array([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0], [4.0, 0.0, 0.0]])
    returns = np.where(counts > 0, [[1.0, 0.0, 10.0], [0.0, 0.0, 20.0], [4.0, 0.0, 0.0]], np.nan)
    window = state.window
    for count, mean in zip(counts, returns, strict=True):
        metrics = {
            "env_steps": jnp.array([1, 2, 3]),
            "episode/count": jnp.array(count),
            "episode/return": jnp.array(mean),
        }
        window = agent.watch(window, metrics)
    state = state._replace(window=window)
    np.testing.assert_allclose(agent.standing(state), [18 / 6, np.nan, 70 / 4], rtol=1e-6)
    report = agent.report(state, metrics | {"loss": jnp.array([1.0, 2.0, 6.0])})
    h0 = np.asarray(state.members.hyperparams.h0)
    expected = {
        "env_steps": 6, "episode/count": 4, "episode/return": 4.0, "loss": 3.0, "episode/return_of_best": 17.5,
        "pbt/best/h0": h0[2], "pbt/median/h0": np.median(h0), "pbt/broken": 0,
    }  # fmt: skip
    assert set(report) == set(expected)
    for name, number in expected.items():
        np.testing.assert_allclose(report[name], number, rtol=1e-6)
    two = {"episode/count": jnp.array(counts[0]), "episode/return": jnp.array(returns[0])}
    np.testing.assert_allclose(agent.report(state, two)["episode/return"], (2 * 1 + 10) / 3, rtol=1e-6)
    after, _ = agent.evolve(state)
    np.testing.assert_array_equal(after.members.params["theta"][1], state.members.params["theta"][1])
    # Until scores of the next whole window are there, these count, whatever comes in meanwhile.
    lucky = after._replace(window=agent.watch(after.window, metrics | {"episode/return": jnp.array([900.0, 0, 0])}))
    assert int(agent.best(lucky)) == 2
    # A member of which nothing was heard in a window keeps the score of the one before.
    second = agent.evolve(after._replace(window=agent.watch(after.window, metrics)))[0]
    np.testing.assert_array_equal(second.scores, [4.0, np.nan, 17.5])


# Ranges.


def test_moves_in_closed_form():
    up, down = jnp.ones(3), -jnp.ones(3)
    log, flat = Range(0.01, 1.0, log=True), Range(-1.0, 3.0)
    values = jnp.array([0.011, 0.1, 0.99])
    np.testing.assert_allclose(perturb(log, values, up, 1.25), [0.01375, 0.125, 1.0], rtol=1e-6)
    np.testing.assert_allclose(perturb(log, values, down, 1.25), [0.01, 0.08, 0.792], rtol=1e-6)
    values = jnp.array([-0.9, 0.0, 2.9])
    np.testing.assert_allclose(perturb(flat, values, up, 1.25), [-0.4, 0.5, 3.0], rtol=1e-6)
    np.testing.assert_allclose(perturb(flat, values, down, 1.25), [-1.0, -0.5, 2.4], rtol=1e-6)
    # As the factor would move the middle of a range that begins at 0.
    np.testing.assert_allclose(perturb(Range(0.0, 4.0), 2 * up, up, 1.25), 2.5, rtol=1e-6)


def test_integers_stay_integers_and_move():
    few, many = Range(1, 4, integer=True), Range(1, 1000, log=True, integer=True)
    values, up = jnp.array([1.0, 2.0, 4.0]), jnp.ones(3)
    np.testing.assert_array_equal(perturb(few, values, up, 1.2), [2, 3, 4])
    np.testing.assert_array_equal(perturb(few, values, -up, 1.2), [1, 1, 3])
    np.testing.assert_array_equal(perturb(many, jnp.array([1.0, 100.0, 990.0]), up, 1.2), [2, 120, 1000])
    np.testing.assert_array_equal(perturb(many, jnp.array([1.0, 120.0, 990.0]), -up, 1.2), [1, 100, 825])
    counts = np.unique(np.asarray(draw(few, jax.random.key(0), 8000)), return_counts=True)
    np.testing.assert_array_equal(counts[0], [1, 2, 3, 4])
    np.testing.assert_allclose(counts[1], 2000, atol=5 * np.sqrt(8000 * 3 / 16))
    ints = explore(few, jax.random.key(1), jnp.array([1, 2, 4]), Config())
    assert ints.dtype == jnp.int32


@pytest.mark.parametrize("within", [Range(1e-5, 1e-1, log=True), Range(-2.0, 4.0)])
def test_draws_are_even_on_the_ranges_own_scale(within):
    scale = np.log if within.log else np.asarray
    low, high = scale(within.low), scale(within.high)
    values = np.asarray(draw(within, jax.random.key(2), 10_000), float)
    assert within.low <= values.min() <= values.max() <= within.high
    even = np.sort((scale(values) - low) / (high - low))
    # Kolmogorov-Smirnov, a false alarm in 1000.
    assert np.abs(even - np.arange(10_000) / 10_000).max() < 1.95 / np.sqrt(10_000)


def test_moves_up_down_and_anew_are_as_likely_as_they_should_be():
    values = jnp.full(9000, 0.1)
    moved = np.asarray(explore(Range(0.01, 1.0, log=True), jax.random.key(0), values, Config(resample=0.25)))
    up, down = np.isclose(moved, 0.12).mean(), np.isclose(moved, 0.1 / 1.2).mean()
    np.testing.assert_allclose([up, down], 0.375, atol=5 * np.sqrt(0.375 * 0.625 / 9000))
    assert 0.01 <= moved.min() < 0.02
    assert 0.5 < moved.max() <= 1.0


# What does not fit.


def test_hyperparameters_are_drawn_and_moved_independently_of_one_another():
    """Both have the same range. Of those that moved, half go the same way: one key in 10,000 would fail."""
    algorithm = PBT(TOY, UNIT, Config(population=256, fraction=0.5, resample=0.0, score="score"))

    @jax.jit
    def evolved(key):
        state = algorithm.init(key, Weights())
        window = Window(jnp.asarray(10), jnp.arange(256.0), jnp.ones(256))
        values = state.members.hyperparams._replace(h0=jnp.full(256, 0.5), h1=jnp.full(256, 0.5))
        members = state.members._replace(hyperparams=values)
        return state, algorithm.evolve(state._replace(window=window, members=members))[0]

    before, after = (state.members.hyperparams for state in evolved(jax.random.key(0)))
    assert len(np.unique([before.h0, before.h1])) == 512
    moved = np.asarray(after.h0) != 0.5
    np.testing.assert_array_equal(moved, np.asarray(after.h1) != 0.5)
    assert moved.sum() == 128
    same_way = (np.asarray(after.h0) > 0.5) == (np.asarray(after.h1) > 0.5)
    assert stats.binomtest(int(same_way[moved].sum()), 128).pvalue > 1e-4


def test_bad_numbers_are_refused():
    for changes in (
        {"population": 0},
        {"fraction": 0.6},
        {"perturb": 0.8},
        {"resample": 1.5},
        {"ready_iterations": -1},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(changes))} must be at least"):
            pbt(TOY, UNIT, Config(**changes))
    with pytest.raises(ValueError, match="h0: a range goes from a lower"):
        pbt(TOY, {"h0": Range(1.0, 1.0)})
    with pytest.raises(ValueError, match="h0: a logarithmic range must be positive"):
        pbt(TOY, {"h0": Range(0.0, 1.0, log=True)})


def test_names_that_are_not_there_are_refused():
    begin = lambda agent, weights=Weights(): jax.eval_shape(agent.init, jax.random.key(0), weights)  # noqa: E731
    with pytest.raises(ValueError, match=r"no hyperparameter to search 'rates'; did you mean 'rate'"):
        begin(pbt(TOY, {"rates": Range(0.0, 1.0)}))
    with pytest.raises(ValueError, match="h0 is an integer, so its range must be of integers"):
        begin(pbt(TOY, UNIT), Weights(h0=1))
    with pytest.raises(ValueError, match="h1 is an array of shape"):
        begin(pbt(TOY, UNIT), Weights(h1=np.ones(2)))
    agent = pbt(TOY, UNIT, Config(score="scores"))
    with pytest.raises(ValueError, match="no metric to score members by 'scores'; did you mean 'score'"):
        jax.eval_shape(agent.step, begin(agent))
    forgetful = TOY._replace(init=lambda key, h: _init(key, ()))
    agent = pbt(forgetful, UNIT, Config(score="q"))
    with pytest.raises(ValueError, match=r"state must carry its hyperparams; it has no hyperparams\.h0"):
        begin(agent)


def test_the_library_shows_the_function():
    """And no module of that name in its place, once that is imported."""
    code = "import jaxreward.learning.population, jaxreward; assert jaxreward.pbt is jaxreward.learning.population.pbt"
    subprocess.run([sys.executable, "-c", code], check=True)
