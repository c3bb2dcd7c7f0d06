"""The SubPO benchmark's own logic: that both train the same, how the authors' code is run, and what is concluded."""

import io
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from rich.console import Console

from jaxreward.experiments.benchmarks import subpo as benchmark
from jaxreward.experiments.benchmarks.ours import run_ours, run_subpo
from jaxreward.experiments.benchmarks.parts import authors
from jaxreward.experiments.benchmarks.parts.authors import BATCHED
from jaxreward.experiments.benchmarks.parts.settings import DEVICES
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import run_subpo_authors
from jaxreward.experiments.benchmarks.subpo import BOUNDS, CURVES, TASKS, Options, entries, spec
from jaxreward.results.statistics import Estimate

PARAMS = {
    "env": {"horizon": 40, "node_weight": "GP"},
    "alg": {"epochs": 140, "lr": 1e-3},
    "common": {"batch_size": 500},
}

# What the authors' program does with its surroundings: where it reads, what it imports, whom it reports to.
MAIN = """
import argparse, os
import gpytorch, torch, wandb, yaml
from botorch.models import SingleTaskGP
from gpytorch.kernels import MaternKernel, ScaleKernel
from utils.environment import HERE

parser = argparse.ArgumentParser()
parser.add_argument("-param")
parser.add_argument("-env", type=int)
args = parser.parse_args()
with open("subrl/params/" + args.param + ".yaml") as file:
    params = yaml.safe_load(file)
print("it prints", params)
wandb.init(project="p", mode="online", config=params)
for epoch in range(params["alg"]["epochs"]):
    wandb.log({"mean": params["alg"]["lr"] + epoch + 10 * args.env + 100 * torch.seed, "max": 0})
wandb.finish()
"""
TORCH = "def manual_seed(number):\n    global seed\n    seed = number\n"


def checkout(folder):
    files = {"main.py": MAIN, "torch.py": TORCH, "utils/environment.py": "HERE = 1\n"}
    files["params/GP/subrl_M.yaml"] = yaml.safe_dump(PARAMS)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def printed(table):
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def fake_python(folder, *lines, code=0, error=""):
    """A program that says some lines whatever it is asked."""
    path = folder / "python"
    said = "".join(f"echo '{json.dumps(line)}'\n" for line in lines)
    path.write_text(f"#!/bin/sh\n{said}echo '{error}' >&2\nexit {code}\n")
    path.chmod(0o755)
    return path


def measured(name, run_s, amount=1000, tenths=None, **fields):
    runs = [{"run_s": s, "load": 0.5, **({"tenths": tenths} if tenths else {})} for s in run_s]
    ready = {"trace_s": 1.0, "compile_s": 2.0}
    return Measured("GP", name, name == "authors", 1, amount, {"iterations": 10}, "", ready, runs, **fields)


def field(**changes):
    """Everyone that is raced, the authors ten times slower than ours."""
    flat = [[1.0] * 10, [2.0] * 10]
    rows = {
        "authors": measured("authors", [10.0, 12.0], tenths=flat),
        "ours": measured("ours", [1.0, 2.0]),
        BATCHED: measured(BATCHED, [1.0, 1.0], amount=20_000),
        "environment": measured("environment", [0.15, 0.15]),
        "rewarded": measured("rewarded", [0.3, 0.3]),
        "network": measured("network", [0.6, 0.6]),
        "prefix": measured("prefix", [1.0], tenths=[[1.5] * 10, [1.6] * 10]),
        "to_go": measured("to_go", [1.0], tenths=[[0.1] * 10, [0.2] * 10]),
        "our defaults": measured("our defaults", [1.0], tenths=[[3.0] * 10] * 2),
    }
    return list({**rows, **changes}.values())


def run_authors(tmp_path, **changes):
    task = replace(TASKS["gp_coverage"], num_envs=6, horizon=4, learning_rate=0.5)
    options = Options(checkout(tmp_path / "repository"), epochs=10)
    told = {**benchmark.authors_spec(task, options, seed=3), **changes}
    command = [sys.executable, "-P", str(run_subpo_authors.__file__), json.dumps(told)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)


def test_their_program_runs_as_it_is_with_our_numbers_in_its_parameters(tmp_path):
    process = run_authors(tmp_path)
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    assert [line["mean_return"] for line in lines] == [0.5 + epoch + 10 * 1 + 100 * 3 for epoch in range(10)]
    assert {line["steps"] for line in lines} == {6 * 3}
    assert all(line["seconds"] > 0 for line in lines)
    assert "it prints" in process.stderr


def test_their_checkout_is_left_as_it_was(tmp_path):
    run_authors(tmp_path)
    root = tmp_path / "repository"
    assert yaml.safe_load((root / "params" / "GP" / "subrl_M.yaml").read_text()) == PARAMS
    assert not list(root.rglob("benchmark.yaml"))
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]


def test_parameters_keep_what_is_not_changed(tmp_path):
    workspace = run_subpo_authors.prepare(
        checkout(tmp_path / "repository"), tmp_path, "GP/subrl_M", {"alg": {"epochs": 3}}
    )
    params = yaml.safe_load((workspace / "params" / "benchmark.yaml").read_text())
    assert params == {**PARAMS, "alg": {"epochs": 3, "lr": 1e-3}}
    assert (workspace / "main.py").read_text() == MAIN


