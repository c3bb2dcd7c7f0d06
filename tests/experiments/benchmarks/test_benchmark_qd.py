"""The logic of the benchmarks of quality-diversity: that all search for the same, how peers are run, what is said."""

import dataclasses
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jaxreward.agents.quality_diversity.map_elites import Config, Hyperparams
from jaxreward.agents.registry import get_agent
from jaxreward.envs import registry
from jaxreward.experiments.benchmarks import map_elites, stax
from jaxreward.experiments.benchmarks.ours import run_map_elites, run_stax
from jaxreward.experiments.benchmarks.parts import authors, race
from jaxreward.experiments.benchmarks.parts.authors import BATCHED
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import contender
from jaxreward.experiments.benchmarks.peers import run_stax_authors as theirs
from jaxreward.experiments.benchmarks.stax import BOUNDS, TASKS, Options

# What the authors' program does with its surroundings: what it imports, counts on, saves and catches.
EXPERIMENT = """
import argparse, os, pickle, sys
from parameters import params
from progress.bar import Bar
import gym_dummy
parser = argparse.ArgumentParser()
for option in ("-env", "-exp", "-eb", "-sp"):
    parser.add_argument(option)
args = parser.parse_args()
folder = os.path.join(args.sp, args.env)
os.makedirs(folder)

def save(name, what):
    with open(os.path.join(folder, name + ".pkl"), "wb") as file:
        pickle.dump(what, file)

bar = Bar("Evals:", max=args.eb)
agent = lambda *place: {"gt_bd": place, "reward": 0.5}
save("population_gen_1", [agent(0.1, 0.1), agent(0.4, 0.2)])
save("population_gen_2", [agent(0.9, 0.9)])
save("offsprings_gen_1", [agent(0.1, 1.0)])
save("offsprings_gen_12", [agent(0.2, 0.6)])
if args.exp == "SERENE":
    save("rew_archive_final", [[["genome", 7.0 + params.seed], ["genome", 1.0]], []])
    save("rew_archive_gen_1", [[["genome", 1000.0]], []])
print("Evaluating")
try:
    for _ in range(2):
        bar.next(n=int(args.eb) // 2 + 1)
    if args.env == "Curling":
        1 / 0
except Exception:
    bar.finish()
    sys.exit()
"""
GRID = "{'grid': {'min_coord': [0, 0], 'max_coord': [1, 1], 'bins': 2}}"
FILES = {
    "scripts/run_experiment.py": EXPERIMENT,
    "parameters.py": "from types import SimpleNamespace\n"
    "params = SimpleNamespace(seed=None, archive_stored_info=['genome', 'reward'])\n",
    "environments/environments.py": f"registered_envs = dict.fromkeys(['Walker2D', 'Curling'], {GRID})\n",
    "environments/assets/gym_dummy/__init__.py": "",
    "core/evolvers/serene.py": "",
}


def checkout(folder):
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def fake_python(folder, *lines):
    """A program that says some lines whatever it is asked."""
    path = folder / "python"
    path.write_text("#!/bin/sh\n" + "".join(f"echo '{json.dumps(line)}'\n" for line in lines))
    path.chmod(0o755)
    return path


def printed(table):
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def told(fields):
    """A spec as `contender.py` reads it."""
    return json.loads(json.dumps(fields), object_hook=lambda each: SimpleNamespace(**each))


def run_authors(name, tmp_path):
    options = Options(checkout(tmp_path / "repository"), evaluations=100)
    program = json.dumps(stax.authors_spec(name, options, seed=3))
    command = [sys.executable, "-P", str(theirs.__file__), program]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)


@pytest.mark.parametrize(("name", "best"), [("ns_point2d", 0.5), ("serene_point2d", 10.0)])
def test_their_program_runs_as_it_is_and_says_what_it_found(name, best, tmp_path):
    before = set(checkout(tmp_path / "repository").rglob("*"))
    process = run_authors(name, tmp_path)
    *chunks, found = [json.loads(line) for line in process.stdout.splitlines()]
    assert [chunk["evaluations"] for chunk in chunks] == [51, 51]
    assert all(chunk["seconds"] >= 0 for chunk in chunks)
    # In two of four cells; a later population has nothing that no child was before, and there it is made up.
    assert found == {"coverage": 0.5, "best": best}
    assert "Evaluating" in process.stderr
    assert set((tmp_path / "repository").rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]


def test_an_error_that_they_catch_is_one(tmp_path):
    process = run_authors("ns_curling", tmp_path)
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_a_round_has_all_chunks(tmp_path):
    lines = [{"seconds": s, "evaluations": 1050} for s in (2.0, 3.0)] + [{"coverage": 0.25, "best": 3.0}]
    found = stax.authors_round(fake_python(tmp_path, *lines), "ns_arm", Options(tmp_path), 0)
    assert found["run_s"] == 5.0
    assert found["found"] == {"evaluations": [2100], "coverage": [0.25], "best": [3.0]}


def test_fewer_evaluations_than_asked_for_are_an_error(tmp_path):
    lines = [{"seconds": 1.0, "evaluations": 1100}, {"coverage": 0.25, "best": 3.0}]
    with pytest.raises(RuntimeError, match="reported 1100 of 2000 evaluations"):
        stax.authors_round(fake_python(tmp_path, *lines), "ns_arm", Options(tmp_path), 0)


