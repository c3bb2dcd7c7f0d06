"""Questions across runs, and the folders they are asked of."""

import json
import re
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import jaxreward
from jaxreward.cli import main
from jaxreward.results.described import run_names
from jaxreward.results.tables import final_values, find_runs, load, query
from jaxreward.run.store import RunError, RunFolder


def make_run(path, settings=None, seed=0, iterations=40, rates=(0.1, 0.2), extra=None):
    """A run as `train` leaves it, with episodes missing now and then, in parts of 2 iterations."""
    draw, run = np.random.default_rng(seed), RunFolder(path)
    run.create()
    population, seeds = [{"learning_rate": rate} for rate in rates], [0, 5]
    described = {"config": {"env": "CartPole-v1", "settings": settings or {}}, "population": population}
    run.write_config({**described, "seeds": seeds, "iterations": iterations, "log_every": 2, "finished": iterations})
    rows = len(rates) * len(seeds)
    for iteration in range(2, iterations + 1, 2):
        count = draw.integers(0, 3, rows)
        columns = {
            "iteration": np.full(rows, iteration),
            "env_steps": np.full(rows, 64 * iteration),
            "wall_seconds": np.full(rows, 0.5 * iteration),
            "member": np.repeat(np.arange(len(rates)), len(seeds)),
            "seed": np.tile(seeds, len(rates)),
            "failed": np.zeros(rows, bool),
            "learning_rate": pa.array(np.repeat(rates, len(seeds)).tolist()),
            "episode/count": count,
            "episode/return": pa.array(draw.normal(size=rows).astype(np.float32), mask=count == 0),
            "loss/value": draw.normal(size=rows).astype(np.float32),
            **({extra: draw.normal(size=rows)} if extra else {}),
        }
        run.write_part(iteration, pa.table(columns))
    return run


@pytest.fixture
def store(tmp_path):
    make_run(tmp_path / "a", {"num_envs": 4}, 0)
    make_run(
        tmp_path / "deep" / "er" / "b", {"num_envs": 8, "layers": [8, 8]}, 1, iterations=60, extra="episode/shaping"
    )
    return tmp_path


def test_runs_are_found_however_deep(store):
    assert [path.name for path in find_runs(store)] == ["a", "b"]
    assert find_runs(store / "a") == [store / "a"]
    (store / "empty").mkdir()
    with pytest.raises(RunError, match="empty is not a run folder, and there is none in it"):
        find_runs([store / "a", store / "empty"])


def test_load_is_all_runs_one_below_the_other(store):
    frame = load(store)
    for name, folder in (("a", store / "a"), ("b", store / "deep/er/b")):
        expected = RunFolder(folder).metrics()
        mine = frame[frame["run"] == name][expected.columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, expected, check_dtype=False)
    assert list(frame.columns[:3]) == ["run", "iteration", "env_steps"]
    assert set(frame.columns) >= {"env", "num_envs", "layers"}
    assert frame.loc[frame["run"] == "a", "episode/shaping"].isna().all()
    assert set(frame["layers"].dropna()) == {"[8, 8]"}


@pytest.mark.parametrize("metric", ["episode/return", "episode/count", "loss/value", "episode/shaping"])
def test_final_is_what_final_values_gives(store, metric):
    expected = final_values(load(store), metric)["value"].to_numpy()
    final = query(f'SELECT run, member, seed, "{metric}" AS value FROM final ORDER BY run, member, seed', store)
    np.testing.assert_allclose(final["value"].to_numpy(float), expected, rtol=1e-12)


def test_final_has_one_row_for_each_run_member_and_seed(store):
    final = query("SELECT run, member, seed, learning_rate, env_steps FROM final", store)
    assert len(final) == 2 * 2 * 2 == len(final.drop_duplicates(["run", "member", "seed"]))
    assert set(final.loc[final["member"] == 1, "learning_rate"]) == {0.2}
    assert final.groupby("run")["env_steps"].unique().map(list).to_dict() == {"a": [2560], "b": [3840]}


