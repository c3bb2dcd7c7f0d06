import base64
import json
import math
import re
import zlib
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.wrappers import LogWrapper
from PIL import Image, ImageDraw

from jaxreward.environment import WithRewardState, with_reward
from jaxreward.envs import make
from jaxreward.envs.adapters.foreign import lenient
from jaxreward.envs.adapters.physics import PhysicsState
from jaxreward.envs.parts.drawing import acrobot, cartpole, grid, mountain_car, pendulum
from jaxreward.envs.qd.point2d import Point2DState
from jaxreward.envs.render import render, save_html
from jaxreward.envs.subrl.car import CarState, Motion
from jaxreward.envs.subrl.car_drawing import laps
from jaxreward.envs.subrl.coverage_ant_drawing import arenas
from jaxreward.reward import environment_reward

with lenient():
    from brax.io import json as brax_json

ACCENT, BODY = (0xDD, 0x84, 0x52), (0x4C, 0x72, 0xB0)
EDGE = 1.5
"""Pixels by which a soft edge may be off: it fades over one, and ends on a whole one."""


class Shown(NamedTuple):
    """What a picture needs of a simulator's state."""

    obs: np.ndarray


def episode(env, params, steps):
    """States and observations `[T, ...]` of one episode of random actions."""

    def step(carry, key):
        action = env.action_space(params).sample(key)
        observation, state = env.step_env(key, carry[1], action, params)[:2]
        return (observation, state), (state, observation)

    def run(key):
        start = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), env.reset_env(key, params))
        return jax.lax.scan(step, start, jax.random.split(key, steps))[1]

    return jax.jit(run)(jax.random.key(0))


def extent(picture, colour):
    """Left, right, bottom and top of a colour, in pixels right of and above the middle."""
    rows, columns = np.nonzero(np.abs(np.asarray(picture, int) - np.array(colour)).sum(-1) < 60)
    x, y = picture.width / 2, picture.height / 2
    return np.array([columns.min() - x, columns.max() + 1 - x, y - rows.max() - 1, y - rows.min()])


@pytest.mark.parametrize("name", ["Acrobot-v1", "Breakout-MinAtar", "PointRobot-misc", "FrozenLake-misc"])
def test_gif_has_a_picture_a_step(tmp_path, name):
    env, params = make(name)
    path = render(env, *episode(env, params, 9), tmp_path / "new" / "episode.of.one")
    assert path == tmp_path / "new" / "episode.of.one.gif"
    with Image.open(path) as gif:
        assert gif.n_frames == 9


def test_wrapped_environment_is_drawn_as_itself(tmp_path):
    env, params = make("MountainCar-v0")
    wrapped = with_reward(env, environment_reward())
    logged = with_reward(LogWrapper(wrapped), environment_reward())
    plain = render(env, *episode(env, params, 3), tmp_path / "plain")
    for each in (wrapped, logged):
        drawn = render(each, *episode(each, each.default_params, 3), tmp_path / "wrapped")
        assert drawn.read_bytes() == plain.read_bytes()


def test_the_car_and_the_ant_of_the_arena_are_drawn_from_above(tmp_path):
    places, nothing = np.linspace(0, 3, 4), np.zeros((4, 2))
    time, rest = np.arange(4), np.zeros((5, 4))
    car, ant = make("subrl/car")[0], make("subrl/ant")[0]
    driven = WithRewardState(CarState(time=time, motion=Motion(places, *rest)), nothing, ())
    walked = WithRewardState(PhysicsState(time=time, sim=Shown(np.stack([places, -places], 1))), nothing, ())
    drawn = {
        render(with_reward(car, environment_reward()), driven, nothing, tmp_path / "car"): laps(
            car.track, driven.env.motion
        ),
        render(ant, walked, nothing, tmp_path / "ant"): arenas(walked.env.sim.obs),
    }
    for path, pictures in drawn.items():
        last = list(pictures)[-1]
        with Image.open(path) as gif:
            assert (path.suffix, gif.n_frames) == (".gif", 4)
            gif.seek(3)
            shown = np.asarray(gif.convert("RGB").crop((0, 0, *last.size)), int)
        # A GIF has 256 colours.
        assert np.abs(shown - np.asarray(last.convert("RGB"), int)).mean() < 1


