"""What every set function owes: gains that sum to F by brute force, diminishing returns, a reward that pays them."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.environment import select
from jaxreward.reward import Transition, components
from jaxreward.rewards import sets

PLACES, CELLS, CAPACITY, BATCH = 7, 10, 8, 100
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


class Case(NamedTuple):
    """A set function, F of a list of places in numpy float64, and what is claimed of it."""

    function: sets.SetFunction
    brute: Callable[[list[int]], float]
    pool: np.ndarray | None = None  # what items the places stand for, if not their numbers
    monotone: bool = True
    submodular: bool = True
    repeats_gain: bool = False


def _random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def coverage_case() -> Case:
    cells = np.random.default_rng(0).integers(0, CELLS + 3, (PLACES, 4))  # some beyond the last, some twice in a row
    weights = _random(1, CELLS)

    def brute(places):
        return weights[sorted({c for p in places for c in cells[p] if c < CELLS})].sum()

    return Case(sets.coverage(cells, weights), brute)


def items_case() -> Case:
    kinds, required = np.array([0, 0, 1, -1, 1, 0, 2]), np.array([2, 1, 3])

    def brute(places):
        found = [sum(kinds[p] == k for p in set(places)) for k in range(3)]
        return np.minimum(found, required).sum()

    return Case(sets.items(kinds, required), brute)


def facility_case() -> Case:
    similarity = _random(2, PLACES, 5)
    return Case(sets.facility_location(similarity), lambda a: similarity[list(a)].max(0, initial=0).sum())


def detection_case() -> Case:
    p, weights = _random(3, PLACES, 5), _random(4, 5)

    def brute(places):
        return (weights * (1 - np.prod(1 - p[list(places)], axis=0))).sum()

    return Case(sets.probabilistic_coverage(p, weights), brute, repeats_gain=True)


def _pair_weights() -> np.ndarray:
    half = _random(5, PLACES, PLACES)
    return half + half.T


def _pairs(places: list[int]) -> float:
    distinct = sorted(set(places))
    return sum(_pair_weights()[a, b] for i, a in enumerate(distinct) for b in distinct[:i])


def pairs_case() -> Case:
    return Case(sets.pairwise(_pair_weights()), _pairs, submodular=False)


def mixture_case() -> Case:
    covered = coverage_case()
    function = sets.mixture(covered=covered.function, alike=(sets.pairwise(_pair_weights()), -0.3))
    return Case(function, lambda a: covered.brute(a) - 0.3 * _pairs(a), monotone=False)


def patches_case() -> Case:
    positions = np.array([[0.1, 0.1], [0.5, 1.2], [-0.4, 2.9], [1.9, 2.95], [9.0, 0], [-0.9, -0.9], [0.2, 0.15]])

    def brute(places):
        grid = np.zeros((4, 6), bool)
        for x, y in positions[list(places)]:
            i, j = int(np.floor(x / 0.5)), int(np.floor(y / 0.5))
            grid[max(i, 0) : max(i + 2, 0), max(j, 0) : max(j + 3, 0)] = True
        return 0.1 * grid.sum()

    return Case(sets.patches((0, 0), (2, 3), (4, 6), (2, 3), worth=0.1), brute, pool=positions)


def listed_case() -> Case:
    values = _random(6, PLACES)

    def root(weights, places, mask):  # the square root of a sum over distinct places, plus what is taken off
        distinct = jnp.zeros(PLACES).at[places].max(mask.astype(float))
        return jnp.sqrt((distinct * weights).sum()) + 3.0

    function = sets.from_function(root, CAPACITY, jnp.int32(0), init=values)
    return Case(function, lambda a: np.sqrt(values[sorted(set(a))].sum()))


POSITIONS = _random(7, PLACES, 2) * 2
MEASURED = np.array([[0.3, 0.4], [1.5, 1.0]])


def matern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a = np.sqrt(5) * np.linalg.norm(x[:, None] - y[None], axis=-1) / 0.8
    return 1.3 * (1 + a + a**2 / 3) * np.exp(-a)


def covariances(x: np.ndarray) -> np.ndarray:
    gram = matern(MEASURED, MEASURED) + 0.01 * np.eye(2)
    return matern(x, x) - matern(x, MEASURED) @ np.linalg.solve(gram, matern(MEASURED, x))


def information_case() -> Case:
    kernel = sets.posterior(sets.matern52(0.8, 1.3), MEASURED, 0.01)

    def brute(places):
        return 0.5 * np.linalg.slogdet(np.eye(len(places)) + covariances(POSITIONS[list(places)]) / 0.02)[1]

    return Case(sets.information_gain(kernel, CAPACITY, 0.02), brute, pool=POSITIONS, repeats_gain=True)


def offset_case() -> Case:
    table = covariances(POSITIONS)

    def brute(places):
        chosen = table[np.ix_(places, places)]
        return 0.5 * np.linalg.slogdet(chosen + 0.01 * np.eye(len(places)))[1] + 9.965784 * len(places)

    return Case(sets.information_gain(sets.table(table), CAPACITY, 0.01, 9.965784), brute, repeats_gain=True)


def mutual_case() -> Case:
    noisy = covariances(POSITIONS) + 0.1 * np.eye(PLACES)

    def brute(places):
        inside = sorted(set(places))
        outside = [p for p in range(PLACES) if p not in inside]
        halves = [np.linalg.slogdet(noisy[np.ix_(part, part)])[1] for part in (inside, outside) if part]
        return 0.5 * (sum(halves) - np.linalg.slogdet(noisy)[1])

    return Case(sets.mutual_information(covariances(POSITIONS), CAPACITY, 0.1), brute, monotone=False)


CASES = {
    "coverage": coverage_case,
    "items": items_case,
    "facility_location": facility_case,
    "probabilistic_coverage": detection_case,
    "pairwise": pairs_case,
    "mixture": mixture_case,
    "patches": patches_case,
    "from_function": listed_case,
    "information_gain": information_case,
    "information_gain with an offset": offset_case,
    "mutual_information": mutual_case,
}


@pytest.fixture(scope="module", params=CASES)
def case(request) -> Case:
    return CASES[request.param]()


def params_of(case: Case):
    return case.function.init(jax.random.key(0))


def items_at(case: Case, places: np.ndarray) -> jax.Array:
    return jnp.asarray(places, jnp.int32) if case.pool is None else jnp.asarray(case.pool[places], jnp.float32)


@cache
def compiled(function: sets.SetFunction) -> Callable:
    def scanned(params, items):
        return jax.lax.scan(partial(function.add, params), function.empty(params), items)[1]

    return jax.jit(jax.vmap(scanned, (None, 0)))


def gains_of(case: Case, places: np.ndarray) -> np.ndarray:
    """The gains of sequences of places, `[B, T]`, one item added after another."""
    return np.asarray(compiled(case.function)(params_of(case), items_at(case, places)))


def draws(seed: int) -> np.ndarray:
    """Sequences of places, some of them repeated, `[BATCH, CAPACITY]`."""
    return np.random.default_rng(seed).integers(0, PLACES, (BATCH, CAPACITY))


def distinct_draws(seed: int) -> np.ndarray:
    """Sequences of distinct places, `[BATCH, PLACES]`."""
    return np.argsort(_random(seed, BATCH, PLACES), axis=1)


def padded(places: np.ndarray) -> np.ndarray:
    return np.pad(places, ((0, 0), (0, CAPACITY - places.shape[1])))


def test_each_gain_is_the_difference_of_f(case):
    places = draws(0)
    values = np.array([[0] + [case.brute(row[: t + 1].tolist()) for t in range(CAPACITY)] for row in places])
    np.testing.assert_allclose(gains_of(case, places), np.diff(values, axis=1), **TOLERANCE)


def test_a_sequence_at_once_gains_what_one_by_one_gains(case):
    places = draws(1)
    at_once = jax.jit(jax.vmap(case.function.sequence, (None, 0)))(params_of(case), items_at(case, places))
    np.testing.assert_allclose(at_once, gains_of(case, places), **TOLERANCE)


def test_one_item_alone(case):
    alone = jax.jit(jax.vmap(case.function.single, (None, 0)))(params_of(case), items_at(case, np.arange(PLACES)))
    np.testing.assert_allclose(alone, [case.brute([place]) for place in range(PLACES)], **TOLERANCE)


def test_returns_diminish(case):
    places = distinct_draws(2)
    of_more = gains_of(case, padded(places))[:, 5]
    of_fewer = gains_of(case, padded(places[:, [0, 1, 5]]))[:, 2]
    assert (of_fewer >= of_more - 1e-5).all() == case.submodular
    assert (of_fewer > of_more + 1e-3).any() == case.submodular  # or all that holds could be an equality


def test_gains_are_not_negative_where_f_is_monotone(case):
    assert (gains_of(case, draws(3)) >= -1e-5).all() or not case.monotone


def test_the_order_does_not_matter(case):
    places = draws(4)
    shuffled = np.random.default_rng(5).permuted(places, axis=1)
    np.testing.assert_allclose(gains_of(case, places).sum(1), gains_of(case, shuffled).sum(1), **TOLERANCE)


def test_what_is_there_already_gains_nothing_more(case):
    places = distinct_draws(6)[:, : CAPACITY // 2]
    again = gains_of(case, np.concatenate([places, places], axis=1))[:, CAPACITY // 2 :]
    if case.repeats_gain:
        assert (again > 0).all()
    else:
        np.testing.assert_allclose(again, 0, atol=1e-6)


def test_without_jit_and_vmap_the_same(case):
    places, params = draws(7), params_of(case)
    memory = case.function.empty(params)
    for item, gain in zip(items_at(case, places[0])[:2], gains_of(case, places)[0, :2], strict=True):
        memory, value = case.function.add(params, memory, item)
        np.testing.assert_allclose(value, gain, **TOLERANCE)


def transition(state: jax.Array, next_state: jax.Array) -> Transition:
    number, flag = jnp.zeros(()), jnp.zeros((), bool)
    return Transition(number, number, number, number, flag, flag, {"at": state}, {"at": next_state})


def episode_of(case: Case, places: np.ndarray) -> Transition:
    items = items_at(case, places)
    return jax.vmap(jax.vmap(transition))(items[:, :-1], items[:, 1:])


def test_an_episode_earns_f_of_all_it_visited_at_once_and_step_by_step(case):
    places, params = draws(8), params_of(case)
    reward = sets.marginal_gains(case.function, lambda state: state["at"])
    episodes = episode_of(case, places)

    def step(memory, transitions):
        memory, value = jax.vmap(reward.step, (None, 0, 0))(params, memory, transitions)
        return memory, (value, components(memory))

    def steps(episodes):
        memory = jax.vmap(lambda _: reward.reset(params))(jnp.arange(BATCH))
        return jax.lax.scan(step, memory, jax.tree.map(lambda x: x.swapaxes(0, 1), episodes))[1]

    stepped, at_once = jax.jit(steps)(episodes), jax.jit(jax.vmap(reward.episode, (None, 0)))(params, episodes)
    assert jax.tree.structure(stepped) == jax.tree.structure(at_once)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a.T, b, **TOLERANCE), stepped, at_once)

    returns = np.array([case.brute(row.tolist()) for row in places])
    modular = np.array([sum(case.brute([p]) for p in row) for row in places.tolist()])
    np.testing.assert_allclose(at_once[0].sum(1), returns, **TOLERANCE)
    np.testing.assert_allclose(at_once[1]["modular"].sum(1), modular, **TOLERANCE)


def test_memories_keep_their_types(case):
    params, item = params_of(case), items_at(case, np.arange(PLACES))[0]
    reward = sets.marginal_gains(case.function, lambda state: state["at"])

    def after_one_step(item):
        memory, value = reward.step(params, reward.reset(params), transition(item, item))
        return reward.reset(params), memory, value

    before, after, value = jax.make_jaxpr(after_one_step, return_shape=True)(item)[1]
    assert before == after
    assert (value.shape, value.dtype, value.weak_type) == ((), jnp.float32, False)


def test_episodes_of_different_lengths_start_anew():
    case, length, lengths = coverage_case(), 3, np.array([2, 3, 6])
    params, reward = params_of(case), sets.marginal_gains(case.function, lambda state: state["at"])
    places = draws(9)[:length, :7]
    episodes = episode_of(case, places)

    def step(memory, x):
        transitions, done = x
        memory, value = jax.vmap(reward.step, (None, 0, 0))(params, memory, transitions)
        fresh = jax.vmap(lambda _: reward.reset(params))(jnp.arange(length))
        return select(done, fresh, memory), value

    done = (np.arange(1, 7)[:, None] % lengths) == 0
    start = jax.vmap(lambda _: reward.reset(params))(jnp.arange(length))
    by_time = jax.tree.map(lambda x: x.swapaxes(0, 1), episodes)
    values = np.asarray(jax.lax.scan(step, start, (by_time, jnp.asarray(done)))[1])
    for env, steps in enumerate(lengths):
        for first in range(0, 6, steps):
            earned = values[first : first + steps, env].sum()
            np.testing.assert_allclose(earned, case.brute(places[env, first : first + steps + 1].tolist()), rtol=1e-5)
