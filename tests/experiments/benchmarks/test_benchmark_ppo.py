"""The benchmark's own logic: what it asks of contenders, how it survives them, and what it concludes."""

import io
import json
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from rich.console import Console

from jaxreward.experiments.benchmarks.ours import run_parts
from jaxreward.experiments.benchmarks.parts.comparison import compare, ratio
from jaxreward.experiments.benchmarks.parts.race import Contender, Race
from jaxreward.experiments.benchmarks.parts.settings import PARTS, SEQUENTIAL, SETTINGS, entries, part_by_part, spec
from jaxreward.experiments.benchmarks.parts.tables import (
    Measured,
    better_peer,
    change_table,
    curve_tables,
    part_table,
    speed_table,
)
from jaxreward.experiments.benchmarks.peers import environments as peers
from jaxreward.experiments.benchmarks.peers.contender import summarise, tenths
from jaxreward.experiments.benchmarks.ppo import Options, run

FAKE = """
import jax, jax.numpy as jnp

def build(spec):
    print("a library that prints")
    def train(key):
        ended = jnp.arange(spec.iterations) % 2
        return {"returns": 3.0 * ended * (key[1] + 1), "episodes": ended}
    return train, lambda output: output
"""
DIES = "def build(spec):\n    raise RuntimeError('no such backend')\n"
HANGS = "import time\ndef build(spec):\n    time.sleep(60)\n"


def program(tmp_path, text, **fields):
    path = tmp_path / f"run_{abs(hash(text))}.py"
    path.write_text(text)
    return {"program": str(path), "seeds": 1, "iterations": 40, **fields}


def printed(table):
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def measured(name, run_s, is_peer=False, **fields):
    runs = [{"run_s": s, "cpu_s": 2 * s, "final_return": 100.0} for s in run_s]
    ready = {"trace_s": 1.0, "compile_s": 3.0, "device": "cpu", "jax": "0.10.2"}
    return Measured("a", name, is_peer, 1, 1200, {}, "", ready, runs, **fields)


def test_a_spec_rounds_down_to_whole_iterations():
    entry, _ = entries(("ours",), seeds=16)
    told = spec(entry, SETTINGS["b"], seeds=16, steps=10_000, curves=False, purejaxrl=None)
    assert told["iterations"] == 2
    assert told["env_steps"] == 2 * 64 * 64 * 16
    assert told["setting"]["learning_rate"] == 3e-4
    assert told["program"].endswith("run_ours.py")


def test_a_run_shorter_than_an_iteration_is_an_error():
    (entry,) = entries(("ours",), seeds=1)
    with pytest.raises(ValueError, match="100 steps are less than one iteration of 64 x 64"):
        spec(entry, SETTINGS["b"], seeds=1, steps=100, curves=False, purejaxrl=None)


def test_the_two_cartpole_settings_train_for_the_same_number_of_steps():
    (entry,) = entries(("ours",), seeds=1)
    told = [spec(entry, SETTINGS[s], seeds=1, steps=500_000, curves=False, purejaxrl=None) for s in "ab"]
    assert [t["env_steps"] for t in told] == [499_712, 499_712]


def test_purejaxrl_is_vmapped_only_under_the_scheduler_that_does_not_hang():
    assert {e.flags for e in entries(("purejaxrl",), seeds=1)} == {"", SEQUENTIAL}
    assert {e.flags for e in entries(("purejaxrl",), seeds=2)} == {SEQUENTIAL}


def test_peers_get_our_versions_and_their_own_gymnax():
    wanted = peers.requirements("cuda13")
    assert "gymnax==0.0.9" in wanted
    assert all("==" in line for line in wanted)
    assert any(line.startswith("jax[cuda13]==") for line in wanted)


def test_a_wrong_checkout_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="give the root of a checkout"):
        run(Options(purejaxrl=tmp_path), Console(file=io.StringIO()))


def test_no_seeds_and_no_repeats_are_refused():
    with pytest.raises(ValueError, match="1 or more"):
        run(Options(seeds=(1, 0)), Console(file=io.StringIO()))


def test_tenths_are_means_over_episodes_not_over_iterations():
    returns = np.zeros((1, 20))
    episodes = np.zeros((1, 20))
    returns[0, :2], episodes[0, :2] = [10.0, 90.0], [1, 3]
    returns[0, 19], episodes[0, 19] = 7.0, 1
    curve = tenths(returns, episodes)
    assert curve[0, 0] == 25.0
    assert curve[0, 9] == 7.0
    assert np.isnan(curve[0, 1:9]).all()


def test_a_summary_is_of_the_last_tenth_or_of_an_evaluation():
    returns, episodes = np.arange(20.0)[None], np.ones((1, 20))
    assert summarise({"returns": returns, "episodes": episodes})["final_return"] == 18.5
    assert summarise({"evaluation": np.array([1.0, 2.0])}) == {"final_return": 1.5}
    assert summarise({}) == {}


def test_a_curve_is_met_within_the_interval_or_above_it_only():
    rng = np.random.default_rng(0)
    peer = rng.normal(100.0, 10.0, (32, 3))
    ours = np.broadcast_to(np.array([300.0, 20.0, np.nan]), (32, 3))
    assert compare(ours, peer).met.tolist() == [True, False, False]
    assert compare(peer, peer).met.all()


