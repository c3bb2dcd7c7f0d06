"""The cache of compiled programs: what is to be timed is compiled although it is there, and is there afterwards."""

import os
import subprocess
import sys

from jaxreward.compilation.cache import compiler_options

CHILD = """
import sys
from pathlib import Path

import jax

from jaxreward.compilation.cache import compiled_anew
from jaxreward.reproduce.parts import planned, trainings
from jaxreward.reproduce.plan import plan
from jaxreward.run.job import Setup
from jaxreward.run.launcher import local

cache, folder = map(Path, sys.argv[1:])
tiny = {"num_envs": 4, "num_steps": 16, "num_minibatches": 1, "num_epochs": 1, "layers": (8,)}
jobs = trainings(Setup(settings=tiny), [{"learning_rate": 1e-3}], steps=128, seeds=2, log_every=1)
kept = lambda: {path.name for path in cache.glob("jit__chunk*")}
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)

list(plan({"ours": jobs}, ["ours"], folder))
compiled = kept()
assert compiled and not hits, (compiled, hits)
with compiled_anew():
    list(plan({"ours": jobs}, ["ours"], folder))
assert not hits, hits
list(local(progress=False)(planned("ours", jobs, folder)))
assert hits and kept() == compiled, (hits, compiled, kept())
"""


def test_what_a_plan_compiles_although_it_is_there_is_there_for_the_run(tmp_path):
    environment = {name: value for name, value in os.environ.items() if "CACHE" not in name and name != "XLA_FLAGS"}
    environment["JAXREWARD_CACHE"] = str(tmp_path / "cache")
    arguments = [str(tmp_path / "cache"), str(tmp_path / "here")]
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_level_of_optimisation_that_a_user_named_stays(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    assert compiler_options() == {"xla_backend_optimization_level": "1"}
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false --xla_backend_optimization_level=3")
    assert compiler_options() is None
