"""Jobs: which choices share a program, what a folder says of its job, and going on from some members of a run."""

import math
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest

from jaxreward.run.job import Job, Setup, job_of, split, warn_of_long_schedules
from jaxreward.run.plan import Start
from jaxreward.run.spec import resolve
from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.train import load_state

SIZES = {"num_envs": 4, "num_steps": 16, "num_minibatches": 1, "num_epochs": 1, "layers": (8,)}
SETUP = Setup(settings=SIZES)
RATES = ({"learning_rate": 1e-3}, {"learning_rate": 3e-3}, {"learning_rate": 1e-2})


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    job = Job(SETUP, tmp_path_factory.mktemp("jobs") / "parent", 64 * 4, RATES, (0, 1, 2), log_every=2)
    job.train(progress=False)
    return job


def test_choices_are_sorted_by_the_program_they_need():
    choices = [
        {"learning_rate": 1e-3, "num_envs": 8},
        {"learning_rate": 1e-3, "num_envs": 16},
        {"discount": 0.9, "num_envs": 8},
        {"env": "Acrobot-v1", "num_envs": 8},
        {"env.gravity": 5.0, "num_envs": 8},
    ]
    groups = split(SETUP, choices)
    assert [group.indices for group in groups] == [[0, 2, 4], [1], [3]]
    assert groups[0].members == [{"learning_rate": 1e-3}, {"discount": 0.9}, {"env.gravity": 5.0}]
    assert [group.setup.settings["num_envs"] for group in groups] == [8, 16, 8]
    assert [group.setup.env for group in groups] == ["CartPole-v1", "CartPole-v1", "Acrobot-v1"]
    assert all(group.setup.settings["layers"] == (8,) for group in groups)


def test_members_need_not_have_the_same_names():
    job = Job(replace(SETUP, settings={**SIZES, "clip": 0.3}), "unused", 1, ({"discount": 0.9}, {"clip": 0.1}))
    hyperparams = job.experiment().hyperparams
    np.testing.assert_array_equal(hyperparams.discount, np.float32([0.9, 0.99]))
    np.testing.assert_array_equal(hyperparams.clip, np.float32([0.3, 0.1]))


def test_a_folder_says_what_its_job_was(parent):
    assert job_of(parent.folder) == parent
    assert job_of(parent.folder, steps=1000) == replace(parent, steps=1000)


def test_infinite_settings_come_back(tmp_path):
    members = ({"value_clip": math.inf}, {"value_clip": 0.2})
    job = Job(SETUP, tmp_path / "run", 64, members, log_every=1)
    job.train(progress=False)
    assert job_of(job.folder) == job


def test_a_job_is_finished_at_its_end_and_not_when_it_grows(parent, tmp_path):
    assert parent.finished()
    assert not replace(parent, folder=tmp_path / "none").finished()
    config = RunFolder(parent.folder).read_config()
    (tmp_path / "longer").mkdir()
    RunFolder(tmp_path / "longer").write_config({**config, "iterations": config["iterations"] + 1})
    assert not RunFolder(tmp_path / "longer").finished()


def test_members_that_go_on_do_as_if_they_had_never_stopped(parent, tmp_path):
    whole = replace(parent, folder=tmp_path / "whole", steps=64 * 8)
    kept = replace(whole, folder=tmp_path / "kept", members=(RATES[2], RATES[0]), seeds=(2, 0))
    kept = replace(kept, start=Start(parent.folder, (2, 0)))
    everything, part = whole.train(progress=False), kept.train(progress=False)
    expected = everything.metrics[everything.metrics["iteration"] > 4]
    expected = expected[expected["learning_rate"].ne(RATES[1]["learning_rate"]) & expected["seed"].ne(1)]
    order = ["iteration", "learning_rate", "seed"]
    columns = [*order, "env_steps", "failed", "episode/count", "episode/return", "loss/value"]
    left, right = (f.sort_values(order)[columns].reset_index(drop=True) for f in (expected, part.metrics))
    # Another batch size may be summed in another order.
    pd.testing.assert_frame_equal(left, right, rtol=1e-3)
    assert job_of(kept.folder).start == kept.start


def test_a_start_that_does_not_fit_is_refused(parent, tmp_path):
    job = replace(parent, folder=tmp_path / "run", steps=64 * 8, start=Start(parent.folder, (0, 1, 2)))
    with pytest.raises(RunError, match=r"has no seed 7"):
        replace(job, seeds=(0, 7)).train(progress=False)
    with pytest.raises(RunError, match=r"member 1 of .* is \{'learning_rate': 0.003\}"):
        replace(job, members=(RATES[0], RATES[0], RATES[2])).train(progress=False)
    with pytest.raises(RunError, match="3 members can't go on from members"):
        replace(job, start=Start(parent.folder, (0, 3, 1))).train(progress=False)
    with pytest.raises(RunError, match="a checkpoint of iteration 4 alone"):
        replace(job, steps=64 * 3).train(progress=False)


def test_the_first_iteration_after_a_start_has_the_same_bits(parent, tmp_path):
    """At the same batch size nothing may differ at all."""
    straight = replace(parent, folder=tmp_path / "straight", steps=64 * 6)
    onward = replace(straight, folder=tmp_path / "onward", start=Start(parent.folder, (0, 1, 2)))
    straight.train(progress=False)
    onward.train(progress=False)
    experiment = straight.experiment()
    states = [load_state(job.folder, experiment.agent, experiment.member(0)) for job in (straight, onward)]
    for left, right in zip(*map(jax.tree.leaves, states), strict=True):
        left, right = (jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
                       for x in (left, right))  # fmt: skip
        np.testing.assert_array_equal(left, right)


def test_a_schedule_that_is_longer_than_the_run_is_told(tmp_path):
    """Nothing is trained or compiled."""
    file = tmp_path / "fading.py"
    file.write_text(
        "from jaxreward.rewards import environment_reward, linear, schedule, steps\n"
        "reward = schedule(environment_reward(), linear(1.0, 0.0), steps(10_000))\n"
    )
    experiment = resolve("ppo", "CartPole-v1", f"{file}:reward")
    with pytest.warns(UserWarning, match=r"reward.progress.number=10,000 is longer than the run, which has 2,500"):
        warn_of_long_schedules(experiment, 2_500)
    warn_of_long_schedules(experiment, 10_000)
    settings = {"population": 4, "space": ("learning_rate=log(1e-4,1e-2)",), "reward.progress.number": [9_000, 10_001]}
    population = resolve("pbt/ppo", "CartPole-v1", f"{file}:reward", settings)
    with pytest.warns(UserWarning, match=r"number=10,001 is longer than a member of the population, which has 10,000"):
        warn_of_long_schedules(population, 40_000)
    warn_of_long_schedules(population, 40_004)
