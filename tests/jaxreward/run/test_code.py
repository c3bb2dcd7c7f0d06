"""The code that a run keeps: what belongs to it, that it alone is used later, and that others' is not run unasked."""

import shutil
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from jaxreward.cli import shell
from jaxreward.run.code import changed_code, keep_code, places_of
from jaxreward.run.job import Job, Setup, job_of
from jaxreward.run.plan import make_plan
from jaxreward.run.sources import Modules, find_sources
from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.trust import state_file, trusting

SIZES = {"num_envs": 2, "num_steps": 4, "num_minibatches": 1, "num_epochs": 1, "layers": (2,)}
REWARD = """
import random
import numpy
import helpers

def gain(transition):
    from late import factor
    return factor * helpers.SCALE * transition.reward
"""
AGENT = """
from jaxreward.agents.baselines.ppo import Config, Hyperparams, ppo
from pieces.sizes import CHECKED
def mine(*arguments):
    return ppo(*arguments)
"""
ENV = """
import gymnax
def short(limit=7):
    env, params = gymnax.make("CartPole-v1")
    return env, params.replace(max_steps_in_episode=limit)
"""


def write_code(home, scale=3.0, factor=2.0):
    """A reward, an agent and an environment, with files beside them that are imported in all ways or not at all."""
    files = {
        "reward.py": REWARD,
        "helpers.py": f"from pieces import sizes\nSCALE = {scale}\n",
        "late.py": f"import reward\nfactor = {factor}\n",
        "random.py": "raise AssertionError('Python has its own')\n",
        "other.py": "raise AssertionError('nobody imports it')\n",
        "pieces/__init__.py": "",
        "pieces/sizes.py": "from .deep import CHECKED\nfrom . import deep\n",
        "pieces/deep.py": "CHECKED = True\n",
        "pieces/other.py": "",
        "agent.py": AGENT,
        "env.py": ENV,
    }
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)


def reward_of(job):
    """What the job's reward makes of a step, as it is traced."""
    made = job.experiment()
    params = made.env_params
    _, state = made.env.reset_env(jax.random.key(0), params)
    return float(made.env.step_env(jax.random.key(0), state, jnp.array(0), params)[2])


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    write_code(tmp_path / "home")
    yield tmp_path / "home"
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def begun(home):
    """A run with all of it, begun and not trained."""
    names = {
        "agent": f"{home}/agent.py:mine",
        "env": f"{home}/env.py:short?limit=5",
        "reward": f"{home}/reward.py:gain",
    }
    job = Job(Setup(**names, settings=SIZES), home.parent / "run", steps=8)
    return begin(job)


def begin(job):
    run, experiment = RunFolder(job.folder), job.experiment()
    plan = make_plan(experiment.hyperparams, experiment.population, list(job.seeds), 1, 1)
    run.create()
    keep_code(run, job.places())
    run.write_config({**plan.describe(experiment.config)})
    return job


def test_what_is_imported_beside_a_file_belongs_to_it_and_nothing_else(home):
    found = find_sources(str(home / "reward.py"))
    assert (found.root, found.main) == (home, "reward.py")
    expected = {"reward.py", "helpers.py", "late.py", "pieces/__init__.py", "pieces/sizes.py", "pieces/deep.py"}
    assert set(found.files) == expected
    assert find_sources(str(home / "nowhere.py")) is None


def test_a_module_has_the_packages_it_is_in(home, monkeypatch):
    monkeypatch.syspath_prepend(str(home))
    found = find_sources("pieces.sizes")
    assert (found.root, found.main) == (home, "pieces/sizes.py")
    assert set(found.files) == {"pieces/__init__.py", "pieces/sizes.py", "pieces/deep.py"}


def test_modules_of_equal_names_are_told_apart_also_when_they_import_late(home, tmp_path):
    write_code(tmp_path / "new", scale=5.0, factor=7.0)
    before = dict(sys.modules)
    old, new = (Modules(find_sources(str(place / "reward.py"))).load() for place in (home, tmp_path / "new"))

    class Step:
        reward = 1.0

    assert [old.gain(Step), new.gain(Step), old.gain(Step)] == [6.0, 35.0, 6.0]
    assert {name: module for name, module in sys.modules.items() if before.get(name) is not module} == {}
    assert not list(home.rglob("__pycache__"))


def test_a_run_is_what_its_own_copy_says(begun, home):
    assert reward_of(begun) == 6.0
    assert job_of(begun.folder).experiment().env_params.env.max_steps_in_episode == 5
    write_code(home, scale=100.0)
    with pytest.warns(UserWarning, match=r"home/reward\.py has changed since .*\(helpers\.py\); .*own copy"):
        assert reward_of(job_of(begun.folder, steps=8)) == 6.0
    assert changed_code(RunFolder(begun.folder)) == ["reward: helpers.py"]
    (home / "reward.py").write_text("def gain(transition):\n    return -transition.reward\n")
    assert reward_of(replace(begun, folder=home.parent / "new")) == -1.0
    shutil.rmtree(home)
    assert reward_of(job_of(begun.folder, steps=8)) == 6.0
    assert changed_code(RunFolder(begun.folder)) == []