def test_a_question_joins_runs_with_their_numbers(store):
    sql = """
        SELECT "num_envs" AS envs, count(*) AS rows, max(iterations) AS iterations
        FROM metrics JOIN (SELECT run, iterations FROM runs WHERE finished) USING (run) GROUP BY envs ORDER BY envs
    """
    expected = pd.DataFrame({"envs": [4, 8], "rows": [80, 120], "iterations": [40, 60]})
    pd.testing.assert_frame_equal(query(sql, store), expected, check_dtype=False)


def test_settings_of_several_types_are_text(store):
    make_run(store / "c", {"num_envs": "many"}, 2, rates=("slow", "fast"))
    frame = load(store)
    assert set(frame["num_envs"]) == {"4", "8", "many"}
    assert set(frame["learning_rate"]) == {"0.1", "0.2", "slow", "fast"}


def test_equal_names_are_told_apart_by_their_paths(store):
    make_run(store / "other" / "a")
    assert set(load([store / "a", store / "other"])["run"]) == {f"{store.name}/a", "other/a"}


def test_a_run_without_metrics_yet_is_no_obstacle(store):
    RunFolder(store / "new").create()
    described = {"config": {"env": "Acrobot-v1"}, "population": [{}], "seeds": [0], "iterations": 5}
    RunFolder(store / "new").write_config(described)
    assert len(load(store)) == 80 + 120
    assert load(store / "new").empty
    assert query("SELECT finished FROM runs WHERE run = 'new'", store)["finished"].tolist() == [False]


def test_mistakes_are_explained(store):
    with pytest.raises(ValueError, match=r"episode/return(.|\n)*the tables are metrics, final and runs"):
        query('SELECT "episode/retrun" FROM final', store)
    with pytest.raises(ValueError, match="syntax error"):
        query("SELEC 1", store)
    part = max((store / "a" / "metrics.parquet").iterdir())
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(RunError, match=part.name):
        load(store)


NO_RUNS = {
    "{}": "expected a table with config, population, seeds, iterations, but it has no config",
    "[1,2]": r"but it is \[1, 2\]",
    "null": "but it is null",
    '{"config": {}, "population": [{}], "seeds": [0]}': "it has no iterations",
    '{"config": {}, "population": {}, "seeds": [0], "iterations": 1}': "but it is",
    '{"config": {}, "population": [], "seeds": [0], "iterations": 1}': r"its population is \[\]",
    '{"config": {}, "population": [{}], "seeds": ["a"], "iterations": 1}': r"its seeds is \[\"a\"\]",
    "{": "not valid JSON",
    "\xff": "not valid JSON",
}


@pytest.mark.parametrize(("text", "message"), NO_RUNS.items())
def test_what_is_no_run_is_named_and_left_out_beside_others_or_refused(store, text, message, capsys):
    bad = store / "deep" / "bad"
    bad.mkdir()
    (bad / "config.json").write_bytes(text.encode("latin1"))
    with pytest.warns(UserWarning, match=f"left out: {bad}/config.json .*{message}"):
        assert len(load(store)) == 80 + 120
    for meant in (bad, [store / "a", bad]):
        with pytest.raises(RunError, match=f"{bad}/config.json .*{message}"):
            load(meant)
    for command in (["results", "--in"], ["compare"], ["evaluate"], ["report"], ["train", "--resume", "--folder"]):
        assert main([*command, str(bad)]) == 2
        assert f"{bad}/config.json" in capsys.readouterr().err
    shutil.rmtree(store / "a")
    shutil.rmtree(store / "deep" / "er")
    with pytest.raises(RunError, match=f"there is no run in {store}: {bad}/config.json"):
        load(store)


def test_compaction_changes_no_row(store):
    run = RunFolder(store / "a")
    before = run.metrics()
    run.compact()
    assert [path.name for path in run.metrics_folder.iterdir()] == ["all-000000000040.parquet"]
    pd.testing.assert_frame_equal(run.metrics(), before)
    pd.testing.assert_frame_equal(load(run.path)[before.columns], before, check_dtype=False)


