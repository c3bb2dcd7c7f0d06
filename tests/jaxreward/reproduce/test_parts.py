"""Figures in parts: what is run now and what later, what is decided meanwhile, and what all of it will take."""

import json
import re

import jax
import jax.numpy as jnp
import matplotlib.figure
import pandas as pd
import pytest

from jaxreward.agent import Agent
from jaxreward.cli import main
from jaxreward.compilation.flops import flops
from jaxreward.reproduce.claims import Claim, above, exact
from jaxreward.reproduce.figure import PaperFigure, load_reproduced, reproduce
from jaxreward.reproduce.parts import Computed, parts_of, planned, trainings
from jaxreward.reproduce.plan import ACHIEVED, PEAK, Planned, estimate, plan
from jaxreward.reproduce.work import Cost, Work, of_agent, of_function
from jaxreward.run.cost import Measured, timed
from jaxreward.run.job import Setup
from jaxreward.run.launcher import local

TINY = {"num_envs": 4, "num_steps": 16, "num_minibatches": 1, "num_epochs": 1, "layers": (8,)}
MATRIX = jnp.ones((4, 4))


def square(key):
    """A hundred products of a row of four with a matrix, two operations each."""
    return jax.lax.scan(lambda row, _: (row @ MATRIX, None), jax.random.uniform(key, (4,)), length=100)[0]


class Toy:
    """A figure of three methods, each a number; told of those that are computed."""

    def __init__(self):
        self.computed = []
        self.size = 1
        claims = (
            Claim("Ours is above the others", self.mean, above(0)),
            Claim("Ours is large", lambda frame: exact(self.of(frame, "ours")), above(2), takes=("ours",)),
        )
        self.figure = PaperFigure("Toy", "Nobody 2003", self.data, self.plot, claims)

    def data(self, scale):
        numbers = {"ours": 3.0, "cloning": 1.0, "chance, twice": 0.5}
        works = lambda: (of_function(square, 2, 3),)  # noqa: E731
        return {name: Computed(lambda n=name: self.table(n, numbers[n]), self.size, works) for name in numbers}

    def table(self, name, number):
        self.computed.append(name)
        return pd.DataFrame({"method": [name], "number": [number]})

    def of(self, frame, name):
        return float(frame.set_index("method")["number"][name])

    def mean(self, frame):
        return exact(self.of(frame, "ours") - max(self.of(frame, "cloning"), self.of(frame, "chance, twice")))

    def plot(self, frame):
        drawn = matplotlib.figure.Figure()
        drawn.subplots().bar(frame["method"], frame["number"])
        return drawn


@pytest.fixture
def toy(monkeypatch):
    made = Toy()
    monkeypatch.setattr("jaxreward.reproduce.figure.get_figure", lambda name: made.figure)
    return made


def test_parts_are_run_now_and_later_into_the_same_folder(toy, tmp_path):
    first = reproduce("toy", "small", tmp_path, only=["ours"])
    assert toy.computed == ["ours"]
    assert [(claim.verdict, claim.why) for claim in first.claims] == [
        ("not decidable", "cloning, chance, twice not run"),
        ("met", ""),
    ]
    assert pd.read_parquet(tmp_path / "data.parquet")["method"].tolist() == ["ours"]
    second = reproduce("toy", "small", tmp_path, only=["chance, twice"])
    assert second.claims[0].why == "cloning not run"
    assert pd.read_parquet(tmp_path / "data.parquet")["method"].tolist() == ["ours", "chance, twice"]
    whole = reproduce("toy", "small", tmp_path)
    assert toy.computed == ["ours", "chance, twice", "cloning"]
    assert [claim.verdict for claim in whole.claims] == ["met", "met"]
    assert reproduce("toy", "small", tmp_path).claims == whole.claims
    assert len(toy.computed) == 3


def test_what_was_computed_with_another_size_is_not_taken(toy, tmp_path):
    reproduce("toy", "small", tmp_path)
    toy.size = 2
    made = reproduce("toy", "small", tmp_path, only=["ours"])
    assert toy.computed == ["ours", "cloning", "chance, twice", "ours"]
    assert made.claims[0].why == "cloning, chance, twice not run"


