"""Against the authors' own numbers, closed forms, and another integrator."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from jaxreward.environment import with_reward
from jaxreward.envs.subrl.car import (
    Action,
    Car,
    CarState,
    Motion,
    Rolling,
    car,
    drive,
    dynamic,
    is_off_track,
    kinematic,
    runge_kutta,
)
from jaxreward.envs.subrl.track import Track, centre_line, from_table, generated_track, read_track, to_plane
from jaxreward.reward import markov

LENGTH = 16.4
STRAIGHT = Track(jnp.zeros(999), jnp.full(999, 0.3), jnp.full(999, -0.2), jnp.float32(LENGTH / 999))


def wavy_track():
    """A track of many bends, for tests only."""
    s = np.linspace(0, LENGTH, 1000)
    turn = 2 * np.pi * s / LENGTH
    return from_table(s, 1.5 * np.sin(3 * turn) + 0.5, 0.2 + 0.05 * np.cos(turn), -0.15 + 0.05 * np.sin(turn))


MOTIONS = [
    (0.0, 0.1, 0.0, 0.0, 0.0, 0.0),
    (3.0, -0.05, 0.1, 0.2, 0.02, 0.5),
    (7.3, 0.02, -0.2, 0.08, 0.0, 0.0),
    (5.1, 0.08, 0.05, 0.4, -0.05, 1.0),
    (10.2, -0.1, 0.3, 0.45, 0.1, -2.0),
    (1.7, 0.0, -0.1, 1.5, 0.2, 3.0),
    (12.9, 0.05, 0.4, 2.8, -0.4, -6.0),
    (16.39, -0.03, 0.0, 3.5, 0.1, 1.0),
]
ACTIONS = [(1.0, 0.3), (0.4, -0.6), (-1.0, 0.2), (1.5, 0.35), (-0.5, -0.2), (0.8, 0.1), (-0.3, -1.4), (0.1, -0.05)]

# `dynModelBlendBatch`, `getCurvature` and `getLocalBounds` of the authors' `VehicleModel` (github.com/manish-pra/
# non-additive-RL, revision ef8ea29, torch 2.13) on the table of `wavy_track`: s, d, mu, vx, vy, r of the next state,
# and the track's curvature and borders there.
AUTHORS = [
    (
        0.00264331652,
        0.10042768,
        0.0112086665,
        0.166401535,
        0.0273974687,
        0.830226302,
        0.504556894,
        0.249999836,
        -0.149949372,
    ),
    (
        3.00638676,
        -0.0518676937,
        0.0305865705,
        0.228773087,
        -0.0833048373,
        -2.52438879,
        0.0369432382,
        0.220341682,
        -0.104325011,
    ),
    (
        7.30247831,
        0.0197822899,
        -0.19663009,
        0.0795383751,
        0.00858171936,
        0.260052055,
        1.78713298,
        0.152927101,
        -0.133143887,
    ),
    (
        5.11364555,
        0.0827765167,
        0.113545388,
        0.534357667,
        0.0747833401,
        3.11166906,
        -0.0920348167,
        0.18106705,
        -0.103723451,
    ),
    (
        10.2115059,
        -0.096678026,
        0.269432843,
        0.306307554,
        -0.00914776325,
        -1.53520977,
        -0.60652864,
        0.164127141,
        -0.18483007,
    ),
    (
        1.74652076,
        -0.00118908938,
        -0.0993103683,
        1.59135032,
        0.044793874,
        2.76502156,
        1.85924065,
        0.239217937,
        -0.118985005,
    ),
    (
        12.9890547,
        0.0637725815,
        0.0297201872,
        2.63818908,
        0.119527549,
        -8.31456661,
        1.55362952,
        0.213046744,
        -0.198267639,
    ),
    (
        16.4927368,
        -0.0305005424,
        -0.0448772199,
        3.46542144,
        0.0165495351,
        -0.0451384783,
        0.659574151,
        0.249968216,
        -0.148223907,
    ),
]


@jax.jit
def _many_steps(keys, motions, actions, params):
    def step(key, motion, action):
        return Car(params.track).step_env(key, CarState(jnp.int32(0), Motion(*motion)), action, params)

    return jax.vmap(step)(keys, motions, actions)


def stepped(params, motions, actions):
    """What `step_env` returns from each motion, `[N, ...]`; compiled once for all tests, for 2000 motions."""
    keys = jax.random.split(jax.random.key(0), 2000)
    padded = (jnp.resize(jnp.asarray(x, float), (2000, len(x[0]))) for x in (motions, actions))
    return jax.tree.map(lambda leaf: leaf[: len(motions)], _many_steps(keys, *padded, params))


def played(params, policy, steps, motion):
    """The motions of `steps` steps, leaves `[T]`, ends ignored; `policy(motion) -> (throttle, steering)`."""

    def step(motion, _):
        motion = drive(motion, Action(*map(jnp.float32, policy(motion))), params)
        return motion, motion

    return jax.jit(lambda motion: jax.lax.scan(step, motion, length=steps)[1])(Motion(*map(jnp.float32, motion)))


def test_a_step_is_the_authors():
    track = wavy_track()
    env = Car(track)
    state = stepped(env.default_params, MOTIONS, ACTIONS)[1]
    np.testing.assert_allclose(np.stack(state.motion, 1), np.array(AUTHORS)[:, :6], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        np.stack(jax.vmap(track.at)(state.motion.s), 1), np.array(AUTHORS)[:, 6:], rtol=2e-5, atol=1e-6
    )


def test_a_step_alone_and_not_compiled_is_the_same():
    env = Car(wavy_track())
    params = env.default_params
    many = stepped(params, MOTIONS, ACTIONS)
    state = CarState(jnp.int32(0), Motion(*map(jnp.float32, MOTIONS[4])))
    alone = env.step_env(jax.random.key(0), state, jnp.array(ACTIONS[4]), params)
    jax.tree.map(lambda one, all: np.testing.assert_allclose(one, all[4], rtol=1e-5, atol=1e-6), alone, many)


@pytest.mark.parametrize(
    ("derivative", "start", "action"),
    [
        (dynamic, Motion(3.0, -0.05, 0.1, 2.5, 0.1, 2.0), (0.4, 0.2)),
        (dynamic, Motion(3.0, 0.05, 0.1, 1.5, 0.1, 2.0), (-0.4, -0.1)),
        (kinematic, Rolling(3.0, 0.05, 0.1, 0.4), (0.6, -0.3)),
    ],
)
def test_the_error_of_a_step_falls_with_its_fifth_power(derivative, start, action):
    """The exact solution is scipy's, to twelve digits; 0.03 s is halved twice."""
    with jax.enable_x64(True):
        bend = Track(jnp.full(8, 1.5), jnp.full(8, 0.3), jnp.full(8, -0.3), jnp.float64(2.0))
        params = Car(bend).default_params
        slope = jax.jit(lambda x: derivative(x, Action(*action), params))
        step = jax.jit(lambda x, dt: runge_kutta(slope, x, dt))
        start = type(start)(*map(jnp.float64, start))

        def error(dt):
            exact = solve_ivp(
                lambda _, x: np.array(slope(type(start)(*x))),
                (0, dt),
                np.array(start),
                "DOP853",
                rtol=1e-12,
                atol=1e-14,
            )
            return np.abs(np.array(step(start, dt)) - exact.y[:, -1]).max()

        errors = [error(0.03 / parts) for parts in (2, 4, 8)]
    np.testing.assert_allclose(np.log2(errors[:-1]) - np.log2(errors[1:]), 5, atol=0.15)


