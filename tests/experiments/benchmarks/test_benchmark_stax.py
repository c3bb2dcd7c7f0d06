"""The benchmark of novelty search, SERENE and STAX against their authors' code: how theirs is run, what is said."""

import io
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from contenders import FakeContender, printed
from rich.console import Console

from jaxreward.experiments.benchmarks import stax
from jaxreward.experiments.benchmarks.parts import authors
from jaxreward.experiments.benchmarks.parts.authors import BATCHED
from jaxreward.experiments.benchmarks.parts.searches import SEARCHES, Options
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import run_stax_authors as theirs

BOUNDS = SEARCHES["ns"].bounds

# What the authors' program does with its surroundings: what it imports, counts on, saves and catches.
EXPERIMENT = """
import argparse, os, pickle, sys
from parameters import params
from progress.bar import Bar
import gym_dummy, gym_redarm
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
if args.exp == "STAX-P":
    import iisignature, ot, torch
    class Batch:
        contiguous = lambda self: 1000 * params.max_training_epochs
    (ordered,) = torch.hooks[0](None, (Batch(),))
    with open(os.path.join(folder, "ae_final.pth"), "wb") as file:
        pickle.dump({"optimizer": {"state": {0: {"step": ordered + 10.0 * torch.seeds[0] + params.pop_size}}}}, file)
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
TORCH = """
import pickle
from types import SimpleNamespace
seeds, hooks = [], []
manual_seed = seeds.append
load = lambda path: pickle.loads(path.read_bytes())
module = SimpleNamespace(register_module_forward_pre_hook=hooks.append)
nn = SimpleNamespace(modules=SimpleNamespace(module=module))
"""
GRID = "{'grid': {'min_coord': [0, 0], 'max_coord': [1, 1], 'bins': 2}}"
FILES = {
    "scripts/run_experiment.py": EXPERIMENT,
    "parameters.py": "from types import SimpleNamespace\n"
    "params = SimpleNamespace(seed=None, pop_size=10, archive_stored_info=['genome', 'reward'])\n",
    "environments/__init__.py": f"registered_envs = dict.fromkeys(['Walker2D', 'Curling', 'RedArm'], {GRID})\n",
}
SERENE = FILES | {
    "environments/assets/gym_dummy/__init__.py": "",
    "environments/assets/gym_redarm/__init__.py": "",
    "core/evolvers/serene.py": "",
}
STAX = FILES | {"core/evolvers/serene_taxons.py": "", "torch.py": TORCH}


def checkout(folder, files=SERENE):
    for name, text in files.items():
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


def run_authors(name, tmp_path):
    checkouts = checkout(tmp_path / "serene"), checkout(tmp_path / "stax", STAX)
    program = json.dumps(stax.authors_spec(name, Options(*checkouts, evaluations=100), seed=3))
    command = [sys.executable, "-P", str(theirs.__file__), program]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("ns_point2d", {"best": 0.5}),
        ("serene_point2d", {"best": 10.0}),
        # Their number of epochs in thousands, the seed in tens, and the population's size.
        ("stax_arm", {"best": 0.5, "updates": 100_130}),
    ],
)
def test_their_program_runs_as_it_is_and_says_what_it_found(name, more, tmp_path):
    before = {*checkout(tmp_path / "serene").rglob("*"), *checkout(tmp_path / "stax", STAX).rglob("*")}
    process = run_authors(name, tmp_path)
    *chunks, found = [json.loads(line) for line in process.stdout.splitlines()]
    assert [chunk["evaluations"] for chunk in chunks] == [51, 51]
    assert all(chunk["seconds"] >= 0 for chunk in chunks)
    # In two of four cells; a later population has nothing that no child was before, and there it is made up.
    assert found == {"coverage": 0.5, **more}
    assert "Evaluating" in process.stderr
    assert {path for folder in ("serene", "stax") for path in (tmp_path / folder).rglob("*")} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["serene", "stax"]


def test_a_network_that_was_never_trained_had_no_updates(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(checkout(tmp_path, STAX))
    assert theirs.trained(tmp_path) == {}
    (tmp_path / "ae_final.pth").write_bytes(pickle.dumps({"optimizer": {"state": {}}}))
    assert theirs.trained(tmp_path) == {"updates": 0}
    del sys.modules["torch"]


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


def test_seconds_are_of_the_budget_and_of_as_many_updates():
    run = lambda evaluations, **more: {"run_s": 8.0, "found": {"evaluations": [evaluations], **more}}  # noqa: E731
    row = lambda name, told: Measured("stax_arm", name, False, 1, 100, {}, "", {}, [told])  # noqa: E731
    rows = [
        row("authors", run(200, updates=[30])),
        row("ours", run(400, updates=[10])),
        row("pictures", run(100)),
        row("training", {"run_s": 8.0, "found": {"updates": [40]}}),
    ]
    stax.settle(rows)
    assert [each.runs[0]["run_s"] for each in rows] == [4.0, 2.0, 8.0, 0.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ()}, "no task: give a task"),
        ({"tasks": ("stax_arm",), "stax_checkout": None}, "stax_arm: give a task, and --stax-checkout for those of"),
        ({"stax_checkout": Path("nowhere")}, "nowhere has no scripts/run_experiment.py: .* a checkout of STAX"),
        ({"epochs": 1}, "--epochs 1: give 2 or more"),
        ({"tasks": ("serene_point",)}, "no task 'serene_point'; did you mean 'serene_point2d'"),
        ({"evaluations": -1}, "--evaluations -1: give 1 or more, or 0 for each task's own"),
        ({"rounds": 1}, "intervals need 2 or more"),
        ({"checkout": Path("nowhere")}, "nowhere has no scripts/run_experiment.py"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes, message, tmp_path):
    options = Options(checkout(tmp_path / "serene"), checkout(tmp_path / "stax", STAX))
    stax.check(options)
    stax.check(replace(options, stax_checkout=None))
    with pytest.raises(ValueError, match=message):
        stax.check(replace(options, **changes))


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


def test_where_the_time_of_stax_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(authors, "Contender", FakeContender)
    lines = [{"seconds": 210.0, "evaluations": 2_100}, {"coverage": 0.5, "best": 4.0, "updates": 30}]
    asked = []
    monkeypatch.setattr(stax.peers, "build", lambda *given: asked.append(given) or fake_python(tmp_path, *lines))
    console = Console(width=200, file=io.StringIO())
    options = Options(checkout(tmp_path / "serene"), checkout(tmp_path / "stax", STAX), ("stax_arm",), rounds=2, runs=4)
    rows = {row.name: row for row in stax.run(options, console)}
    assert asked == [(stax.PACKAGES + stax.STAX_PACKAGES, options.cache, "python3.11")]
    # 2,000 evaluations: theirs 200 s, ours 2 s, as much as every bound.
    assert [rows[name].median_s for name in ("authors", "ours", "pictures")] == pytest.approx([200, 2, 2])
    text = console.file.getvalue()
    assert all(said in text for said in ("100 (100 to 100)", "updates", "pictures", "encoding", "training", "500%"))
    assert "not run" not in text


def test_without_its_checkout_stax_is_said_to_be_left_out(tmp_path):
    rows = [Measured("ns_arm", "authors", True, 1, 2000, {}, "", {}, [{"run_s": 1.0, "load": 0.0}])]
    rows += [Measured("ns_arm", who, False, 1, 2000, {}, "", {}, [], "died") for who in ("ours", BATCHED, *BOUNDS)]
    rows += [replace(row, name=f"{row.name}, batched") for row in rows[-2:]]
    text = "".join(printed(table) for table in stax.tables({"ns_arm": rows}, Options(tmp_path)))
    assert "stax_arm: not run without --stax-checkout" in text
    assert "ns_arm, ours: died" in text


def test_all_failures_are_said(tmp_path):
    lone = Measured("ns_arm", "authors", True, 1, 2000, {}, "", {}, [{"found": {"coverage": [0.5], "best": [1.0]}}])
    failed = [Measured("ns_arm", who, False, 1, 2000, {}, "", {}, [], "died: no memory") for who in ("ours", BATCHED)]
    assert "died: no memory" in printed(stax.found_table("ns_arm", [lone, *failed]))
