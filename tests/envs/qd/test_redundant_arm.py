"""The arm against complex exponentials, closed forms, and its rules in plain Python."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.parts.painting import to_nearest_segment, to_segments
from jaxreward.envs.qd.discs import NO_AREA, paid_in_disc
from jaxreward.envs.qd.redundant_arm import ArmState, RedundantArm, in_walls, joints, legal

WORLD = RedundantArm()
PARAMS = WORLD.default_params
KEY = jax.random.key(0)
START = np.linspace(np.pi / 5, np.pi / 20, 20)
WALLS = [(0.49, 0, 0.51, 0.2), (0.49, 0.8, 0.51, 1), (0, 0.49, 0.2, 0.51), (0.8, 0.49, 1, 0.51)]


def points_of(angles):
    """From the base to the tip, as complex numbers."""
    return 0.5 + 0.5j + np.concatenate([[0], np.cumsum(0.05 * 1j * np.exp(1j * np.cumsum(angles)))])


def may_be(proposed, angles, last_speed):
    """The rules for a sub-step in float64."""
    points = points_of(proposed)
    if abs(points[-1] - points_of(angles)[-1]) / 2 + last_speed > 1:
        return False
    if min(points.real.min(), points.imag.min()) < 0 or max(points.real.max(), points.imag.max()) >= 1:
        return False
    for (x0, y0, x1, y1), p in itertools.product(WALLS, points):
        if x0 < p.real < x1 and y0 < p.imag < y1:
            return False
    steps = (a - b for a, b in itertools.combinations(points, 2))
    return all(abs(step.real) + abs(step.imag) >= 0.95 * 0.05 for step in steps)


def moved_by_the_rules(torques):
    """Angles after each step until the arm was stopped, and whether it was."""
    angles, speeds, history = START.copy(), np.zeros(20), []
    for torque in torques:
        for _ in range(2):
            proposed = torque / 2 * 0.01**2 + speeds * 0.01 + angles
            if not may_be(proposed, angles, speeds[-1]):
                return [*history, angles], True
            angles, speeds = proposed, (proposed - angles) / 0.01
        history.append(angles)
    return history, False


@jax.jit
def move(torques, params=PARAMS):
    """States, rewards, ends, descriptors and areas, all `[T, ...]`; after it stopped, an arm stays as it is."""

    def step(state, torque):
        _, state, reward, terminated, info = WORLD.step_env(KEY, state, torque, params)
        return state, (state, reward, terminated, info["descriptor"], info["area"])

    return jax.lax.scan(step, WORLD.reset_env(KEY, params)[1], torques)[1]


def still(angles=START, time=0):
    return ArmState(jnp.asarray(angles, float), jnp.zeros(20), jnp.zeros((), bool), jnp.asarray(time, jnp.int32))


def test_the_arm_is_a_sum_of_complex_exponentials():
    angles = np.random.default_rng(0).normal(size=(50, 20))
    points = jax.jit(jax.vmap(joints))(angles.astype(np.float32))
    expected = np.stack([points_of(each) for each in angles])
    np.testing.assert_allclose(points, np.stack([expected.real, expected.imag], -1), atol=1e-6)
    straight_up = joints(jnp.zeros(20))
    np.testing.assert_allclose(straight_up[-1], [0.5, 1.5], atol=1e-6)
    np.testing.assert_allclose(joints(jnp.zeros(20).at[0].set(np.pi / 2))[-1], [-0.5, 0.5], atol=1e-6)


def test_it_starts_as_a_spiral_that_may_be():
    observation, state = WORLD.reset_env(KEY, PARAMS)
    np.testing.assert_allclose(observation, START / np.pi, rtol=1e-6)
    assert (float(state.angles[0]), float(state.angles[-1])) == (np.float32(np.pi / 5), np.float32(np.pi / 20))
    assert may_be(START, START, 0.0)
    points = joints(state.angles)
    assert legal(points, points[-1], state.speeds[-1])


def test_a_constant_torque_turns_a_joint_by_the_square_of_the_time():
    torque = np.zeros(20, np.float32)
    torque[-1] = 0.3
    states, _, terminated, *_ = move(np.tile(torque, (50, 1)))
    k = 2 * np.arange(1, 51)  # sub-steps
    roundings = 100 * np.finfo(np.float32).eps
    np.testing.assert_allclose(states.angles[:, -1], START[-1] + 0.15 * 0.01**2 * k * (k + 1) / 2, rtol=roundings)
    np.testing.assert_allclose(states.speeds[:, -1], 0.15 * 0.01 * k, rtol=1e-5)
    np.testing.assert_array_equal(states.angles[:, :-1], np.tile(START[:-1].astype(np.float32), (50, 1)))
    assert not terminated.any()


def test_legal_poses_are_as_the_rules_tell():
    rng = np.random.default_rng(1)
    angles = START[None] + rng.normal(size=(600, 20)) * rng.choice([0.02, 0.1, 0.3], (600, 1))
    angles = np.concatenate([angles, rng.uniform(-0.25, 0.25, (600, 20))])
    angles[600:, 0] = rng.uniform(-np.pi, np.pi, 600)
    speeds = rng.choice([-1, 0, 0.99, 1.01], len(angles))
    stays = lambda angles, speed: legal(joints(angles), joints(angles)[-1], speed)  # noqa: E731
    got = jax.jit(jax.vmap(stays))(jnp.asarray(angles, float), jnp.asarray(speeds, float))
    expected = [may_be(*case) for case in zip(angles, angles, speeds, strict=True)]
    np.testing.assert_array_equal(got, expected)
    assert 0.2 < np.mean(expected) < 0.8


def test_it_stops_when_the_last_joint_is_too_fast():
    """The tip moves on a circle of radius 0.05 then, and the speed before counts, if it is positive."""
    torque = np.zeros((2, 30, 20), np.float32)
    torque[0, :, -1], torque[1, :, -1] = 4, -4
    states, _, terminated, *_ = jax.vmap(move)(torque)
    speeds = 0.02 * np.arange(60)
    moved = 2 * 0.05 * np.sin((speeds + 0.02) * 0.01 / 2)
    first = int(np.argmax(moved / 2 + speeds > 1))  # the sub-step, from 0, that is refused
    assert terminated[0].tolist() == [step >= first // 2 for step in range(30)]
    np.testing.assert_allclose(states.speeds[0, -1, -1], 0.02 * first, rtol=1e-5)
    assert not terminated[1].any()


def test_random_torques_lead_where_the_rules_tell():
    rng = np.random.default_rng(2)
    torques = np.repeat(rng.uniform(-1, 1, (24, 1, 20)), 60, axis=1) * rng.choice([1.0, 3.0], (24, 1, 1))
    states, _, terminated, tips, _ = jax.vmap(move)(torques.astype(np.float32))
    stopped = 0
    for i, torque in enumerate(torques.astype(np.float32).astype(float)):
        history, was_stopped = moved_by_the_rules(torque)
        stopped += was_stopped
        n = len(history)
        assert terminated[i].tolist() == [was_stopped and step >= n - 1 for step in range(60)]
        expected = np.array([points_of(angles)[-1] for angles in history])
        np.testing.assert_allclose(states.angles[i, :n], history, atol=2e-5)
        np.testing.assert_allclose(tips[i, :n], np.stack([expected.real, expected.imag], -1), atol=2e-5)
    assert 0 < stopped < len(torques)


def test_no_joint_is_ever_in_a_wall_or_outside():
    rng = np.random.default_rng(3)
    torques = np.repeat(rng.uniform(-3, 3, (64, 1, 20)).astype(np.float32), 100, axis=1)
    torques[:, :, 3:] *= 0.1  # otherwise it curls up before it gets anywhere
    states, _, terminated, *_ = jax.vmap(move)(torques)
    points = np.stack([points_of(angles) for angles in np.asarray(states.angles, float).reshape(-1, 20)])
    for coordinates in (points.real, points.imag):
        assert coordinates.min() >= 0
        assert coordinates.max() < 1
    for x0, y0, x1, y1 in WALLS:
        assert not ((points.real > x0) & (points.real < x1) & (points.imag > y0) & (points.imag < y1)).any()
    assert terminated[:, -1].mean() > 0.5  # most of them tried to


def test_walls_are_open_sets():
    points = jnp.array([(0.5, 0.1), (0.5, 0.2), (0.49, 0.1), (0.1, 0.5), (0.9, 0.5), (0.5, 0.9), (0.5, 0.5)])
    assert in_walls(points).tolist() == [True, False, False, True, True, True, False]


def test_the_last_step_pays_by_the_distance_of_the_tip():
    tip = points_of(START)[-1]
    params = PARAMS.replace(goals=jnp.array([(0.9, 0.1), (tip.real + 0.02, tip.imag), (tip.real, tip.imag)]))
    torque = jnp.zeros(20)
    times = jnp.array([0, 98, 99])
    step = jax.jit(jax.vmap(lambda time: WORLD.step_env(KEY, still(time=time), torque, params)))
    _, state, reward, terminated, info = step(times)
    np.testing.assert_allclose(reward, [0, 0, 0.6], atol=1e-5)
    assert info["area"].tolist() == [NO_AREA, NO_AREA, 1]  # the first that is reached, though the third is nearer
    np.testing.assert_allclose(info["descriptor"], np.tile([tip.real, tip.imag], (3, 1)), atol=1e-6)
    assert jax.vmap(WORLD.is_truncated, (0, None))(state, params).tolist() == [False, False, True]
    assert not terminated.any()


def test_only_stopped_arms_are_paid_if_a_stop_is_required():
    tip = points_of(START)[-1]
    params = PARAMS.replace(goals=jnp.array([(tip.real, tip.imag)]))
    too_fast = jnp.zeros(20).at[-1].set(2.0)
    for world, expected in ((RedundantArm(require_stop=True), [0, 1]), (WORLD, [1, 1])):
        got = []
        for speeds in (jnp.zeros(20), too_fast):
            state = still(time=99).replace(speeds=speeds)
            _, _, reward, terminated, info = jax.jit(world.step_env)(KEY, state, jnp.zeros(20), params)
            assert bool(terminated) == bool(speeds[-1] > 0)
            assert info["area"] == (0 if reward > 0 else NO_AREA)
            got.append(float(reward))
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_a_disc_pays_up_to_its_border():
    goals, radius = jnp.array([(0.0, 0.0), (1.0, 0.0)]), jnp.asarray(0.5)
    positions = jnp.array([(0.0, 0.0), (0.0, 0.25), (0.5, 0.0), (0.9, 0.0), (0.4, 0.4)])
    reward, area = jax.vmap(paid_in_disc, (0, None, None, None))(positions, goals, radius, jnp.asarray(True))
    np.testing.assert_allclose(reward, [1, 0.5, 0, 0.8, 0], atol=1e-6)
    assert area.tolist() == [0, 0, 0, 1, NO_AREA]
    assert float(paid_in_disc(positions[0], goals, radius, jnp.asarray(False))[0]) == 0


def test_ways_to_segments():
    starts, ends = jnp.array([(0.0, 0.0), (2.0, 0.0)]), jnp.array([(1.0, 0.0), (2.0, 2.0)])
    ways = to_segments(jnp.array([[(0.5, 1.0)], [(-3.0, 4.0)]]), starts, ends)
    np.testing.assert_allclose(ways[0, 0], [(0, -1), (1.5, 0)])
    np.testing.assert_allclose(ways[1, 0], [(3, -4), (5, -2)])


@pytest.mark.parametrize("size", [64, 400])
def test_pictures_are_as_drawn_pixel_by_pixel(size):
    """All pixels but those on an edge: half a pixel from it they have the colour of their side."""
    curled = START + np.random.default_rng(4).normal(size=(3, 20)) / 10
    images = jax.jit(jax.vmap(lambda angles: WORLD.image(still(angles), PARAMS, size)))(jnp.asarray(curled, float))
    assert images.shape == (3, size, size, 3)
    assert images.min() >= 0
    assert images.max() <= 1
    for angles, image in zip(curled, np.asarray(images), strict=True):
        colours, edge = picture(angles, size)
        np.testing.assert_allclose(image[~edge], colours[~edge], atol=1e-6)
        assert edge.mean() < 0.2


def picture(angles, size):
    """White, then what is surely in a shape in its colour; and which pixels are within half a pixel of an edge."""
    colours, edge, scale = np.ones((size, size, 3)), np.zeros((size, size), bool), size / 400
    on_screen = lambda x, y: complex(scale * (20 + 360.52 * x), scale * (5 + 360.52 * y))  # noqa: E731
    at = np.arange(size)[None] + 0.5 + 1j * (np.arange(size)[:, None] + 0.5)
    for x0, y0, x1, y1 in WALLS:
        low, high = on_screen(x0, y0) - at, at - on_screen(x1, y1)
        paint(colours, edge, np.max([low.real, low.imag, high.real, high.imag], axis=0), 0)
    points = [on_screen(p.real, p.imag) for p in points_of(angles)]
    to_arm = np.min([to_segment(at, a, b) for a, b in itertools.pairwise(points)], axis=0)
    paint(colours, edge, to_arm - 1.5 * scale, 0)
    for goal in ((0.25, 0.25), (0.85, 0.85), (0.25, 0.9)):
        paint(colours, edge, abs(at - on_screen(*goal)) - 0.05 * 360.52 * scale, (1, 50 / 255, 50 / 255))
    return colours, edge


def paint(colours, edge, distance, colour):
    colours[distance <= -0.5] = colour
    edge[distance <= -0.5] = False
    edge |= abs(distance) < 0.5


def to_segment(at, a, b):
    share = np.clip(((at - a) * (b - a).conjugate()).real / abs(b - a) ** 2, 0, 1)
    return abs(at - a - share * (b - a))


def test_the_picture_of_the_start():
    image = WORLD.image(still(), PARAMS)
    np.testing.assert_allclose(image[0, 0], [1, 1, 1])
    for row, column in ((15, 17), (49, 52), (52, 17)):  # goals, the first above the third
        np.testing.assert_allclose(image[row, column], [1, 50 / 255, 50 / 255], atol=1e-6)
    # the wall above the base ends at row 12.3 and lies in columns 31 and 32, which it covers but for their outer sides
    np.testing.assert_allclose(image[6, 31:33].sum(0), np.full(3, 2 - 0.02 * 360.52 / 6.25), rtol=1e-4)
    assert image[14, 30:34].min() == 1


def test_the_nearest_segment_is_as_far_as_the_way_to_it():
    rng = np.random.default_rng(2)
    points, starts, ends = (jnp.asarray(rng.uniform(-1, 1, shape), float) for shape in ((9, 7, 2), (5, 2), (5, 2)))
    ways = np.linalg.norm(to_segments(points, starts, ends), axis=-1)
    np.testing.assert_allclose(to_nearest_segment(points, starts, ends), ways.min(-1), rtol=1e-5, atol=1e-6)
    assert len(np.unique(ways.argmin(-1))) == 5
