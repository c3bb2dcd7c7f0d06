"""Objectives in files: they come back as what they were, and what is none is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxreward.agents.baselines.ppo import Config
from jaxreward.learning.drifts import get_drift, list_drifts, lpo
from jaxreward.learning.learned_drifts import METADATA, digest_of, list_learned
from jaxreward.learning.objective import Drift, Lifetime
from jaxreward.results.export import export
from jaxreward.results.load import load
from jaxreward.run.job import Job, Setup
from jaxreward.run.spec import resolve
from jaxreward.run.store import RunError

BATCH = Drift(*jnp.meshgrid(jnp.linspace(0.2, 3.0, 8), jnp.linspace(-2.0, 2.0, 8)))
LIFE = Lifetime(jnp.asarray(3), jnp.asarray(4.0))
SIZES = {"num_envs": 2, "num_steps": 4, "layers": (2,), "num_minibatches": 1, "num_epochs": 1}
SEARCH = {"population_size": 4, "inner_iterations": 2, "judged_iterations": 2}


def described(agent="lpo_es", objective="lpo"):
    return {METADATA: json.dumps({"agent": agent, "agent_config": {"objective": objective}})}


def numbers(objective=lpo()):
    return {name: np.asarray(value) for name, value in objective.init(jax.random.key(3)).items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A generation of TA-LPO."""
    folder = tmp_path_factory.mktemp("run") / "evolved"
    settings = {**SIZES, **SEARCH, "objective": "ta_lpo"}
    Job(Setup("lpo_es", "CartPole-v1", settings=settings), folder, steps=1).train(progress=False, mesh=None)
    return folder


def test_an_evolved_objective_is_used_by_the_folder_of_its_run(run):
    with pytest.raises(
        ValueError, match=r"there is no file .*params.safetensors of an objective; `jaxreward export .*evolved`"
    ):
        get_drift(str(run))
    place = export(run)
    params = load(run).params
    for name in (str(run), str(place / "params.safetensors")):
        drift = get_drift(name)
        kept = drift.init(jax.random.key(9))
        jax.tree.map(np.testing.assert_array_equal, kept, params)
        np.testing.assert_array_equal(drift.apply(kept, BATCH, LIFE), lpo(aware=True).apply(params, BATCH, LIFE))
    with pytest.raises(ValueError, match="asks how much of the lifetime has passed"):
        resolve("ppo", "CartPole-v1", settings={"objective": str(run)})


def test_a_run_does_not_go_on_with_another_objective(tmp_path):
    file = tmp_path / "mine.safetensors"
    save_file(numbers(), file, described())
    job = Job(Setup(settings={**SIZES, "objective": str(file)}), tmp_path / "run", steps=8)
    job.train(progress=False, mesh=None)
    save_file({name: 2 * value for name, value in numbers().items()}, file, described())
    with pytest.raises(RunError, match="objective_digest"):
        Job(job.setup, job.folder, steps=16).train(progress=False, mesh=None)


def test_what_comes_with_the_package_is_there():
    assert {"lpo_catch", "ta_lpo_catch"} <= set(list_learned("lpo_es")) <= set(list_drifts())
    assert set(list_learned()) == {*list_learned("lpo_es"), *list_learned("lpg_es", "lpg_meta")}
    assert "ta_lpg_small" not in list_drifts()
    with pytest.raises(ValueError, match="exported of a run of lpg_es, not of lpo_es"):
        get_drift("ta_lpg_small")
    for name in list_learned("lpo_es"):
        drift = get_drift(name)
        found = drift.apply(drift.init(jax.random.key(0)), BATCH, LIFE)
        assert (found > 0).any()
        assert digest_of(name)
        assert Config(objective=name).for_env(None, None).objective_digest == digest_of(name)
    assert digest_of("ppo") == ""


def test_a_folder_that_is_called_like_a_built_in_one_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "dpo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert get_drift("dpo").init(jax.random.key(0)).keys() == {"alpha", "beta"}


@pytest.mark.parametrize(("arrays", "metadata", "message"), [
    (numbers(), None, "does not say what it is of"),
    (numbers(), described(agent="ppo"), "holds no objective: it was exported of a run of ppo"),
    (numbers(lpo(aware=True)), described(), r"another architecture than lpo.*\(8, 128\).* has .*\(16, 128\)"),
    ({"hidden": numbers()["hidden"]}, described(), "another architecture than lpo"),
    (numbers() | {"out": np.full(128, np.nan, np.float32)}, described(), "numbers that are not finite"),
    (numbers(), described(objective="lpo2"), "no objective 'lpo2'; did you mean 'lpo'"),
])  # fmt: skip
def test_what_is_no_objective_is_refused(arrays, metadata, message, tmp_path):
    file = tmp_path / "it.safetensors"
    save_file(arrays, file, metadata)
    with pytest.raises(ValueError, match=message):
        get_drift(str(file))


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file nowhere.safetensors of an objective"):
        get_drift("nowhere.safetensors")
    (tmp_path / "text.safetensors").write_text("nothing")
    with pytest.raises(ValueError, match="is no file of safetensors"):
        get_drift(str(tmp_path / "text.safetensors"))
