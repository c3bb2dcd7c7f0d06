"""What was trained can be loaded, acted with, and taken to where there is no jaxreward."""

import json
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxreward
from jaxreward.cli import main
from jaxreward.results.export import export
from jaxreward.results.load import batch_of
from jaxreward.run.job import Job, Setup
from jaxreward.run.store import RunError
from tests.demonstrated import demonstrated

SETTINGS = {
    "num_envs": 4,
    "num_steps": 8,
    "num_minibatches": 2,
    "num_epochs": 1,
    "layers": (4,),
    "memory": 3,
    "normalise_observations": True,
}
PLACES = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32) / 10
ELSEWHERE = """
import sys
sys.modules["jaxreward"] = None  # importing it fails
import jax, jax.export, numpy as np
places, out = np.load(sys.argv[1]), {}
for name in ("policy", "sampled_policy"):
    program = jax.export.deserialize(bytearray(open(f"{sys.argv[2]}/{name}.jax", "rb").read()))
    memory = np.zeros((len(places), 3), np.float32)
    out[name], memory = program.call(places, memory, np.int32(1))
    out[f"{name}_again"], _ = program.call(places, memory, np.int32(1))
    out[f"{name}_alike"], _ = program.call(np.tile(places[:1], (len(places), 1)), 0 * memory, np.int32(1))
np.savez(sys.argv[3], **out)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two configurations and two seeds of PPO with a memory."""
    place = tmp_path_factory.mktemp("trained") / "run"
    members = ({"learning_rate": 0.0}, {"learning_rate": 0.1})
    Job(Setup("ppo", "CartPole-v1", settings=SETTINGS), place, 32, members, (3, 5)).train(progress=False, mesh=None)
    return place


@pytest.fixture(scope="module")
def trained(folder):
    return jaxreward.load(folder, member=1, seed=5)


def test_what_is_loaded_says_what_it_is(trained):
    assert (trained.member, trained.seed) == (1, 5)
    assert trained.overrides == {"learning_rate": 0.1}
    assert trained.config["settings"]["memory"] == 3
    assert trained.reward is None
    assert trained.params["params"]["actor_out"]["kernel"].shape == (4, 2)


def test_members_and_seeds_are_told_apart(folder, trained):
    kernel = lambda found: np.asarray(found.params["params"]["actor_out"]["kernel"])  # noqa: E731
    weights = {(m, s): kernel(jaxreward.load(folder, member=m, seed=s)) for m in (0, 1) for s in (3, 5)}
    assert not np.allclose(weights[0, 5], weights[1, 5])  # one of them did not learn
    assert not np.allclose(weights[1, 3], weights[1, 5])
    np.testing.assert_array_equal(weights[1, 5], kernel(trained))


def test_a_prediction_is_the_policys_and_one_of_a_batch_is_that_of_one(trained):
    actions, memory = trained.predict(PLACES[:3])
    for place, action, kept in zip(PLACES, actions, memory, strict=False):
        alone, own = trained.predict(place)
        expected = trained.policy.mode(trained.policy.reset(), place, jax.random.key(0))
        assert alone == action == expected[1]
        np.testing.assert_allclose(own, kept, rtol=1e-5)
        np.testing.assert_allclose(own, expected[0], rtol=1e-5)
    later, _ = trained.predict(PLACES[0], memory[0])
    assert later in (0, 1)


def test_a_seed_samples(trained):
    first, again, other = (trained.predict(PLACES, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 4), ()])
def test_an_observation_of_another_shape(trained, shape):
    with pytest.raises(ValueError, match=r"has shape .*; expected \[4\], or a batch of such"):
        trained.predict(np.zeros(shape))


def test_how_many_observations_there_are():
    expected = {"a": np.zeros(2), "b": np.zeros(())}
    assert batch_of({"a": np.zeros(2), "b": 1.0}, expected) is None
    assert batch_of({"a": np.zeros((5, 2)), "b": np.zeros(5)}, expected) == 5
    with pytest.raises(ValueError, match="structure"):
        batch_of(np.zeros(2), expected)
    with pytest.raises(ValueError, match="expected"):
        batch_of({"a": np.zeros((5, 2)), "b": np.zeros(4)}, expected)


def test_nothing_to_load(tmp_path, folder):
    with pytest.raises(RunError, match="there is no seed 4; they are 3, 5"):
        jaxreward.load(folder, seed=4)
    with pytest.raises(RunError):
        jaxreward.load(tmp_path)


