"""Runs, sweeps and searches that are watched: numbers computed by hand from what is in their folders."""

import hashlib
import json
import os
import socket
import subprocess

import numpy as np
import optuna
import pandas as pd
import pyarrow as pa
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from jaxreward.cli import main
from jaxreward.results.watch import failed_runs, seconds_left, steadily, watch_run, watch_sweep
from jaxreward.run.folder import LOCK, at_work
from jaxreward.run.store import RunError, RunFolder
from jaxreward.search.folder import StudyFolder
from jaxreward.search.spec import read_search
from jaxreward.search.study import open_session
from jaxreward.search.watch import watch_search
from jaxreward.sweep.spec import read_sweep

CONFIG = {"agent": "ppo", "env": "CartPole-v1", "reward": "environment", "settings": {}}


def write_run(folder, rows, iterations=100, population=({},), seeds=(0,), finished=False, config=CONFIG):
    """A run of which rows `(iteration, seconds, returns, failed)` are logged, of 10 steps an iteration."""
    run = RunFolder(folder)
    run.create()
    described = {"config": config, "population": list(population), "seeds": list(seeds), "iterations": iterations}
    run.write_config(described | {"log_every": 10} | ({"finished": iterations} if finished else {}))
    size = len(population) * len(seeds)
    member, seed = np.divmod(np.arange(size), len(seeds))
    for iteration, seconds, returns, failed in rows:
        names = {name: [population[i].get(name) for i in member] for each in population for name in each}
        columns = {
            "iteration": [iteration] * size,
            "env_steps": [10 * iteration] * size,
            "wall_seconds": [seconds] * size,
            "member": member,
            "seed": np.array(seeds)[seed],
            "failed": failed,
            **names,
            "episode/return": [float(value) for value in returns],
            "episode/env_return": [float(value) for value in returns],
            "episode/count": [1] * size,
        }
        run.write_part(iteration, pa.table(columns))
    return folder


def hold(folder, process, host=None):
    (folder / LOCK).write_text(json.dumps({"process": process, "host": host or socket.gethostname(), "since": "now"}))


def ended_process():
    """The number of a process that is no more."""
    with subprocess.Popen(["true"]) as child:
        return child.pid


def test_seconds_left_are_those_of_the_last_rows():
    rows = pd.DataFrame({"iteration": [10, 10, 20, 20], "wall_seconds": [8.0, 8.0, 10.0, 10.0]})
    assert seconds_left(rows, 100) == pytest.approx(80 * (10 - 8) / 10)  # what was slow at first is slow no more
    assert seconds_left(rows[:2], 100) == pytest.approx(90 * 8 / 10)
    assert seconds_left(rows, 20) == 0
    assert seconds_left(rows[:0], 100) is None
    many = pd.DataFrame({"iteration": range(1, 31), "wall_seconds": [100.0] * 20 + [100.0 + 3 * k for k in range(10)]})
    assert seconds_left(many, 40) == pytest.approx(10 * 27 / 10)


def test_a_run_is_at_work_while_its_process_is_there(tmp_path):
    assert at_work(tmp_path) is None
    hold(tmp_path, os.getpid())
    assert at_work(tmp_path) is True
    hold(tmp_path, ended_process())
    assert at_work(tmp_path) is False
    hold(tmp_path, os.getpid(), host="elsewhere")
    assert at_work(tmp_path) is None
    (tmp_path / LOCK).write_text("{")
    assert at_work(tmp_path) is None


def test_a_number_that_is_another_process_s_now_is_not_at_work(tmp_path, monkeypatch):
    from jaxreward.run import folder

    monkeypatch.setattr(folder, "_began", lambda process: 7)  # as of a system with /proc
    with folder.hold(tmp_path):
        signed = json.loads((tmp_path / LOCK).read_text())
        assert at_work(tmp_path) is True
    (tmp_path / LOCK).write_text(json.dumps(signed | {"began": signed["began"] - 1}))
    assert at_work(tmp_path) is False
    monkeypatch.setattr(folder, "_began", lambda process: None)  # a system without /proc
    assert at_work(tmp_path) is True


