"""The unstructured container against the same rules one after the other in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.quality_diversity.repertoire import Rules, add, empty_repertoire, is_held, rebuilt, sample


def nearest(points, point, number):
    """The indices of the nearest, and the mean distance to them without the very nearest."""
    distances = np.sqrt(np.square(np.array(points) - point).sum(1))
    order = np.argsort(distances, kind="stable")[: number + 1]
    return order, distances, distances[order[1:]].mean() if len(order) > 1 else 0.0


def by_rules(held, behaviour, fitness, capacity, rules):
    """`held` is a list of rows; returns it after all rows have come, and how many found no room."""
    distance, tolerance, number = rules
    held, refused = list(held), 0
    for row in range(len(behaviour)):
        points = [behaviour[i] for i in held]
        order, distances, novel = nearest(points, behaviour[row], number) if held else ([], [np.inf], 0)
        if not held or distances[order[0]] > distance:
            refused += len(held) == capacity
            held += [row] if len(held) < capacity else []
            continue
        if len(held) == 1 or distances[order[1]] < (1 - tolerance) * distance:
            continue
        other = held[order[0]]
        its_own = nearest(points, behaviour[other], number)[2]
        gains = [(fitness[row], fitness[other]), (novel, its_own)]
        enough = all(new >= old - tolerance * abs(old) for new, old in gains)
        gain = (fitness[row] - fitness[other]) * its_own + (novel - its_own) * abs(fitness[other])
        if enough and gain > 0:
            held = sorted({*held, row} - {other})
    return held, refused


@pytest.mark.parametrize("capacity", [9, 30])
@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_who_enters_is_as_by_the_rules_one_after_the_other(capacity, tolerance):
    """Items are their own numbers; four runs at once, of 60 in two batches, with rewards that tell good from bad."""
    rng = np.random.default_rng(0)
    behaviour = rng.uniform(size=(4, 60, 2)).astype(np.float32)
    fitness = rng.choice([0.0, 0.5, 1.0, -1.0], size=(4, 60)).astype(np.float32)
    rules = (0.15, tolerance, 3)

    def run(behaviour, fitness):
        repertoire = empty_repertoire(jnp.int32(0), 2, capacity)
        for i in range(2):
            rows = jnp.arange(30 * i, 30 * i + 30)
            repertoire = add(repertoire, rows, behaviour[rows], fitness[rows], Rules(*rules))
        return repertoire

    found = jax.device_get(jax.jit(jax.vmap(run))(behaviour, fitness))
    for i in range(4):
        held, refused = by_rules([], behaviour[i], fitness[i], capacity, rules)
        assert found.size[i] == len(held)
        assert found.refused[i] == refused
        assert found.items[i][: len(held)].tolist() == held
        np.testing.assert_array_equal(found.behaviour[i][: len(held)], behaviour[i][held])
        np.testing.assert_array_equal(found.fitness[i][: len(held)], fitness[i][held])
    assert (found.refused > 0).all() == (capacity == 9)


@pytest.fixture(scope="module")
def crowded():
    """A repertoire that all of 40 entered."""
    rng = np.random.default_rng(1)
    behaviour = jnp.asarray(rng.normal(size=(40, 2)), jnp.float32)
    fitness = jnp.asarray(rng.uniform(size=40), jnp.float32)
    empty = empty_repertoire(jnp.int32(0), 2, 50)
    return jax.jit(lambda: add(empty, jnp.arange(40), behaviour, fitness, Rules(-1.0, 0.0)))()


def test_rebuilt_it_holds_what_would_have_entered_and_keeps_its_distance(crowded):
    assert crowded.size == 40
    rules = Rules(0.6, 0.0, 5)
    again = jax.jit(lambda: rebuilt(crowded, crowded.behaviour, rules))()
    rows, _ = by_rules([], np.array(crowded.behaviour[:40]), np.array(crowded.fitness[:40]), 50, rules)
    assert again.items[: again.size].tolist() == rows
    held = np.array(again.behaviour[: again.size])
    gaps = np.sqrt(np.square(held[:, None] - held[None]).sum(-1)) + 9 * np.eye(len(held))
    assert gaps.min() >= 0.6 * (1 - 1e-6)
    assert 2 < len(held) < 40


def test_moved_apart_everybody_stays(crowded):
    again = jax.jit(lambda: rebuilt(crowded, 100 * crowded.behaviour, Rules(0.6, 0.0, 5)))()
    assert again.size == 40
    np.testing.assert_array_equal(again.items, crowded.items)


def test_of_two_at_one_place_the_fitter_stays_whoever_came_first():
    behaviour = jnp.array([[0.0], [5.0], [0.1], [5.1]])
    fitness = jnp.array([1.0, 2.0, 3.0, 1.0])
    empty = empty_repertoire(jnp.int32(0), 1, 4)
    held = jax.jit(lambda: add(empty, jnp.arange(4), behaviour, fitness, Rules(1.0)))()
    assert held.items[: held.size].tolist() == [1, 2]


@pytest.mark.parametrize(("place", "held"), [(1.0, [0]), (1.25, [0, 1])])
def test_who_is_just_as_far_as_the_distance_is_not_new(place, held):
    """And replaces nobody, however fit, where there is no second one."""
    empty = empty_repertoire(jnp.int32(0), 1, 4)
    found = add(empty, jnp.arange(2), jnp.array([[0.0], [place]]), jnp.array([1.0, 3.0]), Rules(1.0))
    assert found.items[: found.size].tolist() == held


def test_only_what_is_held_is_drawn(crowded):
    drawn = sample(crowded, jax.random.key(0), 2000)
    assert set(drawn.tolist()) == set(crowded.items[is_held(crowded)].tolist())


def test_there_must_be_room_for_two():
    with pytest.raises(ValueError, match="at least 2 items; got 1"):
        empty_repertoire(jnp.int32(0), 2, 1)
