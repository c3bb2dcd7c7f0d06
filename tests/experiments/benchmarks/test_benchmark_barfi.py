"""The BARFI benchmark's own logic: that both train the same, how the authors' code is run, and what is concluded."""

import dataclasses
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from rich.console import Console

from jaxreward.agents.registry import get_agent
from jaxreward.experiments.benchmarks import barfi as benchmark
from jaxreward.experiments.benchmarks.barfi import BOUNDS, NUMBERS, SWEEP, TASKS, Options, entries, spec
from jaxreward.experiments.benchmarks.ours import run_barfi as ours
from jaxreward.experiments.benchmarks.ours import run_ours
from jaxreward.experiments.benchmarks.parts import authors
from jaxreward.experiments.benchmarks.parts.authors import BATCHED
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import run_barfi_authors

# What the authors' program does with its surroundings: where it reads and writes, what it imports and prints.
MAIN = """
import json, os, sys, time
sys.path.append(os.getcwd())
from src.solver import line
with open(sys.argv[1]) as file:
    experiment = json.load(file)
os.makedirs("results")
open("results/data", "w").close()
print("Policy: ", experiment)
for episode in range(experiment["max_episodes"]):
    print(line.format(episode, 0.5 * episode + 10 * experiment["seed"]))
"""
SOLVER = 'line = "{} :: Rewards {:.3f} :: Aux Rewards 1.000 :: Gamma 0.99 :: Time: 0.007(0.00061/step)"\n'


def checkout(folder):
    files = {"src/main.py": MAIN, "src/solver.py": SOLVER}
    empty = ("src/algorithms/BarfiNeumann.py", "src/environments/Maze_badreward.py")
    for name, text in {**files, **dict.fromkeys(empty, "")}.items():
        path = folder / "barfi-gw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def printed(table):
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def fake_python(folder, *lines):
    """A program that says some lines whatever it is asked."""
    path = folder / "python"
    path.write_text("#!/bin/sh\n" + "".join(f"echo '{json.dumps(line)}'\n" for line in lines))
    path.chmod(0o755)
    return path


def run_authors(tmp_path):
    options = Options(checkout(tmp_path / "repository"), episodes=30)
    told = benchmark.authors_spec(TASKS["barfi_bad"], options, seed=3)
    command = [sys.executable, "-P", str(run_barfi_authors.__file__), json.dumps(told)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)


def test_their_program_runs_as_it_is_with_our_numbers(tmp_path):
    process = run_authors(tmp_path)
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    assert [line["return"] for line in lines] == [0.5 * episode + 10 * 4 for episode in range(30)]
    assert all(line["seconds"] >= 0 for line in lines)
    assert "Policy" in process.stderr


def test_their_checkout_is_left_as_it_was(tmp_path):
    before = {path for path in checkout(tmp_path / "repository").rglob("*")}
    run_authors(tmp_path)
    assert {path for path in (tmp_path / "repository").rglob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]


def test_a_round_leaves_out_the_first_episodes_seconds(tmp_path):
    lines = [{"seconds": 9.0 if i == 0 else 0.5, "return": float(i)} for i in range(30)]
    options = Options(tmp_path, episodes=30)
    found = benchmark.authors_round(fake_python(tmp_path, *lines), TASKS["barfi_bad"], options, 0)
    assert found["run_s"] == 14.5
    assert found["tenths"] == [[3.0 * i + 1 for i in range(10)]]


def test_fewer_episodes_than_asked_for_are_an_error(tmp_path):
    python = fake_python(tmp_path, {"seconds": 1.0, "return": 0.0})
    with pytest.raises(RuntimeError, match="reported 1 of 2001 episodes"):
        benchmark.authors_round(python, TASKS["barfi_bad"], Options(tmp_path), 0)


def test_a_crowd_is_as_slow_as_its_slowest(tmp_path):
    lines = [{"seconds": 0.5, "return": float(i)} for i in range(30)]
    options = Options(tmp_path, episodes=30)
    found = benchmark.crowd(fake_python(tmp_path, *lines), TASKS["barfi_bad"], options, 3)
    assert found["run_s"] == 14.5
    assert np.shape(found["tenths"]) == (3, 10)


