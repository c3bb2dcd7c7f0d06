"""Studies whose training is a formula: what is asked and told, killed at every point and taken up again."""

import gc
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.pool import Pool

from jaxreward.run.folder import hold
from jaxreward.run.job import Setup
from jaxreward.run.store import RunError
from jaxreward.search import study as module
from jaxreward.search.generation import Scored
from jaxreward.search.objective import Objective
from jaxreward.search.outcome import best_trials, chosen, dominated_volume, train_command
from jaxreward.search.spec import Search, differences, read_search
from jaxreward.search.study import load_session, run
from jaxreward.settings.text import parse_space
from jaxreward.settings.values import read_toml

SPACE = parse_space(
    [
        "learning_rate=log(1e-5,1e-2)",
        "clip=uniform(0.1,0.4)",
        "num_steps=choice(16,64)",
        "num_epochs=integer(1,4) if num_steps=16",
        "layers=choice((64,64),(8,))",
    ]
)
SEARCH = Search(Setup(), SPACE, steps=2700, seeds=2, trials=10, batch=4)
TWO = (Objective(), Objective("episode/length", maximise=False))


def worth(choice):
    """What a choice comes to; NaN where the clip is large."""
    value = -((math.log10(choice["learning_rate"]) + 3) ** 2) - (choice["clip"] - 0.2) ** 2
    return math.nan if choice["clip"] > 0.37 else value


class Training:
    """In place of `evaluate`: keeps what it was asked for, and may die at it."""

    def __init__(self):
        self.generations, self.dies = {}, False

    def __call__(self, setup, choices, schedule, objectives, folder, launch, *, log_every=None):
        assert len(choices) == schedule[0].members
        assert self.generations.setdefault(str(folder), choices) == choices
        if self.dies:
            raise Killed
        values = [worth(choice) for choice in choices]
        ranked = sorted(range(len(values)), key=lambda i: math.inf if math.isnan(values[i]) else -values[i])
        rungs = [
            max(r for r, rung in enumerate(schedule) if ranked.index(i) < rung.members) for i in range(len(values))
        ]
        several = [(value, choice["clip"])[: len(objectives)] for value, choice in zip(values, choices, strict=True)]
        reports = [tuple((rung.steps, v + r) for r, rung in enumerate(schedule)) for v in values]
        return [Scored(v, r, each[: r + 1]) for v, r, each in zip(several, rungs, reports, strict=True)]


class Killed(BaseException):
    """What no handler catches, like SIGKILL."""


@pytest.fixture
def training(monkeypatch):
    stand_in = Training()
    monkeypatch.setattr(module, "evaluate", stand_in)
    return stand_in


@pytest.fixture
def unchecked(monkeypatch):
    """Checks resolve and trace an agent; where a study is opened fifty times they are left out."""
    monkeypatch.setattr(Search, "check", lambda self: None)


def told(session):
    """All that can be known of the trials, but when they were."""
    trials = session.study.get_trials(deepcopy=False)
    place = lambda t: [t.user_attrs[key] for key in ("generation", "position", "size")]  # noqa: E731
    return [
        (t.number, t.state, t.params, t.values, t.intermediate_values, place(t), t.user_attrs.get("rung"))
        for t in trials
    ]


def test_a_study_is_an_ordinary_one_of_optuna(tmp_path, training):
    lines = []
    session = run(SEARCH, tmp_path / "s", say=lines.append)
    storage = module._storage(f"sqlite:///{tmp_path}/s/study.db")
    study = optuna.load_study(study_name="ppo-CartPole-v1", storage=storage)
    assert len(study.trials) == 10
    first = study.trials[0]  # the defaults
    assert first.params == {"learning_rate": 3e-4, "clip": 0.2, "num_steps": 64, "layers": "(64,64)"}
    assert first.value == worth(first.params)
    assert first.distributions["learning_rate"] == optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)
    assert study.metric_names == ["final:episode/return"]
    assert [trial.state for trial in study.trials] == [
        TrialState.FAIL if trial.params["clip"] > 0.37 else TrialState.COMPLETE for trial in study.trials
    ]
    assert [len(choices) for choices in training.generations.values()] == [4, 4, 2]
    assert list(training.generations) == [str(tmp_path / "s" / "generations" / f"{index:05d}") for index in range(3)]
    choices = list(itertools.chain(*training.generations.values()))
    assert [chosen(session, trial) for trial in study.trials] == choices
    assert all(("num_epochs" in choice) == (choice["num_steps"] == 16) for choice in choices)
    assert best_trials(session)[0].number == study.best_trial.number
    assert lines[-1].startswith("generation 2: 10 of 10 trials done; best ")


