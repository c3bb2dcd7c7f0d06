"""The benchmark of one accelerator: what it asks for, what it makes of the answers, and that each row runs."""

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from jaxreward.compilation.peaks import PEAKS
from jaxreward.experiments.benchmarks import gpu
from jaxreward.experiments.benchmarks.gpu import ROWS, Options, check, entries, measure, needed, run, table
from jaxreward.experiments.benchmarks.ours import measure as program
from jaxreward.experiments.benchmarks.search import SPACE
from jaxreward.run.cost import Measured
from jaxreward.run.spec import resolve

SAID = {
    "steps_per_second": 2e6, "steps": 500_000, "planned_bytes": 3e6, "peak_bytes": 7_000_000,
    "flops_per_second": 6.7e11, "compile_s": 12.25, "device": "NVIDIA H200", "jax": "0.11.2",
}  # fmt: skip


def shown(rows):
    console = Console(width=200, file=io.StringIO())
    console.print(table(rows))
    return console.file.getvalue()


def test_the_table_tells_shares_of_a_named_peak_and_who_failed():
    rows = entries(Options(only=("ppo_agents", "ant")))
    rows[0].ready, rows[1].failure = SAID, "died: RESOURCE_EXHAUSTED"
    text = shown(rows)
    line = next(line for line in text.splitlines() if "ppo_agents" in line)
    told = [cell.strip() for cell in line.strip("│").split("│")]
    # 1 % of 67 TFLOP/s; 2,048 agents x 500,000 steps at 2 M steps/s take 512 s.
    assert told == ["ppo_agents", "2,048", "2,000,000", "12.2", "7.0", "3.0", "6.70e+11", "1.00%", "512.0"]
    assert "NVIDIA H200, jax 0.11.2" in text
    assert "float32 outside of tensor cores" in text
    assert "ant: died: RESOURCE_EXHAUSTED" in text
    assert PEAKS["NVIDIA H200"] == 67e12


def test_what_a_device_does_not_say_is_unknown():
    rows = entries(Options(only=("ant",)))
    rows[0].ready = {**SAID, "device": "cpu", "peak_bytes": None}
    assert shown(rows).count("unknown") == 2


def test_what_is_measured_of_a_run_is_told_of_all(monkeypatch):
    monkeypatch.setattr(program, "cost_of", lambda agent, plan, seconds: Measured(seconds, 100.0, 2.0))
    monkeypatch.setattr(program, "operations_of", lambda agent, plan: 1e6)
    spec = ROWS["ppo_agents"].at("tiny").spec(0.25)
    said = program.measured({**spec, "trials": 3, "steps": 513})
    # An iteration is 4 x 128 steps; one of one run takes a quarter of a second, and there are 2 seeds of 3.
    assert said["steps_per_second"] == 2048
    assert said["flops_per_second"] == 4e6
    assert (said["planned_bytes"], said["steps"], said["compile_s"]) == (600, 1024, 2.0)


def test_configurations_are_drawn_from_the_space_of_the_search():
    drawn = program.drawn(5)
    assert len({each["clip"] for each in drawn}) == 5
    assert all(low <= each[name] <= high for each in drawn for name, (_, low, high, _) in SPACE.items())


def test_settings_for_an_accelerator_fit_together():
    for name in ("ppo_1_seed", "search", "subpo", "map_elites", "barfi", "serene"):
        row = ROWS[name]
        experiment = resolve(row.agent, row.env, settings=row.settings, steps=row.steps)
        assert experiment.iterations(row.steps) > 1, name


def test_a_tiny_row_has_few_runs():
    rows = {row.name: row for row in entries(Options(scale="tiny"))}
    assert list(rows) == list(ROWS)
    assert {name: row.seeds for name, row in rows.items() if row.seeds > 2} == {"search": 4}
    assert {row.name: row.seeds for row in entries(Options())}["search"] == 4096


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": ("serenity",)}, "no row 'serenity'; did you mean 'serene'"),
        ({"seconds": -1.0}, "positive"),
        ({"budget_s": 0.0}, "positive"),
        ({"budget_s": 40.0}, "too little for any row: give 45"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        check(Options(**options))


def test_a_row_that_would_not_fit_is_skipped_and_says_so():
    options = Options(only=("ant",))
    (row,) = entries(options)
    measure(row, needed(options) - 1, options)
    assert row.failure == "skipped: 44 s of the budget are left, and a row needs 45 s"
    assert not row.ready


FAKE = f"""
import json, sys, time
agent = json.loads(sys.argv[1])["agent"]
if agent == "subpo":
    sys.exit("out of memory")
if agent == "barfi":
    time.sleep(60)
print(json.dumps({SAID!r}))
"""


def test_one_that_fails_or_takes_too_long_is_told_and_the_others_go_on(monkeypatch, tmp_path):
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE)
    monkeypatch.setattr(gpu, "PROGRAM", fake)
    monkeypatch.setattr(gpu, "SHARE", 0.2)
    options = Options("tiny", ("subpo", "barfi", "ant"), budget_s=20.0, out=tmp_path / "out" / "rows.json")
    console = Console(width=200, file=io.StringIO())
    rows = run(options, console)
    assert [row.failure for row in rows] == ["died: out of memory", "no answer within 4 s", ""]
    assert [bool(row.ready) for row in rows] == [False, False, True]
    assert "3 of 3, ant: " in console.file.getvalue()
    kept = json.loads(options.out.read_text())
    assert [row["name"] for row in kept["measured"]] == ["subpo", "barfi", "ant"]
    assert kept["measured"][2]["ready"] == SAID


# As on a command line, and this process has to leave the accelerator to the others.
COMMAND = """
from jaxreward.experiments.benchmarks.gpu import Options, command, run
from jaxreward.compilation.cpu_scheduler import _jax_has_started
command(Options, run, ())
assert not _jax_has_started()
"""


@pytest.mark.slow
def test_each_row_runs(tmp_path):
    out = tmp_path / "rows.json"
    arguments = ["--scale", "tiny", "--budget-s", "1500", "--out", str(out)]
    subprocess.run([sys.executable, "-P", "-c", COMMAND, *arguments], check=True, capture_output=True, timeout=1600)
    rows = {row["name"]: row for row in json.loads(out.read_text())["measured"]}
    assert list(rows) == list(ROWS)
    assert {name: row["failure"] for name, row in rows.items() if row["failure"]} == {}
    for row in rows.values():
        said = row["ready"]
        assert min(said["steps_per_second"], said["flops_per_second"], said["planned_bytes"], said["compile_s"]) > 0