@pytest.mark.parametrize("name", TASKS)
def test_both_train_at_the_same_numbers(name, tmp_path):
    task = TASKS[name]
    theirs = benchmark.authors_spec(task, Options(tmp_path, episodes=100), 0)["experiment"]
    told = spec(task, Options(tmp_path, episodes=100))
    assert theirs["max_episodes"] == told["num_envs"] * told["iterations"] == 102
    assert theirs["delta"] == told["num_envs"]
    for ours_called, values in told["hyperparams"].items():
        assert values == [theirs[NUMBERS[ours_called][0]]]


@pytest.mark.parametrize("name", TASKS)
def test_what_ours_is_told_is_known_to_it(name, tmp_path):
    task, agent = TASKS[name], get_agent(TASKS[name].agent)
    known = {field.name for field in dataclasses.fields(agent.Hyperparams)}
    assert {*task.numbers} <= known
    if task.agent == "barfi":  # all there is of it, but for the solvers not used
        assert known - {*task.numbers} == {"damping", "max_grad_norm", "env_params"}
    config = agent.Config(**task.options)
    if task.agent == "barfi":
        assert (config.buffer, config.batch, config.num_terms) == tuple(
            benchmark.FIXED[name] for name in ("buffer_size", "batch_size", "Neumann_loops")
        )


def test_products_are_of_all_that_an_iteration_reads():
    config = get_agent("barfi").Config(**TASKS["barfi_bad"].options)
    inner, primary, curvature = TASKS["barfi_bad"].reads
    assert inner == (config.batch, config.inner_steps)
    assert primary == (config.outer_batch, 1)
    assert curvature == (config.curvature_batch, config.num_terms + 2)


def told(fields):
    """A spec as `contender.py` reads it."""
    return json.loads(json.dumps(fields), object_hook=lambda each: SimpleNamespace(**each))


def small(name, tmp_path, **changes):
    task = TASKS[name]
    options = {**task.options, **({"warm_up": 6, "buffer": 9} if task.agent == "barfi" else {})}
    return told({**spec(replace(task, options=options), Options(tmp_path, episodes=12)), "seeds": 4, **changes})


@pytest.mark.parametrize("name", ["barfi_bad", "reinforce_bad"])
def test_runs_take_hyperparameters_in_turns_and_report_the_primary_return(name, tmp_path, monkeypatch):
    monkeypatch.setattr(run_ours, "batch", jax.vmap)
    told_all = small(name, tmp_path)
    told_all.hyperparams.learning_rate = [0.0, 5e-3]
    train, finish = ours.build(told_all)
    output = jax.jit(ours.batch(train))(np.tile(jax.random.PRNGKey(1), (4, 1)))
    for leaf in jax.tree.leaves(output["params"].policy):
        assert np.array_equal(leaf[:2], leaf[2:])
        assert not np.array_equal(leaf[0], leaf[1])
    report = finish(output)
    assert report["returns"].shape == report["episodes"].shape == (4, 4)
    # An episode costs 0.1 for each of 1 to 50 steps, the goal pays 100; the box in the middle would pay more.
    of_three = 3 * report["returns"]
    goals = np.round((of_three + 15) / 100)
    assert (of_three <= 100 * goals).all()
    assert (of_three >= 100 * goals - 15.001).all()


@pytest.mark.parametrize("part", BOUNDS)
def test_bounds_run(part, tmp_path):
    train, finish = ours.build(small("barfi_bad", tmp_path, part=part))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(train)(jax.random.PRNGKey(0))))
    assert finish(None) == {}


def measured(name, run_s, amount=1000, seeds=1, tenths=None):
    runs = [{"run_s": s, "load": 0.5, **({"tenths": tenths} if tenths else {})} for s in run_s]
    ready = {"trace_s": 1.0, "compile_s": 2.0}
    return Measured("barfi_bad", name, name == "authors", seeds, amount, {}, "", ready, runs)


def test_shares_are_of_ours_alone_and_batched():
    seconds = {"ours": 2.0, "environment": 0.2, "products": 1.0}
    rows = [measured(name, [s, s]) for name, s in seconds.items()]
    rows += [measured(f"{name}, batched", [s / 2, s / 4], amount=20_000) for name, s in seconds.items()]
    text = printed(authors.share_table({"barfi_bad": rows}, BOUNDS, "episode"))
    assert all(text.count(share) == 2 for share in ("10%", "50%", "60%"))
    assert "2000" in text  # microseconds an episode
    assert "38" in text


