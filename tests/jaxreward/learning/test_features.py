"""Fourier features against cosines, tiles against a count in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.learning.features import fourier, rescale, tile_coding

LOW, HIGH = np.array([-1.2, -0.07]), np.array([0.5, 0.07])


def test_rescaling_takes_the_range_to_0_and_1():
    rescaled = jax.vmap(lambda x: rescale(x, LOW, HIGH))(jnp.stack([LOW, HIGH, HIGH + (HIGH - LOW)]))
    np.testing.assert_allclose(rescaled, [[0, 0], [1, 1], [2, 2]], atol=1e-6)


def test_fourier_features_are_the_coupled_cosines(key):
    observations = jax.random.uniform(key, (50, 3), minval=-2.0, maxval=4.0)
    features = jax.jit(jax.vmap(lambda x: fourier(x, -2.0, 4.0, 2)))(observations)
    scaled = (np.asarray(observations, float) + 2) / 6
    column = 0
    for first in range(3):
        for second in range(3):
            for third in range(3):
                expected = np.cos(np.pi * scaled @ np.array([first, second, third]))
                np.testing.assert_allclose(features[:, column], expected, atol=1e-5)
                column += 1
    assert features.shape == (50, column)


@pytest.mark.parametrize(("dimensions", "order", "size"), [(2, 3, 16), (4, 3, 256)])
def test_the_paper_has_so_many_fourier_features(dimensions, order, size):
    assert fourier(jnp.zeros(dimensions), 0.0, 1.0, order).tolist() == [1.0] * size


def active(observation, low, high, tiles, tilings):
    """The active tiles, counted in whole tilings-ths of a tile."""
    found = []
    for tiling in range(tilings):
        scaled = tiles * (np.asarray(observation, float) - low) / (high - low) + tiling / tilings
        cells = np.floor(scaled).astype(int)
        found.append(tiling * tiles**2 + (cells[0] + tiles * cells[1]) % tiles**2)
    return found


def test_one_tile_of_each_tiling_is_active(key):
    observations = jax.random.uniform(key, (300, 2), minval=jnp.asarray(LOW, float), maxval=jnp.asarray(HIGH, float))
    features = np.asarray(jax.jit(jax.vmap(lambda x: tile_coding(x, LOW, HIGH, 4, 5)))(observations))
    assert features.shape == (300, 80)
    np.testing.assert_allclose(features.sum(1), 1.0, rtol=1e-6)
    for row, observation in zip(features, observations, strict=True):
        assert np.flatnonzero(row).tolist() == active(observation, LOW, HIGH, 4, 5)
    assert set(features.ravel()) == {0.0, np.float32(0.2)}
    assert (features.sum(0) > 0).all()


def test_tiles_by_hand():
    tiles = lambda x, y: np.flatnonzero(tile_coding(jnp.array([x, y]), 0.0, 1.0, 2, 2)).tolist()  # noqa: E731
    # the second tiling is shifted by a quarter: its borders are at 0.25 and 0.75
    assert tiles(0.1, 0.1) == [0, 4]
    assert tiles(0.3, 0.1) == [0, 5]
    assert tiles(0.6, 0.1) == [1, 5]
    assert tiles(0.1, 0.6) == [2, 6]
    assert tiles(0.8, 0.1) == [1, 6]  # out of the first row into the second
    assert tiles(0.8, 0.8) == [3, 6]  # 2 + 2 * 2 = 6, modulo 4
