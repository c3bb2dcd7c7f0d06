"""What JaxMARL's dicts say is what games' axes say, in both directions, by an environment made up for it."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxreward.agents.baselines.ippo import Config, Hyperparams, ippo
from jaxreward.contract.agents import check_agent
from jaxreward.envs import make
from jaxreward.envs.adapters.jaxmarl import AsJaxMARL, JaxMARLGame


@struct.dataclass
class State:
    total: jax.Array
    step: jax.Array


class Counting:
    """Two agents add what they do, the second's tenfold; at 30 it ends, after 4 steps it is cut. All is `done`."""

    num_agents, agents, max_steps, name = 2, ["ann", "bob"], 4, "counting"

    def reset(self, key):
        state = State(jnp.zeros(()), jnp.int32(0))
        return self.seen(state), state

    def step_env(self, key, state, actions):
        added = actions["ann"] + 10.0 * actions["bob"]
        after = State(state.total + added, state.step + 1)
        done = (after.total >= 30) | (after.step >= 4)
        rewards = {"ann": added, "bob": -added}
        return self.seen(after), after, rewards, {"ann": done, "bob": done, "__all__": done}, {"odd": ()}

    def seen(self, state):
        return {"ann": jnp.array([state.total, 0.0]), "bob": jnp.array([state.total, 1.0])}

    def observation_space(self, agent):
        return SimpleNamespace(low=0, high=100, shape=(2,))

    def action_space(self, agent):
        return SimpleNamespace(n=3)


def walk(env, params, actions):
    """All that a game says of some joint actions."""

    def step(state, action):
        shown, after, reward, terminated, _ = env.step_env(jax.random.key(0), state, action, params)
        return after, (shown, reward, terminated, env.is_truncated(after, params))

    return jax.device_get(
        jax.jit(lambda: jax.lax.scan(step, env.reset_env(jax.random.key(0), params)[1], actions)[1])()
    )


def test_dicts_become_axes_and_a_time_limit_is_told_from_an_end():
    env = JaxMARLGame(Counting())
    assert (env.name, env.num_agents, env.num_actions) == ("jaxmarl/counting", 2, 3)
    shown, reward, terminated, truncated = walk(env, env.default_params, jnp.array([[1, 0], [2, 1], [0, 0], [1, 0]]))
    np.testing.assert_array_equal(reward, [[1, -1], [12, -12], [0, 0], [1, -1]])
    np.testing.assert_array_equal(shown[:, 0], [[1, 0], [13, 0], [13, 0], [14, 0]])
    np.testing.assert_array_equal(shown[:, 1], [[1, 1], [13, 1], [13, 1], [14, 1]])
    assert not terminated.any()
    assert truncated.tolist() == [False, False, False, True]
    _, _, terminated, truncated = walk(env, env.default_params, jnp.array([[1, 2], [1, 1]]))
    assert (terminated.tolist(), truncated.tolist()) == ([False, True], [False, False])
    agent = ippo(env, env.default_params, Config(num_envs=2, num_steps=4, num_minibatches=1, layers=(4,)))
    check_agent("ippo", agent, Hyperparams(), env, env.default_params)


def test_a_game_as_dicts_and_back_is_the_same_game():
    game, params = make("games/gems?size=3", max_steps_in_episode=3)
    back = JaxMARLGame(AsJaxMARL(game, params))
    actions = jax.random.randint(jax.random.key(1), (3, 2), 0, 5)
    ours, theirs = walk(game, params, actions), walk(back, back.default_params, actions)
    for x, y in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_array_equal(x, y)
    # Without a clock that it knows of, JaxMARL's end is a termination.
    np.testing.assert_array_equal(theirs[2], ours[2] | ours[3])
    assert not theirs[3].any()
    assert AsJaxMARL(game, params).action_space("agent_1").n == 5


def test_a_step_of_the_dicts_resets_where_an_episode_is_done():
    game, params = make("games/mini_gems", max_steps_in_episode=2)
    env, keys = AsJaxMARL(game, params), jax.random.split(jax.random.key(0), 3)

    @jax.jit
    def run():
        seen, state = env.reset(keys[0])
        actions = dict.fromkeys(env.agents, jnp.int32(4))
        _, state, _, first, _ = env.step(keys[1], state, actions)
        seen, state, _, second, _ = env.step(keys[2], state, actions)
        return first, second, seen, state, env.reset(jax.random.split(keys[2])[1])

    first, second, seen, state, start = run()
    assert (bool(first["__all__"]), bool(second["__all__"]), bool(second["agent_0"])) == (False, True, True)
    assert state.time == 0
    jax.tree.map(np.testing.assert_array_equal, (seen, state), start)


def test_what_is_no_game_is_refused():
    with pytest.raises(ValueError, match="has no `agents`; expected a JaxMARL environment"):
        JaxMARLGame(make("CartPole-v1")[0])
    with pytest.raises(ValueError, match="CartPole-v1 has one agent"):
        AsJaxMARL(make("CartPole-v1")[0])
    uneven = Counting()
    uneven.seen = lambda state: {"ann": jnp.zeros(2), "bob": jnp.zeros(3)}
    with pytest.raises(ValueError, match="the agents of Counting see different things"):
        JaxMARLGame(uneven)
    uneven = Counting()
    uneven.action_space = lambda agent: SimpleNamespace(n=len(agent) + (agent == "bob"))
    with pytest.raises(ValueError, match="the agents of Counting do different things"):
        JaxMARLGame(uneven)