def test_a_table_of_other_versions_is_computed_again_and_claims_say_when_each_was(toy, tmp_path, monkeypatch):
    reproduce("toy", "small", tmp_path)
    for index, path in enumerate(sorted(tmp_path.glob("parts/*.json"))):
        made = json.loads(path.read_text())
        jax_version = made["versions"]["jax"] if path.name.startswith(("ours", "chance")) else "0.1"
        made = {**made, "started": f"200{index}-01-01", "versions": {**made["versions"], "jax": jax_version}}
        path.write_text(json.dumps(made))
    assert [each.part for each in plan(toy.data("small"), ["cloning"], tmp_path)] == ["cloning"]
    made = reproduce("toy", "small", tmp_path)
    assert toy.computed == ["ours", "cloning", "chance, twice", "cloning"]
    assert [made.computed[name]["started"] for name in ("chance, twice", "ours")] == ["2000-01-01", "2002-01-01"]
    assert made.computed["cloning"]["versions"]["jax"] == jax.__version__
    assert load_reproduced(tmp_path) == made


def test_a_table_at_once_and_parts_in_the_same_folder_are_refused(toy, tmp_path):
    table = toy.table("ours", 3.0)
    for data in (table, {"ours": table}):
        with pytest.raises(ValueError, match=r"is a table; expected jaxreward\.reproduce\.parts\.Computed\("):
            parts_of(data)

    def ended():
        yield from ()
        return table

    with pytest.raises(ValueError, match="part 'ours' is a table"):
        planned("ours", ended(), tmp_path)
    with pytest.raises(ValueError, match="parts 'a, b' and 'a b' would both be in 'a-b'; rename one"):
        parts_of({"a, b": [], "c": [], "a b": []})


def test_a_failed_figure_keeps_the_parts_that_were_done(toy, tmp_path, monkeypatch):
    table = toy.table
    monkeypatch.setattr(toy, "table", lambda name, number: table(name, number / (name != "cloning")))
    with pytest.raises(ZeroDivisionError):
        reproduce("toy", "small", tmp_path)
    monkeypatch.setattr(toy, "table", table)
    reproduce("toy", "small", tmp_path)
    assert toy.computed == ["ours", "cloning", "chance, twice"]


def test_only_what_there_is_can_be_asked_for(toy, tmp_path, capsys, monkeypatch):
    with pytest.raises(
        ValueError, match=r"no part of toy 'clonning'; did you mean 'cloning'\? There are: chance, twice"
    ):
        reproduce("toy", "small", tmp_path, only=["clonning"])
    monkeypatch.undo()
    assert main(["reproduce", "pbt_toy", "--scale", "smoke", "--folder", str(tmp_path), "--only", "PBT"]) == 2
    assert "pbt/toy is run as a whole at this scale: it has no part 'PBT'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_methods_that_are_trained_are_trained_once(tmp_path, monkeypatch):
    methods = {"slow": 1e-3, "fast, very": 1e-2}

    def data(scale):
        made = lambda rate: trainings(Setup(settings=TINY), [{"learning_rate": rate}], steps=128, seeds=2, log_every=1)  # noqa: E731
        return {name: made(rate) for name, rate in methods.items()}

    claims = (Claim("every run is there", lambda frame: exact(len(frame)), above(0)),)
    figure = PaperFigure("Trained", "Nobody 2004", data, lambda frame: matplotlib.figure.Figure(), claims)
    monkeypatch.setattr("jaxreward.reproduce.figure.get_figure", lambda name: figure)
    trained = []

    def launch(jobs):
        trained.append([job.folder.relative_to(tmp_path).as_posix() for job in jobs if not job.finished()])
        return local(progress=False)(jobs)

    made = reproduce("trained", "smoke", tmp_path, launch, ["fast, very"])
    assert made.claims[0].why == "slow not run"
    assert sorted(pd.read_parquet(tmp_path / "data.parquet")["learning_rate"].unique()) == [1e-2]
    assert list(plan(data("smoke"), list(methods)[1:], tmp_path)) == []
    made = reproduce("trained", "smoke", tmp_path, launch)
    assert trained == [["runs/fast-very/000"], ["runs/slow/000"]]
    assert made.claims[0].estimate.value == 2 * 2 * 2
    assert pd.read_parquet(tmp_path / "data.parquet").groupby(["run", "learning_rate"]).ngroups == 2