def test_failed_trials_are_kept_and_counted(tmp_path, training, unchecked):
    search = replace(SEARCH, space=parse_space(["learning_rate=log(1e-5,1e-2)", "clip=uniform(0.3,0.4)"]))
    lines = []
    session = run(replace(search, sampler="random"), tmp_path / "s", say=lines.append)
    failed = [trial for trial in session.study.trials if trial.state == TrialState.FAIL]
    assert {trial.params["clip"] > 0.37 for trial in failed} == {True}
    assert len(session.study.trials) == 10
    assert f"{len(failed)} failed" in lines[-1]
    assert all(trial.user_attrs["values"] == ["nan"] for trial in failed)
    assert "the space does not hold all defaults" in lines[2]


def test_trials_that_were_stopped_have_their_last_value(tmp_path, training, unchecked):
    search = replace(SEARCH, scheduler="halving", batch=9, trials=13, min_steps=300)
    session = run(search, tmp_path / "s")
    trials = session.study.trials
    states = [trial.state for trial in trials[:9] if not math.isnan(worth(chosen(session, trial)))]
    assert states.count(TrialState.COMPLETE) == 1
    assert states.count(TrialState.PRUNED) == len(states) - 1
    for trial in trials:
        if trial.state == TrialState.PRUNED:
            rung = trial.user_attrs["rung"]
            steps = [300, 900][: rung + 1]
            assert list(trial.intermediate_values) == steps
            assert trial.value == trial.intermediate_values[steps[-1]]
    # The last generation has 4 of 9 trials, and its rungs are as much smaller.
    assert [state for state in (t.state for t in trials[9:])].count(TrialState.COMPLETE) == 1


def test_hyperband_takes_its_brackets_in_turn(tmp_path, training, unchecked):
    run(replace(SEARCH, scheduler="hyperband", steps=900, min_steps=100, trials=18, batch=None), tmp_path / "s")
    assert [len(choices) for choices in training.generations.values()] == [9, 3, 3, 3]


def test_several_objectives_make_a_front(tmp_path, training, unchecked):
    session = run(replace(SEARCH, objectives=TWO, sampler="nsga-ii", trials=24, batch=8), tmp_path / "s")
    assert [d.name for d in session.study.directions] == ["MAXIMIZE", "MINIMIZE"]
    complete = [trial for trial in session.study.trials if trial.state == TrialState.COMPLETE]
    beaten = [
        any(o.values[0] >= t.values[0] and o.values[1] <= t.values[1] and o.values != t.values for o in complete)
        for t in complete
    ]
    front = [t.number for t, is_beaten in zip(complete, beaten, strict=True) if not is_beaten]
    assert sorted(t.number for t in best_trials(session, 100)) == front
    ordered = sorted((t.values for t in complete if t.number in front), key=lambda v: v[1])
    worst = min(t.values[0] for t in complete), max(t.values[1] for t in complete)
    edges = [v[1] for v in ordered[1:]] + [worst[1]]
    area = sum((v[0] - worst[0]) * (edge - v[1]) for v, edge in zip(ordered, edges, strict=True))
    assert dominated_volume(session) == pytest.approx(area)


def test_values_that_do_not_go_together_are_failed_trials(tmp_path, monkeypatch):
    space = parse_space(["num_envs=choice(3,4)", "num_minibatches=choice(3,4)"])
    search = replace(SEARCH, setup=Setup(settings={"num_steps": 2}), space=space, sampler="random", trials=12)
    seen = []

    def train(setup, choices, *_, **__):
        seen.extend(choices)
        return [Scored((1.0,), 0, ((1, 1.0),))] * len(choices)

    monkeypatch.setattr(module, "evaluate", train)
    session = run(search, tmp_path / "s")
    for trial in session.study.trials:
        fits = trial.params["num_envs"] == trial.params["num_minibatches"]
        assert trial.state == (TrialState.COMPLETE if fits else TrialState.FAIL)
        assert fits or "does not divide" in trial.user_attrs["error"]
    assert len(seen) == sum(trial.state == TrialState.COMPLETE for trial in session.study.trials)


