"""Figures made again: what is left in the folder, what is trained, and what the command says and returns."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import matplotlib.figure
import pandas as pd
import pytest

from jaxreward.cli import main
from jaxreward.cli.reproduce import Reproduce
from jaxreward.reproduce.claims import Claim, above, exact
from jaxreward.reproduce.figure import PaperFigure, default_folder, get_figure, load_reproduced, reproduce
from jaxreward.reproduce.parts import Computed, trainings
from jaxreward.reproduce.plan import Planned
from jaxreward.reproduce.work import Cost, Work
from jaxreward.results.tables import final_values
from jaxreward.run.job import Job, Setup
from jaxreward.run.launcher import Outcome, local
from jaxreward.run.store import RunError

FILE = '''"""A toy, unlike the paper."""
import math
import pandas as pd
from matplotlib.figure import Figure
from jaxreward.reproduce.claims import Claim, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.results.statistics import aggregate_mean, estimate

def data(scale):
    numbers = {"smoke": [5.0], "small": [1.0, 2.0, 3.0, 1.5, 2.5], "paper": [1.0, 2.0, 3.0]}[scale]
    return Computed(lambda: pd.DataFrame({"x": numbers}), numbers)

def plot(frame):
    figure = Figure()
    figure.subplots().plot(frame["x"])
    return figure

def broken(frame):
    raise ZeroDivisionError("of nothing")

mean = lambda frame: estimate(frame["x"], aggregate_mean)
claims = (Claim("large", mean, above(0), paper="7"), Claim("small", mean, below(0)))
figure = PaperFigure("Toy", "Nobody 2000, figure 1", data, plot, claims)
failing = figure._replace(plot=broken)
number = 7
'''
SIZES = {"num_envs": 4, "num_steps": 16, "num_minibatches": 1, "num_epochs": 1, "layers": (8,)}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("figures") / "toy.py"
    path.write_text(FILE)
    return path


def empty_plot(frame):
    return matplotlib.figure.Figure()


def trained_figure(**choice):
    """Trains two learning rates and two widths: two programs."""
    choices = [{"learning_rate": rate, "layers": (width,), **choice} for width in (4, 8) for rate in (1e-3, 1e-2)]
    data = lambda scale: trainings(Setup(settings=SIZES), choices, steps=128, seeds=2, log_every=1)  # noqa: E731
    rows = Claim("every run is there", lambda frame: exact(len(frame)), above(0))
    return PaperFigure("Trained", "Nobody 2001", data, empty_plot, (rows,))


def test_a_figure_leaves_all_that_a_report_needs(file, tmp_path):
    made = reproduce(f"{file}:figure", "small", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "claims.json",
        "data.parquet",
        "figure.png",
        "figure.svg",
        "parts",
    }
    assert [claim.verdict for claim in made.claims] == ["met", "not met"]
    assert made.claims[0].estimate.value == 2.0
    assert pd.read_parquet(tmp_path / "out" / "data.parquet")["x"].tolist() == [1.0, 2.0, 3.0, 1.5, 2.5]
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert made.notes == "A toy, unlike the paper."
    assert made.made["versions"]["jax"] == jax.__version__
    assert load_reproduced(tmp_path / "out") == made


@pytest.mark.parametrize("names", [["data.parquet"], ["runs/x", "notes.txt"]])
def test_no_file_of_anybody_elses_is_written_over(file, tmp_path, names):
    (tmp_path / "runs").mkdir()
    for name in names:
        (tmp_path / name).write_text("mine")
    if names == ["data.parquet"]:
        (tmp_path / "runs").rmdir()
    with pytest.raises(RunError, match=r"is not empty: it has .*Choose a folder that is new or empty"):
        reproduce(f"{file}:figure", "small", tmp_path)
    assert {(tmp_path / name).read_text() for name in names} == {"mine"}


def test_a_single_seed_decides_nothing_and_is_kept_as_it_is(file, tmp_path):
    made = reproduce(f"{file}:figure", "smoke", tmp_path)
    again = load_reproduced(tmp_path)
    assert [claim.verdict for claim in again.claims] == ["not decidable"] * 2
    assert str(again.claims) == str(made.claims)  # NaN is not equal to itself
    assert json.loads((tmp_path / "claims.json").read_text())["claims"][0]["estimate"]["low"] == "nan"


def test_what_was_made_before_runs_were_counted_is_still_read(file, tmp_path):
    made = reproduce(f"{file}:figure", "small", tmp_path)
    stored = json.loads((tmp_path / "claims.json").read_text())
    for claim in stored["claims"]:
        del claim["estimate"]["runs"]
    (tmp_path / "claims.json").write_text(json.dumps(stored))
    again = load_reproduced(tmp_path)
    assert [claim.estimate[:3] for claim in again.claims] == [claim.estimate[:3] for claim in made.claims]


def test_choices_are_trained_in_few_programs_and_never_twice(tmp_path, monkeypatch):
    figure, trained = trained_figure(), []
    monkeypatch.setattr("jaxreward.reproduce.figure.get_figure", lambda name: figure)

    def launch(jobs):
        trained.append([job.folder for job in jobs if not job.finished()])
        return local(progress=False)(jobs)

    made = reproduce("trained", "smoke", tmp_path, launch)
    assert trained == [[tmp_path / "runs" / "000", tmp_path / "runs" / "001"]]
    # 2 widths, 2 rates, 2 seeds and 2 rows of the metrics.
    assert made.claims[0].estimate.value == 16
    frame = pd.read_parquet(tmp_path / "data.parquet")
    assert sorted(frame["layers"].unique()) == ["[4]", "[8]"]
    assert sorted(frame["learning_rate"].unique()) == [1e-3, 1e-2]
    (tmp_path / "claims.json").unlink()
    assert reproduce("trained", "smoke", tmp_path, launch).claims == made.claims
    assert trained[1] == []


def in_stages(seen):
    """Trains two learning rates, tells what came of them, and then trains the better one with other seeds."""

    def data(scale):
        (tuning,) = trainings(
            Setup(settings=SIZES), [{"learning_rate": 1e-3}, {"learning_rate": 1e-2}], steps=128, seeds=2, log_every=1
        )
        tuned = yield [replace(tuning, folder=Path("tuning"))]
        seen.append(tuned)
        best = final_values(tuned).groupby("member")["value"].mean().idxmax()
        return [replace(tuning, folder=Path("final"), members=(tuning.members[best],), seeds=(2, 3, 4))]

    rows = Claim("every run is there", lambda frame: exact(len(frame)), above(0))
    return PaperFigure("Staged", "Nobody 2002", data, empty_plot, (rows,))


def test_what_is_trained_may_depend_on_what_was_trained_before(tmp_path, monkeypatch):
    trained, seen = [], []
    monkeypatch.setattr("jaxreward.reproduce.figure.get_figure", lambda name: in_stages(seen))

    def launch(jobs):
        trained.append([job.folder.relative_to(tmp_path) for job in jobs if not job.finished()])
        return local(progress=False)(jobs)

    made = reproduce("staged", "smoke", tmp_path, launch)
    assert trained == [[Path("runs/tuning")], [Path("runs/final")]]
    assert seen[0].groupby(["learning_rate", "seed"]).ngroups == 4
    # The table is that of the last stage alone: three new seeds of one learning rate, two rows of metrics each.
    frame = pd.read_parquet(tmp_path / "data.parquet")
    assert sorted(frame["seed"]) == [2, 2, 3, 3, 4, 4]
    assert frame["learning_rate"].nunique() == 1
    # After a kill between the stages the first is read, not trained.
    shutil.rmtree(tmp_path / "runs" / "final")
    again = reproduce("staged", "smoke", tmp_path, launch)
    assert trained[2:] == [[], [Path("runs/final")]]
    assert again.claims == made.claims
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "data.parquet").drop(columns="wall_seconds"), frame.drop(columns="wall_seconds")
    )


def test_the_last_of_several_stages_may_be_a_table(tmp_path, monkeypatch):
    def data(scale):
        jobs = trainings(Setup(settings=SIZES), [{}], steps=64, seeds=2, log_every=1)
        first = yield jobs
        second = yield [replace(jobs[0], folder=Path("more"), seeds=(5, 6, 7))]
        return Computed(lambda: pd.DataFrame({"rows": [len(first), len(second)]}), "rows")

    figure = in_stages([])._replace(data=data)
    monkeypatch.setattr("jaxreward.reproduce.figure.get_figure", lambda name: figure)
    reproduce("staged", "smoke", tmp_path, local(progress=False))
    assert pd.read_parquet(tmp_path / "data.parquet")["rows"].tolist() == [2, 3]


def test_a_stage_that_fails_ends_all(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxreward.reproduce.figure.get_figure", lambda name: in_stages([]))
    tried = []

    def launch(jobs):
        for job in jobs:
            tried.append(job.folder.name)
            yield Outcome(job, "no luck")

    with pytest.raises(RunError, match=r"(?s)1 of 1 programs failed.*tuning: no luck"):
        reproduce("staged", "smoke", tmp_path, launch)
    assert tried == ["tuning"]


def test_programs_that_fail_are_told_after_all_have_been_tried(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxreward.reproduce.figure.get_figure", lambda name: trained_figure())
    tried = []

    def launch(jobs):
        for job in jobs:
            tried.append(job)
            yield Outcome(job, f"no luck with {job.folder.name}")

    with pytest.raises(RunError, match=r"(?s)2 of 2 programs failed.*no luck with 000.*no luck with 001"):
        reproduce("trained", "smoke", tmp_path, launch)
    assert len(tried) == 2
    assert not (tmp_path / "claims.json").exists()


def test_trainings_of_one_choice_are_one_job():
    job = Job(Setup(settings=SIZES), Path("000"), 100, ({},), (0, 1, 2), None)
    assert trainings(Setup(settings=SIZES), [{}], steps=100, seeds=3) == [job]


def test_names_and_scales_that_do_not_exist(file, tmp_path):
    with pytest.raises(ValueError, match="did you mean 'potential/shaping'"):
        get_figure("potental_shaping")
    with pytest.raises(ValueError, match="did you mean 'figure'"):
        get_figure(f"{file}:figur")
    with pytest.raises(ValueError, match="is a int; expected a jaxreward"):
        get_figure(f"{file}:number")
    with pytest.raises(ValueError, match="did you mean 'small'"):
        reproduce(f"{file}:figure", "smal", tmp_path)
    with pytest.raises(RunError, match="holds no reproduced figure"):
        load_reproduced(tmp_path)


def test_folders_are_called_by_figure_and_scale():
    assert default_folder("pbt_toy", "smoke") == Path("figures/pbt_toy-smoke")
    assert default_folder("some/where/mine.py:figure", "paper", "out") == Path("out/mine-paper")


def test_command_prints_claims_and_succeeds_when_they_are_not_met(file, tmp_path, capsys):
    assert main(["reproduce", f"{file}:figure", "--scale", "small", "--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "1 of 1 figures, 2 claims: 1 met, 1 not met, 0 not decidable" in printed
    assert "2 [1.018, 2.982], n = 5" in printed
    assert (tmp_path / "toy-small" / "claims.json").exists()


def test_command_may_be_strict(file, tmp_path):
    arguments = ["reproduce", f"{file}:figure", "--folder", str(tmp_path), "--strict"]
    assert main([*arguments, "--scale", "small"]) == 1
    assert main([*arguments, "--scale", "smoke"]) == 0


def test_command_goes_on_after_a_failure_and_says_so(file, tmp_path, capsys):
    assert main(["reproduce", f"{file}:failing", f"{file}:figure", "--folder", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "ZeroDivisionError: of nothing" in printed.err
    assert "1 of 2 figures" in printed.out


def test_command_refuses_what_does_not_exist_before_it_runs_anything(file, tmp_path, capsys):
    assert main(["reproduce", f"{file}:figure", "pbt_toi", "--folder", str(tmp_path)]) == 2
    assert "no figure 'pbt_toi'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main(["reproduce"]) == 2
    assert main(["reproduce", "pbt_toy", "--all"]) == 2


def test_command_lists_figures(capsys):
    assert main(["reproduce", "--list"]) == 0
    assert re.search("potential/shaping +Potential-based shaping", capsys.readouterr().out)


def test_an_interrupted_command_says_how_to_go_on(file, tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxreward.reproduce.figure.reproduce", interrupted)
    assert main(["reproduce", f"{file}:figure", "--scale", "smoke", "--folder", str(tmp_path / "here")]) == 130
    said = capsys.readouterr().err
    assert f"jaxreward reproduce {file}:figure --scale smoke --folder {tmp_path / 'here'}" in said


def test_a_figure_is_made_also_where_its_time_cannot_be_measured(monkeypatch, capsys):
    def broken(self, name):
        raise ZeroDivisionError("of nothing")

    monkeypatch.setattr(Reproduce, "_planned", broken)
    Reproduce(("toy",))._estimate("toy")
    assert "it could not be measured: ZeroDivisionError: of nothing" in capsys.readouterr().err


def test_what_was_measured_is_told_part_by_part(monkeypatch, capsys):
    work, cost = Work(10, 3, 2, 5, "", lambda: None), Cost(2.0, 1.0, 1.0, 20.0)
    monkeypatch.setattr(
        Reproduce, "_planned", lambda *_: iter([Planned("ours", work, cost), Planned("others", None, None)])
    )
    Reproduce(("toy",))._estimate("toy")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("(steps x seeds x configurations) ...")
    assert lines[1:3] == ["  ours, 10 x 3 x 2: about 80 s", "  others, not measured: computed at once"]
    assert lines[3].startswith("about 80 s on this machine")
