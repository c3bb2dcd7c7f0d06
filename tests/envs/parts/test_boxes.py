"""Against points and ways sampled finely."""

import jax
import numpy as np

from jaxreward.envs.parts.boxes import into_boxes, to_boxes

LOW = np.array([(0, 0), (3, -1), (-2, 2)], np.float32)
HIGH = np.array([(1, 2), (3.5, 4), (4, 2.5)], np.float32)


def within(points):
    return ((points[..., None, :] > LOW) & (points[..., None, :] < HIGH)).all(-1)


def test_distances_are_those_of_the_nearest_points_and_of_the_nearest_sides():
    points = np.random.default_rng(0).uniform(-3, 5, (400, 2)).astype(np.float32)
    distance, way = jax.jit(jax.vmap(lambda point: to_boxes(point, LOW, HIGH)))(points)
    nearest = np.clip(points[:, None], LOW, HIGH)
    inside = within(points)
    depth = np.minimum(points[:, None] - LOW, HIGH - points[:, None]).min(-1)
    np.testing.assert_allclose(way, nearest - points[:, None], atol=1e-6)
    expected = np.where(inside, -depth, np.linalg.norm(nearest - points[:, None], axis=-1))
    np.testing.assert_allclose(distance, expected, atol=1e-6)
    assert 10 < inside.sum() < 300


def test_a_way_enters_a_box_where_its_first_point_within_is():
    rng = np.random.default_rng(1)
    origins, ways = rng.uniform(-3, 5, (1000, 2)), rng.normal(0, 3, (1000, 2))
    origins, ways = (x[~within(origins).any(-1)].astype(np.float32) for x in (origins, ways))
    ways[:200, 0], ways[200:400, 1] = 0, 0
    share, axis = map(np.array, jax.jit(jax.vmap(lambda *way: into_boxes(*way, LOW, HIGH)))(origins, ways))
    sampled = np.linspace(0, 2, 2001)
    along = within(origins[:, None] + sampled[:, None] * ways[:, None])
    entered = along.any(1)
    first = np.where(entered, sampled[along.argmax(1)], np.inf)
    assert (entered <= (share <= 2)).all()
    # A corner that is only grazed may lie between two samples.
    assert (entered == (share <= 2)).mean() > 0.99
    both = entered & (share <= 2)
    late = first[both] - share[both]
    assert late.min() > -1e-4
    assert late.max() < 1e-3 + 1e-4  # a sample later
    assert both.sum() > 200
    row, box = np.nonzero(both)
    at = origins[row] + share[both][:, None] * ways[row]
    side = np.where(ways[row] > 0, LOW[box], HIGH[box])
    np.testing.assert_allclose(np.take_along_axis(at - side, axis[both][:, None], 1), 0, atol=1e-5)
    assert set(axis[both]) == {0, 1}
