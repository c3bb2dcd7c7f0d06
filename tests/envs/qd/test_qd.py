"""What all tasks of quality-diversity have in common."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.qd.tasks import TASKS

# brax takes long to compile, so the ant's own file checks the same of its one walk.
each = pytest.mark.parametrize("name", [name for name in TASKS if name != "ant_maze"])


@each
def test_steps_keep_shapes_and_types_under_jit_and_vmap(name):
    env = TASKS[name]()
    params = env.default_params
    keys = jax.random.split(jax.random.key(0), 3)
    observations, states = jax.vmap(env.reset, (0, None))(keys, params)
    actions = jax.vmap(env.action_space(params).sample)(keys)
    stepped = jax.vmap(env.step, (0, 0, 0, None))(keys, states, actions, params)
    types = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)  # noqa: E731
    assert types(stepped[1]) == types(states)
    assert types(stepped[0]) == types(observations)
    assert stepped[0].shape == (3, *env.observation_space(params).shape)
    assert stepped[2].dtype == jnp.float32


@each
def test_descriptors_and_areas_are_as_announced(name):
    env = TASKS[name]()
    params = env.default_params
    low, high = np.array(env.descriptor_bounds)

    def step(state, key):
        action = 3 * env.action_space(params).sample(key)
        _, state, _, _, info = env.step_env(key, state, action, params)
        return state, (info["descriptor"], info["area"])

    start = env.reset_env(jax.random.key(0), params)[1]
    descriptors, areas = jax.jit(lambda keys: jax.lax.scan(step, start, keys)[1])(
        jax.random.split(jax.random.key(1), 100)
    )
    assert descriptors.shape == (100, 2)
    assert (np.asarray(descriptors) >= low).all()
    assert (np.asarray(descriptors) <= high).all()
    assert areas.dtype == jnp.int32
    assert areas.min() >= -1
    assert areas.max() < env.num_areas


@each
def test_pictures_are_in_the_unit_interval_and_show_the_state(name):
    env = TASKS[name]()
    params = env.default_params
    state = env.reset_env(jax.random.key(0), params)[1]
    draw = jax.jit(env.image, static_argnums=2)
    first = draw(state, params, 32)
    assert first.shape == (32, 32, 3)
    assert first.dtype == jnp.float32
    assert env.image(state, params).shape == (64, 64, 3)
    for _ in range(40):
        _, state, *_ = env.step_env(jax.random.key(0), state, jnp.ones(env.num_actions), params)
    second = draw(state, params, 32)
    for image in (first, second):
        assert image.min() >= 0
        assert image.max() <= 1
    assert (first != second).any()