@pytest.mark.parametrize(("length", "steps"), [(4, [0, 1, 2, 3]), (450, [0, 2, 199, 447, 449])])
def test_an_environment_with_a_picture_of_its_own_is_drawn_by_it(tmp_path, length, steps):
    """Of long episodes at most 200 states are; what is written below is the step in the episode."""
    env, params = make("qd/point2d")
    positions = jnp.asarray(np.linspace(-1, 1, 2 * length).reshape(-1, 2), float)
    states = Point2DState(positions, jnp.zeros(length, jnp.int32), jnp.arange(length))
    path = render(env, states, positions, tmp_path / "point", params)
    assert render(env, states, positions, tmp_path / "default").read_bytes() == path.read_bytes()
    draw = jax.jit(lambda position: env.image(Point2DState(position, 0, 0), params, 256))
    shown = np.linspace(0, length - 1, min(length, 200)).round().astype(int).tolist()
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.size) == (len(shown), (256, 272))
        for step in steps:
            gif.seek(shown.index(step))
            frame = gif.convert("RGB")
            drawn = np.asarray(255 * draw(positions[step]), int)
            assert np.abs(np.asarray(frame.crop((0, 0, 256, 256)), int) - drawn).mean() < 1  # a GIF has 256 colours
            below = Image.new("RGB", (256, 16), "white")
            ImageDraw.Draw(below).text((4, 2), f"step {step}", "#333333")
            assert np.abs(np.asarray(frame.crop((0, 256, 256, 272)), int) - np.asarray(below, int)).mean() < 1


@pytest.mark.parametrize(("states", "observations"), [(0, 0), (3, 2)])
def test_nothing_to_draw_is_refused(tmp_path, states, observations):
    env, _ = make("CartPole-v1")
    state = SimpleNamespace(x=np.zeros(states), theta=np.zeros(states))
    with pytest.raises(ValueError, match="as many states as observations"):
        render(env, vars(state), np.zeros((observations, 4)), tmp_path / "none")


def test_cartpole_leans_right_with_positive_angle():
    pixels_a_metre, joint, half = 400 / 5.6, -0.4, 0.045
    _, right, _, top = extent(cartpole(SimpleNamespace(x=1.0, theta=math.pi / 6)), ACCENT)
    tip = np.array([1 + 0.5, joint + math.sqrt(0.75)])  # a pole of 1 m at 30 degrees
    np.testing.assert_allclose((right, top), (tip + half) * pixels_a_metre, atol=EDGE)


def test_pendulum_is_upright_at_zero_and_turns_left():
    pixels_a_metre, half = 400 / 3.2, 0.08
    upright = extent(pendulum(SimpleNamespace(theta=0.0)), ACCENT)
    np.testing.assert_allclose(upright, np.array([-half, half, -half, 1 + half]) * pixels_a_metre, atol=EDGE)
    left = extent(pendulum(SimpleNamespace(theta=math.pi / 2)), ACCENT)
    np.testing.assert_allclose(left, np.array([-1 - half, half, -half, half]) * pixels_a_metre, atol=EDGE)