def test_a_round_leaves_out_the_first_epochs_seconds(tmp_path):
    task = TASKS["two_rooms"]
    lines = [{"seconds": 9.0 if i == 0 else 0.5, "steps": 117_000, "mean_return": float(i)} for i in range(10)]
    found = benchmark.authors_round(fake_python(tmp_path, *lines), task, Options(tmp_path, epochs=10), 0)
    assert found["run_s"] == 4.5
    assert found["tenths"] == [[float(i) for i in range(10)]]


def test_other_work_than_ours_is_an_error(tmp_path):
    line = {"seconds": 1.0, "steps": 100, "mean_return": 0.0}
    with pytest.raises(RuntimeError, match="reported 1 epochs of 10 x 117000 steps"):
        benchmark.authors_round(fake_python(tmp_path, line), TASKS["two_rooms"], Options(tmp_path, epochs=10), 0)


def test_a_death_is_an_error_with_its_last_words(tmp_path):
    python = fake_python(tmp_path, code=1, error="no module named torch")
    with pytest.raises(RuntimeError, match="died: no module named torch"):
        benchmark.authors_round(python, TASKS["two_rooms"], Options(tmp_path), 0)


@pytest.mark.parametrize("name", TASKS)
def test_both_train_at_the_same_numbers(name, tmp_path):
    task = TASKS[name]
    theirs = benchmark.authors_spec(task, Options(tmp_path, epochs=15), 0)["changes"]
    ours = spec(task, Options(tmp_path, epochs=15))
    assert theirs["env"]["horizon"] == ours["horizon"]
    assert theirs["alg"] == {"epochs": ours["iterations"], "lr": ours["learning_rate"]}
    assert theirs["common"]["batch_size"] == ours["num_envs"]
    assert task.steps == ours["num_envs"] * (ours["horizon"] - 1)


def test_speeds_and_bounds_are_those_of_the_authors_estimator(tmp_path):
    rows = {row.name: row for row in entries("gp_coverage", Options(tmp_path))}
    assert [*rows] == ["ours", BATCHED, *BOUNDS, *CURVES]
    used = {name: (row.spec["estimator"], row.spec["baseline"]) for name, row in rows.items()}
    assert {used[name] for name in used if name not in CURVES} == {("prefix", "none")}
    assert {used[name] for name in CURVES} == {("prefix", "none"), ("to_go", "batch")}
    # Batched runs are spread over all instances; curves are of one.
    assert {name for name, row in rows.items() if row.spec["instance"] is None} == {BATCHED}
    assert rows[BATCHED].amount == 20 * rows["ours"].amount == 20 * 20 * 500 * 39


def test_batched_runs_spread_evenly_over_devices(tmp_path, monkeypatch):
    monkeypatch.setattr(authors.os, "cpu_count", lambda: 16)
    rows = entries("two_rooms", Options(tmp_path, runs=20))
    assert [row.flags.partition(f"{DEVICES}=")[2] for row in rows if row.seeds == 20] == ["10"] * 4
    assert {row.flags.partition(f"{DEVICES}=")[2] for row in rows if row.seeds == 1} == {"1"}


@pytest.fixture
def repository(tmp_path):
    """Ten layouts of items: in the first, kind 0 lies nearly everywhere, in the others nearly nowhere."""
    folder = tmp_path / "environments" / "steiner_covering"
    folder.mkdir(parents=True)
    for number in range(10):
        first = set(range(100 if number == 0 else 1))
        layout = {"fig": first, **{f"kind {i}": {100 + i} for i in range(5)}}
        (folder / f"env_{number}.pkl").write_bytes(pickle.dumps(layout))
    return tmp_path


def small(repository, seeds, **changes):
    task = replace(TASKS["steiner"], num_envs=4, horizon=4, options={"horizon": 4})
    return told(spec(task, Options(repository, epochs=3), seeds=seeds, **changes))


def told(fields):
    """A spec as `contender.py` reads it."""
    return json.loads(json.dumps(fields), object_hook=lambda each: SimpleNamespace(**each))


def test_ours_trains_on_all_of_the_authors_instances(repository, monkeypatch):
    monkeypatch.setattr(run_ours, "batch", jax.vmap)
    train, finish = run_subpo.build(small(repository, 12, instance=None))
    report = finish(jax.jit(run_subpo.batch(train))(jax.random.split(jax.random.PRNGKey(0), 12)))
    assert report["returns"].shape == report["episodes"].shape == (12, 3)
    # Three of kind 0 count, the start is one, and within three steps no other item is near.
    where = np.arange(12) % 10 == 0
    assert (report["returns"][~where] == 0).all()
    assert (report["returns"][where] >= 1).all()
    assert (report["returns"][where] <= 3).all()