@pytest.mark.parametrize("name", TASKS)
def test_both_search_with_the_same_numbers(name, tmp_path):
    options = Options(tmp_path, evaluations=1500)
    fields, asked = stax.spec(name, options), stax.authors_spec(name, options, 0)
    chosen = get_agent(fields["agent"])
    config = chosen.Config(**fields["config"])
    assert config.budget == asked["evaluations"] == 1500
    assert fields["iterations"] * config.chunk_size >= config.budget
    # Their `parameters.py`.
    assert (config.chunk_size, config.population_size, config.children, config.archived) == (1000, 100, 2, 5)
    assert (config.neighbours, config.genome_low, config.genome_high) == (15, -5.0, 5.0)
    assert chosen.Hyperparams().mutation == 0.05
    if name.startswith("serene"):
        assert (config.members, config.emitter_children, config.parallel_emitters) == (6, 2, 1)


def test_the_arm_is_theirs():
    options = stax.WORLDS["arm"].options
    env, params = registry.make("qd/arm", **options)
    assert env.require_stop
    assert params.max_steps_in_episode == 101


def small(tmp_path, **changes):
    fields = stax.spec("ns_point2d", Options(tmp_path, evaluations=30), iterations=2)
    config = {"budget": 30, "chunk_size": 12, "population_size": 6, "neighbours": 3}
    return told({**fields, "config": config, "options": {"max_steps_in_episode": 3}, **changes})


def test_a_search_says_what_it_found(tmp_path):
    train, finish = run_stax.build(small(tmp_path))
    found = finish(jax.jit(jax.vmap(train))(jax.random.split(jax.random.PRNGKey(0), 2)))["found"]
    # The first population and as many children as 2 iterations of 12 have; within 0.15 of the middle nothing pays.
    assert found["evaluations"].tolist() == [30, 30]
    assert found["best"].tolist() == [0.0, 0.0]
    assert ((found["coverage"] > 0) & (found["coverage"] <= 9 * 9 / 2500)).all()
    assert contender.summarise({"found": found})["found"]["evaluations"] == [30.0, 30.0]


@pytest.mark.parametrize("part", BOUNDS)
def test_bounds_are_of_the_whole_budget(part, tmp_path):
    train, finish = run_stax.build(small(tmp_path, part=part))
    totals = jax.jit(jax.vmap(train))(jax.random.split(jax.random.PRNGKey(0), 2))
    assert np.isfinite(totals).all()
    assert totals[0] != totals[1]
    assert finish(totals)["found"]["evaluations"].tolist() == [36, 36]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("serene_point",)}, "no task 'serene_point'; did you mean 'serene_point2d'"),
        ({"evaluations": -1}, "--evaluations -1: give 1 or more, or 0 for each task's own"),
        ({"rounds": 1}, "intervals need 2 or more"),
        ({"checkout": Path("nowhere")}, "nowhere has no scripts/run_experiment.py"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes, message, tmp_path):
    options = Options(checkout(tmp_path))
    stax.check(options)
    with pytest.raises(ValueError, match=message):
        stax.check(replace(options, **changes))


class FakeContender:
    """One that answers at once, 10 seconds for what it says are 11,000 evaluations of each seed."""

    def __init__(self, python, told, flags, timeout):
        self.told, self.ready, self.runs, self.failure = told, {"trace_s": 1.0, "compile_s": 1.0}, [], ""

    def prepare(self):
        """It is ready."""

    def run(self, seed):
        found = {name: [1.0 + seed] * self.told["seeds"] for name in ("coverage", "best", "qd_score")}
        found["evaluations"] = [11_000] * self.told["seeds"]
        self.runs.append({"run_s": 11.0, "cpu_s": 22.0, "load": 0.0, "found": found})

    def close(self):
        """There is nothing to end."""


def test_a_race_from_options_to_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(authors, "Contender", FakeContender)
    lines = [{"seconds": 1010.0, "evaluations": 10_100}, {"coverage": 0.5, "best": 4.0}]
    monkeypatch.setattr(stax.peers, "build", lambda *_: fake_python(tmp_path, *lines))
    console = Console(width=200, file=io.StringIO())
    options = Options(checkout(tmp_path), tasks=("ns_point2d",), rounds=2, runs=4)
    rows = {row.name: row for row in stax.run(options, console)}
    assert {name: len(row.runs) for name, row in rows.items()} == dict.fromkeys(
        ["authors", "ours", BATCHED, *BOUNDS, *(f"{bound}, batched" for bound in BOUNDS)], 2
    )
    # Seconds for 10,000: theirs 1010 of 10,100; ours 11 of 11,000; 4 of ours 11 of 44,000.
    assert [rows[name].median_s for name in ("authors", "ours", BATCHED)] == pytest.approx([1000, 10, 10])
    text = console.file.getvalue()
    assert all(said in text for said in ("100 (100 to 100)", "400 (400 to 400)", "200%"))
    # Each round's 5 seeds found 1 and then 2; theirs 0.5.
    assert "1.500 (1.000 to 2.000, n=10)" in text
    assert "+1.000 [" in text


def test_all_failures_are_said(tmp_path):
    lone = Measured("ns_arm", "authors", True, 1, 2000, {}, "", {}, [{"found": {"coverage": [0.5], "best": [1.0]}}])
    failed = [Measured("ns_arm", who, False, 1, 2000, {}, "", {}, [], "died: no memory") for who in ("ours", BATCHED)]
    assert "died: no memory" in printed(stax.found_table("ns_arm", [lone, *failed]))


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
    monkeypatch.setattr(race, "Contender", FakeContender)
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