def test_an_exported_policy_runs_where_there_is_no_jaxreward(folder, trained, tmp_path):
    place = export(folder, tmp_path / "out", member=1, seed=5)
    np.save(tmp_path / "places.npy", PLACES)
    arguments = [str(tmp_path / "places.npy"), str(place), str(tmp_path / "actions.npz")]
    subprocess.run([sys.executable, "-c", ELSEWHERE, *arguments], check=True, cwd=tmp_path)
    with np.load(tmp_path / "actions.npz") as file:
        found = dict(file)
    actions, memory = trained.predict(PLACES)
    np.testing.assert_array_equal(found["policy"], actions)
    np.testing.assert_array_equal(found["policy_again"], trained.predict(PLACES, memory)[0])
    mean = 1 - found["sampled_policy"].mean()
    likely = np.mean([trained.predict(PLACES, seed=seed)[0] == 0 for seed in range(20)])
    assert abs(mean - likely) < 5 * np.sqrt(0.25 / len(PLACES))  # five standard errors, at most
    assert 0 < found["sampled_policy_alike"].mean() < 1  # each of a batch is drawn by itself
    assert len(set(found["policy_alike"])) == 1


def test_exported_numbers_and_their_description(folder, tmp_path):
    place = export(folder, tmp_path, member=0, seed=3)
    numbers, said = load_file(place / "params.safetensors"), json.loads((place / "policy.json").read_text())
    trained = jaxreward.load(folder, member=0, seed=3)
    weights = trained.params["params"]
    np.testing.assert_array_equal(numbers["observations.mean"], trained.state.seen.mean)
    np.testing.assert_array_equal(numbers["observations.variance"], trained.state.seen.variance)
    np.testing.assert_array_equal(numbers["params.actor_out.kernel"], weights["actor_out"]["kernel"])
    assert said["params"]["params.actor_out.kernel"] == "float32[4, 2]"
    assert said["observation"] == ["float32[4]"]
    assert said["memory_at_start"] == [[0.0, 0.0, 0.0]]
    assert (said["agent"], said["env"], said["seed"]) == ("ppo", "CartPole-v1", 3)


def test_an_agent_without_params_leaves_none(trained, tmp_path, monkeypatch):
    (tmp_path / "params.safetensors").write_bytes(b"of an earlier run")
    told = {name: getattr(trained, name) for name in ("policy", "observation", "config", "member", "overrides", "seed")}
    monkeypatch.setattr("jaxreward.results.export.load", lambda *_, **__: SimpleNamespace(state=(), **told))
    monkeypatch.setattr("jaxreward.results.export._program", lambda *_: b"")
    export("run", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"policy.jax", "sampled_policy.jax", "policy.json"}


def test_a_reward_that_was_recovered_is_trained_on(tmp_path, monkeypatch, trained):
    """By commands, with a file of one line: what a game's agents were after is what others learn from."""
    with pytest.raises(AttributeError, match="ppo infers no reward from demonstrations"):
        _ = trained.recovered
    monkeypatch.setattr("jaxreward.cli.train.finish", lambda *_: 0)  # what is drawn of a run
    game, run = "games/random_game?num_states=3&branching=2", tmp_path / "run"
    train = ["train", "--env", game, "--seeds", "1", "--quiet"]
    sizes = ["num_envs=2", "num_steps=4", "layers=()", "capacity=8"]
    given = f"demonstrations={demonstrated(game)}"
    told = [*train, "--agent", "mamql", "--steps", "8", "--folder", str(run)]
    assert main([*told, "--set", *sizes, "batch_size=2", given]) == 0
    (tmp_path / "after.py").write_text(f"from jaxreward import load\n\nrecovered = load({str(run)!r}).recovered\n")
    file = f"{tmp_path / 'after.py'}:recovered"
    told = [*train, "--agent", "ippo", "--steps", "8", "--folder", str(tmp_path / "other"), "--reward", file]
    assert main([*told, "--set", "num_envs=2", "num_steps=4", "layers=()", "num_minibatches=1"]) == 0
    found, other = jaxreward.load(run), jaxreward.load(tmp_path / "other")
    critic = other.env_params.reward.critic
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b), critic, found.params)
    assert len(jax.tree.leaves(critic)) == 2