def test_straight_ahead_stays_on_the_line_and_reaches_the_speed_of_no_force():
    """Full throttle: cm1 - cm2 v = cr0 + cr2 v^2."""
    params = Car(STRAIGHT).default_params
    motions = played(params, lambda _: (1.0, 0.0), 1000, (0.0,) * 6)
    for name in ("d", "mu", "vy", "r"):
        np.testing.assert_array_equal(getattr(motions, name), 0)
    top = np.roots([params.cr2, params.cm2, params.cr0 - params.cm1]).max()
    np.testing.assert_allclose(motions.vx[-1], top, rtol=1e-5)
    assert (np.diff(motions.vx) >= 0).all()
    np.testing.assert_allclose(motions.s[-1] - motions.s[-2], 0.03 * top, rtol=1e-3)


def test_a_slow_turn_is_a_circle_of_the_wheelbase_over_the_tangent():
    """Without slip the rear axle drives a circle of (lf + lr) / tan(steering), the centre of mass lr ahead of it."""
    steering = 0.4
    params = Car(STRAIGHT).default_params
    motions = played(params, lambda _: (0.188, steering), 400, (0.0,) * 6)
    assert motions.vx.max() < 0.3  # only the kinematic model
    assert motions.mu[-1] > 2 * math.pi
    x, y = np.asarray(motions.s, np.float64), np.asarray(motions.d, np.float64)
    rear = 0.062 / math.tan(steering)
    centre = (-0.033, rear)  # the car starts at the origin, heading along s
    np.testing.assert_allclose(np.hypot(x - centre[0], y - centre[1]), math.hypot(rear, 0.033), rtol=1e-4)
    np.testing.assert_allclose(motions.r[1:], (motions.vx / rear)[1:], rtol=1e-5)


