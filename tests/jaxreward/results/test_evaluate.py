"""Episodes walked with a policy that is known, in an environment whose episodes are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces

from jaxreward.agent import Policy
from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.results.evaluate import Episodes, Evaluation, Walker, describe, draw, evaluate
from jaxreward.reward import markov
from jaxreward.run.store import RunError


@struct.dataclass
class Params(environment.EnvParams):
    max_steps_in_episode: int = 1000
    goal: int = 6


class Line(environment.Environment):
    """Start at 0, 1 or 2, walk by the action; each step pays where it leads; the goal ends the episode."""

    @property
    def default_params(self):
        return Params()

    def reset_env(self, key, params):
        place = jax.random.randint(key, (), 0, 3)
        state = environment.EnvState(time=0), place
        return jnp.float32(place), state

    def step_env(self, key, state, action, params):
        place = state[1] + action
        state = environment.EnvState(time=state[0].time + 1), place
        return jnp.float32(place), state, jnp.float32(place), self.is_terminated(state, params), {}

    def is_terminated(self, state, params):
        return state[1] >= params.goal

    def is_truncated(self, state, params):
        return state[0].time >= params.max_steps_in_episode

    def action_space(self, params=None):
        return spaces.Discrete(3)


def policy(most_likely=1, sampled=2):
    """Counts its steps in its carry, and can't do without."""
    fixed = lambda action: lambda carry, observation, key: (carry + 1, jnp.where(carry >= 0, action, 0))  # noqa: E731
    return Policy(lambda: jnp.zeros((), jnp.int32), fixed(sampled), fixed(most_likely))


KEYS = jax.random.split(jax.random.key(0), 8)


def starts(params=None):
    """Where the episodes of these keys start."""
    reset = jax.vmap(lambda key: Line().reset_env(jax.random.split(key)[1], params)[0])
    return np.asarray(reset(KEYS)).astype(int)


@pytest.mark.parametrize(("stochastic", "stride"), [(False, 1), (True, 2)])
def test_episodes_end_where_the_environment_ends_them(stochastic, stride):
    found = Walker(Line(), Params(), policy(), stochastic).run(KEYS)
    walks = [list(range(start + stride, 6 + stride, stride)) for start in starts()]
    walks = [walk[: next(i for i, place in enumerate(walk) if place >= 6) + 1] for walk in walks]
    assert len(set(map(len, walks))) > 1
    np.testing.assert_array_equal(found.lengths, [len(walk) for walk in walks])
    np.testing.assert_array_equal(found.returns, [sum(walk) for walk in walks])
    np.testing.assert_array_equal(found.env_returns, found.returns)
    assert found.ended.all()


def test_time_limits_end_episodes_and_the_longest_cuts_them():
    limited = Walker(Line(), Params(max_steps_in_episode=2), policy()).run(KEYS)
    assert limited.lengths.tolist() == [2] * 8
    assert limited.ended.all()
    cut = Walker(Line(), Params(), policy(most_likely=0), longest=5).run(KEYS)
    assert cut.lengths.tolist() == [5] * 8
    assert not cut.ended.any()
    np.testing.assert_array_equal(cut.returns, 5 * starts())


def test_both_returns_of_a_rewarded_environment():
    env = with_reward(Line(), markov(lambda params, t: params["weight"] * t.reward, {"weight": -3.0}))
    found = Walker(env, env.default_params, policy()).run(KEYS)
    own = Walker(Line(), Params(), policy()).run(KEYS)
    np.testing.assert_array_equal(found.env_returns, own.returns)
    np.testing.assert_array_equal(found.returns, -3 * own.returns)
    np.testing.assert_array_equal(found.lengths, own.lengths)


def test_the_drawn_episode_is_the_one_that_was_walked(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(
        "jaxreward.envs.render.render",
        lambda env, states, observations, stem, params, facts: seen.update(places=observations, facts=facts) or stem,
    )
    walker = Walker(Line(), Params(), policy())
    found = walker.run(KEYS)
    assert draw(walker, KEYS[0], int(found.lengths[0]), tmp_path / "episode") == tmp_path / "episode"
    assert seen["places"].tolist() == list(range(starts()[0], 7))
    assert sum(seen["places"].tolist()[1:]) == float(found.returns[0]) == float(seen["facts"].reward.sum())


def test_description_has_means_and_intervals():
    ones = jnp.ones(4)
    episodes = Episodes(2 * ones, ones, jnp.arange(4), jnp.array([True, True, True, False]))
    text = describe(Evaluation(episodes, 3, 1, {"learning_rate": 0.001}, None))
    assert "4 episodes of member 3 (learning_rate=0.001), seed 1" in text
    assert "return                2  [2, 2]" in text
    assert "length                1.5  [" in text
    assert "1 were cut" in text


def test_a_search_is_not_evaluated(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(RunError, match="holds a search"):
        evaluate(tmp_path)


def test_what_never_ends_is_walked_for_so_many_steps():
    """Two choices, always right: 2 every 5 steps. Three times a tenth a step is as much as float32 says in the end."""
    env, _ = make("average/two_choice")
    tenth = with_reward(env, markov(lambda t: jnp.full((), 0.1)))
    right = policy(most_likely=1)
    found = Walker(tenth, tenth.default_params, right, longest=20_000).run(KEYS[:2])
    assert found.lengths.tolist() == [20_000] * 2
    assert not found.ended.any()
    np.testing.assert_array_equal(found.env_returns, 8_000)
    np.testing.assert_allclose(found.returns, 2_000, rtol=2e-7)  # added up naively they miss by more than 1e-5
    text = describe(Evaluation(found, 0, 1, {}, None, endless=True))
    assert "2 walks of 20,000 steps of member 0, seed 1" in text
    assert "  reward a step                0.1  [0.1, 0.1]" in text
    assert "  environment's reward a step  0.4  [0.4, 0.4]" in text


def test_a_game_is_told_as_the_mean_over_agents_and_agent_by_agent():
    env, params = make("games/mini_gems", max_steps_in_episode=5)
    doubled = with_reward(env, markov(lambda t: 2 * t.reward))
    still = Policy(lambda: (), *[lambda carry, seen, key: (carry, jnp.full(2, 4))] * 2)
    found = Walker(doubled, doubled.default_params.replace(env=params), still).run(jax.random.split(KEYS[0], 400))
    assert found.by_agent.shape == (400, 2, 2)
    np.testing.assert_allclose(found.by_agent[:, 1], found.by_agent[:, 0] / 2)
    np.testing.assert_allclose(found.by_agent.mean(-1), np.stack([found.returns, found.env_returns], -1))
    assert not np.array_equal(found.by_agent[:, 0, 0], found.by_agent[:, 0, 1])
    text = describe(Evaluation(found, 0, 0, {}, None))
    assert [line.split()[:3] for line in text.splitlines()[2:4]] == [["of", "agent", "0"], ["of", "agent", "1"]]
    assert len(text.splitlines()) == 8
