"""Pictures of the arena."""

import numpy as np

from jaxreward.envs.subrl.coverage_ant_drawing import arenas


def test_covered_cells_are_grey_and_the_own_one_white():
    first, second = (np.asarray(picture)[::3, ::3, 0] for picture in arenas(np.array([[0.1, -19.9], [0.5, -19.9]])))
    assert first.shape == (100, 100)
    own = np.argwhere(first == 255)
    np.testing.assert_array_equal(own, [[99, 50]])  # y is upwards, and the arena's lowest row the last one
    np.testing.assert_array_equal(np.argwhere(first > 0).min(axis=0), [95, 50])
    np.testing.assert_array_equal(np.argwhere(first > 0).max(axis=0), [99, 54])
    assert ((first > 0).sum(), (second > 0).sum()) == (25, 30)


def test_outside_of_the_arena_nothing_is_covered():
    (picture,) = arenas(np.array([[20.1, 0.0]]))
    assert not np.asarray(picture).any()
