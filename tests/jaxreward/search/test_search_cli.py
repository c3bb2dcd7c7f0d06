"""Searches that really train, in Python and from the command line."""

import json
import shlex
import warnings

import numpy as np
import pytest
from optuna.trial import TrialState

from jaxreward.cli import main
from jaxreward.results.tables import find_runs, load
from jaxreward.run.job import Setup
from jaxreward.run.launcher import local
from jaxreward.run.train import NonFiniteWarning
from jaxreward.search import Objective, Search, best_trials, load_session, parse_space, run
from jaxreward.search.objective import intervals, scores
from jaxreward.search.outcome import seen

CLIMBER = Setup("climber:climber", "Pendulum-v1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which a search has been done from the command line."""
    home = tmp_path_factory.mktemp("search")
    (home / "search.toml").write_text(
        """
        agent = "climber:climber"
        env = "Pendulum-v1"
        steps = 99
        trials = 5
        [space]
        gain = "log(0.5,2)"
        env.g = "uniform(5,15)"
        [settings]
        noise = 0.1
        """
    )
    how = ["--steps", "200", "--seeds", "2", "--batch", "3", "--confirm", "2", "--objective", "mean:episode/return"]
    assert main(["search", str(home / "search.toml"), *how, "--quiet", "--folder", str(home / "study")]) == 0
    return home / "study"


def failed(capsys, *arguments):
    """The message of a command that should fail."""
    code = main(["search", *arguments])
    message = capsys.readouterr().err
    assert code == 2
    assert "Traceback" not in message
    return message


def test_values_are_those_of_the_runs(finished):
    session = load_session(finished)
    assert session.search.steps == 200  # the option, not the file
    assert [len(t.params) for t in session.study.trials] == [2] * 5
    assert session.study.trials[0].params == {"gain": 1.0, "env.g": 10.0}
    frame = load(finished / "generations" / "00000")
    frame["choice"] = frame["member"]
    expected = scores(frame, Objective(statistic="mean"))
    np.testing.assert_allclose([t.value for t in session.study.trials[:3]], expected)
    gains = frame.groupby("choice")["gain"].first()
    np.testing.assert_allclose([t.params["gain"] for t in session.study.trials[:3]], gains)


def test_the_best_is_measured_again_on_fresh_seeds(finished):
    best, defaults = json.loads((finished / "best.json").read_text())
    session = load_session(finished)
    trial = best_trials(session)[0]
    assert best["trial"] == trial.number
    assert best["settings"] == {"noise": 0.1, **trial.params}
    assert best["found"] == {"mean:episode/return": trial.value}
    frame = load(finished / "confirmed")
    assert sorted(frame["seed"].unique()) == [2, 3]
    values = scores(frame.assign(choice=frame["member"]), Objective(statistic="mean"))
    assert best["measured"]["mean:episode/return"]["value"] == pytest.approx(values[0])
    assert defaults["measured"]["mean:episode/return"]["value"] == pytest.approx(values[1])
    assert defaults["settings"] == {"noise": 0.1}
    assert (finished / "search.png").read_bytes()[1:4] == b"PNG"


def test_a_resumed_search_only_does_what_is_left(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.parquet")}
    assert main(["search", "--resume", "--folder", str(finished), "--trials", "6", "--confirm", "0"]) == 0
    captured = capsys.readouterr()
    assert "generation 2: 6 of 6 trials done" in captured.err
    assert "--confirm SEEDS measures it again" in captured.out
    command = captured.out.split("train the best with\n")[1].splitlines()[0].strip()
    assert shlex.split(command)[:3] == ["jaxreward", "train", "--agent"]
    assert f"gain={load_session(finished).study.best_params['gain']!r}" in command
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_trials_have_intervals_over_their_seeds(finished):
    session = load_session(finished)
    trials = best_trials(session)
    measured = seen(session, trials)
    frame = load(finished / "generations" / "00001").assign(choice=lambda rows: rows["member"])
    expected = intervals(frame, Objective(statistic="mean"))
    for trial in trials:
        (each,) = measured[trial.number]
        assert each["value"] == trial.value
        assert each["low"] < each["value"] < each["high"]
        if trial.user_attrs["generation"] == 1:
            assert each == expected.loc[trial.user_attrs["position"]].to_dict()
    others = session.search, session.study, "another worker", session.folder
    assert seen(type(session)(*others), trials) == {}


class Interrupted:
    """Trains some runs and is then interrupted."""

    def __init__(self, runs):
        self.left, self.trained = runs, []

    def __call__(self, jobs):
        for job in jobs:
            if not job.finished():
                if self.left == 0:
                    raise KeyboardInterrupt
                self.left -= 1
                self.trained.append(job.folder)
            yield from local(progress=False)([job])


def test_interrupted_between_any_two_runs_it_comes_to_the_same(tmp_path):
    """Values are known exactly: after `t` iterations the toy's return is `gain * t`."""
    space = parse_space(["gain=uniform(0,1)", "steps_per_iteration=choice(5,10)", "explode_at=choice(-1,-2,3)"])
    search = Search(CLIMBER, space, 100, seeds=2, trials=7, seed=5, batch=5, scheduler="halving", min_steps=30)
    trained = []
    with pytest.warns(NonFiniteWarning):
        whole = run(search, tmp_path / "whole", launch=local(progress=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteWarning)
        for _ in range(99):
            launch = Interrupted(1)
            try:
                parts = run(search, tmp_path / "parts", launch=launch, resume=True)
                break
            except KeyboardInterrupt:
                trained += launch.trained
    told = [[(t.params, t.values, t.state) for t in session.study.trials] for session in (whole, parts)]
    assert told[0] == told[1]
    trained += launch.trained
    assert len(set(trained)) == len(trained) == len(find_runs(tmp_path / "whole"))
    trials = parts.study.trials
    assert [t.params["explode_at"] == 3 for t in trials] == [t.state == TrialState.FAIL for t in trials]
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            iterations = 100 // trial.params["steps_per_iteration"]
            late = np.arange(iterations) + 1
            late = late[late > 0.9 * iterations]
            assert trial.value == pytest.approx(trial.params["gain"] * late.mean(), rel=1e-5)
    assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


def test_users_are_told_what_is_wrong(capsys, tmp_path, finished):
    place = ["--folder", str(tmp_path / "s")]
    what = ["--env", "CartPole-v1", "--steps", "100", *place]
    assert "a search needs env and steps and space" in failed(capsys, *place)
    assert "did you mean 'learning_rate'" in failed(capsys, *what, "--space", "learning_rte=log(1e-5,1)")
    assert "no metric 'loss/valu'; did you mean 'loss/value'" in failed(
        capsys, *what, "--space", "clip=uniform(0,1)", "--objective", "minimise:loss/valu"
    )
    assert "clip is both set to 0.2 and searched" in failed(
        capsys, *what, "--space", "clip=uniform(0,1)", "--set", "clip=0.2"
    )
    assert "evaluation.episodes says how trials are judged" in failed(
        capsys, *what, "--space", "evaluation.episodes=integer(1,4)", "--evaluate-every", "2"
    )
    stops = ["--space", "clip=uniform(0,1)", "--set", "evaluation.stop_when=episode/return>=3"]
    assert "none may rest" in failed(capsys, *what, *stops)
    assert "no sampler 'tpee'; did you mean 'tpe'" in failed(
        capsys, *what, "--space", "clip=log(1e-5,1)", "--sampler", "tpee"
    )
    space = ["--space", "clip=uniform(0.1,1)"]
    assert "min_steps says when trials are stopped, but none is" in failed(capsys, *what, *space, "--min-steps", "9")
    assert "--confirm takes a number of seeds, 0 for none, not -1" in failed(capsys, *what, *space, "--confirm", "-1")
    message = failed(capsys, *what, *space, "--env", "CartPole-1")
    assert "error: no environment 'CartPole-1'" in message
    assert "already holds a study" in failed(
        capsys, "--folder", str(finished), *what[:4], "--space", "clip=uniform(0.1,1)"
    )
    assert "seeds: 2 -> 3" in failed(capsys, "--resume", "--folder", str(finished), "--seeds", "3")
    assert "--resume needs --folder" in failed(capsys, "--resume")
    assert "it has no study.json" in failed(capsys, "--resume", *place)
    assert "it has no study.json" in failed(capsys, "some.toml", "--resume", *place)
    assert "which only grows" in failed(capsys, "--resume", "--folder", str(finished), "--trials", "3")
    assert not (tmp_path / "s").exists()