def test_braking_stops_and_does_not_drive_backwards():
    motions = played(Car(STRAIGHT).default_params, lambda _: (-1.0, 0.1), 200, (0.0, 0.0, 0.0, 2.0, 0.0, 0.0))
    assert motions.vx[0] < 2.0
    assert np.abs(motions.vx[-100:]).max() < 0.1
    assert motions.s[-1] > motions.s[0]


@pytest.mark.parametrize(("vx", "share"), [(0.29, 0.0), (0.3, 0.0), (0.35, 0.25), (0.45, 0.75), (0.5, 1.0), (0.9, 1.0)])
def test_the_models_are_mixed_by_the_speed(vx, share):
    params = Car(wavy_track()).default_params
    action = Action(jnp.float32(0.5), jnp.float32(0.3))
    motion = Motion(*map(jnp.float32, (4.0, 0.05, 0.1, vx, 0.1, 0.5)))
    slips = runge_kutta(lambda x: dynamic(x, action, params), motion, 0.03)
    start = Rolling(*motion[:3], jnp.hypot(motion.vx, motion.vy))
    rolls = runge_kutta(lambda x: kinematic(x, action, params), start, 0.03)
    mixed = drive(motion, action, params)
    for name in ("s", "d", "mu"):
        expected = share * getattr(slips, name) + (1 - share) * getattr(rolls, name)
        np.testing.assert_allclose(getattr(mixed, name), expected, rtol=1e-5)
    speed = np.hypot(*(np.float32(v) for v in (mixed.vx, mixed.vy)))
    if share == 0:
        np.testing.assert_allclose(speed, rolls.v, rtol=1e-6)
    if share == 1:
        np.testing.assert_allclose(mixed[3:], slips[3:], rtol=1e-6)