def test_a_plan_has_all_stages_and_trains_nothing(tmp_path, monkeypatch):
    measured = []
    cost = Measured(0.5, 0.0, 8.0)
    monkeypatch.setattr("jaxreward.reproduce.work.cost_of", lambda agent, plan, _: measured.append(plan) or cost)
    monkeypatch.setattr("jaxreward.run.cost.flops", lambda *_: 4e6)  # of four runs

    def stages():
        jobs = trainings(Setup(settings=TINY), [{"learning_rate": 1e-3}, {"learning_rate": 1e-2}], steps=128, seeds=2)
        best = jobs[0].members[0]
        if (tuned := (yield jobs)) is not None:
            best = tuned["learning_rate"].iloc[0]
        return trainings(Setup(settings=TINY), [best], steps=1_000, seeds=5)

    jobs = planned("ours", stages(), tmp_path)
    assert [(len(job.members), len(job.seeds), job.steps) for job in jobs] == [(2, 2, 128), (1, 5, 1_000)]
    tuning, final = plan({"ours": stages()}, ["ours"], tmp_path)
    assert not list(tmp_path.iterdir())
    # An iteration is 64 steps of the environment; 1,000 are rounded up to 16 of them.
    assert (tuning.work.steps, tuning.work.seeds, tuning.work.configurations) == (128, 2, 2)
    assert (final.work.steps, final.work.seeds, final.work.configurations) == (1_024, 5, 1)
    # The same program but for how many runs there are is measured once, here with all four.
    assert [each.keys.shape for each in measured] == [(2, 2)]
    assert (tuning.seconds, final.seconds) == (8 + 0.5 * 2 * 2 * 2, 8 + 0.5 * 16 * 5)
    assert final.seconds_there == 1e6 * 16 * 5 / (PEAK * ACHIEVED)


def test_a_cost_is_counted_and_scaled_up():
    work = of_function(square, 20, 3, steps=100)
    cost = work.measure()
    products = 100 * 2 * 4 * 4
    assert products <= cost.flops <= products + 100  # and what it takes to draw the row
    one = Planned("ours", work, cost)
    assert one.seconds == cost.compile_seconds + cost.seconds * 60
    assert one.seconds_there == pytest.approx(60 * cost.flops / (PEAK * ACHIEVED))
    assert (work.steps, work.seeds, work.configurations) == (300, 20, 1)


def test_an_agent_without_hyperparams_has_one_configuration():
    """As random search, which stood in the way of a figure's estimate."""
    assert of_agent(Agent(None, None, None), (), 4, 10).configurations == 1
    assert of_agent(Agent(None, None, None), {"rate": jnp.ones(3)}, 4, 10).configurations == 3


def test_iterations_are_timed_in_longer_and_longer_series():
    asked = []
    advance = lambda state, number: asked.append(number) or state  # noqa: E731
    assert timed(advance, 0, 6, at_least=60.0) > 0
    assert asked == [1, 1, 2, 4, 6]
    asked.clear()
    timed(advance, 0, 6, at_least=0.0)
    assert asked == [1, 1]


def test_an_estimate_says_what_it_is_of():
    work, cost = Work(10, 3, 2, 5, "", lambda: None), Cost(2.0, 1.0, 1.0, 20.0)
    told = estimate([Planned("ours", work, cost), Planned("others", None, None)])
    assert told.startswith("about 80 s on this machine, beside what can't be measured before: ")  # 20 + 2 x 5 x 3 x 2
    assert "of 1 program, measured" in told
    assert estimate([Planned("others", None, None)]) == "how long it takes can't be measured before"


def test_loops_branches_and_calls_are_counted():
    matrix = jnp.ones((8, 8))
    product = 2 * 8**3
    looped = lambda x: jax.lax.scan(lambda c, _: (c @ matrix, None), x, length=5)[0]  # noqa: E731
    assert flops(looped, matrix) == 5 * product
    assert flops(jax.jit(looped), matrix) == 5 * product
    assert flops(jax.vmap(looped), jnp.ones((3, 8, 8))) == 3 * 5 * product
    either = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ matrix, lambda x: x, x)  # noqa: E731
    assert product <= flops(either, matrix) < product + 10
    image, kernel = jnp.ones((2, 3, 10, 10)), jnp.ones((8, 3, 5, 5))
    assert flops(lambda x: jax.lax.conv(x, kernel, (1, 1), "VALID"), image) == 2 * (2 * 8 * 6 * 6) * 3 * 5 * 5


def test_command_plans(tmp_path, capsys):
    assert main(["reproduce", "pbt_toy", "--scale", "smoke", "--plan", "--folder", str(tmp_path / "here")]) == 0
    printed = capsys.readouterr().out
    assert len(re.findall(r"200 x 5 x 1", printed)) == 4
    assert "Measured here" in printed
    assert "Assumed of one H200: 1% of its 67 TFLOP/s" in printed
    assert not (tmp_path / "here").exists()