def test_acrobot_hangs_at_zero_and_folds_right():
    pixels_a_metre, half = 400 / 5.8, 0.09
    hanging = acrobot(SimpleNamespace(joint_angle1=0.0, joint_angle2=0.0))
    upper, lower = [-half, half, half], [-half, half, -2 - half, -1 + half]
    np.testing.assert_allclose(extent(hanging, BODY)[[0, 1, 3]], np.array(upper) * pixels_a_metre, atol=EDGE)
    np.testing.assert_allclose(extent(hanging, ACCENT), np.array(lower) * pixels_a_metre, atol=EDGE)
    folded = extent(acrobot(SimpleNamespace(joint_angle1=0.0, joint_angle2=math.pi / 2)), ACCENT)
    np.testing.assert_allclose(folded, np.array([-half, 1 + half, -1 - half, -1 + half]) * pixels_a_metre, atol=EDGE)


def test_mountain_car_is_at_the_bottom_of_the_valley():
    pixels_a_unit, radius = 400 / 2.0, 0.04
    bottom = -math.pi / 6  # sin(3 x) = -1, at the height 0.1
    x, y = bottom + 0.3, 0.1 + radius - 0.55
    car = extent(mountain_car(SimpleNamespace(position=bottom)), ACCENT)
    around = np.array([x - radius, x + radius, y - radius, y + radius])
    np.testing.assert_allclose(car, around * pixels_a_unit, atol=EDGE)


def test_grid_shows_each_channel_in_its_place_and_colour():
    observation = np.zeros((10, 10, 2))
    observation[2, 3, 0] = observation[2, 4, 0] = observation[2, 4, 1] = 1
    picture = grid(observation)
    middle = lambda row, column: picture.getpixel((32 * column + 16, 32 * row + 16))  # noqa: E731
    assert picture.size == (320, 320)
    assert (middle(2, 3), middle(2, 4), middle(3, 2)) == (BODY, ACCENT, (0, 0, 0))


def test_grid_of_one_channel_is_grey():
    picture = grid(np.array([[0.0, 1.0], [0.2, 2.0]]))
    assert [picture.getpixel(p)[0] for p in ((80, 80), (240, 80), (80, 240), (240, 240))] == [0, 255, 51, 255]


def test_html_holds_the_system_and_its_motion_as_brax_writes_them(tmp_path):
    env, params = make("brax/inverted_pendulum", action_repeat=2)
    keys = jax.random.split(jax.random.key(0), 4)
    observations, states = jax.jit(jax.vmap(env.reset_env, (0, None)))(keys, params)
    path = render(env, states, observations, tmp_path / "robot")
    assert path.suffix == ".html"
    encoded = re.search(r'var system = "([^"]+)"', path.read_text())[1]
    system = json.loads(zlib.decompress(base64.b64decode(encoded)))
    assert system["opt"]["timestep"] == pytest.approx(2 * 4 * 0.005, rel=1e-6)  # 2 repeats of 4 frames of 5 ms
    poses = [jax.tree.map(lambda leaf, t=t: leaf[t], states.sim.pipeline_state) for t in range(4)]
    expected = json.loads(brax_json.dumps(env.simulator.sys, poses))
    for part in ("geoms", "link_names", "states"):
        assert_equal_but_for_rounding(system[part], expected[part])


def assert_equal_but_for_rounding(ours, theirs):
    """Equal trees; MuJoCo's model is in float64, brax's system in float32. What a pose's class is called may differ."""
    drop = lambda tree: jax.tree.map(lambda leaf: "" if leaf in ("Transform", "SimpleNamespace") else leaf, tree)  # noqa: E731
    (our_leaves, our_tree), (their_leaves, their_tree) = jax.tree.flatten(drop(ours)), jax.tree.flatten(drop(theirs))
    assert our_tree == their_tree
    for mine, other in zip(our_leaves, their_leaves, strict=True):
        assert mine == (other if isinstance(other, str) else pytest.approx(other, rel=1e-6, abs=1e-9))


def test_html_is_for_robots(tmp_path):
    env, params = make("brax/fast")
    states, observations = episode(env, params, 2)
    with pytest.raises(ValueError, match="save_gif"):
        save_html(env, states, tmp_path / "robot.html")
    assert render(env, states, observations, tmp_path / "robot").suffix == ".gif"
