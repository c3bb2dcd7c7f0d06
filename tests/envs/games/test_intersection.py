"""The crossing's ways and contacts, and its cars second by second beside NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.games.crossing import ACCESS, LEFT, LENGTHS, RIGHT, STRAIGHT, along_of, pose, touching
from jaxreward.envs.games.experts import conflicting, intersection_expert
from jaxreward.envs.games.intersection import Intersection, IntersectionParams, IntersectionState
from jaxreward.learning.walker import Walker

ENV = Intersection()
PARAMS = IntersectionParams(
    w_arrive=(2.0, 3.0, 4.0, 5.0), w_speed=(0.0, 0.1, 0.2, 0.3), w_progress=(1.0, 0.0, 0.0, 0.0)
)
STEP = 0.05


@pytest.fixture(scope="module")
def ways():
    """All 12 ways, looked at every 5 cm: places, headings, and how far along they are found to be."""
    along = jnp.arange(0, 160, STEP)
    turns, sides = (x.ravel() for x in jnp.meshgrid(jnp.arange(3), jnp.arange(4), indexing="ij"))

    @jax.jit
    def run(along, turns, sides):
        each = jax.vmap(jax.vmap(pose, (0, None, None)), (None, 0, 0))
        positions, headings = each(along, turns, sides)
        return positions, headings, jax.vmap(jax.vmap(along_of, (0, None, None)))(positions, turns, sides)

    return [np.asarray(x, float) for x in (along, turns, sides, *run(along, turns, sides))]


def test_ways_are_whole_and_as_long_as_they_say(ways):
    """No jumps: each 5 cm along is 5 cm on the ground, a little less on an arc, in the direction of the heading."""
    _, _, _, positions, headings, _ = ways
    steps = np.diff(positions, axis=1)
    # A chord of an arc of 9 m misses a millionth of its length; float32 near 100 m has a grain of 8e-6.
    np.testing.assert_allclose(np.linalg.norm(steps, axis=-1), STEP, atol=3e-5)
    middle = (headings[:, 1:] + headings[:, :-1]) / 2
    ahead = np.stack([np.cos(middle), np.sin(middle)], -1)
    np.testing.assert_allclose(steps / STEP, ahead, atol=3e-3)


def test_ways_begin_in_their_lane_and_leave_where_they_turn_to(ways):
    """From the first side: in at x = 2, and out to the right, ahead or to the left, on the right lane of each road."""
    _, turns, sides, positions, headings, _ = ways
    ends = {RIGHT: ((1, 0), 0.0), STRAIGHT: ((0, -1), -np.pi / 2), LEFT: ((-1, 0), -np.pi)}
    quarter = np.array([[0, -1], [1, 0]])
    for k, (turn, side) in enumerate(zip(turns.astype(int), sides.astype(int), strict=True)):
        spin = np.linalg.matrix_power(quarter, side)
        np.testing.assert_allclose(positions[k, 0], spin @ [2, 111], atol=1e-4)
        (x, y), heading = ends[turn]
        beyond = 11 + 160 - STEP - ACCESS - LENGTHS[turn]
        np.testing.assert_allclose(
            positions[k, -1], spin @ (beyond * np.array([x, y]) + 2 * np.array([-y, x])), atol=1e-3
        )
        np.testing.assert_allclose(headings[k, -1], heading + side * np.pi / 2, atol=1e-5)


def test_how_far_along_is_found_from_where_a_car_is(ways):
    along, *_, found = ways
    np.testing.assert_allclose(found, np.tile(along, (12, 1)), atol=1e-3)


def corners(position, heading):
    """Points all over a car of 5 m by 2 m, those on its border among them."""
    grid = np.stack(np.meshgrid(np.linspace(-2.5, 2.5, 51), np.linspace(-1, 1, 21)), -1).reshape(-1, 2)
    spin = np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
    return position + grid @ spin.T


def test_cars_touch_where_a_point_of_one_is_in_the_other():
    """Brute force over points a tenth of a metre apart: what they see is seen, and little else."""
    draw = np.random.default_rng(0)
    others, headings = draw.uniform(-6, 6, (400, 2)), draw.uniform(-np.pi, np.pi, (400, 2))
    positions = np.stack([np.zeros((400, 2)), others], 1)
    found = np.asarray(jax.jit(jax.vmap(touching))(jnp.asarray(positions, float), jnp.asarray(headings, float)))
    assert (found[:, 0] == found[:, 1]).all()
    reaches = np.zeros((400, 2))
    for t in range(400):
        points = corners(positions[t, 1], headings[t, 1])
        spin = np.array(
            [[np.cos(headings[t, 0]), np.sin(headings[t, 0])], [-np.sin(headings[t, 0]), np.cos(headings[t, 0])]]
        )
        local = np.abs(points @ spin.T) / [2.5, 1]
        reaches[t] = local.max(-1).min(), 0
    overlap = reaches[:, 0] <= 1
    assert (found[overlap, 0]).all()
    # Between its points a car may reach 0.07 m further: 0.07 of half its width.
    assert (reaches[found[:, 0], 0] <= 1.1).all()
    assert 100 < overlap.sum() < 300


def second(along, speed, target, crashed, action, turns):
    """One step of one car after another in NumPy, contacts left out."""
    after = []
    for s, v, aim, hit, a in zip(along, speed, target, crashed, action, strict=True):
        if a != 1:
            aim = [0, 4.5, 9][int(np.clip(np.clip(np.round(v / 4.5), 0, 2) + a - 1, 0, 2))]
        for _ in range(15):
            s, v = s + v / 15, v + (-v if hit else (aim - v) / 0.6) / 15
        after.append((s, v, aim))
    return np.array(after).T


def test_seconds_beside_numpy():
    """From far apart, so that none touches; and one that has crashed before."""
    draw, many = np.random.default_rng(1), 64
    along = np.array([[10, 40, 70, 95]]) + draw.uniform(-5, 5, (many, 4))
    along[::4, 0] = ACCESS + LENGTHS[LEFT] + 25 + draw.uniform(-5, 5, many // 4)
    along[1::4, :] = ACCESS + np.array(LENGTHS)[[LEFT, RIGHT, RIGHT, STRAIGHT]] + np.array([[26, 51, 70, 90]])
    speed, target = draw.uniform(0, 10, (many, 4)), draw.choice([0, 4.5, 9], (many, 4))
    action, crashed = draw.integers(0, 3, (many, 4)), np.zeros((many, 4), bool)
    crashed[:2, 1] = True
    state = IntersectionState(*(jnp.asarray(x) for x in (along, speed, target, crashed)), jnp.full(many, 12))
    step = jax.jit(jax.vmap(lambda *x: ENV.step_env(jax.random.key(0), *x, PARAMS)))
    shown, after, reward, terminated, info = jax.device_get(step(state, jnp.asarray(action)))
    arrived_at = ACCESS + np.array(LENGTHS)[[LEFT, RIGHT, RIGHT, STRAIGHT]] + 25
    for t in range(many):
        s, v, aim = second(along[t], speed[t], target[t], crashed[t], action[t], PARAMS.turns)
        np.testing.assert_allclose(after.along[t], s, atol=1e-3)
        np.testing.assert_allclose(after.speed[t], v, atol=1e-4)
        np.testing.assert_array_equal(after.target[t], aim)
        np.testing.assert_array_equal(after.crashed[t], crashed[t])
        arrived = s >= arrived_at
        pays = np.where(arrived, [2, 3, 4, 5], -4.0 * crashed[t]) + v / 9 * [0, 0.1, 0.2, 0.3]
        np.testing.assert_allclose(reward[t], pays + (s - along[t]) / 9 * [1, 0, 0, 0], atol=1e-3)
        np.testing.assert_array_equal(info["arrived"][t], arrived)
        assert terminated[t] == (crashed[t].any() or arrived.all())
    assert terminated[1::4].all()
    assert 0 < terminated[::4].sum() < many // 4
    assert np.asarray(ENV.is_truncated(after, PARAMS)).all()
    check_seen(shown, after)


def check_seen(shown, after):
    """The first car's own part, on its way in: where it is and how fast; of the second, what the third sees first."""
    coming = after.along[:, 0] < ACCESS
    own = shown[coming, 0, :7]
    ones, zeros = np.ones(len(own)), np.zeros(len(own))
    y, v = (111 - after.along[coming, 0]) / 100, after.speed[coming, 0] / 20
    np.testing.assert_allclose(own, np.stack([ones, 0.02 * ones, y, zeros, -v, zeros, -ones], -1), atol=1e-5)
    np.testing.assert_array_equal(shown[:, 2, 14:21], shown[:, 1, :7])
    np.testing.assert_array_equal(shown[:, 0, 7:14], shown[:, 1, :7])