def test_left_and_right_are_alike():
    track = wavy_track()
    mirrored = track.replace(curvature=-track.curvature, upper=-track.lower, lower=-track.upper)
    flip = np.array([1, -1, -1, 1, -1, -1])
    here = stepped(Car(track).default_params, MOTIONS, ACTIONS)
    there = stepped(Car(mirrored).default_params, MOTIONS * flip, np.array(ACTIONS) * [1, -1])
    np.testing.assert_allclose(np.stack(there[1].motion, 1) * flip, np.stack(here[1].motion, 1), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(here[3], there[3])
    np.testing.assert_allclose(here[2], there[2], atol=1e-6)


def test_rewards_add_up_to_the_progress():
    """-0.01 a step, and what `s` gained; the modular reward has `s` itself."""
    env = car()
    params = env.default_params

    def episode(key):
        start = env.reset_env(key, params)[1]

        def step(state, key):
            _, state, reward, terminated, info = env.step_env(key, state, jnp.array([0.3, 0.0]), params)
            return state, (state.motion.s, reward, terminated, info)

        return jax.lax.scan(step, start, jax.random.split(key, 30))[1]

    s, rewards, terminated, info = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 4))
    assert not terminated.any()
    np.testing.assert_allclose(rewards.sum(1), s[:, -1] - 0.3, atol=1e-5)
    np.testing.assert_allclose(info["reward/modular"], s - 0.01, atol=1e-6)
    np.testing.assert_allclose(info["progress"], s / LENGTH, rtol=1e-5)
    assert (s[:, -1] > 0.1).all()


@pytest.mark.parametrize(
    ("motion", "reward", "terminated"),
    [
        ((5.0, 0.0, 0.0, 1.0, 0.0, 0.0), -0.01, False),
        ((5.0, 0.305, 0.0, 1.0, 0.0, 0.0), -1.01, True),
        ((5.0, -0.205, 0.0, 1.0, 0.0, 0.0), -1.01, True),
        ((LENGTH - 0.01, 0.0, 0.0, 1.0, 0.0, 0.0), 0.99, True),
        ((LENGTH - 0.01, 0.305, 0.0, 1.0, 0.0, 0.0), -0.01, True),
    ],
)
def test_the_borders_and_the_finish_end_an_episode(motion, reward, terminated):
    env = Car(STRAIGHT)
    params = env.default_params
    observation, state, earned, ended, info = (x for x in stepped(params, [motion], [(0.5, 0.0)]))
    progress = state.motion.s - motion[0]
    np.testing.assert_allclose(earned, reward + progress, atol=1e-5)
    np.testing.assert_allclose(info["reward/modular"], reward + state.motion.s, atol=1e-5)
    assert ended == terminated == jax.vmap(env.is_terminated, (0, None))(state, params)
    assert not env.is_truncated(CarState(jnp.int32(699), state.motion), params)
    assert env.is_truncated(CarState(jnp.int32(700), state.motion), params)
    np.testing.assert_array_equal(observation[0], [x[0] for x in state.motion[:5]])


def test_episodes_start_on_both_sides():
    env = car()
    params = env.default_params.replace(offset=0.05)
    observations, states = jax.vmap(env.reset_env, (0, None))(jax.random.split(jax.random.key(0), 200), params)
    np.testing.assert_allclose(np.abs(observations), np.broadcast_to([0, 0.05, 0, 0, 0], (200, 5)), rtol=1e-6)
    assert 70 < (observations[:, 1] > 0).sum() < 130  # outside of it once in 50 000 fair draws of 200
    assert jax.tree.map(lambda x: x.dtype.name, states) == CarState("int32", Motion(*["float32"] * 6))


def test_noise_disturbs_what_is_executed_and_stays_within_its_limits():
    env = Car(STRAIGHT)
    motions, actions = [(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)] * 2000, [(0.5, 0.0)] * 2000
    quiet = stepped(env.default_params, motions, actions)[1].motion
    noisy = stepped(env.default_params.replace(noise=0.1), motions, actions)[1].motion
    assert len(np.unique(quiet.vx)) == 1
    steering = steered_from_rest(noisy)
    np.testing.assert_allclose(steering.mean(), 0, atol=5 * 0.1 / 2000**0.5)
    np.testing.assert_allclose(steering.std(), 0.1, rtol=5 / 4000**0.5)
    wild = stepped(env.default_params.replace(noise=10.0), motions, actions)[1].motion
    assert np.abs(steered_from_rest(wild)).max() < 1 + 1e-4


def steered_from_rest(after):
    """The steering angles that were executed by those who moved, as r = vx tan(steering) / (lf + lr)."""
    moved = np.asarray(after.vx) > 1e-6
    return np.arctan(np.asarray(after.r)[moved] / np.asarray(after.vx)[moved] * 0.062)


