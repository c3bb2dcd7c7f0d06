"""Walls against ways sampled finely; all else in one short walk, as brax takes long to compile."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import strong
from jaxreward.envs.adapters.foreign import lenient
from jaxreward.envs.qd.ant_maze import TORSO, WALLS, AntMaze, kept_out, observed, position, pushed
from jaxreward.envs.qd.discs import NO_AREA

LOW, HIGH = WALLS[:, :2] - TORSO, WALLS[:, 2:] + TORSO
ROOM = np.array([-30 + 0.3 + TORSO, 40 - 0.3 - TORSO])
keep_out = jax.jit(jax.vmap(kept_out))


def in_walls(points):
    return ((points[..., None, :] > LOW) & (points[..., None, :] < HIGH)).all(-1).any(-1)


def steps_of(reach, count=4000):
    """Where steps of up to so many metres begin, outside of all walls, and where they would lead."""
    rng = np.random.default_rng(0)
    before = rng.uniform(*ROOM, (count, 2))
    before = before[~in_walls(before)]
    return before, before + rng.uniform(-reach, reach, before.shape)


@pytest.mark.parametrize("reach", [0.5, 5.0, 40.0])
def test_no_step_ends_in_a_wall_and_a_free_one_is_made(reach):
    before, after = steps_of(reach)
    kept = np.asarray(keep_out(before.astype(np.float32), after.astype(np.float32)), float)
    assert not in_walls(kept).any()
    assert ((kept >= ROOM[0] - 1e-5) & (kept <= ROOM[1] + 1e-5)).all()
    along = before[:, None] + np.linspace(0, 1, 400)[:, None] * (after - before)[:, None]
    stopped = in_walls(along).any(1) | (np.abs(after - 5) > 34.45).any(-1)
    assert np.abs(kept - after)[stopped].max(-1).min() > 0
    moved = np.abs(kept - after).max(-1) > 1e-5
    assert (stopped == moved).mean() > 0.995  # a corner may be met between two samples
    assert stopped.sum() > 50


def test_a_step_into_a_wall_ends_beside_it_and_slides_along():
    steps = {
        ((-17, 20), (-14, 21)): (-15.55, 21),  # from the left, through the middle
        ((-13, 20), (-15, 19)): (-14.45, 19),
        ((-25, 20), (0, 20)): (-15.55, 20),  # across it in one step
        ((-15, 1), (-15, 5)): (-15, 2.75),  # from below, onto its end
        ((0, -14), (1, -16)): (1, -14.45),
        ((9, -14), (11, -16)): (9.45, -14.45),  # into the corner of two walls
        ((9, -14.4), (12, -15.5)): (9.45, -14.45),
        ((11, -15), (9, -15)): (10.55, -15),
        ((39, 0), (41, 1)): (39.45, 1),
        ((-29, -29), (-31, -31)): (-29.45, -29.45),
        ((20, 20), (21, 22)): (21, 22),
        ((20, 20), (20, 20)): (20, 20),
    }
    before, after = (np.array(points, np.float32) for points in zip(*steps, strict=True))
    np.testing.assert_allclose(keep_out(before, after), list(steps.values()), atol=2e-3)


def test_one_may_stand_at_a_wall_and_leave_it():
    beside = keep_out(np.array([[-17, 20.0]], np.float32), np.array([[-14, 20.0]], np.float32))
    again = keep_out(beside, beside + np.array([[0.3, 1.0]], np.float32))
    np.testing.assert_allclose(again, beside + np.array([[0, 1.0]]), atol=1e-5)
    away = beside + np.array([[-0.3, 1.0]], np.float32)
    np.testing.assert_array_equal(keep_out(beside, away), away)


QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Compiled so, in half the time; few steps are made."""
STEPS = 12
STARTS = {"as ever": (0, 0), "elsewhere": (30, 45), "left of a wall": (9.2, 45), "near a goal": (59, 0)}
"""By how much each ant is moved before it walks, in m: three of the same start, and one of another."""
SPEEDS = [(0, 0), (0, 0), (6, 0), (0, 0)]
"""And by how much it is made faster, in m/s."""


@pytest.fixture(scope="module")
def walked():
    """The environment, its params, and of each ant the first observation, the state it was put into, and all steps.

    A fifth ant is dropped on its back. Leaves of what the steps gave are `[ant, T, ...]`. Last is of what type the
    states are, as the environment gives them.
    """
    types = []
    env = AntMaze()
    params = env.default_params.replace(max_steps_in_episode=jnp.asarray(STEPS, jnp.int32))

    def step(state, key):
        action = jnp.sin(jnp.arange(8) + state.time)
        observation, state, *rest = env.step_env(key, state, action, params)
        types.append(jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state))
        return state, (state, observation, *rest, env.is_truncated(state, params))

    def walk(way, speed, turned):
        first, state = env.reset_env(jax.random.key(0), params)
        types.append(jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state))
        placed = pushed(env.simulator.sys, state.sim.pipeline_state, way, speed)
        q = placed.q.at[3:7].set(jnp.where(turned, jnp.array([0.0, 1, 0, 0]), placed.q[3:7]))
        with lenient():
            fallen = env.simulator.pipeline_init(q, placed.qd)
        placed = jax.tree.map(lambda *both: jnp.where(turned, *both), fallen, placed)
        state = state.replace(sim=state.sim.replace(pipeline_state=placed, obs=observed(placed)))
        return first, state, jax.lax.scan(step, strong(state), jax.random.split(jax.random.key(1), STEPS))[1]

    ways, speeds = jnp.array([*STARTS.values(), (30, 30)], float), jnp.array([*SPEEDS, (0, 0)], float)
    return env, params, jax.jit(jax.vmap(walk), compiler_options=QUICKLY)(ways, speeds, jnp.arange(5) == 4), types