def test_a_run_under_way(tmp_path):
    population = [{"learning_rate": 0.1}, {"learning_rate": 0.2}]
    rows = [(10, 1.0, [1, 2, 3, 4], [False] * 4), (25, 4.0, [1, 2, 3, 4], [False, False, True, False])]
    folder = write_run(tmp_path / "run", rows, population=population, seeds=(3, 5))
    hold(folder, os.getpid())
    watched = watch_run(folder)
    assert (watched.state, watched.done, watched.over) == ("at work", 0.25, False)
    assert watched.facts[:2] == ["iteration 25 of 100, of 4 runs", "about 0:00:15 left"]
    assert watched.failures == ["learning_rate=0.2, seed 3: not finite since iteration 25"]
    hold(folder, ended_process())
    stopped = watch_run(folder)
    assert (stopped.state, stopped.over) == ("stopped", True)
    assert not any("left" in fact for fact in stopped.facts)
    assert (watch_run(write_run(tmp_path / "new", [])).facts[1]) == "nothing logged yet"
    done = write_run(tmp_path / "done", [(90, 1.0, [1], [False])], finished=True)  # it rested before the end
    assert (watch_run(done).state, watch_run(done).done) == ("finished", 1.0)


def test_failures_beyond_a_few_are_counted():
    frame = pd.DataFrame({"member": 0, "seed": range(8), "failed": True, "iteration": 4})
    assert failed_runs(frame, [{}])[0] == "member 0, seed 0: not finite since iteration 4"
    assert failed_runs(frame, [{}])[5:] == ["and 3 more"]


def test_a_sweep_counts_the_programs_that_have_not_begun(tmp_path):
    table = {"env": "CartPole-v1", "steps": 1000, "seeds": [0, 1], "grid": {"num_envs": [4, 8]}}
    (tmp_path / "sweep.json").write_text(json.dumps(read_sweep(table).to_table()))
    first = {**CONFIG, "settings": {"num_envs": 4}}
    program = tmp_path / "programs" / "000-num_envs=4"
    write_run(program, [(50, 10.0, [7, 9], [False, False])], seeds=(0, 1), config=first)
    hold(tmp_path, os.getpid())
    hold(program, os.getpid())
    watched = watch_sweep(tmp_path)
    assert (watched.state, watched.done) == ("at work", 0.25)
    assert watched.facts[:3] == [
        "1,000 of 4,000 environment steps, of 4 runs",
        "0 of 1 program begun so far finished",
        "about 0:00:30 left",
    ]
    assert watched.facts[3] == "000-num_envs=4: iteration 50 of 100, of 2 runs"
    assert (watched.by, sorted(watched.metrics["num_envs"].unique())) == (["num_envs"], [4])


@pytest.fixture
def searched(tmp_path):
    search = read_search(
        {"env": "CartPole-v1", "steps": 1000, "trials": 8, "batch": 4, "space": {"learning_rate": "log(1e-4,1e-1)"}}
    )
    session = open_session(search, StudyFolder(tmp_path))
    given = {"search": session.search.to_table(), "storage": None, "name": session.study.study_name}
    session.folder.write({**given, "worker": session.worker})
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
    for number, state in enumerate(states):
        place = {"worker": session.worker, "generation": number // 4, "position": number % 4, "size": 4}
        ended = {"value": 10.0 * number} if state == TrialState.COMPLETE else {}
        given = {"learning_rate": 0.01}, {"learning_rate": FloatDistribution(1e-4, 1e-1, log=True)}
        session.study.add_trial(
            create_trial(state=state, params=given[0], distributions=given[1], user_attrs=place, **ended)
        )
    return tmp_path


def test_a_search_tells_trials_the_best_and_what_failed_and_stays_as_it_is(searched):
    hold(searched, os.getpid())
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in searched.iterdir()}
    watched = watch_search(searched)
    assert (watched.state, watched.done) == ("at work", 0.5)
    assert watched.facts[:2] == ["4 of 8 trials done, 1 of them stopped early", "best 10 (trial 1)"]
    assert watched.failures == ["trial 3: numbers that are not finite"]
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in searched.iterdir()} == before
    hold(searched, ended_process())
    assert watch_search(searched).over