def test_a_ratio_is_of_rounds_and_over_one_when_faster():
    assert ratio([1.0, 2.0, 4.0], [3.0, 4.0, 4.0]) == (2.0, 1.0, 3.0)
    assert ratio([1.0], [3.0, 100.0]) == (3.0, 3.0, 3.0)


def test_the_better_peer_has_the_shorter_median_run():
    slow, quick = measured("rejax", [3.0, 4.0, 5.0], is_peer=True), measured("purejaxrl", [1.0, 3.0, 9.0], is_peer=True)
    out = measured("rejax seq", [], is_peer=True, failure="no answer within 5 s")
    assert better_peer([measured("ours", [1.0]), slow, quick, out]) is quick
    assert better_peer([out]) is None


def test_the_speed_table_has_rates_ratios_and_bounds():
    rows = [measured("ours", [2.0, 2.0]), measured("rejax", [3.0, 5.0], is_peer=True)]
    rows += [measured("bound: rollout", [0.1, 0.1]), measured("bound: matmuls", [0.5, 0.5])]
    rows += [measured("purejaxrl", [], is_peer=True, failure="no answer within 5 s")]
    text = printed(speed_table(rows))
    ours = next(line for line in text.splitlines() if "ours" in line)
    assert [cell.strip() for cell in ours.split("│")[2:-1]] == [
        "1.00", "3.00", "2.00 [2.00]", "600", "200", "300", "2.00 [1.50, 2.50]", "100",
    ]  # fmt: skip
    assert "ours reaches 30% of bound: one after the other (30% per CPU second)" in text
    assert "purejaxrl: no answer within 5 s" in text


def test_curve_tables_say_met_or_not():
    rows = [measured("ours", [1.0]), measured("rejax", [1.0], is_peer=True)]
    rows[1].runs[0]["tenths"] = np.ones((4, 10)).tolist()
    rows[0].runs[0]["tenths"] = np.full((4, 10), 2.0).tolist()
    assert "met at every tenth" in printed(curve_tables(rows)[0])
    rows[0].runs[0]["tenths"][0] = rows[0].runs[0]["tenths"][1] = rows[0].runs[0]["tenths"][2] = [0.0] * 10
    assert "not met at 10 of 10 tenths" in printed(curve_tables(rows)[0])


def test_contenders_compile_answer_and_drop_out(tmp_path):
    with Race() as race:
        for text, timeout in ((FAKE, 300), (DIES, 300), (HANGS, 0.5)):
            race.enter(Contender(sys.executable, program(tmp_path, text), SEQUENTIAL, timeout))
        race.round(0)
        race.round(0)
        well, died, hung = race.contenders
    assert well.failure == ""
    assert {"trace_s", "compile_s", "device", "jax"} <= well.ready.keys()
    assert [run["final_return"] for run in well.runs] == [3.0, 3.0]
    assert died.failure == "died: RuntimeError: no such backend"
    assert hung.failure == "no answer within 0.5 s"
    assert died.runs == hung.runs == []


def test_many_seeds_train_at_once(tmp_path):
    with Race() as race:
        race.enter(Contender(sys.executable, program(tmp_path, FAKE, seeds=3), SEQUENTIAL, 300))
        race.round(0)
    assert np.shape(race.contenders[0].runs[0]["tenths"]) == (3, 10)


def test_a_contender_killed_between_rounds_drops_out(tmp_path):
    with Race() as race:
        race.enter(Contender(sys.executable, program(tmp_path, FAKE), SEQUENTIAL, 300))
        race.contenders[0]._process.kill()
        race.contenders[0]._process.wait()
        race.round(0)
    assert race.contenders[0].failure
    assert race.contenders[0].runs == []


def test_a_change_is_worth_what_ours_loses_without_it():
    rows = [measured("ours", [2.0, 2.0]), measured("without it", [3.0, 5.0])]
    (line,) = (line for line in printed(change_table(rows)).splitlines() if "without it" in line)
    assert "2.00 [1.50, 2.50]" in line


def test_parts_are_told_as_shares_of_the_whole():
    rows = [measured("ours", [2.0, 4.0, 3.0]), measured("rollout", [0.5, 1.5, 1.0]), measured("update", [])]
    for row in rows:
        row.spec = {"iterations": 100}
    lines = printed(part_table(rows)).splitlines()
    (line,) = (line for line in lines if "rollout" in line)
    assert [cell.strip() for cell in line.split("│")[1:-1]] == ["rollout", "10.00 [5.00, 15.00]", "33%", "20.00", "33%"]
    assert any("update" in line and "failed" in line for line in lines)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_a_program_of_several_seeds(part):
    (entry,) = (entry for entry in part_by_part(seeds=2) if entry.name == part)
    told = spec(entry, SETTINGS["a"], seeds=2, steps=4 * 512, curves=False, purejaxrl=None)
    told = json.loads(json.dumps(told), object_hook=lambda fields: SimpleNamespace(**fields))
    assert tuple(run_parts.PARTS) == PARTS
    train, _ = run_parts.build(told)
    done = jax.eval_shape(jax.vmap(train), jax.random.split(jax.random.PRNGKey(0), 2))
    assert {leaf.shape[0] for leaf in jax.tree.leaves(done)} == {2}
