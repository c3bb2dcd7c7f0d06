"""The maze against the simulator's formulas, and against distances measured point by point."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.parts.fastsim import CONTACT, laser_ranges, rolled
from jaxreward.envs.qd.discs import NO_AREA
from jaxreward.envs.qd.hard_maze import INNER, MAZE, WALLS, HardMaze, MazeState

WORLD = HardMaze()
PARAMS = WORLD.default_params
KEY = jax.random.key(0)


def at(x, y, heading, time=0):
    return MazeState(jnp.array([x, y], float), jnp.asarray(heading, float), jnp.asarray(time, jnp.int32))


@jax.jit
def drive(actions):
    """States, observations, whether the episode is over and descriptors, `[T, ...]`."""

    def step(state, action):
        observation, state, _, terminated, info = WORLD.step_env(KEY, state, action, PARAMS)
        return state, (state, observation, terminated, info["descriptor"])

    return jax.lax.scan(step, WORLD.reset_env(KEY, PARAMS)[1], actions)[1]


def to_walls(points):
    """How far each point is from each wall but the border, negative inside, in float64."""
    start, end, half = WALLS[:, :2].astype(float), WALLS[:, 2:4].astype(float), WALLS[:, 4]
    share = np.clip(((points[..., None, :] - start) * (end - start)).sum(-1) / ((end - start) ** 2).sum(-1), 0, 1)
    return np.linalg.norm(points[..., None, :] - start - share[..., None] * (end - start), axis=-1) - half


def room(points):
    """How far each point is from the nearest wall, the border included, negative inside."""
    return np.minimum(to_walls(points).min(-1), np.minimum(points - INNER[0], INNER[1] - points).min(-1))


def free_places(rng, count):
    points = rng.uniform(0, 600, (10 * count, 2))
    return points[room(points) > CONTACT][:count]


def test_wheels_roll_along_an_arc():
    """The simulator turns a step around the middle of the circle that the wheels describe."""
    rng = np.random.default_rng(0)
    wheels, heading = rng.uniform(-4, 4, (100, 2)), rng.uniform(-np.pi, np.pi, 100)
    angle = (wheels[:, 1] - wheels[:, 0]) / 20
    radius = wheels[:, 0] / angle + 10
    step = radius * ((np.cos(angle) - 1) + 1j * np.sin(angle)) * np.exp(1j * (heading - np.pi / 2))
    position, turned = jax.jit(jax.vmap(rolled, (None, 0, 0)))(jnp.zeros(2), jnp.asarray(heading), jnp.asarray(wheels))
    np.testing.assert_allclose(position, np.stack([step.real, step.imag], -1), atol=2e-6)
    np.testing.assert_allclose(np.exp(1j * np.asarray(turned)), np.exp(1j * (heading + angle)), atol=1e-6)
    assert (np.abs(turned) <= np.pi + 1e-6).all()


def test_equal_wheels_go_straight_and_opposite_ones_turn_on_the_spot():
    position, heading = rolled(jnp.array([1.0, 2.0]), jnp.asarray(np.pi / 2), jnp.array([3.0, 3.0]))
    np.testing.assert_allclose(position, [1, 5], atol=1e-6)
    np.testing.assert_allclose(heading, np.pi / 2, rtol=1e-6)
    position, heading = rolled(jnp.array([1.0, 2.0]), jnp.zeros(()), jnp.array([-2.0, 2.0]))
    np.testing.assert_allclose(position, [1, 2], atol=1e-6)
    np.testing.assert_allclose(heading, 0.2, rtol=1e-6)


def test_wheels_are_no_faster_than_four():
    step = lambda wheels: WORLD.step_env(KEY, at(60, 450, 0), jnp.array(wheels), PARAMS)[1].position  # noqa: E731
    np.testing.assert_array_equal(step([9.0, 9.0]), [64, 450])
    np.testing.assert_array_equal(step([-9.0, -9.0]), [56, 450])


def test_no_wall_is_ever_crossed():
    rng = np.random.default_rng(1)
    actions = np.repeat(rng.uniform(-1, 4, (32, 60, 2)), 20, axis=1).astype(np.float32)
    states, _, terminated, descriptors = jax.vmap(drive)(actions)
    positions = np.asarray(states.position, float)
    between = positions[:, :-1, None] + np.linspace(0, 1, 5)[:, None] * np.diff(positions, axis=1)[:, :, None]
    assert room(positions).min() > CONTACT - 1e-3
    assert room(between).min() > CONTACT - 0.5  # a chord may cut a corner a little
    assert np.linalg.norm(np.diff(positions, axis=1), axis=-1).max() <= 4 + 1e-4
    np.testing.assert_allclose(descriptors, positions / 600, rtol=1e-6)
    assert not terminated.any()
    ends = positions[:, -1]
    assert np.ptp(ends, axis=0).min() > 100  # they did get about


def test_a_wall_stops_the_robot_but_lets_it_turn():
    state = at(579, 300, 0)  # two of the wheels' units from contact with the border at 590
    _, state, *_ = WORLD.step_env(KEY, state, jnp.array([1.0, 1.0]), PARAMS)
    np.testing.assert_array_equal(state.position, [580, 300])
    observation, state, *_ = WORLD.step_env(KEY, state, jnp.array([1.0, 2.0]), PARAMS)
    np.testing.assert_array_equal(state.position, [580, 300])
    np.testing.assert_allclose(state.heading, 0.05, rtol=1e-6)
    assert observation[3:].tolist() == [1, 1]


# At 7 from the border the circle of 9 is in it for 38.9 degrees to both sides of its direction.
@pytest.mark.parametrize(
    ("heading", "left", "right"),
    [(0, 1, 1), (30, 1, 1), (-30, 1, 1), (60, 1, 0), (-60, 0, 1), (120, 1, 0), (-120, 0, 1), (135, 0, 0), (180, 0, 0)],
)
def test_bumpers_are_on_the_side_of_the_wall(heading, left, right):
    """Heading down, which is a positive angle, has a wall at the right side of the maze on the left."""
    observation, *_ = WORLD.step_env(KEY, at(583, 300, np.deg2rad(heading)), jnp.zeros(2), PARAMS)
    assert observation[3:].tolist() == [left, right]


def test_bumpers_are_as_the_circle_point_by_point():
    """No wall that the rim is in is missed; at the border, which is flat, none is felt that it is not in."""
    rng = np.random.default_rng(2)
    places = rng.uniform(0, 600, (20000, 2))
    places = places[(room(places) < CONTACT) & (room(places) > 5)]
    heading = rng.uniform(-np.pi, np.pi, len(places))
    step = jax.jit(jax.vmap(lambda x, y, angle: WORLD.step_env(KEY, at(x, y, angle), jnp.zeros(2), PARAMS)[0]))
    felt = np.asarray(step(*places.T, heading))[:, 3:].astype(bool)
    at_border = to_walls(places).min(-1) > CONTACT
    assert at_border.sum() > 100
    degree = np.pi / 180
    for side, first in enumerate((-90, 0)):
        quarter = degree * (first + np.arange(-1, 92))
        around = heading[:, None] + quarter
        depth = -room(places[:, None] + CONTACT * np.stack([np.cos(around), np.sin(around)], -1))
        assert felt[(depth[:, 2:-2] > 1e-3).any(1), side].all()
        wider = (depth > -CONTACT * degree).any(1)  # by the degree between two points of the rim
        assert wider[at_border & felt[:, side]].all()
        assert 0.2 < felt[at_border, side].mean() < 0.8


def test_lasers_end_where_a_march_along_them_does():
    rng = np.random.default_rng(3)
    places, heading = free_places(rng, 300), rng.uniform(-np.pi, np.pi, 300)
    ranges = jax.jit(jax.vmap(lambda *pose: laser_ranges(*pose, MAZE)))(
        jnp.asarray(places, float), jnp.asarray(heading, float)
    )
    angles = heading[:, None] + np.array([np.pi / 4, 0, -np.pi / 4])
    directions, marched = np.stack([np.cos(angles), np.sin(angles)], -1), np.zeros((300, 3))
    for _ in range(3000):
        marched += np.maximum(room(places[:, None] + marched[..., None] * directions), 0)
    np.testing.assert_allclose(ranges, np.minimum(marched, 100), atol=0.02)
    assert 0.2 < (np.asarray(ranges) == 100).mean() < 0.9


def test_lasers_look_right_ahead_and_left():
    ranges = laser_ranges(jnp.array([560.0, 50.0]), jnp.zeros(()), MAZE)
    np.testing.assert_allclose(ranges, [30 * np.sqrt(2), 30, 30 * np.sqrt(2)], rtol=1e-6)
    ranges = laser_ranges(jnp.array([560.0, 30.0]), jnp.zeros(()), MAZE)  # the border above is nearer, and on the left
    np.testing.assert_allclose(ranges, [30 * np.sqrt(2), 30, 21 * np.sqrt(2)], rtol=1e-6)


def test_it_starts_at_the_left_heading_down_and_right():
    observation, state = WORLD.reset_env(KEY, PARAMS)
    np.testing.assert_array_equal(state.position, [60, 450])
    np.testing.assert_allclose(state.heading, np.pi / 4, rtol=1e-6)
    np.testing.assert_array_equal(observation[3:], [0, 0])
    np.testing.assert_array_equal(observation[:3], laser_ranges(state.position, state.heading, MAZE))
    _, state, *_ = WORLD.step_env(KEY, state, jnp.ones(2), PARAMS)
    np.testing.assert_allclose(state.position, [60 + np.sqrt(0.5), 450 + np.sqrt(0.5)], rtol=1e-6)


@pytest.mark.parametrize(
    ("position", "reward", "area"),
    [((60, 60), 1, 0), ((60, 85), 0.5, 0), ((110, 200), 0.8, 1), ((300, 100), 0, NO_AREA)],
)
def test_the_last_step_pays_by_the_distance_from_a_goal(position, reward, area):
    step = jax.jit(lambda time: WORLD.step_env(KEY, at(*position, 0, time), jnp.zeros(2), PARAMS))
    _, state, got, _, info = step(1999)
    np.testing.assert_allclose(got, reward, atol=1e-6)
    assert info["area"] == area
    assert WORLD.is_truncated(state, PARAMS)
    _, state, got, _, info = step(1998)
    assert (float(got), int(info["area"]), bool(WORLD.is_truncated(state, PARAMS))) == (0, NO_AREA, False)


def test_pictures_have_the_colours_of_what_is_there():
    rng = np.random.default_rng(4)
    places = free_places(rng, 4)
    images = jax.jit(jax.vmap(lambda x, y: WORLD.image(at(x, y, 0), PARAMS)))(*places.T.astype(np.float32))
    assert images.shape == (4, 64, 64, 3)
    unit = 600 / 64
    centres = unit * (np.stack(np.meshgrid(np.arange(64), np.arange(64)), -1) + 0.5)
    for place, image in zip(places, np.asarray(images), strict=True):
        colours, edge = np.ones((64, 64, 3)), np.zeros((64, 64), bool)
        shapes = [(room(centres), 0)]
        shapes += [(np.linalg.norm(centres - goal, axis=-1) - 50, (1, 0, 0)) for goal in ((60, 60), (100, 200))]
        shapes += [(np.linalg.norm(centres - place, axis=-1) - 6, (0, 0, 1))]
        for distance, colour in shapes:
            inside = distance <= -unit / 2
            colours[inside] = colour
            edge = (edge & ~inside) | (abs(distance) < unit / 2)
        np.testing.assert_allclose(image[~edge], colours[~edge], atol=1e-5)
        assert edge.mean() < 0.3


def test_pixels_at_known_places():
    image = WORLD.image(at(534.375, 534.375, 0), PARAMS)  # the corner of pixels 56 and 57 and its middle
    np.testing.assert_allclose(image[6, 6], [1, 0, 0], atol=1e-6)  # (61, 61), the first goal
    np.testing.assert_allclose(image[21, 10], [1, 0, 0], atol=1e-6)  # (98, 202), the second: rows are y
    np.testing.assert_allclose(image[0, 30], np.full(3, 1 - 9 / 9.375), atol=1e-6)  # the border covers 9 of its 9.375
    np.testing.assert_allclose(image[40, 60], [1, 1, 1])
    assert image[56:58, 56:58, 2].min() > image[56:58, 56:58, 0].max()
