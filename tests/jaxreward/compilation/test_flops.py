"""Operations that are counted, beside numbers of them that are known; nothing is compiled."""

import jax
import jax.numpy as jnp
import pytest

from jaxreward.compilation.flops import flops
from jaxreward.learning.lazy import when

TABLE, ROW = jnp.ones((30, 40)), jnp.ones(40)
SQUARE, COLUMN = jnp.ones((30, 30)), jnp.ones((30, 1))


def test_what_is_written_into_an_array_counts_and_not_the_array():
    places = jnp.array([1, 2, 5])
    written = lambda x: jax.lax.scatter_add(  # noqa: E731
        x, places[:, None], jnp.ones((3, 40)), jax.lax.ScatterDimensionNumbers((1,), (0,), (0,))
    )
    assert 3 * 40 <= flops(written, TABLE) <= 2 * 3 * 40 + 3  # the rows are made, too
    assert flops(lambda x, row: jax.lax.dynamic_update_slice(x, row, (4, 0)), TABLE, ROW[None]) == 40


def test_of_a_sum_count_the_numbers_that_are_summed_up():
    for axes in ((0,), (1,), (0, 1)):
        assert flops(lambda x, axes=axes: jax.lax.reduce_sum(x, axes), TABLE) == 30 * 40
    assert flops(lambda x: jax.lax.argmax(x, 0, jnp.int32), TABLE) == 30 * 40
    folded = lambda x: jax.lax.reduce(x, 0.0, lambda a, b: a + b * b, (0,))  # noqa: E731
    assert flops(folded, TABLE) == 30 * 40 + 1
    windows = lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (3,), (1,), "VALID")  # noqa: E731
    assert flops(windows, ROW) == 38 * 3


@pytest.mark.parametrize("batch", [1, 7])
def test_a_solution_takes_the_cube_of_the_unknowns(batch):
    """Two thirds of it, and twice the square for either triangle; what is permuted and copied is little."""
    matrices, sides = (jnp.broadcast_to(each, (batch, *each.shape)) for each in (SQUARE, COLUMN))
    least = batch * (2 * 30**3 / 3 + 2 * 30**2)
    assert least <= flops(jax.vmap(jnp.linalg.solve), matrices, sides) < 1.1 * least


def test_factorisations_take_what_is_usual():
    assert flops(jax.lax.linalg.cholesky_p.bind, SQUARE) == 30**3 / 3
    assert flops(jax.lax.linalg.lu, SQUARE) == 2 * 30**3 / 3
    assert 9 * 30**3 <= flops(jnp.linalg.eigh, SQUARE) < 9 * 30**3 + 4 * 30**2
    wide, long = (flops(lambda x: jax.lax.linalg.qr(x, full_matrices=False), x) for x in (TABLE, TABLE.T))
    assert wide == long == 4 * 40 * 30**2 - 4 * 30**3 / 3


def test_of_several_results_all_count():
    assert flops(lambda x, y: jax.lax.sort((x, y), num_keys=1), ROW, ROW) == 2 * 40


@pytest.mark.parametrize("members", [1, 3])
def test_what_is_updated_lazily_counts_like_any_branch(members):
    """`when` is a branch that batches by a rule of its own, around which off-policy agents learn."""
    lazy = lambda due, x: when(due, jnp.matmul, x, x)  # noqa: E731
    squares = jnp.broadcast_to(SQUARE, (members, *SQUARE.shape))
    least = members * 2 * 30**3
    assert least <= flops(jax.vmap(lazy), jnp.ones(members, bool), squares) < 1.1 * least
