"""The arena against its pixels, the sensors against ways sampled finely, the hand against the rules step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.parts.fastsim import CONTACT, clearance, laser_ranges
from jaxreward.envs.qd.collect_ball import ARENA, BALLS, NOTHING, CollectBall, CollectBallState
from jaxreward.envs.qd.discs import NO_AREA

WORLD = CollectBall()
PARAMS = WORLD.default_params
KEY = jax.random.key(0)
HOLD, RELEASE = 1.0, -1.0


def pixels():
    """The authors' picture of the arena, `[row, column]`, true where a wall is."""
    wall = np.zeros((200, 200), bool)
    wall[:5], wall[195:], wall[:, :5], wall[:, 195:] = True, True, True, True
    wall[99:102, :127], wall[99:102, 174:] = True, True
    wall[102:127, 99:102], wall[174:195, 99:102] = True, True
    return wall


def at(x, y, heading=0.0, balls=BALLS, held=NOTHING, time=0):
    return CollectBallState(
        jnp.array([x, y], float),
        jnp.asarray(heading, float),
        jnp.asarray(balls, float),
        jnp.asarray(held, jnp.int32),
        jnp.zeros(6, bool),
        jnp.asarray(time, jnp.int32),
    )


@jax.jit
def step(state, action):
    return WORLD.step_env(KEY, state, jnp.asarray(action, float), PARAMS)


@jax.jit
def draw(state):
    return WORLD.image(state, PARAMS, 200)


@jax.jit
def room(points):
    return clearance(jnp.asarray(points, float), ARENA)


def one_ball(x, y):
    """A ball there, and the other five out of sight at the upper right."""
    return [(x, y)] + [(590.0, 20.0)] * 5


def test_it_starts_at_the_lower_left_heading_by_45_rad():
    observation, state = jax.jit(WORLD.reset_env)(KEY, PARAMS)
    np.testing.assert_array_equal(state.position, [100, 500])
    np.testing.assert_allclose(np.exp(1j * np.asarray(state.heading)), np.exp(45j), atol=1e-6)
    assert observation.shape == (10,)
    np.testing.assert_allclose(observation[:3], laser_ranges(state.position, state.heading, ARENA) / 100, rtol=1e-6)
    np.testing.assert_array_equal(observation[3:5], 0)
    assert observation[9] == 0
    _, state, *_ = step(state, [1, 1, RELEASE])
    np.testing.assert_allclose(state.position, [100 + 2 * np.cos(45), 500 + 2 * np.sin(45)], rtol=1e-6)


def test_wheels_roll_by_twice_the_action_and_no_further_than_four():
    forwards = lambda left, right: step(at(100, 500), [left, right, RELEASE])[1]  # noqa: E731
    np.testing.assert_allclose(forwards(0.5, 0.5).position, [101, 500], rtol=1e-6)
    np.testing.assert_allclose(forwards(9.0, 9.0).position, [104, 500], rtol=1e-6)
    np.testing.assert_allclose(forwards(-0.5, 0.5).heading, 2 / 20, rtol=1e-6)


def test_the_picture_200_wide_has_the_pixels_of_the_authors_walls():
    image = np.asarray(draw(at(300, 200)))
    np.testing.assert_allclose(image[..., 1], pixels(), atol=1e-4)  # only walls, in white, have green in them


def test_pictures_show_the_robot_and_the_balls_on_the_ground():
    row, column = np.mgrid[:200, :200]
    disc = lambda x, y, radius: np.hypot(column - x / 3, row - y / 3) - radius  # noqa: E731
    state = at(300, 200, held=2).replace(brought=jnp.zeros(6, bool).at[5].set(True))
    image = np.asarray(draw(state))
    free = ~pixels()
    shapes = {2: disc(300, 200, 10), 0: np.min([disc(*BALLS[ball], 5) for ball in (0, 1, 3, 4)], 0)}
    for channel, distance in shapes.items():
        np.testing.assert_allclose(image[free & (distance <= -0.5), channel], 1, atol=1e-5)
        np.testing.assert_allclose(image[free & (distance >= 0.5), channel], 0, atol=1e-5)
        assert (free & (distance <= -0.5)).sum() > 50