def test_cars_that_meet_crash_both_and_the_rest_drives_on():
    """Straight on from the right and from below, both to the middle in the same moment; speeds fall by themselves."""
    params = IntersectionParams(turns=(STRAIGHT, RIGHT, RIGHT, STRAIGHT))
    # Car 3 comes along y = -2 and car 0 along x = 2: they meet at 13 m and at 9 m past the start of the box.
    along, speed = jnp.array([108.0, 20.0, 40.0, 104.0]), jnp.full(4, 9.0)
    state = IntersectionState(along, speed, speed, jnp.zeros(4, bool), jnp.int32(3))
    step = jax.jit(lambda state, action: ENV.step_env(jax.random.key(0), state, action, params)[1:4])
    after, reward, terminated = step(state, jnp.ones(4, jnp.int32))
    assert after.crashed.tolist() == [True, False, False, True]
    assert reward.tolist() == [-4, 0, 0, -4]
    assert terminated
    assert after.speed[0] < 8 < after.speed[1]


def test_the_scripted_four_arrive_and_without_looking_they_crash():
    """Ways that come too near, by hand: all but car 1, which turns right by itself, end in the same lane."""
    expected = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1], [1, 0, 1, 0]], bool)
    np.testing.assert_array_equal(conflicting(IntersectionParams().turns), expected)
    keys = jax.random.split(jax.random.key(0), 64)
    run = lambda gap: Walker(ENV, ENV.default_params, intersection_expert(gap)).run(keys)  # noqa: E731
    found = jax.device_get(jax.jit(jax.vmap(run))(jnp.array([1.5, 0.0])))
    crashed = (found.by_agent[:, :, 0] < 0).any(-1).mean(-1)
    assert crashed[0] == 0
    assert crashed[1] > 0.7  # 0.85 over 1,000 episodes
    assert found.returns[0].mean() > 5  # 6.4
