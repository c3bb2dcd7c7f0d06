"""Launchers: the same bits wherever jobs run, and nothing lost when a worker dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from jaxreward.run import launchers, ray_launcher
from jaxreward.run.job import Job, Setup
from jaxreward.run.launcher import Outcome, local
from jaxreward.run.launchers import get_launcher
from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.train import load_state

CLIMBER = f"{Path(__file__).parents[2] / 'climber.py'}:climber"
SETUP = Setup(agent=CLIMBER, settings={"noise": 1.0})
GAINS = ({"gain": 1.0}, {"gain": 2.0})
DYING = """
import os
import sys

from jaxreward.agents.baselines.ppo import Config, Hyperparams


def dying(env, env_params, config):
    print("about to die", file=sys.stderr, flush=True)
    os._exit(1)
"""


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


def test_a_job_that_does_not_fit_into_memory_stops_no_other(tmp_path, monkeypatch):
    first, last = jobs(tmp_path, 2)
    train = Job.train

    def too_large(job, *arguments, **options):
        if job is first:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return train(job, *arguments, **options)

    monkeypatch.setattr(Job, "train", too_large)
    outcomes = list(local(progress=False)([first, last]))
    assert [outcome.error for outcome in outcomes] == ["RESOURCE_EXHAUSTED: Out of memory", None]
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
def on_ray():
    ray = pytest.importorskip("ray")
    yield launchers.ray(retries=1, progress=False)
    ray.shutdown()


@pytest.fixture
def dying(tmp_path, monkeypatch):
    """A job whose worker dies each time it is begun."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dying.py").write_text(DYING)
    return Job(Setup(agent="dying.py:dying"), tmp_path / "dies", 100)


def test_ray_gives_the_bits_that_local_gives_whatever_else_fails(on_ray, dying, tmp_path):
    here, there = jobs(tmp_path / "here", 2), jobs(tmp_path / "there", 2)
    assert all(outcome.error is None for outcome in local(progress=False)(here))
    broken = replace(there[0], folder=tmp_path / "broken", setup=SETUP.replace({"broken": True}))
    outcomes = {outcome.job.folder.name: outcome.error for outcome in on_ray([dying, *there, broken])}
    assert "it is broken" in outcomes.pop("broken")
    death, log = outcomes.pop("dies"), tmp_path / "dies" / "worker.log"
    assert death.startswith("its worker died 2 times: ")
    assert death.endswith(f"what it wrote is in {log}")
    assert log.read_text() == "about to die\n" * 2
    assert outcomes == {"0": None, "1": None}
    for left, right in zip(here, there, strict=True):
        same_bits(left, right)
    assert list(on_ray(there)) == [Outcome(job) for job in there]  # at once: they are finished


def test_a_worker_that_is_killed_loses_one_row_at_most(on_ray, tmp_path):
    (job,), (whole,) = jobs(tmp_path, 1, steps=1000), jobs(tmp_path / "whole", 1, steps=1000)
    seen = {}

    def kill():
        """Kills the worker once it has logged ten rows; notes the last row that was there before."""
        until = time.monotonic() + 120
        while time.monotonic() < until and not seen:
            if max(RunFolder(job.folder).parts(), default=0) >= 10 and (pids := workers()):
                seen["rows"] = max(RunFolder(job.folder).parts())
                os.kill(pids[0], signal.SIGKILL)
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    outcomes = list(on_ray([job]))
    thread.join()
    assert outcomes == [Outcome(job)]
    assert 10 <= seen["rows"] < 100
    (resumed,) = RunFolder(job.folder).read_config()["resumed"]
    assert resumed["iteration"] >= seen["rows"] - job.log_every
    whole.train(progress=False)
    same_bits(job, whole)


def workers():
    """The processes that train for this one: others on the machine may have a Ray of their own."""
    running = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in running if trains(pid) and parent(parent(pid)) == os.getpid()]


def trains(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::_train")
    except OSError:
        return False


def parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_jobs_are_cancelled_when_nobody_waits_for_them(on_ray, tmp_path):
    first, *rest = jobs(tmp_path, 3, steps=5000)
    outcomes = on_ray([replace(first, steps=50), *rest])
    assert next(outcomes).error is None
    outcomes.close()
    until = time.monotonic() + 60
    while workers() and time.monotonic() < until:
        time.sleep(0.1)
    assert not workers()
    assert not any(job.finished() for job in rest)


def test_a_cluster_without_a_machine_that_is_large_enough_is_told_of(on_ray, monkeypatch):
    on_ray._connect()
    on_ray._warn_if_none_is_large_enough()  # not here
    monkeypatch.setattr(on_ray, "_needs", lambda: {"CPU": 1, "GPU": 1000})
    with pytest.warns(UserWarning, match="no machine of the Ray cluster has 1 CPUs and 1000 GPUs"):
        on_ray._warn_if_none_is_large_enough()


def test_a_folder_that_is_not_on_the_workers_machine_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (job,) = jobs(tmp_path / "elsewhere", 1)
    assert "must be on a filesystem that all machines have" in ray_launcher._train(job, str(tmp_path))
    assert not job.folder.exists()


def test_ray_is_imported_only_when_asked_for():
    script = (
        "import sys; from jaxreward.run import launchers; launchers.get_launcher('local'); print('ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False\n"
