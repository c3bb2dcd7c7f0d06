"""What all games keep: axes of agents, an end for all at once, one step for a batch as for one, a picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.registry import get_agent
from jaxreward.contract.games import check_game, num_agents, sample_action
from jaxreward.environment import game_environment, with_reward
from jaxreward.envs import make
from jaxreward.envs.games import TASKS
from jaxreward.learning.rollout import summands
from jaxreward.reward import markov

GAMES = {name: make(f"games/{name}") for name in TASKS}
COPIES, SIZE = 4, 24


def step_of(env, params):
    """A step with random actions from a start."""

    def step(key):
        key_start, key_action, key_step = jax.random.split(key, 3)
        start, state = env.reset_env(key_start, params)
        action = sample_action(env, params, key_action)
        shown, after, reward, terminated, _ = env.step_env(key_step, state, action, params)
        ends = (terminated, env.is_truncated(after, params))
        return after, (start, shown, action, reward, ends)

    return step


@pytest.fixture(scope="module")
def steps():
    """Of each game some copies, the same in another order, and pictures of where they lead, by one program."""

    @jax.jit
    def run(keys):
        after = {name: jax.vmap(step_of(*game))(keys) for name, game in GAMES.items()}
        return {name: (*each, drawn(*GAMES[name], each[0])) for name, each in after.items()}

    keys = jax.random.split(jax.random.key(0), COPIES)
    return jax.device_get((run(keys), run(keys[::-1])))


def drawn(env, params, states):
    return jax.vmap(lambda state: env.image(state, params, SIZE))(states)


@pytest.mark.parametrize("name", TASKS)
def test_agents_have_the_first_axis_and_all_end_at_once(name, steps):
    env, params = GAMES[name]
    agents = num_agents(env)
    assert env.name == f"games/{name}"
    _, (start, shown, action, reward, ends), image = steps[0][name]
    space = env.observation_space(params)
    for observation in (start, shown):
        assert observation.shape == (COPIES, agents, *space.shape)
        assert (observation >= np.asarray(space.low)).all()
        assert (observation <= np.asarray(space.high)).all()
    assert action.shape == reward.shape == (COPIES, agents)
    assert action.max() < env.action_space(params).n == env.num_actions
    assert [end.shape for end in ends] == [(COPIES,)] * 2
    assert image.shape == (COPIES, SIZE, SIZE, 3)
    assert ((image >= 0) & (image <= 1)).all()
    assert np.ptp(image) > 0.3


@pytest.mark.parametrize("name", TASKS)
def test_no_copy_knows_of_others(name, steps):
    """Of the rest of the batch nothing shows: in another order it is the same, bit for bit."""
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y[::-1]), steps[0][name], steps[1][name])


@pytest.mark.parametrize("name", TASKS)
def test_it_keeps_the_contract_with_its_own_reward_and_another(name):
    env, params = GAMES[name]
    assert game_environment(env, params) == (env, env.num_agents)
    team = with_reward(env, markov(lambda t: t.reward.sum()))
    assert game_environment(team, team.default_params)[1] == env.num_agents
    with pytest.raises(ValueError, match=rf"games/{name} is a game of {env.num_agents} agents"):
        get_agent("ppo").make(env, params, get_agent("ppo").Config())


def test_what_agents_are_paid_is_told_as_a_mean_and_one_by_one():
    reward, info = jnp.array([1.0, 3.0]), {"env_reward": jnp.array([2.0, 6.0]), "reward/part": jnp.array([0.0, 1.0])}
    found = jax.device_get(summands(reward, info, of_game=True))
    assert found == {
        "return": 2.0, "return/0": 1.0, "return/1": 3.0,
        "env_return": 4.0, "env_return/0": 2.0, "env_return/1": 6.0,
        "part": 0.5, "part/0": 0.0, "part/1": 1.0, "length": 1.0,
    }  # fmt: skip
    assert "return" not in summands(reward, info)
    assert summands(jnp.float32(1), info, of_game=True).keys() >= {"return", "env_return/1"}


def test_a_game_that_shows_or_pays_another_number_of_agents_is_refused():
    env = GAMES["gems"][0]
    two = jnp.zeros(2)
    assert check_game(env, {"a": jnp.zeros((2, 3))}, two) == 2
    assert check_game(env, two, jnp.zeros(())) == 2
    with pytest.raises(ValueError, match=r"the observation\['a'\] the shape \(3, 2\); expected a leading axis"):
        check_game(env, {"a": jnp.zeros((3, 2))}, two)
    with pytest.raises(ValueError, match=r"the reward the shape \(4,\); expected \(2,\)"):
        check_game(env, two, jnp.zeros(4))
