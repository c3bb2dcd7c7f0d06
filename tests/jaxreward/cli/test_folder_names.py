"""Any name that a file system allows: every command reads and writes a folder that is called so, and no other."""

import html
import json
import re
import shutil

import pandas as pd
import pytest
from sqlalchemy import create_engine, text

from jaxreward.cli import main
from jaxreward.results.tables import load, query
from jaxreward.run.store import RunError, RunFolder
from jaxreward.search.folder import StudyFolder

NAMES = [
    "seed=7,learning_rate=5 [a-c]*?",
    ' it\'s  "q" `\\ $x_y$ {0}',
    "_größe 名前 🙂\n[bold]:smile:<b>",
    "gs:/a:seed=3#c%41&amp;",
]
RELATIVE = ["~nobody", "gs:", "#?", " "]
SIZES = ["num_envs=2", "num_steps=4", "num_minibatches=1", "num_epochs=1", "layers=(2,)"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run of two seeds, made once and then only copied."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    what = ["--env", "CartPole-v1", "--steps", "64", "--seeds", "2", "--log-every", "1", "--folder", str(folder)]
    assert main(["train", *what, "--quiet", "--set", *SIZES, "env.max_steps_in_episode=5"]) == 0
    return folder


@pytest.fixture(params=NAMES)
def named(request, plain, tmp_path):
    """Copies of that run, in a folder with such a name and called so themselves."""
    for name in (request.param, f"{request.param}2"):
        shutil.copytree(plain, tmp_path / request.param / name)
    return tmp_path / request.param / request.param


def test_results_have_the_rows_of_the_run_and_no_others(named, plain):
    frame = load(named)
    pd.testing.assert_frame_equal(frame.drop(columns="run"), load(plain).drop(columns="run"))
    assert set(frame["run"]) == {named.name}
    asked = query("SELECT run, path, seeds FROM runs ORDER BY run", named.parent)
    assert asked["run"].tolist() == sorted([named.name, f"{named.name}2"])
    assert asked["path"].tolist() == sorted([str(named), str(named.with_name(f"{named.name}2"))])


def test_results_are_printed_and_exported_with_the_name_as_it_is(named, tmp_path, capsys):
    out = tmp_path / f"{named.name}.json"
    assert main(["results", "SELECT DISTINCT run FROM final", "--in", str(named), "--json", str(out)]) == 0
    assert json.loads(out.read_text()) == [{"run": named.name}]
    assert main(["results", "SELECT DISTINCT run FROM final", "--in", str(named), "--format", "markdown"]) == 0
    assert main(["results", "SELECT DISTINCT run FROM final", "--in", str(named)]) == 0
    shown = capsys.readouterr().out
    assert all(part in shown for part in named.name.split("\n"))


def test_runs_are_compared_by_seed(named, capsys):
    places = [str(named), f"{named.with_name(named.name + '2')}:num_envs=2"]
    assert main(["compare", *places, "--metric", "episode/length"]) == 0
    told = capsys.readouterr().out
    assert told.count("2 seeds") == 2
    assert "paired by seed" in told


def test_runs_are_reported(named):
    assert main(["report", str(named.parent)]) == 0
    page = (named.parent / "report.html").read_text()
    assert page.count("<svg") == 7  # a comparison; of each of two runs its return and, folded in, two more
    assert page.count(f'<td class="text">{html.escape(named.name)}</td>') == 1


def test_runs_are_evaluated_and_resumed(named, plain, capsys):
    before = RunFolder(plain).metrics()
    assert main(["evaluate", str(named), "--episodes", "2"]) == 0
    length = re.search(r"length +(\S+)", capsys.readouterr().out)
    assert 1 <= float(length[1]) <= 5
    assert main(["train", "--resume", "--folder", str(named), "--quiet"]) == 0
    pd.testing.assert_frame_equal(RunFolder(named).metrics(), before)
    assert (named / "curves.png").is_file()


def test_names_that_are_relative_to_where_one_is(plain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in RELATIVE:
        shutil.copytree(plain, name)
        assert RunFolder(name).path == tmp_path / name
        assert len(load(name)) == len(load(plain))


def test_a_name_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"b'.*\\xff' is not UTF-8; rename it"):
        RunFolder(str(tmp_path) + "/run\udcff")


@pytest.mark.parametrize("name", [name.replace("/", "") for name in NAMES])
def test_a_study_is_in_its_own_folder(name, tmp_path):
    folder = StudyFolder(tmp_path / name)
    folder.path.mkdir()
    engine = create_engine(folder.database_url())
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE trials (number INTEGER)"))
    engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert [path.name for path in folder.path.iterdir()] == ["study.db"]
    assert folder.database.read_bytes().startswith(b"SQLite")
