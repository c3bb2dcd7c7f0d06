"""The search benchmark's own logic: that both searchers are asked the same, and what is made of their answers."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from jaxreward.experiments.benchmarks import search as benchmark
from jaxreward.experiments.benchmarks.search import SPACE, TASKS, Found, Options, peer_spec, search_arguments, table
from jaxreward.results.statistics import Estimate
from jaxreward.run.job import Setup
from jaxreward.search.check import check_space
from jaxreward.settings.text import parse_space
from jaxreward.settings.values import parse_settings

# The bounds of ARLBench 0.1.3's PPO, outside of which it refuses a configuration.
PEERS_BOUNDS = {
    "learning_rate": (1e-6, 0.1),
    "clip_eps": (0.0, 0.5),
    "ent_coef": (0.0, 0.5),
    "gae_lambda": (0.8, 0.9999),
    "gamma": (0.8, 1.0),
}


def option(arguments, name):
    """The words after an option."""
    rest = arguments[arguments.index(name) + 1 :]
    return rest[: next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))]


@pytest.mark.parametrize("name", TASKS)
def test_both_search_the_same_space_with_the_same_sizes(name, tmp_path):
    task = TASKS[name]
    arguments = search_arguments(task, task.trials, tmp_path, 0, task.trials)
    space, settings = parse_space(option(arguments, "--space")), parse_settings(option(arguments, "--set"))
    spec = peer_spec(task, 60.0, 0)
    for ours, (theirs, *bounds) in SPACE.items():
        assert [space[ours].low, space[ours].high, space[ours].log] == bounds == spec["space"][theirs]
    rollout = settings["num_envs"] * settings["num_steps"]
    assert spec["num_envs"] == settings["num_envs"]
    assert spec["configuration"]["n_steps"] == settings["num_steps"]
    assert spec["configuration"]["minibatch_size"] * settings["num_minibatches"] == rollout
    assert spec["configuration"]["update_epochs"] == settings["num_epochs"]
    assert [int(option(arguments, f"--{key}")[0]) for key in ("steps", "seeds")] == [spec["steps"], spec["seeds"]]


def test_the_space_is_one_that_both_take():
    for theirs, low, high, _ in SPACE.values():
        assert PEERS_BOUNDS[theirs][0] <= low < high <= PEERS_BOUNDS[theirs][1]
    space = parse_space(option(search_arguments(TASKS["cartpole"], 1, "f", 0, 1), "--space"))
    check_space(space, Setup(settings=TASKS["cartpole"].sizes))


def test_ours_is_compared_with_each_by_trials_in_equal_time():
    found = [
        Found("ours", 256, 120.0, {}, 400.0, 4.0, 100.0, Estimate(300.0, 250.0, 350.0)),
        Found("peer", 16, 240.0, {}, 450.0),
    ]
    assert [each.rate for each in found] == [128.0, 4.0]
    console = Console(width=200, file=io.StringIO())
    console.print(table(TASKS["cartpole"], found))
    text = console.file.getvalue()
    assert "32.0" in text
    assert "300 [250, 350]" in text


def test_a_peer_that_finishes_nothing_is_an_error(monkeypatch, tmp_path):
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nexit 1\n")
    silent.chmod(0o755)
    monkeypatch.setattr(benchmark.peers, "build", lambda *_: silent)
    with pytest.raises(RuntimeError, match="2 processes finished no trial"):
        benchmark.run_peer(TASKS["cartpole"], 2, 1.0, tmp_path, 0)


def test_a_peers_best_trial_is_told_under_our_names(monkeypatch, tmp_path):
    speaking = tmp_path / "python"
    lines = [
        '{"seconds": 1, "value": 1.0, "params": {"gamma": 0.9}}',
        '{"seconds": 2, "value": 3.0, "params": {"gamma": 0.95}}',
    ]
    speaking.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    speaking.chmod(0o755)
    monkeypatch.setattr(benchmark.peers, "build", lambda *_: speaking)
    found = benchmark.run_peer(TASKS["cartpole"], 1, 1.0, tmp_path, 0)
    assert (found.trials, found.best, found.value) == (2, {"discount": 0.95}, 3.0)


def test_options_replace_the_tasks_numbers():
    task = benchmark._task("cartpole", Options(trials=8, steps=100))
    assert task == replace(TASKS["cartpole"], trials=8, steps=100)
    assert np.prod([task.trials, task.seeds, task.steps]) == 8 * 4 * 100
    with pytest.raises(SystemExit, match="no task 'pong'; there are cartpole, pendulum"):
        benchmark._task("pong", Options())
