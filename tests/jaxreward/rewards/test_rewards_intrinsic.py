"""Count bonuses against counting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.reward import Shared
from jaxreward.rewards import count_bonus
from tests.jaxreward.rewards.test_rewards import random_transitions, rollout

STEPS, NUM_ENVS, SIZE = 12, 4, 5


def test_lifetime_counts_are_of_all_environments_and_of_this_step():
    transitions = random_transitions(0, STEPS, NUM_ENVS)
    visits = np.asarray(transitions.next_observation)
    counts = np.stack([np.bincount(visits[: t + 1].ravel(), minlength=SIZE) for t in range(STEPS)])
    expected = 0.5 / np.sqrt(np.take_along_axis(counts, visits, axis=1))
    reward = count_bonus(lambda t: t.next_observation, SIZE, bonus=0.5)
    values, _, memory = jax.jit(lambda p: rollout(reward, p, transitions))(reward.init(jax.random.key(0)))
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_array_equal(memory.value, np.tile(counts[-1], (NUM_ENVS, 1)))


def test_episode_counts_start_anew():
    transitions = random_transitions(1, STEPS, NUM_ENVS)
    reward = count_bonus(lambda t: t.next_observation, SIZE, scope="episode")
    values = rollout(reward, reward.init(jax.random.key(0)), transitions)[0]
    done, visits = np.asarray(transitions.terminated | transitions.truncated), np.asarray(transitions.next_observation)
    for env in range(NUM_ENVS):
        counts = np.zeros(SIZE)
        for t in range(STEPS):
            counts[visits[t, env]] += 1
            np.testing.assert_allclose(values[t, env], 1 / np.sqrt(counts[visits[t, env]]), rtol=1e-6)
            counts *= not done[t, env]


def test_an_environment_alone_counts_its_own_visits():
    transitions = random_transitions(2, 1, 1)
    reward = count_bonus(lambda t: 3, SIZE)
    alone = jax.tree.map(lambda leaf: leaf[0, 0], transitions)
    memory, value = reward.step({"bonus": jnp.float32(2.0)}, Shared(jnp.array([0.0, 0, 0, 3, 0])), alone)
    assert value == 1.0
    np.testing.assert_array_equal(memory.value, [0, 0, 0, 4, 0])


@pytest.mark.parametrize(("index", "counted"), [(-3, 0), (99, SIZE - 1)])
def test_numbers_out_of_range_count_as_the_nearest(index, counted):
    alone = jax.tree.map(lambda leaf: leaf[0, 0], random_transitions(2, 1, 1))
    reward = count_bonus(lambda t: jnp.int32(index), SIZE)
    memory, value = reward.step({"bonus": jnp.float32(1.0)}, Shared(jnp.zeros(SIZE)), alone)
    assert value == 1.0
    assert memory.value[counted] == 1.0


def test_seeds_that_are_vmapped_count_apart():
    reward = count_bonus(lambda t: t.next_observation, SIZE)
    seeds = [random_transitions(seed, 4, 3) for seed in range(2)]
    params = reward.init(jax.random.key(0))
    batch = jax.vmap(lambda t: rollout(reward, params, t)[0])(jax.tree.map(lambda *x: jnp.stack(x), *seeds))
    for seed in range(2):
        np.testing.assert_array_equal(batch[seed], rollout(reward, params, seeds[seed])[0])


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="no scope of counts 'episodes'; did you mean 'episode'"):
        count_bonus(lambda t: 0, SIZE, scope="episodes")
    with pytest.raises(ValueError, match="got size=0"):
        count_bonus(lambda t: 0, 0)
