"""The benchmark of average reward: that both swim the same river, how their package is run, and what is said."""

import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jax
import numpy as np
import pytest
from rich.console import Console

from jaxreward.envs.registry import make
from jaxreward.experiments.benchmarks import average as benchmark
from jaxreward.experiments.benchmarks.average import ALGORITHMS, RIVERS, Options, entries, one_race, spec
from jaxreward.experiments.benchmarks.ours import run_average
from jaxreward.experiments.benchmarks.parts.authors import BATCHED
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import run_statisticalrl
from jaxreward.mdp import average_policy_iteration


@pytest.mark.parametrize(("river", "states", "large"), [("river-swim-6", 6, 1.0), ("river-swim-25", 25, 0.99)])
def test_the_river_is_theirs(river, states, large):
    """Their package: right leads up with 0.4 and down with 0.05, at the ends one stays instead; left is sure."""
    mdp = make("average/river_swim", **RIVERS[river])[1].mdp
    rows = np.zeros((states, 2, states))
    for s in range(states):
        rows[s, 0, max(0, s - 1)] = 1
        up, down = 0.4 * (s < states - 1), 0.05 * (s > 0)
        rows[s, 1, min(states - 1, s + 1)] += up
        rows[s, 1, max(0, s - 1)] += down
        rows[s, 1, s] += 1 - up - down
    np.testing.assert_allclose(mdp.transition, rows, atol=1e-6)
    paid = (np.array(mdp.reward) * rows).sum(-1)
    expected = np.zeros((states, 2))
    expected[0, 0], expected[-1, 1] = 0.005, large
    np.testing.assert_allclose(paid, expected, atol=1e-6)


def test_everyone_takes_as_many_steps():
    rows = {row.name: row for row in entries("r", ALGORITHMS["psrl"], "river-swim-6", Options(steps=2_000, runs=8))}
    bounds = {"environment": 1, "environment, batched": 8}
    assert {name: row.seeds for name, row in rows.items()} == {"ours": 1, BATCHED: 8, **bounds}
    for row in rows.values():
        assert row.amount == 2_000 * row.seeds == row.spec["iterations"] * row.spec["num_steps"] * row.seeds
        assert Path(row.spec["program"]).is_file()
    told = benchmark.peer_spec(ALGORITHMS["psrl"], "river-swim-6", Options(steps=2_000), 3)
    assert told == {"agent": "psrl", "env": "river-swim-6", "steps": 2_000, "seed": 3}


@pytest.mark.parametrize("part", ["agent", "environment"])
def test_ours_is_one_program(part):
    told = spec(ALGORITHMS["loop, box"], "river-swim-25", Options(steps=2_000), part=part)
    told["options"], told["config"], told["hyperparams"] = (
        SimpleNamespace(**told[each]) for each in ("options", "config", "hyperparams")
    )
    train, finish = run_average.build(SimpleNamespace(**told))
    output = jax.eval_shape(train, jax.random.PRNGKey(0))
    assert finish({**output} if part == "agent" else output) == (
        {"found": {"regret": output["regret"]}} if part == "agent" else {}
    )
    assert all(leaf.shape == () for leaf in jax.tree.leaves(output["regret"] if part == "agent" else output))


class Agent:
    """One of theirs: it plays its updates' number and remembers what it was told."""

    def __init__(self, *sizes):
        self.sizes, self.told = sizes, []

    def reset(self, state):
        self.told.append(state)

    def play(self, state):
        assert state == (self.told[-1] if len(self.told) == 1 else self.told[-1][3])
        return len(self.told) - 1

    def update(self, *step):
        self.told.append(step)


class Env:
    observation_space, action_space = SimpleNamespace(n=6), SimpleNamespace(n=2)

    def reset(self, seed):
        return 0, {}

    def step(self, action):
        return action + 10, 0.5 * action, False, False, {}


@pytest.mark.parametrize(("name", "sizes"), [("psrl", (6, 2, 0.05)), ("imed_rl", (6, 2))])
def test_their_agents_play_step_and_update(monkeypatch, name, sizes):
    made = []
    module, _, kind = run_statisticalrl.AGENTS[name].partition(".")
    learners = ModuleType(f"statisticalrl_learners.MDPs_discrete.{module}")
    setattr(learners, kind, lambda *given: made.append(Agent(*given)) or made[-1])
    environments = ModuleType("statisticalrl_environments")
    environments.register = SimpleNamespace(make=lambda env: Env())
    for each in (ModuleType("statisticalrl_learners"), ModuleType("statisticalrl_learners.MDPs_discrete"), learners):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    monkeypatch.setitem(sys.modules, "statisticalrl_environments", environments)
    said = run_statisticalrl.run({"agent": name, "env": "river-swim-6", "steps": 4, "seed": 0})
    assert made[0].sizes == sizes
    assert made[0].told == [0, (0, 0, 0.0, 10), (10, 1, 0.5, 11), (11, 2, 1.0, 12), (12, 3, 1.5, 13)]
    assert said["reward"] == 3.0
    assert said["run_s"] > 0
    assert set(said) == {"run_s", "cpu_s", "load", "reward"}


def raced(monkeypatch, name):
    """A race in which nobody runs: ours is done in 1 s and loses 30, 10; theirs earn 100, 300 in 10 s."""

    def race(rows, authors, rounds, timeout):
        for row in rows:
            row.ready = {"trace_s": 1.0, "compile_s": 2.0}
            row.runs = [{"run_s": 1.0, "load": 0.5, "found": {"regret": [30.0, 10.0]}}] * rounds
        return [authors(seed) for seed in range(rounds)]

    monkeypatch.setattr(benchmark, "race", race)
    monkeypatch.setattr(
        benchmark,
        "say",
        lambda python, program, told, timeout: [{"run_s": 10.0, "load": 1, "reward": 100.0 + 200 * told["seed"]}],
    )
    return one_race("r", ALGORITHMS[name], "river-swim-6", Options(steps=2_000, rounds=2), Path("python"))


def test_regret_is_counted_from_the_optimal_rate(monkeypatch):
    rows = raced(monkeypatch, "psrl")
    gain = 0.8750033  # of this river, also in the tests of its solver
    assert rows[0].is_peer
    assert np.ravel([run["found"]["regret"] for run in rows[0].runs]) == pytest.approx(
        [2_000 * gain - 100, 2_000 * gain - 300], abs=0.1
    )
    assert "authors 1550 ± 100 (2), ours 20 ± 6 (4)" in benchmark.regrets(rows)
    assert float(
        average_policy_iteration(make("average/river_swim", variant="statrl")[1].mdp).gain[0]
    ) == pytest.approx(gain, abs=1e-6)


def test_what_has_no_peer_runs_beside_the_bound(monkeypatch):
    rows = raced(monkeypatch, "loop")
    assert not any(row.is_peer for row in rows)
    console = Console(width=200, file=io.StringIO())
    console.print(
        benchmark.rate_table(
            {"loop": [*rows[:3], Measured("loop", "environment, batched", False, 1, 1, {}, "", {}, [])]}
        )
    )
    printed = console.file.getvalue()
    assert "2,000" in printed
    assert "failed" in printed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"agents": ("ucrl",)}, "no agent 'ucrl'; did you mean 'ucrl"),
        ({"rivers": ("river-swim-7",)}, "did you mean 'river-swim-6'"),
        ({"steps": 2_500}, "try --steps 2000"),
        ({"runs": 1}, "give 2 or more runs"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        benchmark.check(Options(**options))