def test_the_time_left_of_a_search_is_that_of_training_alone(searched):
    hold(searched, os.getpid())
    assert not any("left" in fact for fact in watch_search(searched).facts)
    runs = searched / "generations"
    write_run(runs / "00000" / "runs", [(50, 10.0, [1], [False]), (100, 20.0, [1], [False])], finished=True)
    write_run(runs / "00001" / "runs", [(20, 3.0, [1], [False]), (40, 6.0, [1], [False])])
    facts = watch_search(searched).facts
    assert facts[2] == "about 0:00:14 of training left"  # 4 of 8 trials took 20 seconds; 6 of the others' are over
    assert facts[3] == "generation 1: iteration 40 of 100, of 1 run"
    write_run(runs / "00001" / "runs", [(100, 6.0, [1], [False])], finished=True)
    onward = write_run(runs / "00001" / "second", [(120, 8.0, [1], [False])], iterations=200)
    described = RunFolder(onward).read_config()
    RunFolder(onward).write_config(described | {"start": {"folder": str(runs / "00001" / "runs"), "members": [0]}})
    # Trials of a generation whose first rung is finished have not ended; 6 of the second's 8 seconds are the first's.
    assert watch_search(searched).facts[2] == "about 0:00:12 of training left"


def test_a_run_that_cannot_be_read_now_is_left_out(searched, monkeypatch):
    monkeypatch.setattr("jaxreward.results.watch.time.sleep", lambda _: None)
    hold(searched, os.getpid())
    run = write_run(searched / "generations" / "00001" / "runs", [(20, 3.0, [1], [False])])
    (run / "metrics.parquet" / "part-000000000020.parquet").write_bytes(b"half")
    assert watch_search(searched).facts[:1] == ["4 of 8 trials done, 1 of them stopped early"]


def test_files_that_are_being_put_together_are_read_again():
    given = iter([RunError("half"), FileNotFoundError(), 3])

    def read():
        value = next(given)
        if isinstance(value, Exception):
            raise value
        return value

    assert steadily(read) == 3
    with pytest.raises(RunError, match="damaged"):
        steadily(lambda: (_ for _ in ()).throw(RunError("damaged")))


def test_the_command_prints_once_and_says_what_is_nearest(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jaxreward.results.watch.time.sleep", lambda _: None)
    folder = write_run(tmp_path / "walker", [(25, 4.0, [12], [False])])
    assert main(["watch", str(folder), "--once"]) == 0
    said = capsys.readouterr().out
    assert "ppo on CartPole-v1 for the environment's own reward" in said
    assert "25 %, begun elsewhere" in said
    assert "12" in said
    for given, message in {
        str(tmp_path / "wakler"): f"there is no folder {tmp_path}/wakler; did you mean {folder}?",
        str(tmp_path): f"is the folder of no run, sweep or search; there is {folder}",
        str(folder / "checkpoints"): "is the folder of no run, sweep or search",
    }.items():
        assert main(["watch", given]) == 2
        assert message in capsys.readouterr().err.replace("\n", "")
    assert main(["watch", str(folder), "--every", "0"]) == 2
    assert "--every takes seconds" in capsys.readouterr().err


def test_it_follows_until_nothing_more_comes(tmp_path, capsys, monkeypatch):
    folder = write_run(tmp_path / "run", [(25, 4.0, [12], [False])])
    looks = iter([lambda: None, lambda: write_run(folder, [(100, 9.0, [13], [False])], finished=True)])
    monkeypatch.setattr("jaxreward.cli.watch.time.sleep", lambda seconds: next(looks)())
    assert main(["watch", str(folder), "--every", "0.5"]) == 0
    said = capsys.readouterr().out
    assert [said.count("25 %"), said.count("100 %, finished")] == [2, 1]


optuna.logging.set_verbosity(optuna.logging.WARNING)
