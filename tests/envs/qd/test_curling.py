"""The table against closed forms, transitions of the authors' simulator, and what must never happen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.parts.rigid_contact import DiscMotion
from jaxreward.envs.qd.curling import DT, RADIUS, Curling, CurlingState, advanced
from jaxreward.envs.qd.discs import NO_AREA
from tests.envs.parts.test_pushing_arm import outline

WORLD = Curling()
PARAMS = WORLD.default_params
KEY = jax.random.key(0)
STEP = jax.jit(WORLD.step_env)
EDGE = 1.295
KEEPS, SPIN_KEEPS = 1 / (1 + 1.1 / 60), 1 / (1 + 2 / 60)


def state_of(numbers, time=0):
    """A state from `x, y, angles, joints' speeds, velocity, spin in rad/s`."""
    x, y, first, second, fast0, fast1, vx, vy, spin = jnp.asarray(numbers, float)
    return CurlingState(
        (x, y), DiscMotion((vx, vy), RADIUS * spin), (first, second), (fast0, fast1), jnp.asarray(time, jnp.int32)
    )


def numbers_of(state):
    motion = state.motion
    return jnp.stack([*state.ball, *state.angles, *state.speeds, *motion.velocity, motion.rim / RADIUS])


def ball(x, y, vx=0.0, vy=0.0, spin=0.0):
    """A state with the arm straight up, out of the ball's way if `|x|` is more than 0.205."""
    return [x, y, 0, 0, 0, 0, vx, vy, spin]


@jax.jit
@jax.vmap
def after_a_step(numbers, action):
    return numbers_of(advanced(state_of(numbers), (action[0], action[1])))


def drive(numbers, actions):
    """The numbers after each action, `[n, T, 9]`; of the one size that is compiled."""
    numbers, actions = np.asarray(numbers), np.asarray(actions)
    count, size = len(numbers), 400
    current, padded = (jnp.asarray(np.resize(x, (size, *x.shape[1:])), float) for x in (numbers, actions))
    trace = []
    for step in range(actions.shape[1]):
        current = after_a_step(current, padded[:, step])
        trace.append(current)
    return np.stack(trace, axis=1).astype(float)[:count]


def rest(numbers, steps):
    """Where the ball gets if the arm stands still."""
    return drive(numbers, np.zeros((len(numbers), steps, 2)))


def random_starts(rng, count):
    """Balls anywhere that the arm is not, which is anywhere, slow or fast."""
    limits = np.array([0.4, 0.9]) * np.pi
    starts = np.concatenate(
        [rng.uniform(-EDGE, EDGE, (4 * count, 2)), rng.uniform(-1, 1, (4 * count, 2)) * limits], axis=1
    )
    tips = np.array([np.abs(outline(angles, 21)[1]).max() for angles in starts[:, 2:]])
    clear = [distance(*start) > 0.01 for start in starts]
    starts = starts[(tips < 1.43) & clear][:count]
    motion = rng.normal(0, 1, (len(starts), 3)) * [2, 2, 10]
    return np.concatenate([starts, np.zeros((len(starts), 2)), motion], axis=1)


def distance(x, y, first, second):
    """How far the ball's surface is from the arm, in float64; vectorised."""
    place, ways = x + 1j * y, (1j * np.exp(1j * first), 1j * np.exp(1j * (first + second)))
    found = []
    for joint, way, low in ((-1.5j, ways[0], 0.0), (-1.5j + ways[0], ways[1], -0.1)):
        local = (place - joint) / way
        found.append(np.hypot(local.real - np.clip(local.real, low, low + 1), np.maximum(np.abs(local.imag) - 0.05, 0)))
    return np.minimum(*found) - RADIUS


