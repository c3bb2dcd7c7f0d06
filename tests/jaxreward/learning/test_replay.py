"""The ring of old steps: what it holds, what is drawn from it, and n-step transitions, against plain lists."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.learning.n_step import Steps, n_step
from jaxreward.learning.replay import Places, Replay, _below, empty_replay, replay_bytes, starts, take, write

CAPACITY, ENVS, LENGTH, DISCOUNT = 6, 2, 17, 0.7


@pytest.fixture(scope="module")
def stream():
    """Steps in the order of time, each with numbers of its own, many of which end an episode."""
    rng = np.random.default_rng(0)
    number = np.arange(LENGTH * ENVS).reshape(LENGTH, ENVS)
    picture = (number[..., None] + np.arange(3)).astype(np.uint8)
    reward, ends = rng.normal(size=number.shape).astype(np.float32), rng.random((2, LENGTH, ENVS)) < 0.3
    return Steps({"picture": picture}, number.astype(np.int32), reward, *ends, {"picture": picture + 100})


@pytest.fixture(scope="module")
def rings(stream):
    """The ring after each time step, made by one program."""
    first = jax.tree.map(lambda leaf: leaf[0], stream)
    put = jax.jit(lambda ring, row: write(ring, jax.tree.map(lambda leaf: leaf[None], row)))
    rings = [jax.tree.map(np.asarray, empty_replay(first, CAPACITY))]
    for time in range(LENGTH):
        rings.append(jax.tree.map(np.asarray, put(rings[-1], jax.tree.map(lambda leaf: leaf[time], stream))))
    return rings


def stored(time):
    """The rows that are there after so many, by their place in the ring."""
    return {row % CAPACITY: row for row in range(max(0, time - CAPACITY), time)}


def test_the_newest_rows_are_kept_in_the_type_they_came_in(stream, rings):
    for time, ring in enumerate(rings):
        assert (ring.position, ring.filled) == (time % CAPACITY, min(time, CAPACITY))
        for place, row in stored(time).items():
            jax.tree.map(lambda kept, leaf: np.testing.assert_array_equal(kept[place], leaf[row]), ring.steps, stream)
    assert jax.tree.map(lambda kept: kept.dtype, rings[-1].steps) == jax.tree.map(lambda leaf: leaf.dtype, stream)


def test_its_size_is_known_before_it_is_made(stream, rings):
    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), stream)
    assert replay_bytes(example, CAPACITY) == sum(leaf.nbytes for leaf in jax.tree.leaves(rings[0].steps))


@pytest.mark.parametrize("length", [1, 3])
def test_each_sequence_that_is_stored_whole_is_as_likely_as_any_other(rings, length):
    draw = jax.jit(lambda ring, key: starts(ring, key, (2, 2_000), length))
    for time in (length, 4, 6, 7, 11, 12):
        drawn = draw(rings[time], jax.random.key(time))
        assert drawn.row.shape == (2, 2_000)
        rows = [row for row in stored(time).values() if row + length <= time]
        counts = np.zeros((CAPACITY, ENVS))
        np.add.at(counts, (drawn.row.ravel(), drawn.env.ravel()), 1)
        expected = np.zeros((CAPACITY, ENVS))
        expected[[row % CAPACITY for row in rows]] = 4_000 / (len(rows) * ENVS)
        assert (counts[expected == 0] == 0).all()
        # A count is binomial, and further than 5 standard deviations from its mean once in two millions.
        assert (np.abs(counts - expected) <= 5 * np.sqrt(expected)).all()


def test_numbers_are_the_upper_word_of_a_product():
    """Against whole numbers of any length, up to the largest rings."""
    rng = np.random.default_rng(0)
    bits = np.concatenate([[0, 1, 2**16, 2**31, 2**32 - 1], rng.integers(0, 2**32, 2_000)]).astype(np.uint32)
    numbers = [1, 7, 2**16 - 1, 2**16, 123_457, 2**31 - 1]
    found = jax.jit(jax.vmap(_below, (0, None)))(np.array(numbers, np.int32), bits)
    np.testing.assert_array_equal(found, [[int(x) * number >> 32 for x in bits] for number in numbers])


def by_hand(stream, row, env, n):
    """The n-step transition, step by step in double precision."""
    reward, weight, power = 0.0, 0.0, 1.0
    for time in range(row, row + n):
        reward += power * float(stream.reward[time, env])
        weight += power
        power *= DISCOUNT
        if stream.terminated[time, env] or stream.truncated[time, env]:
            break
    return reward, weight, 0.0 if stream.terminated[time, env] else power, time


@pytest.mark.parametrize("n", [1, 3, 4])
def test_n_step_transitions_stop_where_an_episode_ends(stream, rings, n):
    """For every start and every place where the ring may be written next."""
    size = (CAPACITY - n + 1) * ENVS
    look = jax.jit(lambda ring, places: n_step(ring, places, n, DISCOUNT))
    ends = set()
    for time in range(CAPACITY, LENGTH + 1):
        found = [(row, env) for row in sorted(stored(time).values()) if row + n <= time for env in range(ENVS)]
        rows, envs = np.array(found).T
        assert len(found) == size
        batch = look(rings[time], Places(jnp.asarray(rows % CAPACITY), jnp.asarray(envs)))
        reward, weight, factor, last = np.array([by_hand(stream, *place, n) for place in found]).T
        last = last.astype(int)
        np.testing.assert_allclose(batch.reward, reward, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(batch.weight, weight, rtol=1e-6)
        np.testing.assert_allclose(batch.discount, factor, rtol=1e-6)
        np.testing.assert_array_equal(batch.action, stream.action[rows, envs])
        np.testing.assert_array_equal(batch.observation["picture"], stream.observation["picture"][rows, envs])
        np.testing.assert_array_equal(batch.next_observation["picture"], stream.next_observation["picture"][last, envs])
        ends |= {(bool(factor_ == 0), bool(stream.truncated[t, e])) for factor_, t, e in zip(factor, last, envs)}
    assert ends == {(True, True), (True, False), (False, True), (False, False)}


def test_rewards_may_be_told_again(stream, rings):
    places = Places(jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32))
    batch = jax.jit(lambda ring: n_step(ring, places, 1, DISCOUNT, lambda steps: 10.0 + steps.action))(rings[6])
    np.testing.assert_allclose(batch.reward, 10.0 + stream.action[0, 0])


def test_members_write_where_each_of_them_stands(stream, rings):
    """Blocks of two, at the same place and at different ones."""
    block = jax.tree.map(lambda leaf: leaf[np.array([[0, 1], [2, 3], [4, 5]])], stream)
    put = jax.jit(jax.vmap(write))
    for times in ((4, 4, 4), (4, 8, 12)):
        together = put(jax.tree.map(lambda *leaves: np.stack(leaves), *(rings[time] for time in times)), block)
        for member, time in enumerate(times):
            steps = jax.tree.map(np.copy, rings[time].steps)
            for ahead in (0, 1):
                place = (time + ahead) % CAPACITY

                def replace(kept, leaf, place=place, row=2 * member + ahead):
                    kept[place] = leaf[row]

                jax.tree.map(replace, steps, stream)
            expected = Replay(steps, (time + 2) % CAPACITY, min(time + 2, CAPACITY))
            jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[member], y), together, expected)


def test_sequences_go_on_at_the_ring_s_beginning(stream, rings):
    places = Places(np.array([[4]]), np.array([[1]]))
    found = jax.jit(lambda actions: take(actions, places, 3))(rings[8].steps.action)
    np.testing.assert_array_equal(found[:, 0, 0], stream.action[[4, 5, 6], 1])


def test_blocks_that_do_not_divide_the_ring_are_refused(stream):
    ring = jax.eval_shape(lambda row: empty_replay(row, 6), jax.tree.map(lambda leaf: leaf[0], stream))
    with pytest.raises(ValueError, match="blocks of 4 rows do not divide a ring of 6; try 8"):
        jax.eval_shape(write, ring, jax.tree.map(lambda leaf: leaf[:4], stream))