def test_a_reward_that_is_asked_for_in_place_of_the_runs_is_not_the_runs(begun, home):
    (home / "another.py").write_text("def gain(transition):\n    return -transition.reward\n")
    asked = replace(begun, setup=replace(begun.setup, reward=f"{home}/another.py:gain"))
    assert reward_of(asked) == -1.0


def test_a_run_of_before_code_was_kept_has_its_reward(begun, home):
    shutil.rmtree(begun.folder / "code")
    shutil.copy(home / "reward.py", begun.folder / "reward.py")
    (home / "reward.py").write_text("def gain(transition):\n    return 0.0\n")
    (begun.folder / "reward.py").write_text("def gain(transition):\n    return 4.0 * transition.reward\n")
    with trusting(), pytest.warns(UserWarning, match="has changed since"):
        assert reward_of(job_of(begun.folder, steps=8)) == 4.0
    (home / "reward.py").unlink()
    with trusting():
        assert reward_of(job_of(begun.folder, steps=8)) == 4.0


@pytest.fixture
def elsewhere(begun, tmp_path, monkeypatch):
    """The run as somebody else sees it, who gets the folder; running any of its code leaves a trace."""
    folder = tmp_path / "got" / "run"
    shutil.move(begun.folder, folder)
    shutil.rmtree(tmp_path / "home")
    for path in (folder / "code").rglob("*.py"):
        path.write_text(f"__import__('pathlib').Path({str(tmp_path / 'trace')!r}).touch()\n{path.read_text()}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return folder


def test_others_code_is_not_run_unasked_and_asked_for_once(elsewhere, tmp_path):
    job, questions = job_of(elsewhere, steps=8), []
    with pytest.raises(RunError, match=r"run in .*got/run was not begun here by you.*agent\.py.*say --trust"):
        job.experiment()
    with trusting(lambda question: questions.append(question)), pytest.raises(RunError, match="not begun here"):
        job.experiment()
    assert not (tmp_path / "trace").exists()
    assert "agent" in questions[0]
    with trusting(lambda question: questions.append(question) or True):
        assert reward_of(job) == 6.0
    assert (tmp_path / "trace").exists()
    assert len(questions) == 1 + 3  # the agent's, the environment's and the reward's
    assert state_file().stat().st_mode & 0o077 == 0
    assert reward_of(job_of(elsewhere, steps=8)) == 6.0
    (elsewhere / "code" / "reward" / "helpers.py").write_text("SCALE = 0.0\n")
    with pytest.raises(RunError, match=r"not begun here by you.*code of its reward"):
        job.experiment()


def test_code_outside_the_folder_is_others_too(elsewhere, tmp_path):
    run = RunFolder(elsewhere)
    (tmp_path / "evil.py").write_text(
        f"__import__('pathlib').Path({str(tmp_path / 'trace')!r}).touch()\ndef gain(t):\n    return 0.0\n"
    )
    described = run.read_config()
    for reward in (f"{tmp_path}/evil.py:gain", "this:gain"):
        described["config"] |= {"agent": "ppo", "env": "CartPole-v1", "reward": reward}
        run.write_config(described)
        with pytest.raises(RunError, match="not begun here by you"):
            job_of(elsewhere, steps=8).experiment()
    assert not (tmp_path / "trace").exists()


def test_a_run_without_code_of_a_users_asks_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    job = begin(Job(Setup(settings=SIZES), tmp_path / "run", steps=8))
    assert job_of(job.folder, steps=8).experiment().config["reward"] == "environment"
    assert not (job.folder / "code").exists()
    assert not state_file().exists()


def test_places_are_found_within_names_and_settings():
    config = {
        "agent": "pbt/my/agent.py:mine",
        "env": "a.b:make?x=1:2",
        "reward": "environment",
        "settings": {
            "features": "seen.py:f",
            "network": "net.py:N",
            "layers": [1],
            "method": "gae",
            "space": "learning_rate=log(1,2)",
        },
    }
    assert places_of(config) == {
        "my/agent.py": "agent",
        "a.b": "environment",
        "seen.py": "features",
        "net.py": "network",
    }


@pytest.mark.parametrize(
    ("terminal", "answer", "agreed"), [(True, "y\n", True), (True, "\n", False), (False, "y\n", False)]
)
def test_only_a_person_can_agree(monkeypatch, capsys, terminal, answer, agreed):
    class Input:
        isatty = staticmethod(lambda: terminal)
        readline = staticmethod(lambda: answer)

    monkeypatch.setattr(sys, "stdin", Input)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert shell.asked("it is theirs") is agreed
    assert ("it is theirs. Run it? [y/N]" in capsys.readouterr().err) is bool(terminal)
