"""Tabular MDPs as environments and environments as tabular MDPs: exact both ways."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from gymnax.environments.bsuite.catch import Catch
from gymnax.environments.bsuite.catch import EnvState as CatchState
from gymnax.environments.misc.rooms import EnvState as RoomState
from gymnax.environments.misc.rooms import FourRooms

from jaxreward.environment import WithRewardState, with_reward
from jaxreward.mdp import TabularEnv, corridor, cycle, garnet, policy_iteration, tabular_mdp, to_tabular
from jaxreward.reward import markov

make_garnet = partial(jax.jit, static_argnums=(1, 2, 3))(garnet)


def mixed():
    """Stochastic, with a terminal state, an uneven start and rewards on impossible transitions."""
    mdp = make_garnet(jax.random.key(4), 5, 3, 3)
    return tabular_mdp(mdp.transition, mdp.reward, [0.1, 0.2, 0.3, 0.4, 0.0], np.arange(5) == 4)


@pytest.mark.parametrize("make", [mixed, lambda: corridor(4), lambda: cycle(3)])
def test_the_round_trip_is_exact(make):
    mdp = make()
    env = TabularEnv(mdp)
    back = to_tabular(env, env.default_params, env.states)
    jax.tree.map(np.testing.assert_array_equal, back, mdp)


def test_the_round_trip_is_exact_in_double_precision():
    with jax.enable_x64(True):
        mdp = mixed()
        back = to_tabular(TabularEnv(mdp), TabularEnv(mdp).default_params, TabularEnv(mdp).states)
        assert back.reward.dtype == jnp.float64
        jax.tree.map(np.testing.assert_array_equal, back, mdp)


@pytest.fixture(scope="module")
def draws():
    """Many steps from every state and action of two MDPs that share one environment, by vmap over their params."""
    mdps = jax.tree.map(lambda *x: jnp.stack(x), mixed(), mixed()._replace(transition=mixed().transition[:, ::-1]))
    env = TabularEnv(mixed())
    params = jax.vmap(lambda mdp: env.default_params.replace(mdp=mdp))(mdps)

    def step(params, state, action, key):
        return env.step_env(key, env.states.replace(index=state, time=jnp.int32(0)), action, params)

    over_keys = jax.vmap(step, in_axes=(None, None, None, 0))
    over_actions = jax.vmap(over_keys, in_axes=(None, None, 0, None))
    over_states = jax.vmap(over_actions, in_axes=(None, 0, None, None))
    over_mdps = jax.vmap(over_states, in_axes=(0, None, None, None))
    keys = jax.random.split(jax.random.key(0), 4_000)
    return mdps, jax.jit(over_mdps)(params, jnp.arange(5), jnp.arange(3), keys)


def test_steps_follow_the_transition_of_each_mdp(draws):
    mdps, (_, state, _, _, _) = draws
    frequency = np.mean(np.asarray(state.index)[..., None] == np.arange(5), axis=-2)
    expected = np.asarray(mdps.transition)
    error = np.sqrt(expected * (1 - expected) / 4_000)
    assert np.all(np.abs(frequency - expected) <= 5 * error + 1e-6)
    assert np.all(frequency[expected == 0] == 0)


def test_steps_pay_the_reward_of_the_transition_and_end_in_terminal_states(draws):
    mdps, (observation, state, reward, terminated, info) = draws
    index = np.asarray(state.index)
    m, s, a, _ = np.indices(index.shape)
    np.testing.assert_array_equal(reward, np.asarray(mdps.reward)[m, s, a, index])
    np.testing.assert_array_equal(terminated, index == 4)
    np.testing.assert_array_equal(info["discount"], index != 4)
    np.testing.assert_array_equal(observation, np.eye(5, dtype=np.float32)[index])
    assert np.all(state.time == 1)


def test_episodes_start_from_the_start_distribution():
    env = TabularEnv(mixed(), one_hot=False)
    observation, state = jax.jit(jax.vmap(lambda key: env.reset(key)))(jax.random.split(jax.random.key(1), 4_000))
    np.testing.assert_array_equal(observation, state.index)
    expected = np.array([0.1, 0.2, 0.3, 0.4, 0.0])
    frequency = np.mean(np.asarray(state.index)[:, None] == np.arange(5), axis=0)
    assert np.all(np.abs(frequency - expected) <= 5 * np.sqrt(expected * (1 - expected) / 4_000))


def test_termination_and_truncation_stay_apart():
    env = TabularEnv(corridor(3), max_steps_in_episode=2)
    _, start = env.reset(jax.random.key(0))

    def walk(state, action):
        step = env.step(jax.random.key(0), state, action)
        return step[1], step[3:5]

    _, (terminated, truncated) = jax.lax.scan(walk, start, jnp.array([0, 0, 1, 1, 1]))
    # Left twice: cut. Right twice: at the end, and out of time too. Then on from a new start.
    assert terminated.tolist() == [False, False, False, True, False]
    assert truncated.tolist() == [False, True, False, True, False]


def test_the_time_limit_is_no_part_of_the_mdp():
    env = TabularEnv(corridor(3), max_steps_in_episode=1)
    jax.tree.map(np.testing.assert_array_equal, to_tabular(env, env.default_params, env.states), corridor(3))


def test_spaces_hold_what_the_environment_shows():
    for one_hot in (True, False):
        env = TabularEnv(cycle(3), one_hot=one_hot)
        observation, _ = env.reset(jax.random.key(0))
        space = env.observation_space()
        assert bool(space.contains(observation))
        assert (space.shape, space.dtype) == (observation.shape, observation.dtype)
    assert env.action_space().n == env.num_actions == 2


def test_rewards_are_differentiable_through_the_params():
    env = TabularEnv(cycle(3))
    state = env.states.replace(index=jnp.int32(2), time=jnp.int32(0))

    def reward(table):
        params = env.default_params.replace(mdp=env.mdp._replace(reward=table))
        return env.step_env(jax.random.key(0), state, 1, params)[2]

    gradient = jax.grad(reward)(env.mdp.reward)
    assert np.argwhere(gradient).tolist() == [[2, 1, 0]]
    assert gradient.sum() == 1


def test_four_rooms_is_worth_the_discounted_shortest_path():
    env = FourRooms()
    params = env.default_params.replace(fail_prob=0.0)
    cells, discount = np.asarray(env.coords), 0.9
    mdp = to_tabular(env, params, room_states(env))
    goal = np.flatnonzero((cells == np.asarray(env.goal_fixed)).all(1))[0]
    assert np.flatnonzero(mdp.terminal).tolist() == [goal]
    assert np.flatnonzero(mdp.start).tolist() == np.flatnonzero((cells == np.asarray(env.pos_fixed)).all(1)).tolist()
    distance = shortest_paths(cells, goal)
    expected = np.where(distance > 0, discount ** (distance - 1.0), 0.0)
    value = jax.jit(lambda m: policy_iteration(m, discount).value)(mdp)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def room_states(env):
    count = len(env.coords)
    goal = jnp.broadcast_to(env.goal_fixed, (count, 2))
    return RoomState(pos=env.coords, goal=goal, time=jnp.zeros(count, jnp.int32))


def shortest_paths(cells, goal):
    """Steps to the goal from each cell, breadth first."""
    distance = np.full(len(cells), -1)
    distance[goal], front = 0, [goal]
    while front:
        here = front.pop(0)
        beside = np.flatnonzero((np.abs(cells - cells[here]).sum(1) == 1) & (distance < 0))
        distance[beside] = distance[here] + 1
        front.extend(beside)
    return distance


def test_keys_estimate_a_stochastic_environment():
    env, count = FourRooms(), 400
    params = env.default_params.replace(fail_prob=0.3)
    with pytest.raises(
        ValueError, match=r"action \d in state \d+ has more than one outcome; .*`step_outcomes`.*`keys`"
    ):
        to_tabular(env, params, room_states(env))
    sure = np.asarray(to_tabular(env, params.replace(fail_prob=0.0), room_states(env)).transition)
    estimate = to_tabular(env, params, room_states(env), keys=jax.random.split(jax.random.key(0), count))
    # With probability 4/3 * 0.3 the action is one of the four at random.
    expected = 0.6 * sure + 0.4 * sure.mean(1, keepdims=True)
    expected[np.asarray(estimate.terminal)] = sure[np.asarray(estimate.terminal)]
    error = np.sqrt(expected * (1 - expected) / count)
    assert np.all(np.abs(np.asarray(estimate.transition) - expected) <= 5.5 * error + 1e-5)


def test_catch_can_always_be_won():
    env = Catch(rows=5)
    grid = np.stack(np.meshgrid(np.arange(5), np.arange(4), np.arange(5), indexing="ij"), -1).reshape(-1, 3)
    ball_x, ball_y, paddle_x = jnp.asarray(grid, jnp.int32).T
    same = jnp.zeros_like(ball_x)
    states = CatchState(
        time=same, ball_x=ball_x, ball_y=ball_y, paddle_x=paddle_x, paddle_y=same + 4, prev_done=same.astype(bool)
    )
    with pytest.raises(ValueError, match="episodes start in more than one state"):
        to_tabular(env, env.default_params, states)
    mdp = to_tabular(env, env.default_params, states, keys=jax.random.split(jax.random.key(0), 64))
    # Balls that land are in no listed state: they lead to one terminal state, added last.
    assert np.flatnonzero(mdp.terminal).tolist() == [len(grid)]
    value = np.asarray(jax.jit(lambda m: policy_iteration(m, 1.0).value)(mdp))
    left = 4 - grid[:, 1]
    np.testing.assert_allclose(value[:-1], np.where(np.abs(grid[:, 0] - grid[:, 2]) <= left, 1, -1), atol=1e-5)
    assert np.all(value[np.asarray(mdp.start) > 0] > 0.999)


def test_another_reward_makes_another_mdp():
    env = TabularEnv(corridor(4))
    wrapped = with_reward(env, markov(lambda transition: 2 * transition.reward - transition.terminated))
    states = WithRewardState(env=env.states, observation=jnp.eye(4), memory=())
    mdp = to_tabular(wrapped, wrapped.default_params, states)
    # What never happens has no reward in a table made from steps.
    changed = jnp.where(corridor(4).transition > 0, 2 * corridor(4).reward, 0).at[2, 1, 3].set(-3)
    jax.tree.map(np.testing.assert_array_equal, mdp, corridor(4)._replace(reward=changed))


@struct.dataclass
class OneRoom:
    """The only thing there is: a number."""

    x: jax.Array


class Leave(environment.Environment):
    """Action 1 ends the episode where it is, for 1; action 0 goes from state 0 to state 1 or stays there."""

    num_actions = 2

    def step_env(self, key, state, action, params):
        ends = action == 1
        following = OneRoom(jnp.where(ends, state.x, 1.0))
        return following.x, following, jnp.where(ends, 1.0, 0.0), ends, {}

    def reset_env(self, key, params):
        return jnp.float32(0), OneRoom(jnp.float32(0))

    def action_space(self, params=None):
        return spaces.Discrete(2)


def test_an_action_that_ends_the_episode_where_it_is_leads_to_a_state_of_its_own():
    mdp = to_tabular(Leave(), None, OneRoom(jnp.array([0.0, 1.0])))
    assert mdp.terminal.tolist() == [False, False, True]
    assert mdp.transition[:, 0].tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert mdp.transition[:, 1].tolist() == [[0, 0, 1]] * 3
    assert mdp.reward[:2, 1, 2].tolist() == [1, 1]
    assert mdp.start.tolist() == [1, 0, 0]
    assert policy_iteration(mdp, 0.5).value.tolist() == [1, 1, 0]


class Tips(Leave):
    """Goes where that goes, and pays by chance."""

    def step_env(self, key, state, action, params):
        observation, following, reward, ends, info = super().step_env(key, state, action, params)
        return observation, following, reward * jax.random.uniform(key), ends, info


class Accidents(Leave):
    """Goes where that goes, and by chance ends there."""

    def step_env(self, key, state, action, params):
        observation, following, reward, ends, info = super().step_env(key, state, action, params)
        return observation, following, reward, ends & jax.random.bernoulli(key), info


@pytest.mark.parametrize("kind", [Tips, Accidents])
def test_what_differs_by_chance_in_reward_or_end_alone_is_not_deterministic(kind):
    with pytest.raises(ValueError, match="action 1 in state 0 has more than one outcome"):
        to_tabular(kind(), None, OneRoom(jnp.array([0.0, 1.0])))


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([0.0], r"action 0 in state 0 leads to a state that is not among `states`"),
        ([1.0], r"an episode starts in a state that is not among `states`"),
        ([0.0, 1.0, -0.0], r"states lists 3 states, of which only 2 differ"),
    ],
)
def test_a_wrong_list_of_states_is_refused(states, message):
    with pytest.raises(ValueError, match=message):
        to_tabular(Leave(), None, OneRoom(jnp.array(states)))


def test_identity_says_what_tells_states_apart():
    def parity(state):
        return state.x % 2

    mdp = to_tabular(Leave(), None, OneRoom(jnp.array([4.0, 7.0])), identity=parity)
    jax.tree.map(np.testing.assert_array_equal, mdp, to_tabular(Leave(), None, OneRoom(jnp.array([0.0, 1.0]))))
