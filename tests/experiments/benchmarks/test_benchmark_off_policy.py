"""The benchmark of agents that act by learned values: that everyone does the same work, and what is asked of whom."""

import json
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from jaxreward.agents.registry import get_agent
from jaxreward.experiments.benchmarks.off_policy import ALGORITHMS, Options, check, entries, memory
from jaxreward.experiments.benchmarks.ours import run_agents, run_products


def as_told(row, **changes):
    """What a contender makes of what it is told."""
    return json.loads(json.dumps({**row.spec, **changes}), object_hook=lambda fields: SimpleNamespace(**fields))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_everyone_does_the_same_work(name):
    rows = {row.name: row for row in entries(name, 30, 16)}
    assert set(rows) == {
        "ours", "ours, one device", "rejax", "rejax seq", "bound: environment", "bound: matmuls",
    }  # fmt: skip
    algorithm = ALGORITHMS[name]
    for row in rows.values():
        assert row.amount == 30 * algorithm.steps * 16
        assert Path(row.spec["program"]).is_file()
        assert row.is_peer == row.name.startswith("rejax")
    theirs, ours = algorithm.arguments, {**algorithm.config, **algorithm.hyperparams}
    same = {
        "learning_rate": "learning_rate", "gamma": "discount", "max_grad_norm": "max_grad_norm", "num_envs": "num_envs",
        "batch_size": "batch_size", "buffer_size": "capacity", "fill_buffer": "warm_up", "td_lambda": "trace_lambda",
        "num_minibatches": "num_minibatches", "eps_start": "epsilon_start", "eps_end": "epsilon_end",
    }  # fmt: skip
    ours.setdefault("max_grad_norm", 1e9)  # SAC and TD3 clip nothing
    assert all(theirs[their] == ours[our] for their, our in same.items() if their in theirs)
    agent = get_agent(algorithm.agent)
    assert set(vars(as_told(rows["ours"]).config)) <= set(agent.config_defaults())
    assert set(vars(as_told(rows["ours"]).hyperparams)) <= set(agent.hyperparam_defaults())


@pytest.mark.parametrize("name", ["dqn", "minatar"])
def test_targets_move_as_often_and_exploration_ends_as_soon(name):
    """rejax counts environment steps between targets, ours updates: 200 steps of 10 environments are 20 iterations."""
    algorithm, ours = ALGORITHMS[name], entries(name, 30, 1)[0].spec
    theirs = algorithm.arguments
    updates = theirs["target_update_freq"] / theirs["num_envs"] * theirs["num_epochs"]
    assert ours["hyperparams"]["target_period"] == updates
    assert algorithm.config["num_updates"] == theirs["num_epochs"]
    assert ours["hyperparams"]["epsilon_steps"] == theirs["exploration_fraction"] * 30 * algorithm.steps


def test_noise_is_as_large():
    """Ours is told in units of half the range of torques, which is from -2 to 2."""
    theirs, ours = ALGORITHMS["td3"].arguments, ALGORITHMS["td3"].hyperparams
    for their, our in (
        ("exploration_noise", "exploration"),
        ("target_noise", "smoothing"),
        ("target_noise_clip", "smoothing_clip"),
    ):
        assert theirs[their] == 2 * ours[our]
    for name in ("sac", "td3"):
        assert ALGORITHMS[name].hyperparams["target_step"] == pytest.approx(1 - ALGORITHMS[name].arguments["polyak"])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_ours_and_the_bounds_are_programs(name):
    rows = {row.name: row for row in entries(name, 3, 1)}
    train, finish = run_agents.build(as_told(rows["ours"]))
    output = jax.eval_shape(jax.vmap(train), jax.random.split(jax.random.PRNGKey(0), 2))
    assert jax.eval_shape(finish, output)["evaluation"].shape == (2,)
    for bound in ("environment", "matmuls"):
        assert jax.eval_shape(run_products.build(as_told(rows[f"bound: {bound}"]))[0], jax.random.PRNGKey(0))


def test_memory_is_told_of_those_that_ran():
    rows = entries("dqn", 30, 1)
    rows[0].runs = [{"peak_gb": 0.5}, {"peak_gb": 0.75}]
    assert memory(rows) == "memory: ours 0.75 GB"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"agents": ("dqm",)}, "no agent 'dqm'; did you mean 'dqn'"),
        ({"agents": ("dqn",)}, "give one number for each of"),
        ({"iterations": (2_000, 20, 1_000, 1_000, 2_000)}, "--iterations of 10 times --vmapped or more"),
        ({"rounds": 0}, "give 1 or more --rounds"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        check(Options(**options))
