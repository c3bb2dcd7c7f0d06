"""The arm against complex exponentials, closed forms, and numbers of the function in the package `qdax`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.qd.planar_arm import PlanarArm, PlanarArmState, joints_of

KEY = jax.random.key(0)
QDAX_FITNESS = [-0.28641098737716675, -0.26063793897628784, -0.4098398983478546]
QDAX_DESCRIPTORS = [[0.5517766, 0.37499994], [0.63675857, 0.49426323], [0.37499997, 0.625]]


@pytest.fixture(scope="module")
def chosen():
    """What comes of postures `[B, 8]`: observations, rewards, ends and infos."""
    env = PlanarArm()
    state = env.reset_env(KEY, env.default_params)[1]
    step = jax.jit(jax.vmap(lambda posture: env.step_env(KEY, state, posture, env.default_params)))
    return lambda postures: step(jnp.asarray(postures, float))


def test_the_tip_is_a_sum_of_complex_exponentials_and_the_reward_a_standard_deviation(chosen):
    postures = np.random.default_rng(0).uniform(size=(200, 8))
    observation, state, reward, terminated, info = chosen(postures)
    tip = 0.5 + 0.5j + np.exp(1j * np.cumsum(2 * np.pi * postures - np.pi, axis=1)).sum(1) / 16
    np.testing.assert_allclose(info["descriptor"], np.stack([tip.real, tip.imag], 1), atol=1e-6)
    np.testing.assert_allclose(reward, -postures.std(1), rtol=1e-5)
    np.testing.assert_array_equal(observation, state.posture)
    assert terminated.all()
    assert (info["area"] == -1).all()


def test_as_in_qdax(chosen):
    """Of `qdax.tasks.arm.arm`, version 0.5.0, for these postures, the last partly outside of what is allowed."""
    steps = np.arange(8) / 8
    postures = np.stack([steps, 1 - steps**2, 2 * steps - 0.5])
    _, _, reward, _, info = chosen(postures)
    np.testing.assert_allclose(reward, QDAX_FITNESS, rtol=1e-6)
    np.testing.assert_allclose(info["descriptor"], QDAX_DESCRIPTORS, atol=1e-6)


def test_postures_of_which_everything_is_known(chosen):
    straight, folded, outside = np.full(8, 0.5), np.ones(8), np.full(8, 7.0)
    half = np.array([0.0, 1.0] * 4)
    _, state, reward, _, info = chosen(np.stack([straight, folded, outside, half]))
    np.testing.assert_allclose(reward, [0, 0, 0, -0.5], atol=1e-7)
    # Turned by pi at each joint it goes to and fro, and ends where it begins.
    np.testing.assert_allclose(info["descriptor"], [[1, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]], atol=1e-6)
    np.testing.assert_array_equal(state.posture[2], 1.0)


def test_a_bent_elbow():
    """Two joints: up, then to the right; each segment is a quarter of the square's side."""
    points = jax.jit(joints_of)(jnp.array([0.75, 0.25]))
    np.testing.assert_allclose(points, [[0.5, 0.5], [0.5, 0.75], [0.75, 0.75]], atol=1e-6)


def test_an_episode_is_one_posture():
    env = PlanarArm(3)
    params = env.default_params
    observation, state = env.reset(KEY, params)
    assert observation.tolist() == [0.5] * 3
    observation, state, _, terminated, truncated, info = env.step(KEY, state, jnp.array([0.1, 0.2, 0.3]), params)
    assert (bool(terminated), bool(truncated)) == (True, False)
    assert observation.tolist() == state.posture.tolist() == [0.5] * 3
    np.testing.assert_allclose(info["final_observation"], [0.1, 0.2, 0.3], rtol=1e-6)


def test_the_picture_shows_the_arm_where_it_is():
    """Up, then to the right: dark along it, white elsewhere; `y` is downwards."""
    env = PlanarArm(2)
    state = PlanarArmState(jnp.array([0.75, 0.25]), jnp.ones((), jnp.int32))
    image = jax.jit(env.image, static_argnums=2)(state, env.default_params, 400)
    assert float(image[250, 200].max()) == 0.0
    assert float(image[300, 250].max()) == 0.0
    for row, column in [(150, 200), (300, 150), (250, 250), (200, 250)]:
        assert float(image[row, column].min()) == 1.0


def test_no_joints_are_refused():
    with pytest.raises(ValueError, match="at least 1 joint; got joints=0"):
        PlanarArm(0)
