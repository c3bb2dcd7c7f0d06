"""The benchmark of Overcooked: that everyone takes the same steps, and what is said of them."""

import io
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jaxreward.envs.adapters.jaxmarl import AsJaxMARL
from jaxreward.envs.games.overcooked import OvercookedState
from jaxreward.experiments.benchmarks import games as benchmark
from jaxreward.experiments.benchmarks.games import COUNTER, OURS, Options, chosen, entries, run, table
from jaxreward.experiments.benchmarks.ours import run_games
from jaxreward.experiments.benchmarks.peers.run_jaxmarl import random_steps


def test_everyone_takes_as_many_steps_and_ours_are_programs():
    rows = entries(Options(envs=4, steps=3))
    assert [row.name for row in rows] == ["jaxmarl", *OURS]
    assert [row.is_peer for row in rows] == [True, False, False, False]
    for row in rows:
        assert row.amount == 12 == row.spec["num_envs"] * row.spec["num_steps"]
        assert Path(row.spec["program"]).is_file()
    for row in rows[1:]:
        train, finish = run_games.build(SimpleNamespace(**row.spec))
        total = jax.eval_shape(train, jax.random.PRNGKey(0))
        assert (total.shape, finish(total)) == ((), {})


class Counting:
    """Pays each its action and shows the clock, which starts anew after two steps."""

    agents = ("a", "b")

    def reset(self, key):
        return {name: jnp.zeros(()) for name in self.agents}, jnp.zeros(())

    def step(self, key, state, actions):
        state = (state + 1) % 2
        return dict.fromkeys(self.agents, state), state, actions, {}, {}

    def action_space(self, agent):
        return SimpleNamespace(n=3)


def test_the_loop_uses_all_that_is_shown_and_paid():
    found = jax.jit(random_steps(Counting(), 4, 6))(jax.random.PRNGKey(3))
    actions = jax.random.randint(jax.random.split(jax.random.key(3), 3)[1], (6, 4, 2), 0, 3)
    assert found == actions.sum() + 3 * 4 * 2
    assert AsJaxMARL(run_games.Overcooked()).agents == ["agent_0", "agent_1"]


def test_nobody_puts_anything_on_a_counter():
    """Cell 0 is the upper left one, between onions and a counter; cell 1 is below the pot."""
    assert COUNTER[0].tolist() == [True, False, False, False]
    assert COUNTER[1].tolist() == [False, False, False, False]
    assert COUNTER[4].tolist() == [False, True, False, False]
    whole = lambda *numbers: jnp.asarray(numbers, jnp.int32)  # noqa: E731
    zero = jnp.int32(0)
    state = OvercookedState(whole(0, 4), whole(0, 1), whole(1, 0), zero, zero, zero)
    actions = np.asarray(
        jax.jit(jax.vmap(lambda key: chosen(state, False, key)))(jax.random.split(jax.random.key(0), 99))
    )
    assert set(actions[:, 0]) == {0, 1, 2, 3, 4}
    assert set(actions[:, 1]) == {0, 1, 2, 3, 4, 5}


def test_the_table_compares_with_jaxmarl_round_by_round():
    rows = entries(Options(envs=100, steps=10))
    for row, seconds in zip(rows[:3], (2.0, 1.0, 0.5), strict=True):
        row.ready = {"trace_s": 1.0, "compile_s": 2.0}
        row.runs = [{"run_s": seconds * k, "cpu_s": seconds, "load": 1.0} for k in (1, 2, 3)]
    rows[3].failure = "died: of something"
    out = io.StringIO()
    Console(file=out, width=160).print(table(rows))
    lines = [line.split("│") for line in out.getvalue().splitlines() if "│" in line]
    said = {cells[1].strip(): "".join(cells[2:]) for cells in lines}
    assert "250" in said["jaxmarl"]
    assert "2.0 (2.0 to 2.0)" in said["ours"]
    assert "4.0 (4.0 to 4.0)" in said["ours, vector"]
    assert "failed: died: of something" in said[rows[3].name]


def test_what_makes_no_sense_or_differs_is_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="1 or more"):
        run(Options(rounds=0), Console(file=io.StringIO()))
    names = ("facing", "actions", "observation", "delivered", "shaped")
    ours = {name: np.zeros((2, 3)) for name in names}
    monkeypatch.setattr(benchmark, "played", lambda: ours)

    def tell(paid):
        def pretend(command, **_):
            np.savez(command[-1], **{**ours, "delivered": np.full((2, 3), paid)})
            return SimpleNamespace(returncode=0)

        return pretend

    monkeypatch.setattr(benchmark.subprocess, "run", tell(0.0))
    assert "with 0 soups" in benchmark.compared(tmp_path, 1.0)
    monkeypatch.setattr(benchmark.subprocess, "run", tell(20.0))
    with pytest.raises(RuntimeError, match=r"not the same game: delivered\[0, 0\]"):
        benchmark.compared(tmp_path, 1.0)