@pytest.mark.parametrize(
    "search",
    [
        SEARCH,
        replace(SEARCH, sampler="cma-es", scheduler="halving", min_steps=900),
        replace(SEARCH, sampler="random", seed=1),
        replace(SEARCH, sampler="nsga-ii", objectives=TWO),
    ],
    ids=lambda search: search.sampler,
)
def test_killed_at_any_write_it_goes_on_as_if_it_had_not_been(search, tmp_path, training, unchecked, monkeypatch):
    """The database is written some times, then never again, as the process is gone; and so on until the end."""
    search = replace(search, trials=8)
    whole = told(run(search, tmp_path / "whole"))
    allowed = [0]

    def dying(method):
        def write(self, *args, **kwargs):
            if not allowed[0]:
                raise Killed
            allowed[0] -= 1
            return method(self, *args, **kwargs)

        return write

    writes = ["create_new_trial", "set_trial_param", "set_trial_user_attr", "set_trial_system_attr"]
    for name in [*writes, "set_trial_intermediate_value", "set_trial_state_values"]:
        monkeypatch.setattr(_CachedStorage, name, dying(getattr(_CachedStorage, name)))
    deaths = 0
    for length in itertools.cycle([5, 13, 9, 14]):
        allowed[0] = length
        try:
            session = run(search, tmp_path / "parts", resume=True)
            break
        except Killed:
            deaths += 1
    assert deaths > 5
    assert told(session) == whole


@pytest.mark.parametrize("sampler", ["tpe", "quasi-random"])
def test_killed_in_training_it_trains_the_same_again(sampler, tmp_path, training, unchecked):
    search = replace(SEARCH, sampler=sampler)
    whole = told(run(search, tmp_path / "whole"))
    training.dies = True
    with pytest.raises(Killed):
        run(search, tmp_path / "parts")
    training.dies = False
    assert told(run(search, tmp_path / "parts", resume=True)) == whole
    assert told(run(search, tmp_path / "parts", resume=True)) == whole


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import tests.jaxreward.search.test_study as t
t.module.evaluate = t.Training()
t.Search.check = lambda self: None
tells, tell = [], t.module._tell
def dying(*arguments):
    tells.append(tell(*arguments))
    if len(tells) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
