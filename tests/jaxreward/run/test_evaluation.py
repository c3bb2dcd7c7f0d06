"""Evaluating while training: what it comes to, that training doesn't notice, resting, the best checkpoint."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces

from jaxreward.agent import Agent, Policy
from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.learning.evaluation import EvaluationConfig, evaluate_policy, evaluation_key
from jaxreward.results.evaluate import evaluate
from jaxreward.results.load import load
from jaxreward.reward import markov
from jaxreward.run.checkpoint import saved_iterations
from jaxreward.run.evaluator import evaluation_of
from jaxreward.run.job import Job, Setup
from jaxreward.run.spec import resolve
from jaxreward.run.stopping import parse_condition
from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.train import train


@struct.dataclass
class Params:
    length: float = 5.0
    max_steps_in_episode: int = 8


@struct.dataclass
class State:
    time: int


class Paid(environment.Environment):
    """Pays the action, and ends after `length` steps."""

    name = "paid"

    @property
    def default_params(self):
        return Params()

    def reset_env(self, key, params):
        return jnp.zeros(1), State(time=jnp.zeros((), jnp.int32))

    def step_env(self, key, state, action, params):
        state = State(time=state.time + 1)
        return jnp.zeros(1), state, jnp.asarray(action, float), state.time >= params.length, {}

    def is_truncated(self, state, params):
        return state.time >= params.max_steps_in_episode

    def action_space(self, params):
        return spaces.Box(-1e3, 1e3, ())

    def observation_space(self, params):
        return spaces.Box(0, 1, (1,))


ENV = with_reward(Paid(), markov(lambda t: 2 * t.reward))
ENV_PARAMS = ENV.default_params


class Run(struct.PyTreeNode):
    params: jax.Array
    key: jax.Array


def _step(state):
    key, drawn = jax.random.split(state.key)
    state = Run(params=state.params + 1, key=key)
    one = jnp.ones((), jnp.int32)
    return state, {"env_steps": one, "episode/count": one, "episode/return": jax.random.normal(drawn)}


def _policy(state):
    """The mode is how many iterations there were; what is sampled is one less."""
    act = lambda carry, observation, key: (carry, state.params - 1)  # noqa: E731
    return Policy(lambda: (), act, lambda carry, observation, key: (carry, state.params))


COUNTER = Agent(lambda key, start: Run(params=jnp.asarray(start, float), key=key), _step, _policy)


def trained(folder, config=None, **changes):
    arguments = dict(iterations=7, log_every=2, seeds=2, folder=folder, progress=False)
    evaluation = evaluation_of(COUNTER, ENV, ENV_PARAMS, EvaluationConfig(**config)) if config else None
    starts = jnp.array([0.0, 10.0])
    population = [{"start": 0.0}, {"start": 10.0}]
    return train(COUNTER, starts, population=population, evaluation=evaluation, **{**arguments, **changes})


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "evaluated", {"every": 4, "episodes": 3})


def rows(result, member=0, seed=0):
    return result.metrics.query("member == @member and seed == @seed")


def test_it_is_made_when_it_is_due_and_at_the_end(evaluated):
    # Rows end at 2, 4, 6 and 7; five steps pay as many as there were iterations, and the reward twice that.
    for member, start in ((0, 0.0), (1, 10.0)):
        mine = rows(evaluated, member).fillna(-1)
        assert list(mine["evaluation/env_return"]) == [-1, 5 * (start + 4), -1, 5 * (start + 7)]
        assert list(mine["evaluation/return"]) == [-1, 10 * (start + 4), -1, 10 * (start + 7)]
        assert list(mine["evaluation/length"]) == [-1, 5, -1, 5]
        assert list(mine["evaluation/cut"]) == [-1, 0, -1, 0]
    assert not evaluated.metrics["failed"].any()


def test_spread_over_devices_it_is_the_same(evaluated, tmp_path):
    spread = trained(tmp_path / "spread", {"every": 4, "episodes": 3}, mesh="widest")
    assert len(spread.state.params.sharding.device_set) == 4
    assert spread.metrics.drop(columns="wall_seconds").equals(evaluated.metrics.drop(columns="wall_seconds"))


@pytest.mark.parametrize(
    ("every", "due"), [(1, [2, 4, 6, 7]), (3, [4, 6, 7]), (6, [6, 7]), (7, [7]), (100, [7]), (0, [])]
)
def test_it_is_due_at_the_first_row_at_or_after_each_multiple(every, due):
    ends = [0, 2, 4, 6, 7]
    config = EvaluationConfig(every=every)
    assert [b for a, b in itertools.pairwise(ends) if config.due(a, b, 7)] == due


def test_training_does_not_notice(evaluated, tmp_path):
    plain = trained(tmp_path / "plain")
    for mine, theirs in zip(jax.tree.leaves(evaluated.state), jax.tree.leaves(plain.state), strict=True):
        as_numbers = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x  # noqa: E731
        np.testing.assert_array_equal(as_numbers(mine), as_numbers(theirs))
    kept = [name for name in plain.metrics if name != "wall_seconds"]
    assert evaluated.metrics[kept].equals(plain.metrics[kept])
    assert [name for name in evaluated.metrics if name not in plain.metrics] == [
        f"evaluation/{name}" for name in ("cut", "env_return", "length", "return")
    ]


def test_episodes_are_cut_and_sampled_and_the_same_for_all_members():
    policy = _policy(Run(params=jnp.asarray(3.0), key=jax.random.key(0)))
    config = EvaluationConfig(every=1, episodes=2, steps=4, sampled=True)
    found = jax.jit(lambda: evaluate_policy(ENV, ENV_PARAMS, policy, jax.random.key(0), config))()
    assert {name: float(value) for name, value in found.items()} == {
        "evaluation/return": 2 * 4 * 2.0,
        "evaluation/env_return": 4 * 2.0,
        "evaluation/length": 4.0,
        "evaluation/cut": 1.0,
    }
    first, again, later = (evaluation_key(jax.random.key(0), at) for at in (4, 4, 6))
    assert jax.random.key_data(first).tolist() == jax.random.key_data(again).tolist()
    assert jax.random.key_data(first).tolist() != jax.random.key_data(later).tolist()


def test_a_run_rests_where_it_is_as_good_as_was_asked(tmp_path):
    # Member 1 begins at 10, so it is there at its first evaluation; member 0 is after 8 iterations.
    config = {"every": 2, "episodes": 2, "stop_when": "evaluation/env_return>=40"}
    result = trained(tmp_path / "rests", config, iterations=30)
    assert [float(result.state.params[member, 0]) for member in (0, 1)] == [8, 12]
    assert list(rows(result, 0)["iteration"]) == list(rows(result, 1)["iteration"]) == [2, 4, 6, 8]
    assert list(rows(result, 0)["env_steps"]) == [2, 4, 6, 8]
    assert list(rows(result, 1)["env_steps"]) == [2, 2, 2, 2]
    assert list(rows(result, 1)["evaluation/env_return"]) == [60] * 4
    assert rows(result, 1)["episode/return"].nunique() == 1 < rows(result, 0)["episode/return"].nunique()
    described = RunFolder(tmp_path / "rests").read_config()
    assert (described["rested"], described["finished"]) == (8, 30)
    again = trained(tmp_path / "rests", config, iterations=40, resume=True)  # nothing is left to train
    assert again.metrics.equals(result.metrics)


def test_where_training_tells_when_to_rest_the_last_row_is_evaluated_too(tmp_path):
    """All rest in the first row, which no multiple asks for; and those that rest are evaluated as before."""
    config = {"every": 6, "episodes": 2, "stop_when": "episode/return>=-100"}
    result = trained(tmp_path / "at_once", config, iterations=30)
    assert list(rows(result, 0)["iteration"]) == [2]
    assert list(rows(result, 1)["evaluation/env_return"]) == [60]


def test_what_rests_is_evaluated_on_new_episodes(tmp_path):
    """Member 1 rests in the first row, before any evaluation; member 0 never does."""
    config = {"every": 4, "episodes": 2, "stop_when": "params>=12"}
    step = lambda state: (lambda after, told: (after, told | {"params": after.params}))(*_step(state))  # noqa: E731
    agent = COUNTER._replace(step=step)
    evaluation = evaluation_of(agent, ENV, ENV_PARAMS, EvaluationConfig(**config))
    named = {"population": [{"start": 0.0}, {"start": 10.0}], "evaluation": evaluation, "progress": False}
    result = train(agent, jnp.array([-50.0, 11.5]), iterations=6, log_every=2, folder=tmp_path / "run", **named)
    mine = rows(result, 1)
    assert list(mine["env_steps"]) == [2, 2, 2]
    assert list(mine["evaluation/env_return"].fillna(-1)) == [-1, 5 * 13.5, 5 * 13.5]


def test_killed_runs_rest_as_if_they_never_were(tmp_path):
    config = {"every": 2, "episodes": 2, "stop_when": "evaluation/env_return>=40"}
    whole = trained(tmp_path / "whole", config, iterations=30)
    trained(tmp_path / "parts", config, iterations=4)
    parts = trained(tmp_path / "parts", config, iterations=30, resume=True)
    assert parts.metrics.drop(columns="wall_seconds").equals(whole.metrics.drop(columns="wall_seconds"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("evaluation/env_retrun>=4", "did you mean 'evaluation/env_return'"),
        ("episode/return", "METRIC>=NUMBER"),
        ("episode/return>=much", "METRIC>=NUMBER"),
        ("episode/return=>4", "METRIC>=NUMBER"),
    ],
)
def test_what_can_not_be_stopped_by(text, message, tmp_path):
    with pytest.raises(RunError, match=message):
        trained(tmp_path / "none", {"every": 2, "stop_when": text})
    assert not (tmp_path / "none").exists()


def test_conditions():
    metrics = {"a": np.array([[1.0, 2.0, np.nan]])}
    for text, expected in {"a>=2": [0, 1, 0], "a <= 1": [1, 0, 0], "a>1": [0, 1, 0], "a<2": [1, 0, 0]}.items():
        assert parse_condition(text).holds(metrics).tolist() == [list(map(bool, expected))]
    assert parse_condition("episode/return>=-1e3") == ("episode/return", ">=", -1000.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"evaluation.ever": 3}, "did you mean 'evaluation.every'"),
        ({"evaluation.every": -3}, "evaluation.every must be at least 0"),
        ({"evaluation.every": 2.5}, "evaluation.every must be an integer"),
        ({"evaluation.episodes": 3}, "evaluations that are never made"),
        ({"evaluation.every": 0, "evaluation.steps": 3}, "evaluation.steps is said of evaluations that are never made"),
        ({"evaluation.stop_when": "soon"}, "METRIC>=NUMBER"),
        ({"evaluation.every": [2, 3]}, "shapes the program"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        resolve("ppo", "CartPole-v1", settings=settings)


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    """PPO with and without evaluations; so high a learning rate makes its policy worse again."""
    place = tmp_path_factory.mktemp("best")
    settings = {"num_envs": 4, "num_steps": 16, "layers": (8,), "learning_rate": 0.02}
    evaluation = {"evaluation.every": 1, "evaluation.episodes": 4}
    for name, more in {"plain": {}, "run": evaluation}.items():
        setup = Setup("ppo", "CartPole-v1", settings=settings | more)
        Job(setup, place / name, 1024, seeds=(0, 1), log_every=1).train(progress=False)
    return place / "run"


def test_the_best_checkpoint_is_that_of_the_best_evaluation(best):
    metrics = RunFolder(best).metrics()
    means = metrics.groupby("iteration")["evaluation/env_return"].mean()
    (kept,) = saved_iterations(best / "best")
    assert kept == means.idxmax() < metrics["iteration"].max()
    newest, finest = load(best), load(best, best=True)
    assert int(finest.state.iteration) == kept < int(newest.state.iteration)
    # The episodes of that evaluation, again: what was logged is what the checkpoint does.
    key, config = jax.random.key(0), EvaluationConfig(every=1, episodes=4)
    again = evaluate_policy(finest.env, finest.env_params, finest.policy, evaluation_key(key, kept), config)
    logged = metrics.query("iteration == @kept and seed == 0")["evaluation/env_return"].item()
    assert float(again["evaluation/env_return"]) == logged
    assert evaluate(best, best=True, episodes=2).episodes.returns.shape == (2,)


def test_a_real_agent_does_not_notice_either(best):
    jax.tree.map(np.testing.assert_array_equal, load(best).params, load(best.with_name("plain")).params)


def test_without_evaluations_there_is_no_best(best):
    with pytest.raises(RunError, match="--evaluate-every"):
        load(best.with_name("plain"), best=True)


def test_where_nothing_ends_it_is_rewards_a_step():
    """Always right is 2 every 5 steps."""
    env, params = make("average/two_choice")
    right = lambda carry, observation, key: (carry, jnp.int32(1))  # noqa: E731
    config = EvaluationConfig(every=1, episodes=2, steps=50)
    found = evaluate_policy(env, params, Policy(lambda: (), right, right), jax.random.key(0), config)
    rates = {name: pytest.approx(2 / 5, rel=1e-6) for name in ("average_reward", "average_env_reward")}
    assert {name.removeprefix("evaluation/"): float(value) for name, value in found.items()} == rates


def test_of_a_game_there_is_what_each_agent_has():
    env, params = make("games/mini_gems")
    still = lambda carry, observation, key: (carry, jnp.full(2, 4))  # noqa: E731
    config = EvaluationConfig(every=1, episodes=3, steps=20)
    found = evaluate_policy(env, params, Policy(lambda: (), still, still), jax.random.key(0), config)
    each = [float(found[f"evaluation/return/{agent}"]) for agent in (0, 1)]
    assert float(found["evaluation/return"]) == pytest.approx(np.mean(each))
    assert "evaluation/return/2" not in found