def test_the_grid_is_the_authors():
    grid = benchmark.configurations()
    assert len(grid) == len({tuple(each.values()) for each in grid}) == 20
    assert {NUMBERS[name][1] for name in benchmark.GRID} == {5e-3, 0.25, 0.0}
    assert {"learning_rate": 5e-3, "discount_penalty": 0.25, "reward_penalty": 0.0} in grid


def test_the_best_configuration_is_that_of_its_own_runs():
    last = np.tile([1.0, 3.0, 2.0], 4) + np.repeat([0.0, 0.0, 1.0, 1.0], 3)
    index, said = benchmark.best(last, {"learning_rate": [0.1, 0.2, 0.3]})
    assert index == 1
    assert said.startswith("3.5 [2.6, 4.4]")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("barfi_goood",)}, "no task 'barfi_goood'; did you mean 'barfi_good'"),
        ({"tasks": ("reinforce_bad",), "sweep": True}, "no task with --sweep 'reinforce_bad'"),
        ({"episodes": 20}, "--episodes 20: learning curves have ten points, give 30 or more"),
        ({"rounds": 1}, "intervals need 2 or more"),
        ({"checkout": Path("nowhere")}, "nowhere has no barfi-gw/src/main.py"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes, message, tmp_path):
    options = Options(checkout(tmp_path))
    benchmark.check(options)
    with pytest.raises(ValueError, match=message):
        benchmark.check(replace(options, **changes))


class FakeContender:
    """One that answers at once."""

    def __init__(self, python, told, flags, timeout):
        self.told, self.ready, self.runs, self.failure = told, {"trace_s": 1.0, "compile_s": 1.0}, [], ""

    def prepare(self):
        """It is ready."""

    def run(self, seed):
        self.runs.append({"run_s": 0.5, "load": 0.0, "tenths": [[float(i)] * 10 for i in range(self.told["seeds"])]})

    def close(self):
        """There is nothing to end."""


@pytest.fixture
def faked(tmp_path, monkeypatch):
    """Options of a benchmark in which nothing takes time: 29 timed episodes of the authors' take 29 seconds."""
    monkeypatch.setattr(authors, "Contender", FakeContender)
    lines = [{"seconds": 1.0, "return": 0.0}] * 30
    monkeypatch.setattr(benchmark.peers, "build", lambda *_: fake_python(tmp_path, *lines))
    monkeypatch.setattr(benchmark.os, "cpu_count", lambda: 2)
    return Options(checkout(tmp_path), tasks=("barfi_good",), episodes=30, rounds=2)


def test_a_race_from_options_to_tables(faked):
    console = Console(width=200, file=io.StringIO())
    rows = benchmark.run(faked, console)
    batched = [f"{bound}, batched" for bound in BOUNDS]
    assert {row.name: len(row.runs) for row in rows} == dict.fromkeys(
        ["authors", "ours", BATCHED, *BOUNDS, *batched], 2
    )
    # 30 episodes in half a second, or 600, against 29 in 29 seconds.
    text = console.file.getvalue()
    assert all(said in text for said in ("60 (60 to 60)", "1200 (1200 to 1200)", "ours, batched, 40 seeds"))


def test_a_search_from_options_to_its_table(faked):
    console = Console(width=200, file=io.StringIO())
    authors_row, row = benchmark.run(replace(faked, sweep=True, seeds=4), console)
    assert row.name == SWEEP
    assert row.seeds == len(row.runs[0]["tenths"]) == 80
    assert row.spec["hyperparams"]["learning_rate"] == [5e-3] * 10 + [1e-3] * 10
    assert row.spec["hyperparams"]["alpha"] == [5e-4] * 20
    assert authors_row.amount == 2 * 29
    # 2,400 episodes in half a second against 58 in 29 seconds. The last runs return most: of configuration 19.
    assert all(
        said in console.file.getvalue() for said in ("4,800", "2400", "learning_rate=0.001, discount_penalty=16")
    )


def test_entries_spread_over_devices(tmp_path, monkeypatch):
    monkeypatch.setattr(authors.os, "cpu_count", lambda: 16)
    rows = entries("barfi_bad", Options(tmp_path))
    assert {row.name: row.flags.rpartition("=")[2] for row in rows if row.name.startswith("ours")} == {
        "ours": "1",
        BATCHED: "10",
    }
    assert [row.amount for row in rows if row.name in ("ours", BATCHED)] == [2001, 20 * 2001]