def test_collisions_are_those_of_the_simulators_pixels():
    """At all pixels that are free, but for the outer corners at the ends of walls, where the shapes are more rounded.

    The simulator stops the robot if a pixel of a wall is at most three pixels away. An outer corner of the geometry is
    half a pixel from the middle of its last, so 4 pixels more are too near: (1, 3), (2, 3), (3, 2) and (3, 1) from it.
    """
    wall = pixels()
    near = wall.copy()
    for down in range(-3, 4):
        for right in range(-3, 4):
            if down**2 + right**2 <= 9:
                near |= np.roll(wall, (down, right), (0, 1))
    places = 3.0 * np.stack(np.meshgrid(np.arange(200), np.arange(200)), -1)
    ours = np.asarray(room(places)) <= CONTACT
    assert (ours | ~near).all()
    corners = [(126, 99, 1, -1), (126, 101, 1, 1), (174, 99, -1, -1), (174, 101, -1, 1)]
    corners += [(99, 126, -1, 1), (101, 126, 1, 1), (99, 174, -1, -1), (101, 174, 1, -1)]
    more = {(y + down * b, x + right * a) for x, y, right, down in corners for a, b in ((1, 3), (2, 3), (3, 2), (3, 1))}
    assert set(zip(*map(np.ndarray.tolist, np.nonzero(ours & ~near)), strict=True)) == more


def test_a_wall_stops_the_robot_and_is_felt():
    observation, state, *_ = step(at(200, 285, np.pi / 2), [2, 2, RELEASE])  # 1.5 from where it would touch the wall
    np.testing.assert_array_equal(state.position, [200, 285])
    np.testing.assert_array_equal(observation[3:5], 1)
    observation, state, *_ = step(at(450, 285, np.pi / 2), [2, 2, RELEASE])  # the gap in the wall
    np.testing.assert_allclose(state.position, [450, 289], rtol=1e-6)
    np.testing.assert_array_equal(observation[3:5], 0)


def in_walls(points):
    """Whether points are in the world's walls: those whose nearest pixel is."""
    column, row = np.moveaxis(np.clip(np.round(points / 3).astype(int), 0, 199), -1, 0)
    return pixels()[row, column]


def free_places(rng, count):
    points = rng.uniform(20, 575, (3 * count, 2))
    around = points[:, None] + CONTACT * np.stack([np.cos(np.arange(12)), np.sin(np.arange(12))], -1)
    return points[~in_walls(around).any(1)][:count]


def test_lasers_end_at_the_first_pixel_of_a_wall():
    rng = np.random.default_rng(0)
    places, heading = free_places(rng, 200), rng.uniform(-np.pi, np.pi, 200)
    ranges = jax.jit(jax.vmap(lambda *pose: laser_ranges(*pose, ARENA)))(places.astype(np.float32), heading)
    angle = heading[:, None] + np.array([np.pi / 4, 0, -np.pi / 4])
    directions, ways = np.stack([np.cos(angle), np.sin(angle)], -1), np.arange(0, 110, 0.05)
    blocked = in_walls(places[:, None, None] + ways[:, None] * directions[:, :, None])
    first = np.minimum(np.where(blocked.any(-1), ways[blocked.argmax(-1)], 100), 100)
    np.testing.assert_allclose(ranges, first, atol=0.051)
    assert 0.2 < (first == 100).mean() < 0.9


