"""The archive against a list, for any sequence of additions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreward.quality_diversity.archive import append, empty_archive, is_stored

CAPACITY, BATCH, BATCHES, SEEDS = 5, 3, 4, 2
ITEM = {"position": np.zeros(2, np.float32), "number": np.int32(0)}

masks = st.lists(st.booleans(), min_size=SEEDS * BATCHES * BATCH, max_size=SEEDS * BATCHES * BATCH)


def items_of(numbers):
    return {"position": jnp.stack([numbers, -numbers], -1).astype(float), "number": numbers}


@jax.jit
@jax.vmap
def history(keep):
    """The archive after each of the batches, whose items are numbered from 1."""

    def add(archive, batch):
        archive = append(archive, *batch)
        return archive, (archive, is_stored(archive))

    numbers = jnp.arange(1, 1 + BATCHES * BATCH).reshape(BATCHES, BATCH)
    return jax.lax.scan(add, empty_archive(ITEM, CAPACITY), (items_of(numbers), keep))[1]


@given(masks)
@settings(max_examples=100, deadline=None)
def test_it_is_a_list_that_refuses_what_does_not_fit(mask):
    keep = np.array(mask).reshape(SEEDS, BATCHES, BATCH)
    archives, stored = jax.device_get(history(keep))
    for seed in range(SEEDS):
        wanted = []
        for batch in range(BATCHES):
            wanted += [1 + batch * BATCH + i for i in range(BATCH) if keep[seed, batch, i]]
            kept = wanted[:CAPACITY]
            padded = np.array(kept + [0] * (CAPACITY - len(kept)))
            np.testing.assert_array_equal(archives.items["number"][seed, batch], padded)
            np.testing.assert_array_equal(archives.items["position"][seed, batch], np.stack([padded, -padded], -1))
            assert archives.size[seed, batch] == len(kept)
            assert archives.refused[seed, batch] == len(wanted) - len(kept)
            np.testing.assert_array_equal(stored[seed, batch], np.arange(CAPACITY) < len(kept))


def test_all_are_added_unless_told_otherwise():
    archive = append(empty_archive(ITEM, CAPACITY), items_of(jnp.arange(1, 4)))
    assert archive.items["number"].tolist() == [1, 2, 3, 0, 0]


def test_types_stay_as_they_are():
    archive = empty_archive(ITEM, CAPACITY)
    after = jax.eval_shape(append, archive, items_of(jnp.arange(3)))
    assert jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype, x.weak_type), jax.eval_shape(lambda: archive)
    )


def test_no_room_is_refused():
    with pytest.raises(ValueError, match="room for at least 1 item; got 0"):
        empty_archive(ITEM, 0)