def test_layers_are_drawn_as_theirs():
    layer = {"kernel": jnp.zeros((16, 500)), "bias": jnp.zeros(500)}
    params = {"params": {"actor": layer, "critic": layer, "free": jnp.ones(3)}}
    drawn = run_subpo.drawn_as_theirs(jax.random.key(0), params)["params"]
    assert (drawn["free"] == 1).all()
    assert not np.array_equal(drawn["actor"]["kernel"], drawn["critic"]["kernel"])
    # Uniform up to 1/4, one over the root of 16 inputs, whose standard deviation is that over the root of 3.
    for leaf in jax.tree.leaves(drawn["actor"]):
        assert 0.24 < leaf.max() < 0.25
        assert -0.25 < leaf.min() < -0.24
        assert leaf.std() == pytest.approx(0.25 / 3**0.5, rel=0.1)


@pytest.mark.parametrize("part", BOUNDS)
def test_bounds_run(part, repository):
    train, finish = run_subpo.build(small(repository, 1, instance=1, part=part))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(train)(jax.random.PRNGKey(0))))
    assert finish(None) == {}


def test_ratios_are_per_amount_and_round():
    ours, theirs = measured("ours", [1.0, 2.0], amount=4000), measured("authors", [10.0, 10.0], amount=1000)
    assert authors.faster(ours, theirs) == (30.0, 20.0, 40.0)


def test_shares_add_up_to_a_training():
    share = benchmark.shares(training=2.0, environment=0.2, rewarded=0.5, network=1.0)
    expected = {"environment": 0.1, "set function": 0.15, "network": 0.5, "rest": 0.25, "bound": 0.6}
    assert share == pytest.approx(expected)
    noisy = benchmark.shares(training=2.0, environment=0.2, rewarded=0.1, network=1.0)
    assert noisy["set function"] == 0
    for each in (share, noisy):
        assert sum(each.values()) - each["bound"] == pytest.approx(1.0)


def test_tables_say_what_was_measured():
    text = printed(authors.speed_table({"gp_coverage": field()}, "environment steps"))
    assert all(cell in text for cell in ("91", "667", "8.0 (6.0 to 10)", "20,000", "220 (200 to 240)", "3.0 / 3.0"))
    text = printed(benchmark.share_table({"gp_coverage": field()}))
    assert all(cell in text for cell in ("150.0", "10%", "40%", "50%"))


def test_a_contender_that_failed_is_named():
    failed = measured("ours", [], failure="died: out of memory")
    text = printed(authors.speed_table({"gp_coverage": field(ours=failed)}, "environment steps"))
    assert "gp_coverage, ours: died: out of memory" in text
    assert "gp_coverage" not in printed(benchmark.share_table({"gp_coverage": field(ours=failed)}))
    lost = measured("prefix", [], failure="died")
    assert "to_go" in printed(authors.curve_table("gp_coverage", field(prefix=lost), CURVES, "return"))


def test_curves_are_met_within_the_authors_interval_or_above():
    text = printed(authors.curve_table("gp_coverage", field(), CURVES, "return"))
    assert text.count("not met") == 10
    assert text.count("met") == 30
    assert "prefix: +0.05 [-0.88, +0.98] over all of training, no difference shown" in text
    assert "to_go: -1.35 [-2.28, -0.42] over all of training, worse" in text


def test_a_verdict_needs_an_interval_without_zero():
    assert "better" in authors.verdict(Estimate(2.0, 1.0, 3.0))
    assert "worse" in authors.verdict(Estimate(-2.0, -3.0, -1.0))
    assert "no difference shown" in authors.verdict(Estimate(1.0, -1.0, 3.0))
    ours, theirs = np.full((2, 10), 5.0), np.full((3, 10), 3.0)
    assert authors.overall(ours, theirs) == (2.0, 2.0, 2.0, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("two_room",)}, "no task 'two_room'; did you mean 'two_rooms'"),
        ({"epochs": 3}, "--epochs 3: learning curves have ten points"),
        ({"rounds": 1}, "intervals need 2 or more"),
        ({"checkout": Path("nowhere")}, "nowhere has no main.py"),
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
        self.runs.append({"run_s": 0.5, "load": 0.0, "tenths": [[float(seed)] * 10] * self.told["seeds"]})

    def close(self):
        """There is nothing to end."""


def test_a_benchmark_from_options_to_tables(tmp_path, monkeypatch):
    lines = [{"seconds": 1.0, "steps": 19_500, "mean_return": 0.0}] * 10
    monkeypatch.setattr(authors, "Contender", FakeContender)
    monkeypatch.setattr(benchmark.peers, "build", lambda *_: fake_python(tmp_path, *lines))
    console = Console(width=200, file=io.StringIO())
    rows = benchmark.run(Options(checkout(tmp_path), tasks=("steiner",), epochs=10, rounds=2), console)
    runs = {row.name: len(row.runs) for row in rows}
    assert runs == {"authors": 2, "ours": 2, BATCHED: 2, **dict.fromkeys(BOUNDS, 2), **dict.fromkeys(CURVES, 1)}
    assert "no difference shown" in console.file.getvalue()
    # 10 epochs in half a second against 9 in 9 seconds.
    assert "20 (20 to 20)" in console.file.getvalue()