# Heading right, an angle that is positive is below, on the right.
@pytest.mark.parametrize(
    ("angle", "left", "right"),
    [(-46, 0, 0), (-44, 1, 0), (-6, 1, 0), (-4, 1, 1), (0, 1, 1), (4, 1, 1), (6, 0, 1), (44, 0, 1), (46, 0, 0)],
)
@pytest.mark.parametrize("heading", [0.0, 3.0])
def test_light_is_seen_by_the_eye_that_looks_there(angle, left, right, heading):
    direction = heading + np.deg2rad(angle)
    ball = (300 + 60 * np.cos(direction), 150 + 60 * np.sin(direction))
    observation, *_ = step(at(300, 150, heading, one_ball(*ball)), [0, 0, RELEASE])
    assert observation[5:7].tolist() == [left, right]
    place = np.array([100, 500]) - 60 * np.array([np.cos(direction), np.sin(direction)])
    observation, *_ = step(at(*place, heading), [0, 0, RELEASE])
    assert observation[7:9].tolist() == [right, left]  # in this order


def test_walls_hide_light_and_gaps_do_not():
    seen = lambda x, y: step(at(x, 340, -np.pi / 2, one_ball(x, y)), [0, 0, RELEASE])[0][5:7].tolist()  # noqa: E731
    assert seen(340, 250) == [0, 0]
    assert seen(340, 320) == [1, 1]
    assert seen(450, 250) == [1, 1]


def test_light_is_seen_as_along_ways_sampled_finely():
    rng = np.random.default_rng(1)
    places, heading = free_places(rng, 400), rng.uniform(-np.pi, np.pi, 400)
    balls = free_places(rng, 400)
    states = jax.vmap(lambda *pose: at(*pose))(*places.T, heading)
    spread = np.concatenate([balls[:, None], np.broadcast_to((590.0, 20.0), (400, 5, 2))], 1)
    states = states.replace(balls=jnp.asarray(spread, float), brought=jnp.tile(jnp.arange(6) > 0, (400, 1)))
    eyes = np.asarray(jax.vmap(lambda state: step(state, [0, 0, RELEASE])[0])(states))[:, 5:9]
    expected, grazes = [], np.zeros(400, bool)
    for source, looks in ((balls, (-20, 20)), (np.array([[100, 500]]), (20, -20))):
        way = source - places
        between = places[:, None] + np.linspace(0, 1, 500)[:, None] * way[:, None]
        depth = np.asarray(room(between)).min(1)
        grazes |= np.abs(depth) < 0.3
        for look in looks:
            off = np.angle(np.exp(1j * (np.arctan2(way[:, 1], way[:, 0]) - heading - np.deg2rad(look))), deg=True)
            expected.append((np.abs(off) < 25) & (depth > 0))
    np.testing.assert_array_equal(eyes[~grazes], np.stack(expected, 1)[~grazes])
    assert grazes.mean() < 0.1
    assert eyes.sum(0).min() > 10


@pytest.mark.parametrize(("away", "takes"), [(9.9, True), (10.1, False)])
def test_a_ball_is_taken_from_where_the_robot_was_before_the_step(away, takes):
    for wheel in (-2, 2):  # towards the ball or away from it
        state = at(300, 150, 0, one_ball(300 + away, 150))
        observation, state, reward, _, info = step(state, [wheel, wheel, HOLD])
        assert int(state.held) == (0 if takes else NOTHING)
        assert observation[9] == takes
        assert (float(reward), int(info["area"])) == (0, NO_AREA)


def test_a_full_hand_takes_nothing_and_an_open_one_does_not_either():
    balls = [(300.0, 150.0)] * 2 + [(400.0, 150.0)] * 4
    assert int(step(at(300, 150, 0, balls), [0, 0, HOLD])[1].held) == 0
    assert int(step(at(300, 150, 0, balls, held=4), [0, 0, HOLD])[1].held) == 4
    assert int(step(at(300, 150, 0, balls), [0, 0, RELEASE])[1].held) == NOTHING
    assert int(step(at(300, 150, 0, balls), [0, 0, 0.0])[1].held) == NOTHING


