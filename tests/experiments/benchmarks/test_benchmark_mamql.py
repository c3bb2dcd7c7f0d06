"""The benchmark of MAMQL: that both do as much, what is said of them, and how the authors' trainer is run."""

import io
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jax
import numpy as np
import pytest
from rich.console import Console

from jaxreward.experiments.benchmarks import mamql as benchmark
from jaxreward.experiments.benchmarks.mamql import LONGEST, NEEDED, Options, authors_spec, check, entries, run, table
from jaxreward.experiments.benchmarks.ours import run_mamql
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import run_mamql_authors


@pytest.fixture
def checkout(tmp_path):
    """What looks like one."""
    for name in NEEDED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_everyone_takes_as_many_steps_of_adam_on_as_many_transitions(checkout):
    options = Options(checkout, iterations=2, batch_size=3, width=4, runs=2)
    rows, theirs = entries(options), authors_spec(options)
    assert [row.amount for row in rows] == [4, 4, 8]
    assert theirs["config"]["episodes"] - theirs["warm_up"] / 2 == 2
    assert {row.spec["batch_size"] for row in rows} == {3} == {theirs["config"]["batch_size"]}
    assert {row.spec["steps"] for row in rows} == {LONGEST} == {theirs["config"]["test_iteration"]}
    for row in rows[:2]:
        train, finish = run_mamql.build(SimpleNamespace(**row.spec))
        told = jax.eval_shape(train, jax.random.PRNGKey(0))
        assert told["env_steps"].shape == (2,)
        assert finish(told) == {}
    still = Options(checkout, plays=False)
    assert authors_spec(still)["config"]["test_iteration"] == 0
    assert {row.spec["steps"] for row in entries(still)} == {1}


def test_our_networks_have_the_authors_sizes():
    """Convolutions of 5 x 5 x 5 and 3 x 3 x 64 inputs, and 9 x 9 x 64 units for the hidden layers."""
    module, key = run_mamql.Pictures(), jax.random.key(0)
    params = jax.eval_shape(module.init, key, jax.ShapeDtypeStruct((2, 5, 15, 15), "float32"))
    shapes = {name: leaf["kernel"].shape for name, leaf in params["params"].items()}
    assert shapes == {"Dense_0": (125, 64), "Dense_1": (576, 64)}
    made = jax.eval_shape(module.apply, params, jax.ShapeDtypeStruct((2, 5, 15, 15), "float32"))
    assert made.shape == (2, 5184)


def test_the_table_says_how_many_times_faster(checkout):
    options = Options(checkout, iterations=100)
    rows = [Measured("gems", "authors", True, 1, 200, {}, "", {}, []), *entries(options)]
    for row, seconds in zip(rows[:3], (10.0, 2.0, 0.5), strict=True):
        row.runs = [{"run_s": seconds, "cpu_s": 2 * seconds, "load": 1.0}] * 3
        row.ready = {"trace_s": 1.0, "compile_s": 2.5}
    rows[3].failure = "died: it could"
    out = io.StringIO()
    Console(file=out, width=160).print(table(rows))
    said = {line.split("│")[1].strip(): line for line in out.getvalue().splitlines() if "│" in line}
    assert "20" in said["authors"]
    assert "5.0 (5.0 to 5.0)" in said["ours"]
    assert "20.0 (20.0 to 20.0)" in said["ours, features"]
    assert "failed: died: it could" in said["ours, features, batched"]


def test_what_makes_no_sense_is_refused(checkout, tmp_path):
    check(Options(checkout))
    with pytest.raises(ValueError, match="--batch-size is 1 or more, not 0"):
        run(Options(checkout, batch_size=0), Console(file=io.StringIO()))
    (checkout / "models.py").unlink()
    with pytest.raises(ValueError, match=r"has no models.py: give the root of a checkout of USC-Lira/ma-mql"):
        check(Options(checkout))
    assert benchmark.run is run


def test_the_authors_trainer_is_run_in_a_workspace_and_timed_without_its_first_steps(checkout, monkeypatch, capsys):
    """A trainer that looks like theirs, whose steps are told apart by a clock that counts them."""

    class Game:
        def reset(self):
            return np.zeros((5, 15, 15))

        def step(self, actions):
            return np.ones((5, 15, 15)), np.zeros(2), True, {}

    class Learner:
        def learn(self, agent, episode, critic2):
            assert Path("expert_data/gem_dataset.csv").is_symlink()

    class Trainer:
        def __init__(self, config, setup):
            self.config, self.setup = config, setup

        def train(self):
            assert self.setup == 4
            stored = modules["torch"].stored
            assert len(stored) == run_mamql_authors.STORED
            assert np.array(stored[0][1], copy=False) is stored[0][1]
            assert modules["torch"].load("a file") == {"weights_only": False}
            for episode in range(self.config["episodes"]):
                for agent in range(2):
                    modules["gems.train_gem"].OfflineSACIQLearn().learn(agent, episode, None)

    modules = {"torch": ModuleType("torch"), "gems.train_gem": ModuleType("gems.train_gem"), "gems": ModuleType("gems")}
    torch, trainer = modules["torch"], modules["gems.train_gem"]
    torch.float32, torch.manual_seed, torch.tensor = None, lambda seed: None, lambda x, dtype: np.asarray(x)
    torch.save = lambda what, path: vars(torch).update(stored=what)
    load = torch.load = lambda path, **options: options
    trainer.maEnv, trainer.OfflineSACIQLearn, trainer.gems_ma_irl = Game, Learner, Trainer
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    clock = iter(range(10_000))
    fake = SimpleNamespace(perf_counter=lambda: float(next(clock)), process_time=lambda: 0.0)
    monkeypatch.setattr(run_mamql_authors, "time", fake)
    monkeypatch.setattr(np, "array", np.array)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    monkeypatch.setattr(sys, "argv", ["run", json.dumps({**authors_spec(Options(checkout, iterations=3)), "seed": 0})])
    monkeypatch.chdir(checkout)
    run_mamql_authors.main()
    told = json.loads(capsys.readouterr().out)
    assert told["run_s"] == 6.0  # of 3 iterations of 2 agents, each step a tick long
    trainer.gems_ma_irl = lambda config, setup: Trainer({**config, "episodes": 4}, setup)
    torch.load = load
    with pytest.raises(RuntimeError, match="took 8 steps of Adam of one critic; expected 10"):
        run_mamql_authors.main()
    assert not (checkout / "ma_models").exists()
