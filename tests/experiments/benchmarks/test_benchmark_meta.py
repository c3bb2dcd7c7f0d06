"""The benchmark of learned objectives: that both do the same, and what is said of them."""

import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jax
import pytest
from rich.console import Console

from jaxreward.experiments.benchmarks.meta import RACES, Options, check, entries, table
from jaxreward.experiments.benchmarks.ours import run_meta
from jaxreward.experiments.benchmarks.peers import environments, run_groove


@pytest.fixture
def checkout(tmp_path):
    """What looks like one."""
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "train.py").touch()
    return tmp_path


@pytest.mark.parametrize("race", RACES)
def test_both_are_programs_of_as_many_steps(race, checkout):
    rows = entries(Options(checkout, agents=2, envs=8, iterations=2, generations=2), race)
    assert [row.name for row in rows] == ["groove", "ours"]
    assert [row.is_peer for row in rows] == [True, False]
    for row in rows:
        assert row.amount == row.spec["steps"] == 2
        assert Path(row.spec["program"]).is_file()
    train, finish = run_meta.build(SimpleNamespace(**rows[1].spec))
    metrics = jax.eval_shape(train, jax.random.PRNGKey(0))
    assert {metric.shape for metric in metrics.values()} == {(2,)}
    assert finish(metrics) == {}


def test_groove_is_asked_for_the_same_sizes(checkout, monkeypatch):
    rows = {race: entries(Options(checkout), race)[0] for race in RACES}
    asked = {race: run_groove.arguments(SimpleNamespace(**row.spec)) for race, row in rows.items()}
    assert " ".join(asked["meta-gradients"]) == (
        "--num_agents 4 --env_workers 64 --train_steps 5 --num_mini_batches 1 --env_mode all_shortlife"
    )
    assert " ".join(asked["evolution"]) == (
        "--use_es --lifetime_conditioning --num_agents 2 --env_workers 16 --train_steps 2 --num_mini_batches 1 "
        "--env_mode all_vrandlife --lpg_learning_rate 0.01"
    )
    parser, program = ModuleType("experiments.parse_args"), ModuleType("train")
    parser.parse_args = list
    program.make_train = lambda arguments: lambda key: (arguments, "the rest")
    for name, module in {"experiments.parse_args": parser, "train": program}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "experiments", ModuleType("experiments"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    train, _ = run_groove.build(SimpleNamespace(**rows["evolution"].spec))
    assert train("key") == asked["evolution"]


def test_the_table_says_how_many_times_faster(checkout):
    rows = [row for race in RACES for row in entries(Options(checkout), race)]
    for row, seconds in zip(rows, (10.0, 2.0, 8.0, 4.0), strict=True):
        row.runs = [{"run_s": seconds, "load": 1.0}] * 3
        row.ready = {"trace_s": 1.0, "compile_s": 2.5}
    rows[2].runs, rows[2].failure = [], "died: it could"
    out = io.StringIO()
    Console(file=out, width=160).print(table(rows))
    said = out.getvalue()
    assert "5.0 (5.0 to 5.0)" in said
    assert "failed: died: it could" in said
    assert "0.400" in said  # 2 s of 5 iterations
    assert "3.5" in said


@pytest.mark.parametrize(
    ("options", "message"), [({"rounds": 0}, "1 or more"), ({"agents": 1}, "--agents 2"), ({"envs": 2}, "--envs 4")]
)
def test_options_that_make_no_sense_are_refused(options, message, checkout):
    with pytest.raises(ValueError, match=message):
        check(Options(checkout, **options))


def test_a_checkout_and_an_interpreter_have_to_be_there(tmp_path):
    with pytest.raises(ValueError, match=r"no meta/train.py"):
        check(Options(tmp_path))
    with pytest.raises(ValueError, match=r"there is no python0.1"):
        environments.build([], tmp_path, "python0.1")