def torso(walked, ant):
    """Its positions `[T, 3]` and velocities `[T, 3]`."""
    pipeline_state = walked[2][2][0].sim.pipeline_state
    return np.asarray(pipeline_state.x.pos[ant, :, 0]), np.asarray(pipeline_state.xd.vel[ant, :, 0])


def test_it_starts_in_the_corner(walked):
    first = np.asarray(walked[2][0])
    assert first.shape == (5, 29)
    np.testing.assert_allclose(first[:, :2] * 70 + 5, np.tile([-25, -25], (5, 1)), atol=0.101)
    np.testing.assert_allclose(first[0, 2:15], [0.55, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1], atol=0.101)
    assert np.abs(first[0, 15:]).max() < 0.5


def test_a_step_keeps_shapes_and_types(walked):
    start, *stepped = walked[3]
    assert stepped
    assert all(each == start for each in stepped)


def test_it_sees_its_place_scaled_and_the_rest_as_it_is(walked):
    states, observations = walked[2][2][:2]
    q, qd = (np.asarray(x) for x in (states.sim.pipeline_state.q, states.sim.pipeline_state.qd))
    np.testing.assert_allclose(observations[..., :2], (q[..., :2] - 5) / 70, rtol=1e-5)
    np.testing.assert_array_equal(observations[..., 2:15], q[..., 2:])
    np.testing.assert_array_equal(observations[..., 15:], qd)
    np.testing.assert_array_equal(states.sim.obs, observations)


def test_the_walk_is_the_same_elsewhere(walked):
    """So all of the simulator's state was moved."""
    ways, speeds = torso(walked, 0)
    others, their_speeds = torso(walked, 1)
    np.testing.assert_allclose(others - ways, np.tile([30, 45, 0], (STEPS, 1)), atol=2e-3)
    np.testing.assert_allclose(their_speeds, speeds, atol=2e-2)
    assert np.abs(ways - ways[0]).max() > 0.02


def test_a_wall_stops_the_torso(walked):
    positions, speeds = torso(walked, 2)
    assert positions[:, 0].max() <= -15.55
    assert positions[:, 0].max() > -15.56
    at_wall = positions[:, 0] > -15.5511
    assert at_wall.any()
    np.testing.assert_array_less(speeds[at_wall, 0], 1e-5)
    assert speeds[0, 0] > 2  # it was on its way


def test_on_its_back_it_lies_on_the_ground(walked):
    height = torso(walked, 4)[0][:, 2]
    assert 0.24 < height.min() < 0.26  # the torso's radius
    assert height[0] > 0.5


def test_only_the_last_step_pays_and_by_the_distance_from_a_goal(walked):
    env, params, (_, _, (states, observations, rewards, terminated, info, truncated)), _ = walked
    at = np.asarray(jax.vmap(jax.vmap(position))(states))
    distance = np.linalg.norm(at[3, -1] - np.array([35, -25]))
    assert distance < 2.5
    expected = np.zeros((5, STEPS))
    expected[3, -1] = (3 - distance) / 3
    np.testing.assert_allclose(rewards, expected, atol=1e-5)
    np.testing.assert_array_equal(info["area"], np.where(expected > 0, 0, NO_AREA))
    assert info["area"].dtype == jnp.int32
    assert not terminated.any()
    np.testing.assert_array_equal(truncated, np.tile(np.arange(1, STEPS + 1) == STEPS, (5, 1)))
    np.testing.assert_array_equal(info["descriptor"], observations[..., :2])
    low, high = np.array(env.descriptor_bounds)
    descriptor = np.asarray(info["descriptor"])
    assert ((descriptor >= low) & (descriptor <= high)).all()
    assert rewards.dtype == jnp.float32
    assert env.num_areas == len(params.goals) == 2


def test_the_picture_has_y_upwards_and_the_colours_of_what_is_there(walked):
    env, params, (_, starts, _), _ = walked
    image = np.asarray(jax.jit(env.image, static_argnums=2)(jax.tree.map(lambda x: x[2], starts), params, 700))
    assert image.shape == (700, 700, 3)
    pixel = lambda x, y: image[int((40 - y) * 10), int((x + 30) * 10)].tolist()  # noqa: E731
    red, blue, black, white = (1, 0, 0), (0, 0, 1), (0, 0, 0), (1, 1, 1)
    for place, colour in {
        (35, -25): red,
        (-25, 35): red,
        (-15.8, 20): blue,
        (-15.1, 30): black,
        (0, -15.1): black,
        (10.1, -25): black,
        (-25, -25): white,
        (35, 35): white,
        (10.1, 2): white,
    }.items():
        np.testing.assert_allclose(pixel(*place), colour, atol=1e-5)


def test_the_time_limit_is_a_number_of_the_params(walked):
    env, params, *_ = walked
    assert int(env.default_params.max_steps_in_episode) == 1000
    assert params.max_steps_in_episode == STEPS
    assert env.observation_space(params).shape == (29,)
    assert env.action_space(params).shape == (8,)