def test_a_compacted_run_goes_on_and_back(store):
    run, rest = RunFolder(store / "a"), pa.table({"iteration": [42, 42]})
    whole = run.metrics()
    run.compact()
    run.write_part(42, rest)
    assert run.metrics()["iteration"].max() == 42
    run.drop_parts_after(30)
    pd.testing.assert_frame_equal(run.metrics()[whole.columns], whole[whole["iteration"] <= 30])
    run.write_part(32, rest.set_column(0, "iteration", pa.array([32, 32])))
    run.compact()
    assert run.metrics()["iteration"].tolist() == [i for i in range(2, 31, 2) for _ in range(4)] + [32, 32]
    run.drop_parts_after(0)
    assert run.metrics().empty


@pytest.mark.parametrize("survivors", [1, 7])
def test_a_compaction_that_was_killed_shows_each_row_once(store, survivors):
    run = RunFolder(store / "a")
    before, old = run.metrics(), {path: path.read_bytes() for path in run.metrics_folder.iterdir()}
    run.compact()
    for path in sorted(old)[-survivors:]:
        path.write_bytes(old[path])
    pd.testing.assert_frame_equal(run.metrics(), before)


def test_the_command_prints_and_writes_answers(store, capsys, tmp_path):
    sql = "SELECT run, count(*) AS rows FROM metrics GROUP BY run ORDER BY run"
    assert main(["results", sql, "--in", str(store), "--format", "csv"]) == 0
    assert capsys.readouterr().out == "run,rows\na,80\nb,120\n"
    assert main(["results", sql, "--in", str(store), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"run": "a", "rows": 80}, {"run": "b", "rows": 120}]
    assert main(["results", sql, "--in", str(store), "--format", "markdown"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "| b | 120 |"
    assert main(["results", sql, "--in", str(store)]) == 0
    assert "120" in capsys.readouterr().out
    assert main(["results", sql, "--in", str(store), "--out", str(tmp_path / "a.parquet")]) == 0
    assert pd.read_parquet(tmp_path / "a.parquet")["rows"].tolist() == [80, 120]
    assert main(["results", sql, "--in", str(store), "--out", "a.xls"]) == 2
    assert "--out must end in .csv, .parquet, .json" in capsys.readouterr().err


REFUSED = [
    "COPY runs TO '{}/new.csv'",
    "SELECT * FROM read_csv('{}/there.csv')",
    "SELECT * FROM '{}/there.csv'",
    "SELECT * FROM glob('{}/*')",
    "ATTACH '{}/new.db'",
    "EXPORT DATABASE '{}/new'",
    "SET enable_external_access = true",
    "SELECT 1; COPY runs TO '{}/new.csv'",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_a_question_reads_the_runs_and_nothing_else(store, tmp_path_factory, capsys, sql):
    there = tmp_path_factory.mktemp("there")
    (there / "there.csv").write_text("secret\n1\n")
    assert main(["results", sql.format(there), "--in", str(store)]) == 2
    assert "a question reads the runs and nothing else, so this is refused" in capsys.readouterr().err
    assert [path.name for path in there.iterdir()] == ["there.csv"]


def test_a_question_sees_no_variable_of_this_process(store):
    secret = pd.DataFrame({"x": [1]})
    with pytest.raises(ValueError, match="secret does not exist"):
        query("SELECT * FROM secret", store)
    assert len(secret) == 1


def test_answers_are_exported_and_nothing_is_overwritten(store, tmp_path, capsys):
    sql = "SELECT run, count(*) AS rows FROM metrics GROUP BY run ORDER BY run"
    files = {kind: tmp_path / f"answer-{kind}" for kind in ("csv", "json", "parquet")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    assert main(["results", sql, "--in", str(store), *options]) == 0
    assert capsys.readouterr().out == ""
    expected = pd.DataFrame({"run": ["a", "b"], "rows": [80, 120]})
    readers = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}
    for kind, read in readers.items():
        pd.testing.assert_frame_equal(read(files[kind]), expected, check_dtype=False)
        assert main(["results", "SELECT 1", "--in", str(store), f"--{kind}", str(files[kind])]) == 2
        assert "is there already" in capsys.readouterr().err
        pd.testing.assert_frame_equal(read(files[kind]), expected, check_dtype=False)
    for options, message in (
        (["--csv", str(tmp_path / "no" / "x")], "there is no folder"),
        (["--out", str(files["csv"])], "must end in"),
    ):
        assert main(["results", sql, "--in", str(store), *options]) == 2
        assert message in capsys.readouterr().err
    assert main(["results", "--csv", str(tmp_path / "x"), "--in", str(store)]) == 2
    assert "which question" in capsys.readouterr().err
    assert main(["results", " ", "--in", str(store)]) == 2
    assert "the question is empty; for example" in capsys.readouterr().err
    long = " + ".join(["1"] * 76)  # 301 characters, more than a file's name can have
    assert main(["results", f"SELECT {long} AS total", "--in", str(store), "--format", "csv"]) == 0
    assert capsys.readouterr().out == "total\n76\n"


def test_damage_that_only_reading_shows_is_named(store):
    run = RunFolder(store / "a")
    run.compact()
    (part,) = run.metrics_folder.iterdir()
    content = bytearray(part.read_bytes())
    content[300:2000] = b"\xff" * 1700
    part.write_bytes(content)
    with pytest.raises(RunError, match=part.name):
        query('SELECT sum("episode/return") FROM metrics', store)


def test_the_command_says_what_can_be_asked(store, capsys):
    assert main(["results", "--in", str(store)]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("runs\n", "final\n", "metrics\n", "episode/return", "num_envs"))
    assert main(["results", "--in", str(store / "nowhere")]) == 2
    assert "nowhere is not a run folder" in capsys.readouterr().err


def test_its_connection_is_closed_also_when_a_file_is_damaged(tmp_path, monkeypatch):
    opened, open_one = [], duckdb.connect
    monkeypatch.setattr(duckdb, "connect", lambda: opened.append(open_one()) or opened[-1])
    run = make_run(tmp_path / "run", iterations=2)
    query("SELECT count(*) FROM runs", run.path)
    next(iter(run.parts().values())).write_bytes(b"no parquet")
    with pytest.raises(RunError, match=r"metrics file .*part-.* is damaged"):
        query("SELECT count(*) FROM runs", run.path)
    assert len(opened) == 2
    for connection in opened:
        with pytest.raises(duckdb.ConnectionException, match="closed"):
            connection.execute("SELECT 1")


@pytest.fixture
def named(tmp_path):
    """A run that varied its learning rate, one that set it, and one that left it and a metric of a setting's name."""

    def write(name, config, rates, population=({}, {}), **logged):
        run = RunFolder(tmp_path / name)
        run.create()
        left = {"discount": [0.9, 0.9], "anneal_iterations": ["inf", "inf"], "env_params.reward.goal": [1.0, 2.0]}
        described = {"config": {"env": "Pole", "agent_config": {"num_envs": 4, "conv": []}, **config}}
        described |= {"hyperparams": {"learning_rate": rates, **left}, "population": list(population)}
        run.write_config({**described, "seeds": [0], "iterations": 2})
        rows = {"iteration": [2, 2], "member": [0, 1], "seed": [0, 0], "failed": [False, False], "loss/x": [1.0, 2.0]}
        run.write_part(2, pa.table({**rows, "episode/return": [3.0, 4.0], "episode/count": [1, 1], **logged}))

    write(
        "varied",
        {"reward": "goal", "settings": {"num_envs": 4}},
        [0.1, 0.2],
        [{"learning_rate": 0.1}, {"learning_rate": 0.2}],
        learning_rate=[0.1, 0.2],
    )
    write("set", {"reward": "goal", "settings": {"learning_rate": 0.3, "env.gravity": 5.0}}, [0.3, 0.3])
    write("left", {"reward": "environment", "settings": {}}, [0.4, 0.4], discount=[7.0, 8.0], member=[0, 0])
    return tmp_path


def test_a_setting_has_one_name_whether_it_was_varied_set_or_left(named):
    frame = query("SELECT * FROM metrics", named).drop_duplicates(["run", "member"]).set_index(["run", "member"])
    rates = {
        ("left", 0): 0.4,
        ("set", 0): 0.3,
        ("set", 1): 0.3,
        ("varied", 0): 0.1,
        ("varied", 1): 0.2,
    }
    assert frame["learning_rate"].to_dict() == rates
    assert set(frame["num_envs"]) == {4}
    assert set(frame["anneal_iterations"]) == {np.inf}
    assert set(frame.loc["set", "env.gravity"]) == {5.0}
    assert frame.loc["varied", "reward.goal"].to_list() == [1.0, 2.0]
    assert frame.loc["left", "env.reward.goal"].to_list() == [1.0]  # the environment's own params are called so
    assert frame.columns.to_list()[:6] == ["iteration", "seed", "failed", "learning_rate", "episode/return", "loss/x"]
    final = query("SELECT run, member, learning_rate FROM final", named).set_index(["run", "member"])
    assert final["learning_rate"].to_dict() == rates


def test_a_metric_hides_a_setting_of_its_name(named):
    assert set(query("SELECT discount FROM metrics WHERE run = 'left'", named)["discount"]) == {7.0, 8.0}
    assert set(query("SELECT discount FROM final WHERE run = 'left'", named)["discount"]) == {7.5}  # the mean of rows


def test_a_setting_that_members_differ_in_is_null_of_a_run(named):
    runs = query("SELECT run, learning_rate, num_envs, conv FROM runs ORDER BY run", named)
    np.testing.assert_array_equal(runs["learning_rate"].to_numpy(float), [0.4, 0.3, np.nan])
    assert (runs["num_envs"].to_list(), set(runs["conv"])) == ([4, 4, 4], {"[]"})


def test_names_of_runs_are_as_short_as_tells_them_apart():
    paths = [Path(text) for text in ("/x/a", "/x/y/b", "/x/z/b", "/b", "/q/x/y/c")]
    assert run_names(paths) == ["a", "y/b", "z/b", "/b", "c"]
    assert run_names([Path("/x/y/b"), Path("/w/y/b")]) == ["x/y/b", "w/y/b"]


def shown(sql, place, capsys):
    assert main(["results", sql, "--in", str(place)]) == 0
    return capsys.readouterr().out


def test_a_wide_table_is_cut_or_turned_and_says_how_to_see_the_rest(store, capsys):
    wide = shown("SELECT * FROM metrics", store, capsys)
    assert max(map(len, wide.splitlines())) <= 120
    assert re.search(r"the first \d+ of \d+ columns, as many as fit; not shown are \"", wide)
    assert "the first 200 of" in shown("SELECT * FROM metrics JOIN (SELECT 1 FROM range(2)) ON true", store, capsys)
    few = [shown(f"SELECT * FROM metrics LIMIT {rows}", store, capsys) for rows in (1, 3, 4)]
    assert ["columns, as many as fit" in text for text in few] == [False, False, True]
    columns = query("SELECT * FROM metrics LIMIT 1", store).columns
    assert all(f" {name} " in few[1] for name in columns)
    narrow = shown("SELECT run, seed FROM metrics", store, capsys)
    assert "columns" not in narrow


def test_python_gives_the_same_as_a_frame(store):
    assert jaxreward.query is query
    given = jaxreward.query("SELECT run, num_envs FROM runs ORDER BY run", store)
    assert given.to_dict("list") == {"run": ["a", "b"], "num_envs": [4, 8]}
