"""The benchmark of MAP-Elites against QDax: that both do the same, what is found, what is said."""

import dataclasses
import io
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import contenders
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contenders import printed, told
from rich.console import Console

from jaxreward.agents.quality_diversity.map_elites import Config, Hyperparams
from jaxreward.experiments.benchmarks import map_elites
from jaxreward.experiments.benchmarks.ours import run_map_elites
from jaxreward.experiments.benchmarks.parts import race
from jaxreward.experiments.benchmarks.parts.tables import Measured


@pytest.mark.parametrize("name", map_elites.TASKS)
def test_ours_and_qdax_fill_the_same_cells_with_as_many_children(name):
    task = map_elites.TASKS[name]
    ours, qdax = map_elites.spec(task, 7), map_elites.peer_spec(task, 7)
    config, hyperparams = Config(**ours["config"]), Hyperparams(**ours["hyperparams"])
    assert (config.batch, config.generations, ours["iterations"]) == (qdax["batch"], 1, qdax["iterations"])
    assert (hyperparams.iso, hyperparams.line) == (qdax["iso"], qdax["line"])
    assert (config.bins,) * task.dimensions == qdax["bins"]
    assert config.worst_reward == -qdax["offset"]
    if task.feet:
        assert (config.layers, config.width) == (qdax["layers"], qdax["width"]) == (2, 64)
        assert ours["options"]["max_steps_in_episode"] == qdax["num_steps"]
    else:
        assert ours["options"]["joints"] == qdax["joints"]
    program = Path(qdax["program"]).read_text()
    read = set(re.findall(r"\bspec\.(\w+)", program)) - ({"joints"} if task.feet else {"num_steps", "width", "layers"})
    assert read <= set(qdax)


def test_map_elites_says_what_it_found():
    task = replace(map_elites.TASKS["arm"], bins=3, batch=64)
    train, finish = run_map_elites.build(told(map_elites.spec(task, 3)))
    output = jax.jit(jax.vmap(train))(jax.random.PRNGKey(0)[None])
    assert output["evaluations"].tolist() == [4 * 64]
    # Of 9 cells. What is counted lies between 1/2 and 1 for each that holds an elite.
    found = finish(output)["found"]
    assert found["coverage"] * 9 == pytest.approx(output["archive/size"])
    assert found["qd_score"] / output["archive/size"] == pytest.approx(0.75, abs=0.25)


def test_children_are_bred_and_tried():
    task = replace(map_elites.TASKS["arm"], bins=3, batch=64)
    train, finish = run_map_elites.build(told({**map_elites.spec(task, 3), "part": map_elites.BOUND}))
    born, total = jax.jit(train)(jax.random.PRNGKey(0))
    assert born.shape == (64, 8)
    assert ((born >= 0) & (born <= 1)).all()
    assert np.isfinite(total)
    assert finish(None) == {}


def test_feet_are_counted_at_the_start_of_each_step():
    """Two feet, links 1 and 3. A step's action is what the next state's contacts are."""
    contact = lambda dist: SimpleNamespace(link_idx=jnp.array([[0, 0, 0], [3, 1, 2]]), dist=dist)  # noqa: E731
    world = SimpleNamespace(
        simulator=SimpleNamespace(sys=SimpleNamespace(link_names=["torso", "left", "knee", "right"])),
        reset_env=lambda key, params: (0.0, SimpleNamespace(dist=jnp.array([-1.0, 1.0, -1.0]))),
        step_env=lambda key, state, action, params: (0.0, SimpleNamespace(dist=action), 1.0, False, {"x": 1}),
    )
    env = run_map_elites.FeetContact(world, ["left", "right"])
    env.stands = lambda state: run_map_elites.FeetContact.stands(
        env, SimpleNamespace(sim=SimpleNamespace(pipeline_state=SimpleNamespace(contact=contact(state.dist))))
    )
    assert env.descriptor_bounds == ((0.0, 0.0), (1.0, 1.0))
    _, state = env.reset_env(None, None)
    seen = []
    for dist in ([1.0, 0.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]):
        _, state, _, _, info = env.step_env(None, state, jnp.array(dist), None)
        seen.append(info["descriptor"].tolist())
    # On the ground at the start of the steps: the right, the left, none.
    assert seen == [[0.0, 1.0], [0.5, 0.5], pytest.approx([1 / 3, 1 / 3])]
    assert info["x"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("arms",)}, "no task 'arms'; did you mean 'arm'"),
        ({"rounds": 0}, "--generations 0 --rounds 0: give 1 or more"),
        ({"generations": -1}, "--generations -1"),
    ],
)
def test_races_of_map_elites_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        map_elites.check(replace(map_elites.Options(), **changes))


def test_qdax_gets_our_versions():
    assert map_elites.PACKAGES[0] == "qdax==0.5.0"
    assert {line.partition("=")[0] for line in map_elites.PACKAGES} >= {"jax", "brax", "flax", "numpy"}
    assert all("==" in line for line in map_elites.PACKAGES)


def test_a_race_of_map_elites_from_options_to_tables(monkeypatch):
    monkeypatch.setattr(race, "Contender", contenders.FakeContender)
    monkeypatch.setattr(map_elites.peers, "build", lambda *_: "python")
    console = Console(width=200, file=io.StringIO())
    rows = map_elites.run(map_elites.Options(tasks=("arm",), generations=10, rounds=3), console)
    assert [row.name for row in rows] == ["ours", "QDax", "QDax seq", map_elites.BOUND]
    assert all(len(row.runs) == 3 for row in rows)
    text = console.file.getvalue()
    # 11 x 1,024 evaluations in 11 seconds and 22 of CPU; coverage 1, 2 and 3 are 2 on average.
    assert all(said in text for said in ("11,264", "1,024", "512", "1.00 (1.00 to 1.00)", "200.0%", "2.0"))
    assert "100% of our time is that of children" in text


def test_a_qdax_that_dies_leaves_ours():
    run = {"run_s": 1.0, "cpu_s": 1.0, "load": 0.0, "found": {"coverage": [1.0], "qd_score": [1.0]}}
    ours = Measured("arm", "ours", False, 1, 100, {}, "", {"trace_s": 1.0, "compile_s": 1.0}, [run])
    dead = dataclasses.replace(ours, name="QDax", is_peer=True, runs=[], failure="died: no qdax")
    bound = dataclasses.replace(ours, name=map_elites.BOUND)
    text = printed(map_elites.table_of("arm", [ours, dead, bound]))
    assert "QDax: died: no qdax" in text
    assert "100.0%" in text
