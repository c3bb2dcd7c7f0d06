"""Target networks move as far and as often as they should."""

import jax
import numpy as np

from jaxreward.learning.targets import periodic_update, soft_update


def test_a_soft_target_moves_a_part_of_the_way():
    moved = soft_update({"w": np.array([1.0, 2.0])}, {"w": np.array([5.0, 2.0])}, 0.25)
    np.testing.assert_allclose(moved["w"], [4.0, 2.0])


def test_a_hard_target_becomes_the_params_every_so_many_updates():
    move = jax.jit(jax.vmap(periodic_update, (None, None, 0, None, None)))
    params, target, updates = {"w": np.array([1.0, 2.0])}, {"w": np.array([5.0, 3.0])}, np.arange(1, 8)
    hard = np.where(updates[:, None] % 3 == 0, [1.0, 2.0], [5.0, 3.0])
    np.testing.assert_array_equal(move(params, target, updates, 3.0, 1.0)["w"], hard)
    half = np.where(updates[:, None] % 2 == 0, [3.0, 2.5], [5.0, 3.0])
    np.testing.assert_allclose(move(params, target, updates, 2.0, 0.5)["w"], half)
    np.testing.assert_allclose(move(params, target, updates, 1.0, 0.5)["w"], [[3.0, 2.5]] * 7)