@pytest.mark.parametrize("vx", [0.0, 1e-5, -1e-5, -1.0, 0.3, 0.30001, 100.0])
def test_numbers_stay_numbers(vx):
    """Also off the track, beyond the centre of curvature, and where the slip angle is 0 / 0."""
    env = Car(wavy_track())
    motions = [(8.0, d, 0.0, vx, 0.0, 0.0) for d in (0.0, 0.5, 5.0, -5.0)]
    for throttle in (-1.0, 1.0):
        for leaf in jax.tree.leaves(stepped(env.default_params, motions, [(throttle, 0.0)] * 4)):
            assert np.isfinite(leaf).all()


def test_physical_constants_and_tracks_can_be_vmapped():
    env = car()
    several = jax.tree.map(lambda *x: jnp.stack(x), *(generated_track(seed) for seed in range(3)))
    masses = jnp.array([0.03, 0.041, 0.05])

    def speed(track, mass):
        params = env.default_params.replace(track=track, mass=mass)
        return drive(Motion(*map(jnp.float32, MOTIONS[0])), Action(1.0, 0.0), params).vx

    speeds = jax.vmap(speed)(several, masses)
    assert speeds[0] > speeds[1] > speeds[2] > 0


def test_it_takes_another_reward_and_keeps_its_own():
    env = with_reward(Car(STRAIGHT), markov(lambda t: t.next_state.motion.vx))
    params = env.default_params
    state = env.reset_env(jax.random.key(0), params)[1]
    _, state, reward, _, info = env.step_env(jax.random.key(0), state, jnp.array([1.0, 0.0]), params)
    assert reward == state.env.motion.vx > 0
    np.testing.assert_allclose(info["env_reward"], state.env.motion.s - 0.01, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_generated_lap_closes_and_is_drivable(seed):
    track = generated_track(seed)
    line = centre_line(track.curvature, float(track.spacing))
    np.testing.assert_allclose(line[-1], [0, 0, 2 * math.pi], atol=1e-5)
    np.testing.assert_allclose(track.length, LENGTH, rtol=1e-6)
    assert np.abs(track.curvature).max() <= 5.9
    assert (track.curvature > 1).any()
    assert (track.curvature < -1).any()
    assert 0.07 <= track.upper.min() < track.upper.max() <= 0.3
    assert -0.3 <= track.lower.min() < track.lower.max() <= -0.07
    assert (track.curvature * track.upper).max() < 0.5
    assert (track.curvature * track.lower).max() < 0.5
    assert np.abs(np.diff(track.curvature)).max() < 1.0  # smooth
    jax.tree.map(np.testing.assert_array_equal, track, generated_track(seed))


def test_a_lap_can_be_driven():
    """A driver who steers back to the centre line; 700 steps are enough for the finish."""
    env = car()
    params = env.default_params

    def driver(motion):
        bend = params.track.at(motion.s + 0.1).curvature
        return 0.22 + 0.6 * (1.0 - motion.vx), 0.062 * bend - 2.0 * motion.d - 0.8 * motion.mu

    motions = played(params, driver, 699, (0.0, 0.1, 0.0, 0.0, 0.0, 0.0))
    arrived = int(np.argmax(motions.s >= LENGTH))
    assert 0 < arrived < 699
    assert not jax.vmap(lambda m: is_off_track(m, params))(motions)[:arrived].any()


def test_the_track_repeats_and_is_interpolated():
    track = Track(jnp.array([0.0, 1, 2, 3]), jnp.array([1.0, 1, 1, 2]), -jnp.ones(4), jnp.float32(0.5))
    places = jax.vmap(track.at)(jnp.array([0.0, 0.5, 0.625, 1.75, 2.0, 2.25, -0.25, -1e-9]))
    np.testing.assert_allclose(places.curvature, [0, 1, 1.25, 1.5, 0, 0.5, 1.5, 0], atol=1e-6)
    np.testing.assert_allclose(places.upper, [1, 1, 1, 1.5, 1, 1, 1.5, 1], atol=1e-6)
    np.testing.assert_array_equal(places.lower, -1)


def test_points_beside_a_circle_are_on_circles():
    """Of radius 2 about (0, 2), where the lap starts at the origin; to the left is inwards."""
    places = 4000
    circle = Track(jnp.full(places, 0.5), jnp.ones(places), -jnp.ones(places), jnp.float32(4 * math.pi / places))
    s = np.array([0.0, math.pi, 2 * math.pi, 3.5, 5 * math.pi])
    d = np.array([0.0, 0.5, -0.5, 1.0, 0.0])
    points, heading = to_plane(circle, s, d)
    angle, radius = s / 2, 2 - d
    expected = np.stack([radius * np.sin(angle), 2 - radius * np.cos(angle)], axis=1)
    np.testing.assert_allclose(points, expected, atol=1e-4)
    np.testing.assert_allclose(np.exp(1j * heading), np.exp(1j * angle), atol=1e-4)


@pytest.mark.parametrize("kind", ["csv", "npz", "folder"])
def test_a_track_is_read_as_it_was_written(kind, tmp_path):
    s = np.array([0.0, 1, 2, 3, 4])
    table = {"s": s, "curvature": np.sin(s), "upper": 0.1 + 0.01 * s, "lower": -0.2 - 0.01 * s}
    path = tmp_path / f"lap.{kind}"
    if kind == "csv":
        np.savetxt(path, np.stack(list(table.values()), 1), delimiter=",", header=",".join(table), comments="")
    elif kind == "npz":
        np.savez(path, **table)
    else:
        path.mkdir()
        names = ("s_center.txt", "kappa_center.txt", "con_inner.txt", "con_outer.txt")
        for name, column in zip(names, table.values(), strict=True):
            np.savetxt(path / name, column)
    env = car(str(path))
    assert env.default_params.finish == 4
    np.testing.assert_allclose(env.track.curvature, table["curvature"][:-1], rtol=1e-6)
    np.testing.assert_allclose(env.track.upper, table["upper"][:-1], rtol=1e-6)
    np.testing.assert_allclose(env.track.lower, table["lower"][:-1], rtol=1e-6)


def test_rows_at_unequal_distances_are_interpolated():
    s = np.array([0.0, 1, 4, 6, 8])
    track = from_table(s, s / 2, np.ones(5), -np.ones(5))
    np.testing.assert_allclose(track.curvature, [0, 1, 2, 3], rtol=1e-6)
    assert track.length == 8


GOOD = {"s": [0, 1, 2], "curvature": [0, 0, 0], "upper": [1, 1, 1], "lower": [-1, -1, -1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"s": [0, 2, 1]}, "smallest step is -1"),
        ({"s": [1, 2, 3]}, "starts at 1"),
        ({"s": [0, 1]}, r"got the shapes \{'s': \(2,\)"),
        ({"lower": [1, 1, 1]}, "lower the right one, negative"),
        ({"curvature": [0, np.nan, 0]}, "column 'curvature' has no number in row 1"),
    ],
)
def test_tables_that_are_no_tracks(change, message):
    with pytest.raises(ValueError, match=message):
        from_table(**(GOOD | change))


def test_files_that_are_no_tracks(tmp_path):
    (tmp_path / "lap.csv").write_text("s,kappa,upper,lower\n0,0,1,-1\n1,0,1,-1\n2,0,1,-1\n")
    with pytest.raises(ValueError, match="no column 'curvature'"):
        read_track(tmp_path / "lap.csv")
    with pytest.raises(ValueError, match=r"did you mean '.*lap.csv'"):
        read_track(tmp_path / "lab.csv")
    with pytest.raises(ValueError, match="there is no s_center"):
        read_track(tmp_path)
    (tmp_path / "lap.txt").write_text("0")
    with pytest.raises(ValueError, match=r"a track is a \.csv file"):
        read_track(tmp_path / "lap.txt")
