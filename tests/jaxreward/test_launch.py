"""Launchers: the same bits wherever jobs run, and nothing lost when a worker dies."""

import contextlib
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from jaxreward import launch
from jaxreward.job import Job, Setup
from jaxreward.launch import Outcome, get_launcher, local
from jaxreward.ray_launcher import RayLauncher
from jaxreward.store import RunError, RunFolder
from jaxreward.train import load_state

CLIMBER = f"{Path(__file__).parent / 'search' / 'climber.py'}:climber"
SETUP = Setup(agent=CLIMBER, settings={"noise": 1.0})
GAINS = ({"gain": 1.0}, {"gain": 2.0})


def jobs(folder, count=3, steps=100):
    return [Job(SETUP.replace({"noise": 1.0 + i}), folder / str(i), steps, GAINS, (0, 1), 1) for i in range(count)]


def values(job):
    return RunFolder(job.folder).metrics().drop(columns="wall_seconds")


def same_bits(left, right):
    pd.testing.assert_frame_equal(values(left), values(right), check_exact=True)
    agent, hyperparams = left.experiment().agent, left.experiment().member(0)
    for a, b in zip(*(jax.tree.leaves(load_state(j.folder, agent, hyperparams)) for j in (left, right)), strict=True):
        a, b = (jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (a, b))
        np.testing.assert_array_equal(a, b)


def test_local_trains_what_is_not_finished_and_names_what_fails(tmp_path):
    first, broken, last = jobs(tmp_path)
    broken = replace(broken, setup=broken.setup.replace({"broken": True}))
    first.train(progress=False)
    before = first.folder.stat().st_mtime_ns, (first.folder / "config.json").stat().st_mtime_ns
    outcomes = list(local(progress=False)([first, broken, last]))
    assert [outcome.job for outcome in outcomes] == [first, broken, last]
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, False]
    assert "it is broken" in outcomes[1].error
    assert (first.folder.stat().st_mtime_ns, (first.folder / "config.json").stat().st_mtime_ns) == before
    assert last.finished()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rai"}, "no launcher 'rai'; did you mean 'ray'"),
        ({"name": "local", "address": "auto"}, "--address and --devices are for --launcher ray"),
        ({"name": "ray", "wandb": "project"}, "does not log to Weights & Biases"),
    ],
)
def test_what_a_launcher_does_not_do_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        get_launcher(**arguments)


def test_a_missing_ray_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match=r"pip install 'jaxreward\[ray\]'"):
        get_launcher("ray")


@pytest.fixture(scope="module")
def ray_launcher():
    pytest.importorskip("ray")
    launcher = RayLauncher(progress=False)
    yield launcher
    launcher._ray.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_bits_that_local_gives(ray_launcher, tmp_path):
    here, there = jobs(tmp_path / "here"), jobs(tmp_path / "there")
    assert all(outcome.error is None for outcome in local(progress=False)(here))
    broken = replace(there[0], folder=tmp_path / "broken", setup=SETUP.replace({"broken": True}))
    outcomes = {outcome.job.folder.name: outcome.error for outcome in ray_launcher([*there, broken])}
    assert "it is broken" in outcomes.pop("broken")
    assert outcomes == {"0": None, "1": None, "2": None}
    for left, right in zip(here, there, strict=True):
        same_bits(left, right)
    assert list(ray_launcher(there)) == [Outcome(job) for job in there]  # at once: they are finished


@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_is_killed_loses_one_row_at_most(ray_launcher, tmp_path):
    (job,), (whole,) = jobs(tmp_path, 1, steps=2000), jobs(tmp_path / "whole", 1, steps=2000)
    seen = {}

    def kill():
        """Kills the worker once it has logged twenty rows; notes the last row that was there before."""
        until = time.monotonic() + 120
        while time.monotonic() < until and not seen:
            rows = max(RunFolder(job.folder).parts(), default=0)
            workers = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_worker(pid)]
            if rows >= 20 and workers:
                seen["rows"] = max(RunFolder(job.folder).parts())
                os.kill(workers[0], signal.SIGKILL)
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    outcomes = list(ray_launcher([job]))
    thread.join()
    assert outcomes == [Outcome(job)]
    assert 20 <= seen["rows"] < 200
    (resumed,) = RunFolder(job.folder).read_config()["resumed"]
    assert resumed["iteration"] >= seen["rows"] - job.log_every
    whole.train(progress=False)
    same_bits(job, whole)


def is_worker(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::_train")
    return False


@pytest.mark.filterwarnings("ignore")
def test_jobs_are_cancelled_when_nobody_waits_for_them(ray_launcher, tmp_path):
    first, *rest = jobs(tmp_path, 3, steps=5000)
    outcomes = ray_launcher([replace(first, steps=50), *rest])
    assert next(outcomes).error is None
    outcomes.close()
    until = time.monotonic() + 60
    while any(is_worker(int(pid)) for pid in os.listdir("/proc") if pid.isdigit()) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(job.finished() for job in rest)


def test_the_launchers_module_does_not_import_ray():
    assert "ray" not in vars(launch)
