"""A buffer of levels: which stay, and which come again."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.meta.parts.curation import NEW, Buffer, Over, chosen, empty, returned


def buffer_of(scores, active=()):
    """Levels that are called 10, 11, ... and live twice as long."""
    number = 10.0 + jnp.arange(len(scores))
    lived = jnp.zeros(len(scores), bool).at[jnp.array(active, int)].set(True)
    return Buffer({"name": number}, (2 * number).astype(jnp.int32), jnp.array(scores, float), lived)


def lives_of(*lives):
    """Each whether it is over, its place, name and score."""
    over, place, name, score = map(jnp.array, zip(*lives, strict=True))
    return Over(over, place.astype(jnp.int32), {"name": name.astype(float)}, (2 * name).astype(jnp.int32), score)


def shown(buffer):
    return [(int(name), round(float(score), 6)) for name, score in zip(buffer.world["name"], buffer.score, strict=True)]


def test_levels_fill_a_buffer_and_then_the_lowest_makes_room_for_what_is_higher():
    buffer = empty({"name": jnp.zeros(())}, jnp.int32(0), 2)
    assert not np.isfinite(buffer.score).any()
    buffer = jax.jit(returned)(
        buffer, lives_of((True, NEW, 1, 0.5), (False, NEW, 2, 9.0), (True, NEW, 3, -0.5), (True, NEW, 4, 0.25))
    )
    assert shown(buffer) == [(1, 0.5), (4, 0.25)]
    assert buffer.total.tolist() == [2, 8]
    buffer = returned(buffer, lives_of((True, NEW, 5, 0.2), (True, NEW, 6, jnp.nan)))
    assert shown(buffer) == [(1, 0.5), (4, 0.25)]


def test_a_level_that_came_again_goes_back_to_its_place_with_its_new_score():
    buffer = returned(buffer_of([0.5, 0.7, 0.9], active=(1, 2)), lives_of((True, 1, 11, -3.0), (False, 2, 12, -4.0)))
    assert shown(buffer) == [(10, 0.5), (11, -3.0), (12, 0.9)]
    assert buffer.active.tolist() == [False, False, True]


def test_a_level_that_is_lived_in_is_not_pushed_out():
    buffer = buffer_of([0.1, 0.7], active=(0,))
    assert shown(returned(buffer, lives_of((True, NEW, 1, 0.5)))) == [(10, 0.1), (11, 0.7)]
    assert shown(returned(buffer, lives_of((True, NEW, 1, 0.8)))) == [(10, 0.1), (1, 0.8)]
    both = buffer_of([0.1, 0.7], active=(0, 1))
    assert shown(returned(both, lives_of((True, NEW, 1, 9.0)))) == shown(both)


def test_the_highest_scores_come_first_and_none_twice():
    choose = jax.jit(partial(chosen, curation="rank", replay=1.0, temperature=1.0))
    buffer = buffer_of([0.1, 0.9, -jnp.inf, 0.5, 2.0], active=(4,))
    over = jnp.array([True, False, True, True, True])
    after, place = choose(buffer, over, jax.random.key(0))
    assert place.tolist() == [1, NEW, 3, 0, NEW]
    assert after.active.tolist() == [True, True, False, True, True]
    assert shown(after) == shown(buffer)
    after, place = chosen(buffer, over, jax.random.key(0), "rank", 0.0, 1.0)
    assert place.tolist() == [NEW] * 5
    np.testing.assert_array_equal(after.active, buffer.active)


def test_levels_come_again_as_often_as_asked_and_in_proportion():
    """Shares over 5000 keys, to 5 standard deviations."""
    scores, temperature, number = jnp.array([0.0, 1.0, -0.5]), 0.7, 5000
    one = lambda key: chosen(buffer_of(scores), jnp.ones(1, bool), key, "proportional", 0.6, temperature)[1][0]  # noqa: E731
    place = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), number)))
    expected = [0.4, *(0.6 * jax.nn.softmax(scores / temperature))]
    for name, share in zip((NEW, 0, 1, 2), expected, strict=True):
        assert (place == name).mean() == pytest.approx(float(share), abs=5 * (0.25 / number) ** 0.5)


def test_curations_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="did you mean 'rank'"):
        chosen(buffer_of([0.0]), jnp.ones(1, bool), jax.random.key(0), "ranks", 1.0, 1.0)
