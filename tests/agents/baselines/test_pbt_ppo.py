"""`pbt/ppo`: a population as an agent by name, trained, resumed and evaluated as any other."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.registry import get_agent, list_agents
from jaxreward.cli import main
from jaxreward.results.tables import load
from jaxreward.run.job import Job, Setup, job_of, split
from jaxreward.run.spec import resolve
from tests.as_users import AS_USERS

SIZES = {"num_envs": 4, "num_steps": 16, "num_minibatches": 1, "num_epochs": 1, "layers": (8,)}
POPULATION = {
    "population": 4,
    "ready_iterations": 2,
    "space": ("learning_rate=log(1e-5,1e-1)", "clip=uniform(0.1,0.4)"),
}
SETUP = Setup(agent="pbt/ppo", settings=SIZES | POPULATION)
ITERATION = 4 * 4 * 16
AGENT = """
from jaxreward.agents.baselines.ppo import Config, Hyperparams, ppo


def agent(env, env_params, config):
    return ppo(env, env_params, config)
"""
REWARD = """
def tilted(params, transition):
    return params["weight"] * transition.reward

tilted.params = {"weight": 1.0}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the command line: two seeds, each a population of four."""
    folder = tmp_path_factory.mktemp("pbt") / "run"
    sizes = [f"{name}={value}" for name, value in SIZES.items()]
    space = "space=learning_rate=log(1e-5,1e-1); clip=uniform(0.1,0.4)"
    told = ["--set", *sizes, "population=4", "ready_iterations=2", space, "--log-every", "2", "--quiet"]
    what = ["--agent", "pbt/ppo", "--env", "CartPole-v1", "--folder", str(folder)]
    assert main(["train", *what, "--steps", str(ITERATION * 6), "--seeds", "2", *told]) == 0
    return folder


def test_it_trains_from_the_command_line(trained):
    frame = load(trained)
    assert frame["env_steps"].max() == ITERATION * 6
    assert len(frame) == 2 * 3
    assert not frame["failed"].any()
    for name, low, high in (("learning_rate", 1e-5, 1e-1), ("clip", 0.1, 0.4)):
        for kind in ("best", "median"):
            assert frame[f"pbt/{kind}/{name}"].between(low * (1 - 1e-6), high * (1 + 1e-6)).all()
    assert (frame["pbt/exploited"] * 2).isin([0, 1]).all()
    assert frame["pbt/exploited"].any()
    assert frame["episode/return_of_best"].notna().all()


def test_a_resumed_population_has_the_same_bits(trained, tmp_path, capsys):
    job = job_of(trained)
    assert job.setup.agent == "pbt/ppo"
    part = Job(job.setup, tmp_path / "part", ITERATION * 3, seeds=(0, 1), log_every=2)
    part.train(progress=False)
    assert main(["train", "--resume", "--folder", str(part.folder), "--steps", str(ITERATION * 6), "--quiet"]) == 0
    columns = ["iteration", "seed", "episode/return", "episode/return_of_best", "pbt/best/clip", "loss/value"]
    whole, resumed = (load(path).query("iteration in (2, 6)")[columns] for path in (trained, part.folder))
    np.testing.assert_array_equal(whole.to_numpy(), resumed.to_numpy())


def test_the_best_member_is_evaluated(trained, capsys):
    assert main(["evaluate", str(trained), "--seed", "1", "--episodes", "4"]) == 0
    assert re.search(r"4 episodes of member 0, seed 1\n  return +\d", capsys.readouterr().out)


def test_it_is_listed(capsys):
    assert "pbt/ppo" in list_agents()
    assert len(list_agents()) == 2 * sum(not name.startswith("pbt/") for name in list_agents())
    assert main(["list", "agents"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"  pbt/ppo sizes\n(    .*\n)*    num_envs = 64\n", text)
    assert "    ready_iterations = 10\n" in text


def test_its_sizes_need_programs_and_the_rest_is_traced():
    groups = split(SETUP, [{"population": 2}, {"population": 3}, {"discount": 0.9}, {"discount": 0.99}])
    assert [group.indices for group in groups] == [[0], [1], [2, 3]]


def test_a_population_of_a_users_agent(tmp_path):
    (tmp_path / "mine.py").write_text(AGENT)
    experiment = resolve(f"pbt/{tmp_path}/mine.py:agent", "CartPole-v1", settings=SIZES | POPULATION)
    assert experiment.steps_per_iteration == ITERATION


def test_a_weight_within_the_reward_is_searched(tmp_path):
    (tmp_path / "my_reward.py").write_text(REWARD)
    settings = SIZES | {"population": 3, "space": ("reward.weight=uniform(1,2)",), "score": "episode/env_return"}
    experiment = resolve("pbt/ppo", "CartPole-v1", f"{tmp_path}/my_reward.py:tilted", settings)
    state = jax.jit(experiment.agent.init)(jax.random.key(0), experiment.member(0))
    weight = state.members.hyperparams.env_params.reward["weight"]
    assert len(np.unique(weight)) == 3
    assert 1 <= float(weight.min()) <= float(weight.max()) <= 2
    assert "pbt/best/reward.weight" in jax.eval_shape(experiment.agent.step, state)[1]
    with pytest.raises(ValueError, match=r"reward\.weight changes the reward, .* score=episode/env_return"):
        resolve("pbt/ppo", "CartPole-v1", f"{tmp_path}/my_reward.py:tilted", settings | {"score": "episode/return"})


def test_gravity_is_searched():
    settings = SIZES | {"population": 3, "space": ("env.gravity=uniform(5,15)",)}
    experiment = resolve("pbt/ppo", "CartPole-v1", settings=settings)
    state = jax.jit(experiment.agent.init)(jax.random.key(0), experiment.member(0))
    assert len(np.unique(state.members.hyperparams.env_params.gravity)) == 3


def test_a_population_does_better_than_its_members_would_alone():
    """Populations of eight with mostly bad learning rates, with and without exploitation from the same keys.

    Each of 8 seeds does better with it, of which the chance without an effect is 1 in 256. By more than 100 do all but
    one, so the median effect is above that with the confidence of a sign test, 1 - 9/256.
    """
    sizes = {"num_envs": 4, "num_steps": 32, "num_minibatches": 2, "num_epochs": 2, "layers": (16,)}
    how = {"population": 8, "ready_iterations": 6, "space": ("learning_rate=log(1e-6,1e-1)",)}
    experiment = resolve("pbt/ppo", "CartPole-v1", settings=sizes | how)

    @partial(jax.jit, compiler_options=AS_USERS)
    @partial(jax.vmap, in_axes=(0, None))
    @partial(jax.vmap, in_axes=(None, 0))
    def run(key, exploits):
        first = experiment.agent.init(key, experiment.member(0))
        begin = jnp.where(exploits, 0, -1000)  # as if there were so many iterations to go
        first = first._replace(window=first.window._replace(iterations=begin))
        metrics = jax.lax.scan(lambda state, _: experiment.agent.step(state), first, length=80)[1]
        count, mean = metrics["episode/count"][-10:], metrics["episode/return"][-10:]
        return jnp.nansum(count * mean) / count.sum(), metrics["pbt/exploited"].sum()

    returns, exploited = run(jax.random.split(jax.random.key(0), 8), jnp.array([False, True]))
    assert not exploited[:, 0].any()
    better = np.sort(returns[:, 1] - returns[:, 0])
    assert better[0] > 0
    assert better[1] > 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": ("learning_rat=log(1e-5,1e-1)",)}, r"no hyperparameter to search 'learning_rat'; did you mean 'l"),
        ({"space": ("num_envs=integer(1,4)",)}, "no hyperparameter to search 'num_envs'"),
        ({"space": ("clip=choice(0.1,0.2)",)}, r"clip=choice\(0\.1,0\.2\) can't be searched by a population"),
        ({"space": ("clip=uniform(0.1,0.2) if discount=1",)}, "without conditions"),
        ({"space": ("clip=unform(0.1,0.2)",)}, r"did you mean uniform"),
        ({"space": ("clip=uniform(0.2,0.1)",)}, "clip: a range goes from a lower to a higher number"),
        ({"fraction": 0.7}, r"fraction must be at least 0 and at most 0\.5; got 0\.7"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_compiles(settings, message):
    with pytest.raises(ValueError, match=message):
        resolve("pbt/ppo", "CartPole-v1", settings=SIZES | settings)


def test_a_population_of_an_agent_is_made_once_and_not_that_of_another():
    assert get_agent("pbt/ppo") is get_agent("pbt/ppo")
    assert get_agent("pbt/a2c").Config is not get_agent("pbt/ppo").Config


def test_a_population_of_populations_is_refused():
    with pytest.raises(ValueError, match="no population of pbt/ppo: its Config has fraction, maximise"):
        get_agent("pbt/pbt/ppo")
    with pytest.raises(ValueError, match="no agent 'pppo'; did you mean 'ppo'"):
        get_agent("pbt/pppo")
