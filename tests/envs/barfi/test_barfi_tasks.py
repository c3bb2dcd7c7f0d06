"""BARFI's tasks against their formulas in plain Python."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import with_reward
from jaxreward.envs import list_envs, make
from jaxreward.envs.barfi.box_world import DOWN, RIGHT, UP
from jaxreward.envs.barfi.tasks import AUXILIARIES, CONTROLLER, FEATURES, TASKS, controller
from jaxreward.learning.rollout import reset_batch, rollout
from jaxreward.reward import Transition, episode_rewards
from jaxreward.rewards.beside import auxiliary

KEY = jax.random.key(0)
SUBSTEP = 0.045


def rescaled(params, scale):
    """The params with another scale of the auxiliary reward."""
    return params.replace(reward={**params.reward, "auxiliary": {**params.reward["auxiliary"], "scale": scale}})


@partial(jax.jit, static_argnums=0)
def walked(env, params, actions, key):
    def step(state, x):
        action, key = x
        observation, state, reward, terminated, info = env.step_env(key, state, action, params)
        ends = terminated, env.is_truncated(state, params)
        return state, (observation, reward, info["reward/auxiliary"], ends, info)

    first, start = env.reset_env(key, params)
    observations, *rest = jax.lax.scan(step, start, (actions, jax.random.split(key, len(actions))))[1]
    return jnp.concatenate([first[None], observations]), *rest


def walk(env, params, actions):
    """Observations (the first one included), rewards, auxiliary rewards and ends of a walk without resets."""
    return jax.device_get(walked(env, params, np.asarray(actions), KEY))


# --- by name ---


def test_all_tasks_are_listed():
    assert {f"barfi/{task}" for task in TASKS} <= set(list_envs())
    assert set(TASKS) == set(AUXILIARIES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("barfi/grid_world", "no task of behaviour alignment 'barfi/grid_world'; did you mean 'barfi/gridworld'"),
        ("barfi/cartpole?auxiliary=god", "no auxiliary reward of barfi/cartpole 'god'; did you mean 'good'"),
        ("barfi/gridworld?slip=2", "slip is a probability, from 0 to 1; got 2"),
        ("barfi/mountain_car?scal=2", "no argument of environment 'barfi/mountain_car' called 'scal'"),
    ],
)
def test_wrong_names_are_refused(name, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        make(name)


@pytest.mark.parametrize("task", ["gridworld", "mountain_car", "cartpole"])
def test_every_auxiliary_reward_is_in_proportion_to_its_scale(task):
    for name in AUXILIARIES[task]:
        env, params = make(f"barfi/{task}?auxiliary={name}&scale=2")
        actions = np.array([0, 1, 1])
        scaled = jax.vmap(lambda scale: walked(env, rescaled(params, scale), actions, KEY)[2])
        at_2, at_1, at_0 = np.asarray(jax.jit(scaled)(np.float32([2, 1, 0])))
        np.testing.assert_allclose(at_2, walk(env, params, actions)[2], rtol=1e-6)  # two programs round as they like
        np.testing.assert_allclose(at_2 / 2, at_1, rtol=1e-6)
        assert not at_0.any()
        assert at_1.any() == ((task, name) != ("gridworld", "bad") and name != "none")


def test_the_sum_of_both_rewards_can_be_learned_from():
    env, params = make("barfi/mountain_car")
    both = with_reward(env, auxiliary())
    act = lambda carry, observation, noise: (carry, jnp.full(2, 2), ())  # noqa: E731
    params = both.default_params
    batch = reset_batch(both, params, 2, KEY)
    _, _, steps, metrics = jax.jit(lambda k: rollout(both, params, act, (), batch, jnp.zeros(3), k))(KEY)
    assert {"episode/auxiliary", "episode/env_return", "episode/return"} <= set(metrics)
    # the car is pushed right: from rest near -0.5 it first rolls right
    np.testing.assert_array_equal(steps.reward, 1.0)


# --- grid world ---


def lattice(*moves):
    """The sub-steps of a walk from the start, as positions on the grid of them."""
    position, found = np.array([0.125, 0.125]), []
    for motion, count in moves:
        for _ in range(count):
            position = position + SUBSTEP * np.array(motion)
            found.append(position)
    return np.array(found)


TO_THE_GOAL = [UP] * 4 + [RIGHT] * 4
SUBSTEPS = lattice(((0, 1), 16), ((1, 0), 14))


def test_the_good_reward_is_the_distance_of_each_substep():
    env, params = make("barfi/gridworld?slip=0")
    _, rewards, shown, (terminated, _), info = walk(env, params, TO_THE_GOAL)
    distance = ((SUBSTEPS - 0.87) ** 2).sum(1)
    # seven whole steps of 4 sub-steps, and 2 up to the goal, which count too
    np.testing.assert_allclose(shown[:7], -distance[:28].reshape(7, 4).sum(1), rtol=1e-5)
    np.testing.assert_allclose(shown[7], -distance[28:].sum(), rtol=1e-5)
    np.testing.assert_allclose(rewards.sum(), 99.2, rtol=1e-6)
    np.testing.assert_array_equal(info["env_reward"], rewards)
    assert terminated[7]


def test_the_good_reward_as_shipped_knows_only_x():
    env, params = make("barfi/gridworld?auxiliary=good_as_shipped&slip=0")
    _, _, shown, _, _ = walk(env, params, TO_THE_GOAL)
    distance = (SUBSTEPS[:, 0] - 0.87) ** 2 + 0.12**2
    np.testing.assert_allclose(shown.sum(), -distance.sum(), rtol=1e-5)
    np.testing.assert_allclose(shown[:4], -4 * (0.745**2 + 0.0144), rtol=1e-5)


def test_the_bad_reward_is_paid_for_loitering_as_long_as_one_likes():
    env, params = make("barfi/gridworld?auxiliary=bad&slip=0")
    loiter = [UP, UP, RIGHT, RIGHT] + [UP, DOWN] * 23
    observations, rewards, shown, (terminated, truncated), _ = walk(env, params, loiter)
    # in the box are 0.44, 0.485, 0.53 and 0.575; up is 0.485 after 8 sub-steps, and in x it enters with the 7th
    np.testing.assert_allclose(observations[4], [0.485, 0.485], atol=1e-6)
    np.testing.assert_array_equal(shown[:4], [0, 0, 0, 100])
    # up from 0.485: 0.53, 0.575 are in the box, 0.62, 0.665 are not; down again: 0.62, 0.575, 0.53, 0.485
    np.testing.assert_array_equal(shown[4:49], [100, 150] * 22 + [100])
    assert shown[49] == 0  # the episode ends here
    np.testing.assert_allclose(rewards, -0.1)
    assert not terminated.any()
    assert np.flatnonzero(truncated).tolist() == [49]


def test_the_bad_reward_is_up_to_200_a_step_and_nothing_at_the_goal():
    env, params = make("barfi/gridworld?auxiliary=bad&slip=0")
    at = lambda *position: params.replace(env=params.env.replace(start=jnp.asarray(position)))  # noqa: E731
    assert walk(env, at(0.395, 0.5), [RIGHT])[2].tolist() == [200]  # 0.44, 0.485, 0.53, 0.575
    small = at(0.5, 0.5)
    small = small.replace(env=small.env.replace(goal=jnp.array([[0.6, 0.4], [0.7, 0.6]])))
    _, rewards, shown, (terminated, _), _ = walk(env, small, [RIGHT])  # 0.545 and 0.59 in the box, 0.635 in the goal
    assert terminated.all() and shown.tolist() == [0]  # noqa: PT018
    np.testing.assert_allclose(rewards, 99.9, rtol=1e-6)
    assert walk(env, small, [UP])[2].tolist() == [100]  # 0.545, 0.59, 0.635, 0.68


# --- mountain car ---


def rolled(position, velocity, action):
    """One step of the car in plain Python."""
    velocity += 0.001 * (action - 1) - 0.0025 * np.cos(3 * position)
    velocity = min(max(velocity, -0.07), 0.07)
    position += velocity
    return (-1.2, 0.0) if position < -1.2 else (position, velocity)


def test_the_mountain_car_moves_as_the_formulas_say():
    env, params = make("barfi/mountain_car")
    # left, right and left again up to the wall, and then to the goal
    actions = np.array([0] * 30 + [2] * 40 + [0] * 60 + [2] * 100)
    observations, rewards, shown, (terminated, truncated), _ = walk(env, params, actions)
    steps = int(np.argmax(terminated)) + 1
    states = np.asarray(observations, float)[: steps + 1]
    assert -0.6 <= states[0, 0] < -0.4
    assert states[0, 1] == 0
    expected = [rolled(*state, action) for state, action in zip(states, actions, strict=False)]
    np.testing.assert_allclose(states[1:], expected[:steps], atol=2e-7)  # of numbers around 1, in single precision
    assert (states[1:] == [np.float32(-1.2), 0]).all(1).any()  # it hit the wall
    assert states[-2, 0] < 0.5 <= states[-1, 0]
    assert rewards[:steps].tolist() == [0] * (steps - 1) + [1]
    assert not truncated.any()
    along = [(v < 0 and a == 0) or (v > 0 and a == 2) for v, a in zip(states[1:, 1], actions, strict=False)]
    assert shown[:steps].tolist() == [1 if a else -1 for a in along[:-1]] + [0]
    assert 0 < sum(along) < steps


def test_the_velocity_is_paid_ten_times():
    env, params = make("barfi/mountain_car?auxiliary=velocity")
    observations, _, shown, _, _ = walk(env, params, [0] * 20)
    np.testing.assert_allclose(shown, 10 * np.abs(observations[1:, 1]), rtol=1e-6)
    assert shown.min() > 0


def test_energy_pays_and_idling_does_not():
    env, params = make("barfi/mountain_car")
    assert walk(env, params, [1] * 50)[2].tolist() == [-1.0] * 50


def test_the_car_has_2000_steps():
    env, params = make("barfi/mountain_car")
    *_, shown, (terminated, truncated), _ = walk(env, params, [1] * 2000)
    assert np.flatnonzero(truncated).tolist() == [1999]
    assert not terminated.any()
    assert shown[1998:].tolist() == [-1, 0]


# --- cart pole ---


def control(env, params, keys):
    """Episodes of the controller alone: rewards, auxiliary rewards and ends, `[N, 500]`."""

    def episode(key):
        def step(now, key):
            observation, previous, state = now
            action = controller(CONTROLLER, observation[2], previous)
            angle = observation[2]
            observation, state, reward, terminated, info = env.step_env(key, state, action, params)
            return (observation, angle, state), (reward, info["reward/auxiliary"], terminated)

        observation, state = env.reset_env(key, params)
        return jax.lax.scan(step, (observation, jnp.zeros(()), state), jax.random.split(key, 500))[1]

    return jax.jit(jax.vmap(episode))(keys)


def test_the_controller_balances_the_pole_from_every_start():
    env, params = make("barfi/cartpole")
    rewards, shown, terminated = control(env, params, jax.random.split(KEY, 200))
    assert not terminated.any()
    np.testing.assert_array_equal(rewards.sum(1), 500)
    np.testing.assert_array_equal(shown, np.where(np.arange(500) < 499, 5.0, 0.0)[None].repeat(200, 0))


def controlled(observations, actions):
    """Which actions the controller agrees with, in plain Python."""
    previous, agrees = 0.0, []
    for angle, action in zip(observations[:, 2], actions, strict=False):
        agrees.append((0.1 * angle + 0.5 * (angle - previous) > 0) == bool(action))
        previous = angle
    return np.array(agrees)


ACTIONS = [0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(("name", "agreeing", "differing"), [("good", 5, -1), ("bad", -5, 1)])
def test_agreement_with_the_controller_is_paid(name, agreeing, differing):
    env, params = make(f"barfi/cartpole?auxiliary={name}")
    observations, rewards, shown, (terminated, _), _ = walk(env, params, ACTIONS)
    last = int(np.argmax(terminated))
    agrees = controlled(observations, ACTIONS)
    assert terminated.any()
    assert 0 < agrees[:last].sum() < last
    assert shown[:last].tolist() == np.where(agrees, agreeing, differing)[:last].tolist()
    assert shown[last] == 0
    np.testing.assert_array_equal(rewards[: last + 1], 1)  # the last step too


@pytest.mark.parametrize(("name", "sign"), [("noisy_bad", 1), ("noisy_good", -1)])
def test_noise_is_uniform_and_drawn_for_each_step_and_environment(name, sign):
    env, params = make(f"barfi/cartpole?auxiliary={name}")
    actions = ACTIONS[:10]
    each = lambda key: jax.vmap(lambda key: walked(env, params, np.array(actions), key))(jax.random.split(key, 500))  # noqa: E731
    observations, _, shown, ends, _ = jax.device_get(jax.jit(each)(KEY))
    assert not ends[0].any()
    agrees = np.stack([controlled(o, actions) for o in observations])
    noise = np.where(agrees, (sign * shown + 5) / 5, sign * shown - 1)
    assert noise.min() >= -1e-6
    assert noise.max() < 1 + 1e-6
    assert len(np.unique(noise)) > 0.9 * noise.size
    for kind in (agrees, ~agrees):
        drawn = np.sort(noise[kind])
        gap = np.abs(drawn - (np.arange(len(drawn)) + 0.5) / len(drawn)).max()  # Kolmogorov-Smirnov
        assert gap < 1.95 / np.sqrt(len(drawn))  # at a level of 0.001


def test_an_episode_at_once_is_one_step_by_step():
    env, params = make("barfi/cartpole?auxiliary=noisy_good")
    rng = np.random.default_rng(0)
    transitions = Transition(
        observation=jnp.asarray(rng.normal(size=(20, 4)), float),
        action=jnp.asarray(rng.integers(2, size=20)),
        reward=jnp.ones(20),
        next_observation=jnp.zeros((20, 4)),
        terminated=jnp.arange(20) == 19,
        truncated=jnp.zeros(20, bool),
        info={"noise": jnp.asarray(rng.random(20), float)},
    )
    reward, given, valid = env.reward, params.reward, jnp.ones(20, bool)
    at_once = episode_rewards(reward, given, reward.reset(given), transitions, valid)[1:]
    by_steps = episode_rewards(reward._replace(episode=None), given, reward.reset(given), transitions, valid)[1:]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), at_once, by_steps)
    assert len(set(at_once[1]["auxiliary"].tolist())) == 20


# --- half cheetah ---


def test_the_cheetah_is_paid_for_its_velocity_and_beside_it_for_little_control():
    env, params = make("barfi/half_cheetah?scale=4")
    assert params.env.max_steps_in_episode == 1000
    params = params.replace(env=params.env.replace(max_steps_in_episode=2))
    actions = jnp.array([[0.5, -1.0, 0.0, 0.25, 1.0, -0.5], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    state = jax.jit(env.reset_env)(KEY, params)[1]
    step = jax.jit(env.step_env)
    for time, action in enumerate(actions):
        before = state.env.sim.pipeline_state.x.pos[0, 0]
        _, state, reward, terminated, info = step(KEY, state, action, params)
        velocity = (state.env.sim.pipeline_state.x.pos[0, 0] - before) / env.simulator.dt
        np.testing.assert_allclose(reward, velocity, rtol=1e-3)  # a small difference of positions
        assert reward == info["env_reward"] == info["reward_run"] != 0
        np.testing.assert_allclose(info["reward/auxiliary"], -4 * np.square(action).sum(), rtol=1e-6)
        assert not terminated
        assert bool(env.is_truncated(state, params)) == (time == 1)


# --- features ---


@pytest.mark.parametrize(
    ("name", "task", "size"),
    [("gridworld", "gridworld", 16), ("mountain_car", "mountain_car", 80), ("cartpole", "cartpole", 256)],
)
def test_features_are_of_the_observations_of_their_task(name, task, size):
    env, params = make(f"barfi/{task}")
    assert jax.eval_shape(lambda: FEATURES[name](env.reset_env(KEY, params)[0])).shape == (size,)


def test_the_car_as_shipped_hardly_sees_its_speed():
    speeds = np.linspace(-0.0699, 0.0699, 201)
    states = np.float32([[-0.5, speed] for speed in speeds])
    seen = {
        name: {tuple(np.flatnonzero(row)) for row in np.asarray(jax.jit(jax.vmap(FEATURES[name]))(states))}
        for name in ("mountain_car", "mountain_car_as_shipped")
    }
    assert len(seen["mountain_car"]) == 20  # 4 tiles in fifths
    assert len(seen["mountain_car_as_shipped"]) == 4  # borders at -0.05, 0 and 0.05