@pytest.mark.parametrize(("away", "paid"), [(9.9, 1), (10.1, 0)])
def test_a_ball_that_is_released_where_the_robot_started_pays(away, paid):
    _, state, reward, _, info = step(at(100 + away, 500, 0, held=3), [2, 2, RELEASE])
    assert float(reward) == paid
    assert int(state.held) == NOTHING
    assert bool(state.brought[3]) == bool(paid)
    assert int(info["area"]) == (0 if paid else NO_AREA)
    if not paid:
        np.testing.assert_allclose(state.balls[3], [110.1, 500], rtol=1e-6)  # where it was before the step
    _, state, reward, _, info = step(state, [0, 0, RELEASE])
    assert (float(reward), int(info["area"])) == (0, 0 if paid else NO_AREA)


def test_what_is_held_or_was_brought_is_not_seen():
    state = at(300, 150, 0, one_ball(340, 150))
    see = lambda state: step(state, [0, 0, HOLD])[0][5:7].tolist()  # noqa: E731
    assert see(state) == [1, 1]
    assert see(state.replace(held=jnp.asarray(0, jnp.int32))) == [0, 0]
    assert see(state.replace(brought=jnp.arange(6) == 0)) == [0, 0]
    taken = step(at(300, 150, 0, one_ball(305, 150)), [0, 0, HOLD])
    assert taken[0][5:7].tolist() == [1, 1]  # it is taken after the robot looked
    assert see(taken[1]) == [0, 0]


def by_the_rules(positions, holds, balls):
    """Rewards, what is held and where balls are, `[T, ...]`, by the positions before each step."""
    balls, held, gone, log = np.array(balls, np.float32), NOTHING, set(), []
    for position, hold in zip(positions, holds, strict=True):
        reward = 0
        if hold and held == NOTHING:
            near = [i for i in range(6) if i not in gone and np.hypot(*(balls[i] - position)) < 10]
            held = near[0] if near else NOTHING
        elif not hold and held != NOTHING:
            if np.hypot(*(position - np.array([100, 500]))) < 10:
                gone.add(held)
                reward = 1
            else:
                balls[held] = position
            held = NOTHING
        log.append((reward, held, balls.copy(), sorted(gone)))
    return log


def test_random_hands_do_as_the_rules_say():
    rng = np.random.default_rng(2)
    start = at(100, 500, 0, np.array([100, 500]) + rng.uniform(-18, 18, (6, 2)))
    # Back and forth around the start, with a hand that changes its mind every now and then.
    actions = np.stack([*np.repeat(rng.uniform(-2, 2, (2, 100)), 8, axis=1), np.repeat(rng.normal(size=400), 2)], -1)

    def go(state, action):
        _, after, reward, _, _ = step(state, action)
        here = jnp.where(jnp.hypot(*(after.position - start.position)) > 20, start.position, after.position)
        return after.replace(position=here), (state.position, reward, after.held, after.balls, after.brought)

    _, (positions, rewards, held, balls, brought) = jax.jit(lambda a: jax.lax.scan(go, start, a))(
        jnp.asarray(actions, float)
    )
    expected = by_the_rules(np.asarray(positions), actions[:, 2] > 0, start.balls)
    np.testing.assert_array_equal(rewards, [entry[0] for entry in expected])
    np.testing.assert_array_equal(held, [entry[1] for entry in expected])
    np.testing.assert_array_equal(balls, [entry[2] for entry in expected])
    assert [np.flatnonzero(row).tolist() for row in np.asarray(brought)] == [entry[3] for entry in expected]
    assert rewards.sum() >= 3
    assert (np.diff(np.asarray(held)) != 0).sum() > 20


def test_the_time_truncates_and_nothing_terminates():
    for time, ends in ((1998, False), (1999, True)):
        _, state, _, terminated, info = step(at(300, 150, time=time), [0, 0, RELEASE])
        assert bool(WORLD.is_truncated(state, PARAMS)) == ends
        assert not terminated
        np.testing.assert_allclose(info["descriptor"], [0.5, 0.25], rtol=1e-6)
