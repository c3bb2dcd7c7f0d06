"""The reservoir's distribution: every subset of what was offered is equally likely."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxreward.quality_diversity.reservoir import empty_reservoir, is_sampled, offer

SIZE, STREAM, RUNS = 3, 7, 35_000


def sampled(key, batches):
    """The sample after a stream of the numbers 0 to STREAM - 1, in batches; -1 are offered, but masked out."""
    reservoir = empty_reservoir(jnp.int32(0), SIZE)
    for key, batch in zip(jax.random.split(key, len(batches)), batches, strict=True):
        numbers = jnp.array(batch)
        reservoir = offer(reservoir, key, numbers, numbers >= 0)
    return reservoir


@pytest.mark.parametrize(
    "batches",
    [
        [[0, 1, 2, 3, 4, 5, 6]],
        [[0, 1], [2, 3, 4], [5, 6]],
        [[-1, 0, 1, -1, 2, 3], [-1], [4, -1, 5, 6, -1]],
        [[0], [1], [2], [3], [4], [5], [6]],
    ],
    ids=["at once", "in parts", "masked", "one by one"],
)
def test_all_subsets_are_equally_likely(batches):
    """A fair sampler fails for one seed in 10,000."""
    keys = jax.random.split(jax.random.key(0), RUNS)
    reservoirs = jax.jit(jax.vmap(lambda key: sampled(key, batches)))(keys)
    subsets, counts = np.unique(np.sort(reservoirs.items, axis=1), axis=0, return_counts=True)
    assert [tuple(s) for s in subsets.tolist()] == list(itertools.combinations(range(STREAM), SIZE))
    assert stats.chisquare(counts).pvalue > 1e-4
    assert (reservoirs.seen == STREAM).all()


def test_while_there_is_room_everything_is_kept(key):
    reservoir = offer(empty_reservoir(jnp.int32(0), 4), key, jnp.arange(5), jnp.array([0, 1, 0, 1, 1], bool))
    assert reservoir.items.tolist() == [1, 3, 4, 0]
    assert is_sampled(reservoir).tolist() == [True, True, True, False]
    assert reservoir.seen == 3


def test_items_stay_together(key):
    """Of many offered the leaves of one item are kept together, whatever their shape."""
    numbers = jnp.arange(50)
    items = {"number": numbers, "matrix": numbers[:, None, None] * jnp.ones((50, 2, 3)), "flag": numbers % 2 == 0}
    empty = empty_reservoir(jax.tree.map(lambda leaf: leaf[0], items), 6)
    kept = jax.jit(offer)(empty, key, items).items
    np.testing.assert_array_equal(kept["matrix"], kept["number"][:, None, None] * np.ones((6, 2, 3)))
    np.testing.assert_array_equal(kept["flag"], kept["number"] % 2 == 0)
    assert len(set(kept["number"].tolist())) == 6


def test_a_sample_of_nothing_is_refused():
    with pytest.raises(ValueError, match="room for at least 1 item; got 0"):
        empty_reservoir(jnp.int32(0), 0)