def wild_actions(rng, count, steps):
    """Commands that change seldom or often, as fast as the motors are or slower."""
    changes = rng.choice([5, 20, 50], count)
    fast = rng.random((count, 1, 1)) < 0.7
    actions = rng.uniform(-1, 1, (count, steps, 2))
    actions = np.where(fast, np.sign(actions), actions)
    return np.stack([np.repeat(a[: -(-steps // n)], n, axis=0)[:steps] for a, n in zip(actions, changes, strict=True)])


def test_joints_turn_as_commanded():
    """And nearly as in the authors' simulator, where the angles are 0.25002 and -0.1515 then."""
    after = drive([ball(-0.5, -0.5)], np.tile([0.5, -0.3], (1, 30, 1)))[0, -1]
    np.testing.assert_allclose(after[2:6], [0.25, -0.15, 0.5, -0.3], rtol=1e-5)
    np.testing.assert_allclose(after[2:4], [0.25002, -0.1515], atol=2e-3)


def test_a_ball_that_nothing_touches_slows_down():
    """By a factor each step; so it gets as far as the sum of a geometric series."""
    after = rest([ball(-0.5, 0.2, -0.8, 0.5, 3)], 60)[0]
    steps = np.arange(1, 61)
    far = DT * KEEPS * (1 - KEEPS**steps) / (1 - KEEPS)
    np.testing.assert_allclose(after[:, :2], [-0.5, 0.2] + far[:, None] * [-0.8, 0.5], atol=1e-5)
    np.testing.assert_allclose(after[:, 6:8], KEEPS ** steps[:, None] * [-0.8, 0.5], rtol=1e-4)
    np.testing.assert_allclose(after[:, 8], 3 * SPIN_KEEPS**steps, rtol=1e-4)


@pytest.mark.parametrize(("speed", "back"), [(0.5, 0.0), (0.95, 0.0), (1.1, 0.9), (4.0, 0.9)])
def test_walls_return_nine_tenths_of_what_is_faster_than_one(speed, back):
    """To all four sides; a ball on its way gets to the wall and bounces in the step after that."""
    ways = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])
    aside = 0.5 * np.abs(ways[:, ::-1])
    touching = rest([ball(*(EDGE * way + off), *(speed * way)) for way, off in zip(ways, aside, strict=True)], 1)[:, 0]
    np.testing.assert_allclose(touching[:, 6:8], -back * KEEPS * speed * ways, atol=1e-6)
    near = [
        ball(*((EDGE - 0.8 * DT * speed) * way + off), *(speed * way)) for way, off in zip(ways, aside, strict=True)
    ]
    first, second = rest(near, 2).transpose(1, 0, 2)
    np.testing.assert_allclose(first[:, :2], EDGE * ways + aside, atol=1e-6)
    gone = DT * back * KEEPS**2 * speed if speed * KEEPS > 1.02 or back == 0 else 0.0
    np.testing.assert_allclose(second[:, :2], (EDGE - gone) * ways + aside, atol=1e-5)


def test_a_wall_grips_and_spins_the_ball():
    """Sliding to the left along the upper wall, it ends up rolling, clockwise, at two thirds of its speed."""
    touching = rest([ball(0.5, EDGE, -0.6, 2.0)], 1)[0, 0]
    np.testing.assert_allclose(touching[6:8], KEEPS * np.array([-0.4, -1.8]), rtol=1e-4)
    np.testing.assert_allclose(touching[8] * RADIUS, -KEEPS * 0.4, rtol=1e-4)
    slipping = rest([ball(0.5, EDGE, -6.0, 1.5)], 1)[0, 0]
    brake = np.sqrt(0.18) * 1.9 * 1.5
    np.testing.assert_allclose(slipping[6], KEEPS * (-6 + brake), rtol=1e-4)
    np.testing.assert_allclose(slipping[8] * RADIUS, -KEEPS * 2 * brake, rtol=1e-4)


@pytest.mark.parametrize(
    ("action", "speed"),
    [((0.5, 0.0), 0.5 * 1.7), ((1.0, 0.0), 1.9 * 1.7), ((0.0, 1.0), 0.7), ((0.3, 0.5), 0.3 * 1.7 + 0.35)],
)
def test_a_link_gives_the_ball_its_speed_or_nearly_twice_that(action, speed):
    """Straight up, 1.7 from the first joint and 0.7 from the second, on the ball's right; slow, or above 1 m/s.

    The link's face is 0.05 to the left of the joints' line, so it also goes down, 0.05 m/s per rad/s, and friction
    brings a third of that into the ball's speed and two thirds into its rim.
    """
    after = drive([ball(-0.205, 0.2)], [[action]])[0, 0]
    down = 0.05 * (action[0] + action[1])
    np.testing.assert_allclose(after[6:8], [-speed, -down / 3], atol=1e-5)
    np.testing.assert_allclose(after[8] * RADIUS, -2 * down / 3, atol=1e-5)
    np.testing.assert_allclose(after[:2], [-0.205 - DT * speed, 0.2 - DT * down / 3], atol=1e-5)
    np.testing.assert_allclose(after[4:6], action, rtol=1e-4)


def test_steps_are_those_of_the_authors_simulator():
    """A ball that is pushed, bounces, rolls, is held at either wall; an arm's tip that slides on a wall, or sticks.

    Each row is a state of Box2D, an action, and its next state, in the course of a random controller.
    """
    rows = np.array(
        [
            *[-0.8429, 0.113, 0.3033, 0.1409, 0.6265, 0.3284, -1.3564, -0.417, -1.045, 0.6265, 0.3287],
            *[-0.8655, 0.1058, 0.3137, 0.1463, 0.6265, 0.3287, -1.3588, -0.4298, -1.101],
            *[-1.2963, 0.0343, 0.3821, 0.1319, 0.4489, 0.1209, -1.2564, -0.2615, -0.0199, 0.4476, 0.1197],
            *[-1.2778, 0.0315, 0.3896, 0.1339, 0.4476, 0.1197, 1.11, -0.1697, -1.1553],
            *[-1.295, -0.4105, 0.3418, 1.3453, 0.5654, 0.7898, 0.0, -0.4816, -2.9314, 0.5648, 0.7895],
            *[-1.295, -0.4184, 0.3513, 1.3583, 0.5648, 0.7895, 0.0, -0.4728, -2.8337],
            *[-1.295, -0.0135, 0.4734, 0.333, -0.0772, 0.1962, 0.0, -0.0235, -0.1591, 0.2708, 0.196],
            *[-1.295, -0.0139, 0.4721, 0.3362, -0.0769, 0.196, 0.0, -0.0237, -0.1604],
            *[-1.1839, -1.295, 0.4788, 1.6616, -0.2615, 0.4133, 0.1564, 0.0, -1.0601, 0.7243, 0.4136],
            *[-1.1813, -1.295, 0.4744, 1.6685, -0.2603, 0.4136, 0.1565, 0.0, -1.0613],
            *[-0.5, 0.2, -0.6347, -1.844, 0.272, -0.585, 0.0, 0.0, 0.0, -0.9101, -0.585],
            *[-0.5, 0.2, -0.6302, -1.8537, 0.2718, -0.585, 0.0, 0.0, 0.0],
            *[-0.311, -1.2927, 0.3889, 2.3919, 0.0, 0.0, 0.0, 0.0, 0.0, 0.7807, 0.7013],
            *[-0.311, -1.2927, 0.3889, 2.3919, 0.0, 0.0, 0.0, 0.0, 0.0],
        ]
    ).reshape(-1, 20)
    after = drive(rows[:, :9], rows[:, None, 9:11])[:, 0]
    np.testing.assert_allclose(after[:, :4], rows[:, 11:15], atol=3e-4)
    np.testing.assert_allclose(after[:, 4:8], rows[:, 15:19], atol=4e-3)
    np.testing.assert_allclose(RADIUS * after[:, 8], RADIUS * rows[:, 19], atol=7e-3)


def test_a_held_ball_rolls_and_the_arm_goes_with_it():
    """It turns around where it is at the wall, and takes along the point of the link that it is held with."""
    start = [-1.295, -0.0135, 0.4734, 0.333, -0.0772, 0.1962, 0.0, -0.0235, -0.1591]
    after = drive([start], np.tile([0.4, 0.15], (1, 40, 1)))[0]
    np.testing.assert_allclose(after[:, 0], -EDGE, atol=1e-6)
    np.testing.assert_allclose(RADIUS * after[:, 8], after[:, 7], rtol=1e-3)  # up the left wall: counter-clockwise
    np.testing.assert_allclose(after[:, 5], 0.15, rtol=1e-3)  # the elbow has the shorter lever and keeps its speed
    assert (after[:, 4] < 0).all()  # the shoulder gives way, backwards
    shoulder, both = after[:, 2], after[:, 2] + after[:, 3]
    corner = (0.9 + 0.05j) * 1j * np.exp(1j * both)  # of the tip, which is what touches the ball here
    moved = np.diff(1j * np.exp(1j * shoulder) + corner)
    place = 1j * np.exp(1j * shoulder) + corner - 1.5j
    from_wall = place[:-1].real + 1.45
    rolled = np.diff(after[:, 1])
    assert (rolled < -1e-4).all()
    np.testing.assert_allclose(moved.imag, rolled / RADIUS * from_wall, rtol=0.05)  # 0.005 of clearance at both sides


def test_energy_never_grows_while_the_arm_stands_still():
    starts = random_starts(np.random.default_rng(0), 400)
    after = np.concatenate([starts[:, None], rest(starts, 150)], axis=1)
    energy = np.square(after[..., 6:8]).sum(-1) / 2 + np.square(RADIUS * after[..., 8]) / 4
    assert (np.diff(energy, axis=1) <= 1e-5).all()
    np.testing.assert_allclose(after[..., 2:4], starts[:, None, 2:4] + 0 * after[..., 2:4], atol=1e-3)
    hit = (np.abs(np.diff(after[..., 6:8], axis=1)) > 0.3).any((1, 2))
    assert hit.mean() > 0.5  # most of them bounced


def test_nothing_is_ever_entered():
    rng = np.random.default_rng(1)
    starts = random_starts(rng, 400)
    after = drive(starts, wild_actions(rng, len(starts), 300))
    assert np.isfinite(after).all()
    assert np.abs(after[..., :2]).max() <= EDGE + 1e-6
    assert distance(*np.moveaxis(after[..., :4], -1, 0)).min() > 0
    assert np.abs(after[..., 2]).max() <= 0.4 * np.pi + 1e-6
    assert np.abs(after[..., 3]).max() <= 0.9 * np.pi + 1e-6
    lowest = [outline(angles, 3)[1] for angles in after[:, ::10, 2:4].reshape(-1, 2)]
    assert np.abs(lowest).max() < 1.45
    moved = np.linalg.norm(after[:, -1, :2] - starts[:, :2], axis=-1)
    assert np.quantile(moved, 0.5) > 0.1


def test_a_mirrored_table_does_the_mirrored_thing():
    rng = np.random.default_rng(2)
    starts, mirror = random_starts(rng, 200), np.array([-1, 1, -1, -1, -1, -1, -1, 1, -1])
    actions = wild_actions(rng, len(starts), 100)
    after = drive(starts, actions)
    mirrored = drive(starts * mirror, -actions)
    np.testing.assert_allclose(mirrored * mirror, after, atol=1e-4)


@pytest.mark.parametrize(
    ("x", "y", "time", "reward", "area"),
    [
        (0.8, 0.6, 499, 0.5, 0),
        (0.8, 0.8, 499, 1.0, 0),
        (0.8, -0.75, 499, 0.75, 1),
        (0.68, -0.64, 499, 0.0, 1),  # on the border
        (0.8, -0.55, 499, 0.0, NO_AREA),
        (-0.8, 0.8, 499, 0.0, NO_AREA),
        (0.8, 0.8, 498, 0.0, NO_AREA),
    ],
)
def test_the_last_step_pays_by_how_near_the_goal_is(x, y, time, reward, area):
    inwards = 1 - 1e-6 if area == 1 else 1.0
    params = PARAMS.replace(goal_radii=PARAMS.goal_radii / inwards)
    _, state, paid, terminated, info = STEP(KEY, state_of(ball(x, y), time), jnp.zeros(2), params)
    np.testing.assert_allclose(paid, reward, atol=1e-5)
    assert info["area"] == area
    assert not terminated
    assert bool(WORLD.is_truncated(state, params)) == (time == 499)
    np.testing.assert_allclose(info["descriptor"], [x, y], rtol=1e-6)


def test_an_episode_starts_and_is_seen_as_announced():
    observation, state = WORLD.reset_env(KEY, PARAMS)
    np.testing.assert_allclose(observation, [-0.5, 0.2, 0, 0, 0, 0])
    observation, state, *_ = STEP(KEY, state, jnp.array([0.6, -2.0]), PARAMS)
    np.testing.assert_allclose(observation, [-0.5, 0.2, 0.01, -1 / 60, 0.6, -1], rtol=1e-5)
    assert WORLD.observation_space(PARAMS).shape == observation.shape
    assert (state.time, PARAMS.max_steps_in_episode) == (1, 500)


def test_the_picture_shows_ball_goals_walls_and_arm_where_they_are():
    """In the authors' picture of 300 x 300 pixels a metre is 100 of them, and up is up."""
    image = np.asarray(jax.jit(WORLD.image, static_argnums=2)(state_of(ball(-0.5, 0.2)), PARAMS, 300))
    pixel = lambda x, y: image[round(150 - 100 * y), round(150 + 100 * x)]  # noqa: E731
    np.testing.assert_allclose(pixel(-0.5, 0.2), [0, 0, 1])
    np.testing.assert_allclose(pixel(0.8, 0.5), [1, 0, 0])
    np.testing.assert_allclose(pixel(0.8, -0.7), [1, 0, 0])
    np.testing.assert_allclose(pixel(0.8, -0.5), [1, 1, 1])
    np.testing.assert_allclose(pixel(0, 0.35), [100 / 255] * 3, rtol=1e-6)
    np.testing.assert_allclose(pixel(0, 0.45), [1, 1, 1])
    np.testing.assert_allclose(pixel(-1.48, 0.5), [150 / 255] * 3, rtol=1e-6)
    covered = lambda colour: (1 - np.abs(image - colour).max(-1)).clip(0).sum() / 1e4  # noqa: E731
    blue = image[100:160, 70:130]
    np.testing.assert_allclose((1 - blue[..., 0]).sum() / 1e4, np.pi * RADIUS**2, rtol=2e-3)
    np.testing.assert_allclose((1 - image[..., 1])[10:150, 160:290].sum() / 1e4, np.pi * 0.4**2, rtol=2e-3)
    assert covered([1, 1, 1]) > 5
    tilted = WORLD.image(state_of([-0.5, 0.2, np.pi / 4, 0, 0, 0, 0, 0, 0]), PARAMS, 300)
    np.testing.assert_allclose(
        tilted[round(150 + 100 * (1.5 - np.sqrt(0.5))), round(150 - 100 * np.sqrt(0.5))], 100 / 255
    )