t.module._tell = dying
t.run(t.SEARCH, Path({folder!r}))
"""


def test_sigkill_between_two_tells(tmp_path, training, unchecked):
    whole = told(run(SEARCH, tmp_path / "whole"))
    code = KILLED.format(tests=str(Path(__file__).parents[3]), folder=str(tmp_path / "parts"))
    process = subprocess.run([sys.executable, "-c", code], timeout=100, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    assert process.returncode == -signal.SIGKILL
    left = load_session(tmp_path / "parts")
    states = [trial.state.is_finished() for trial in left.study.trials]
    assert states == [True] * 6 + [False] * 2
    assert told(run(SEARCH, tmp_path / "parts", resume=True)) == whole


def test_a_study_may_be_given_more_trials(tmp_path, training, unchecked):
    whole = told(run(SEARCH, tmp_path / "whole"))
    short = run(replace(SEARCH, trials=8), tmp_path / "parts")
    assert told(short) == whole[:8]
    longer = run(replace(read_search(short.folder.read()["search"]), trials=10), tmp_path / "parts", resume=True)
    assert told(longer) == whole


def test_workers_share_a_storage_and_take_up_their_own(tmp_path, training, unchecked):
    storage = f"sqlite:///{tmp_path}/shared.db"
    search = replace(SEARCH, trials=12)
    training.dies = True
    with pytest.raises(Killed):
        run(search, tmp_path / "first", storage=storage)
    training.dies = False
    lines = []
    second = run(search, tmp_path / "second", storage=storage, say=lines.append)
    states = [trial.state for trial in second.study.trials]
    assert states.count(TrialState.RUNNING) == 4
    assert len(states) == 12
    assert any("4 more trials are with worker" in line and ":first:" in line for line in lines)
    first = run(search, tmp_path / "first", resume=True)
    assert not any(trial.state == TrialState.RUNNING for trial in first.study.trials)
    workers = [trial.user_attrs["worker"].split(":")[1] for trial in first.study.trials]
    assert workers == ["first"] * 4 + ["second"] * 8
    assert len({json.dumps(trial.params) for trial in first.study.trials}) == 12


def test_workers_at_once_try_as_many_as_were_asked_for(tmp_path, training, unchecked):
    storage, search = f"sqlite:///{tmp_path}/shared.db", replace(SEARCH, trials=20, batch=2, sampler="random")
    run(replace(search, trials=1), tmp_path / "first", storage=storage)
    errors = []

    def work(name):
        try:
            run(search, tmp_path / name, storage=storage)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    study = load_session(tmp_path / "first", storage).study
    trials = study.get_trials()
    assert all(trial.state.is_finished() for trial in trials)
    assert 20 <= len(trials) <= 22  # each of two workers may begin a generation of two
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert len({json.dumps(trial.params) for trial in trials}) == len(trials)
    assert sum(map(len, training.generations.values())) == len(trials)


@pytest.fixture
def connections():
    """The connections to databases that are open now."""
    there = set()
    opened, closed = (lambda connection, *_: there.add(connection)), (lambda connection, *_: there.discard(connection))
    event.listen(Pool, "connect", opened)
    event.listen(Pool, "close", closed)
    yield there
    event.remove(Pool, "connect", opened)
    event.remove(Pool, "close", closed)


def test_a_study_that_is_no_longer_used_leaves_no_connection_open(tmp_path, training, unchecked, connections):
    session = run(replace(SEARCH, trials=2), tmp_path / "s")
    assert len(session.study.trials) == 2
    assert connections
    del session
    gc.collect()
    assert not connections
    training.dies = True
    with pytest.raises(Killed):
        run(SEARCH, tmp_path / "s", resume=True)
    gc.collect()
    assert not connections


def test_what_does_not_fit_a_folder_is_refused(tmp_path, training, unchecked):
    session = run(SEARCH, tmp_path / "s")
    with pytest.raises(RunError, match="already holds a study: go on with it"):
        run(SEARCH, tmp_path / "s")
    other = replace(SEARCH, seeds=3, space={**SPACE, "clip": SPACE["learning_rate"]}, objectives=(Objective("x"),))
    with pytest.raises(RunError) as refused:
        run(other, tmp_path / "s", resume=True)
    lines = str(refused.value).splitlines()
    assert "is of another search" in lines[0]
    assert "  seeds: 2 -> 3" in lines
    assert "  space.clip: uniform(0.1,0.4) -> log(1e-05,0.01)" in lines
    assert any(line.startswith("  objectives: ") for line in lines)
    with hold(session.folder.path), ThreadPoolExecutor(1) as another:
        intruder = another.submit(run, SEARCH, tmp_path / "s", resume=True)
        with pytest.raises(RunError, match=f"another process is at work in .*/s: process {os.getpid()} on "):
            intruder.result()
    with pytest.raises(RunError, match=r"it has no study\.json"):
        load_session(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't write to the folder"):
        run(SEARCH, tmp_path / "file" / "s")


def test_a_search_only_grows(tmp_path, training, unchecked):
    session = run(SEARCH, tmp_path / "s")
    before = session.folder.description.read_bytes()
    smaller = replace(SEARCH, trials=8, baseline=False)
    with pytest.raises(RunError, match=r"only grows .*:\n  trials: 10 -> 8\n  baseline: True -> False"):
        run(smaller, tmp_path / "s", resume=True)
    with pytest.raises(RunError, match=r"storage: None -> sqlite:///other\.db\n  name: ppo-CartPole-v1 -> mine"):
        run(SEARCH, tmp_path / "s", storage="sqlite:///other.db", name="mine", resume=True)
    assert session.folder.description.read_bytes() == before
    assert told(run(SEARCH, tmp_path / "s", name="ppo-CartPole-v1", resume=True)) == told(session)


def test_a_study_that_is_gone_is_not_begun_again(tmp_path, training, unchecked):
    run(SEARCH, tmp_path / "own")
    run(SEARCH, tmp_path / "shared", storage=f"sqlite:///{tmp_path}/all.db", name="first")
    (tmp_path / "own" / "study.db").rename(tmp_path / "kept.db")
    optuna.delete_study(study_name="first", storage=module._storage(f"sqlite:///{tmp_path}/all.db"))
    for folder in ("own", "shared"):
        with pytest.raises(RunError, match=r"study '.*' of .* is gone: it was in sqlite:///.*Bring it back; or choose"):
            run(SEARCH, tmp_path / folder, resume=True)
    assert not (tmp_path / "own" / "study.db").exists()
    (tmp_path / "kept.db").rename(tmp_path / "own" / "study.db")
    (tmp_path / "own" / "study.json").unlink()
    with pytest.raises(RunError, match=r"study\.db has trials, but .*study\.json is gone"):
        run(SEARCH, tmp_path / "own", resume=True)


@pytest.mark.parametrize("name", ["my search", "50% of #3?", "größe"])
def test_a_search_goes_on_whatever_its_folder_is_called(tmp_path, training, unchecked, name):
    short = run(replace(SEARCH, trials=4), tmp_path / name)
    assert len(told(run(SEARCH, short.folder.path, resume=True))) == 10
    short.folder.database.unlink()
    with pytest.raises(RunError, match=r"study '.*' of .* is gone"):
        run(SEARCH, short.folder.path, resume=True)
    assert not short.folder.database.exists()


def test_a_folder_of_something_else_is_refused(tmp_path, training, unchecked):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "study.db").write_text("mine")
    with pytest.raises(RunError, match=r"is not empty: it has study\.db\. Choose a folder that is new or empty"):
        run(SEARCH, tmp_path / "s", resume=True)
    assert (tmp_path / "s" / "study.db").read_text() == "mine"


def test_storages_that_there_are_not(tmp_path, training, unchecked):
    with pytest.raises(ValueError, match="'nonsense' is no storage; expected a URL such as sqlite"):
        run(SEARCH, tmp_path / "a", storage="nonsense")
    with pytest.raises(ValueError, match=r"can't open the storage sqlite:///.*unable to open"):
        run(SEARCH, tmp_path / "b", storage=f"sqlite:///{tmp_path}/none/x.db")
    session = run(SEARCH, tmp_path / "c")
    session.folder.write({**session.folder.read(), "storage": "postgresql://me:***@host/db"})
    with pytest.raises(ValueError, match="whose password is not kept: give the storage again"):
        load_session(tmp_path / "c")


def test_searches_that_can_not_be(tmp_path):
    with pytest.raises(ValueError, match="trials must be a positive integer, not 0"):
        run(replace(SEARCH, trials=0), tmp_path / "s")
    with pytest.raises(ValueError, match="no scheduler 'hyperbnd'; did you mean 'hyperband'"):
        run(replace(SEARCH, scheduler="hyperbnd"), tmp_path / "s")
    with pytest.raises(ValueError, match="no metric 'episode/retun'; did you mean 'episode/return'"):
        run(replace(SEARCH, objectives=(Objective("episode/retun"),)), tmp_path / "s")
    with pytest.raises(
        ValueError, match="halving stops trials by one objective, but there are 2; several need the sch"
    ):
        run(replace(SEARCH, objectives=TWO, scheduler="halving"), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_table_is_a_search(tmp_path):
    text = """
    env = "CartPole-v1"
    steps = 2700
    seeds = 2
    trials = 10
    batch = 4
    objectives = ["minimise:worst:loss/value", "episode/return"]
    settings = { memory = "gru", value_clip = inf }

    [space]
    learning_rate = "log(1e-5,1e-2)"
    layers = [[64, 64], [8]]
    env.gravity = "uniform(5,15)"
    """
    (tmp_path / "search.toml").write_text(text)
    search = read_search(read_toml(tmp_path / "search.toml"))
    assert search.setup == Setup(settings={"memory": "gru", "value_clip": math.inf})
    assert search.space["layers"].values == ((64, 64), (8,))
    assert search.objectives == (Objective("loss/value", "worst", False), Objective())
    assert read_search(json.loads(json.dumps(search.to_table()))) == search
    assert differences(search.to_table(), replace(search, trials=99).to_table()) == []


def test_where_the_reward_is_searched_its_own_return_is_no_measure():
    table = {"env": "CartPole-v1", "steps": 2700, "space": {"reward.goal": "uniform(0,1)"}}
    assert read_search(table).objectives == (Objective("episode/env_return"),)
    assert read_search(table).doubts() == []
    (doubt,) = read_search({**table, "objectives": "episode/return"}).doubts()
    assert "of which reward.goal is searched" in doubt
    assert read_search({**table, "space": {"clip": "uniform(0,1)"}}).objectives == (Objective(),)


def test_a_hyperband_with_too_few_trials_says_so():
    search = replace(SEARCH, scheduler="hyperband", steps=900, min_steps=100)
    (doubt,) = replace(search, trials=14).doubts()
    assert "9 + 3 + 3 trials; of 14 some" in doubt
    assert replace(search, trials=15).doubts() == []


def test_tables_that_are_no_search(tmp_path):
    with pytest.raises(ValueError, match="no entry of a search 'trails'; did you mean 'trials'"):
        read_search({"env": "CartPole-v1", "trails": 3})
    with pytest.raises(ValueError, match="a search needs steps and space, for example steps = 50_000"):
        read_search({"env": "CartPole-v1"})
    with pytest.raises(ValueError, match="there is no file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = ")
    with pytest.raises(ValueError, match=r"bad\.toml is not valid TOML"):
        read_toml(tmp_path / "bad.toml")


def test_the_command_line_that_trains_a_choice():
    choice = {"learning_rate": 0.001, "layers": (8,), "reward": "my.py:f", "reward.goal": 2.0}
    command = train_command(Setup(settings={"num_envs": 4}), choice, 1000, 8)
    assert command == (
        "jaxreward train --agent ppo --env CartPole-v1 --reward my.py:f --steps 1000 --seeds 8 "
        "--set num_envs=4 learning_rate=0.001 'layers=(8,)' reward.goal=2.0"
    )
