"""Curves, tables and the page that holds them, from runs whose numbers are known."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats

from jaxreward.report import report, save_curves
from jaxreward.report.compared import configurations_compared
from jaxreward.report.page import Html, table
from jaxreward.reproduce.claims import Claim, above, check, exact, within
from jaxreward.reproduce.figure import Reproduced, save
from jaxreward.results.curves import LARGEST_PANELS, curve, learning_curves
from jaxreward.results.statistics import estimate, paired_test, unpaired_test
from jaxreward.results.summary import (
    configurations,
    declared_metrics,
    headline_metrics,
    name_of,
    rich_table,
    show,
    summary,
)
from jaxreward.run.store import RunError, RunFolder
from jaxreward.search.folder import StudyFolder
from jaxreward.sweep import sweep_of

RATES = [0.1, 0.2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """<script>
addEventListener("load", () => {
  const box = e => { const r = e.getBoundingClientRect(); return [r.width, r.height]; };
  const boxes = selector => [...document.querySelectorAll(selector)].map(box);
  document.body.dataset.probe = JSON.stringify({
    drawings: boxes(".drawing svg, .drawing img"), tables: boxes("table"),
    requests: performance.getEntriesByType("resource").map(e => e.name).filter(name => !name.startsWith("data:")),
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    text: document.body.innerText,
  });
});
</script>"""
"""Measures the page once it is drawn; put into a copy of it."""


def frame(seeds=4, iterations=20, failed=False):
    """Member m, seed s, iteration t pays 10 m + s + t to the environment and twice that to the agent."""
    rows = [
        {
            "iteration": t,
            "env_steps": 100 * t,
            "wall_seconds": 0.5 * t,
            "member": m,
            "seed": s,
            "failed": failed and (m, s) == (1, 2) and t >= 7,
            "learning_rate": RATES[m],
            "episode/return": 2.0 * (10 * m + s + t),
            "episode/env_return": 1.0 * (10 * m + s + t),
            "episode/count": 5,
            "episode/length": 3.0,
            "loss": 0.0,
        }
        for t in range(1, iterations + 1)
        for m in (0, 1)
        for s in range(seeds)
    ]
    return pd.DataFrame(rows)


def write_run(path, data, name="<script>alert(1)</script>"):
    run = RunFolder(path)
    run.create()
    run.write_config(
        {
            "config": {"agent": "ppo", "env": name, "reward": "environment", "settings": {}},
            "population": [{"learning_rate": rate} for rate in RATES],
            "seeds": sorted(map(int, data["seed"].unique())),
            "iterations": int(data["iteration"].max()),
            "versions": {"jax": "1.2.3"},
            "device": {"kind": "cpu", "count": 1},
        }
    )
    run.write_part(int(data["iteration"].max()), pa.Table.from_pandas(data))
    return path


def test_curve_is_the_mean_over_seeds_and_its_interval_holds_it():
    drawn = curve(frame()[lambda f: f["member"] == 1], "episode/env_return")
    np.testing.assert_array_equal(drawn.steps, 100.0 * np.arange(1, 21))
    np.testing.assert_allclose(drawn.mean, 10 + 1.5 + np.arange(1, 21), rtol=1e-12)
    # Seeds 0 to 3 shift the curve: the interval is the same at all steps, and that of these four numbers.
    low, high = scipy.stats.ttest_1samp(np.arange(4.0), 0).confidence_interval()
    np.testing.assert_allclose(drawn.low - drawn.mean, np.full(20, low - 1.5), atol=1e-9)
    np.testing.assert_allclose(drawn.high - drawn.mean, np.full(20, high - 1.5), atol=1e-9)
    assert drawn.seeds == 4


def test_curve_of_one_seed_has_no_width_and_gaps_stay_out():
    data = frame(seeds=1)[lambda f: f["member"] == 0].reset_index(drop=True)
    data.loc[3, "episode/return"] = np.nan
    drawn = curve(data, "episode/return")
    assert 400.0 not in drawn.steps
    np.testing.assert_array_equal(drawn.low, drawn.mean)
    np.testing.assert_array_equal(drawn.high, drawn.mean)
    data["episode/return"] = np.nan
    assert curve(data, "episode/return").steps.size == 0


def test_seeds_that_are_logged_at_other_steps_meet_between_them():
    """As those of agents whose iterations differ in length: a value that is the steps, and ten more for one seed."""
    steps = {0: [100, 250, 420, 500], 1: [130, 200, 390, 610], 2: [90, 91, 640, 641]}
    rows = [{"seed": s, "env_steps": t, "x": t + 10.0 * (s == 1)} for s, ts in steps.items() for t in ts]
    drawn = curve(pd.DataFrame([*rows, {"seed": 3, "env_steps": 7, "x": np.nan}]), "x")
    np.testing.assert_allclose(drawn.steps, np.linspace(130, 500, 4))
    np.testing.assert_allclose(drawn.mean, drawn.steps + 10 / 3)
    assert (drawn.low < drawn.mean).all()
    alone = curve(pd.DataFrame(rows).query("seed == 1"), "x")
    np.testing.assert_array_equal(alone.steps, steps[1])


def test_a_seed_that_got_less_far_counts_as_far_as_it_got():
    rows = [{"seed": s, "env_steps": t, "x": float(s)} for s, last in ((0, 4), (1, 2)) for t in range(1, last + 1)]
    drawn = curve(pd.DataFrame(rows), "x")
    assert drawn.steps.tolist() == [1, 2, 3, 4]
    assert drawn.mean.tolist() == [0.5, 0.5, 0, 0]


def test_what_an_agent_calls_its_result_is_judged_first(tmp_path):
    data = frame().assign(coverage=lambda f: 1.0 * (f["member"] == 0))  # of which the other has more return
    assert headline_metrics(data, ["coverage", "no such"]) == ["coverage", "episode/env_return", "episode/return"]
    folders = [write_run(tmp_path / name, data, "qd/point2d") for name in ("one", "two")]
    for folder in folders:
        described = RunFolder(folder).read_config()
        described["config"]["headline"] = ["coverage"]
        RunFolder(folder).write_config(described)
    described = [RunFolder(folder).read_config() for folder in folders]
    assert declared_metrics(described) == ["coverage"]
    assert declared_metrics([*described, {"config": {}}]) == []
    page = report(folders, tmp_path / "page.html").read_text()
    headings = re.findall(r"<h3.*?>(.*?)</h3>", page)
    assert headings[0] == "Coverage of each run&#x27;s best configuration"
    assert headings[1:4] == ["Coverage", "Environment&#x27;s return", "Return"]
    best = next(row for row in cells_of(page) if row[0] == "one")
    assert best[1:3] == ["learning_rate = 0.1", "1 [1, 1]"]
    columns = rich_table(data, ["learning_rate"], declared=["coverage"]).columns
    assert [column.header for column in columns][1:3] == ["coverage", "environment's return"]
    assert list(columns[0].cells) == ["0.1", "0.2"]


def test_a_seed_without_a_value_is_left_out_of_the_mean():
    data = frame(seeds=2)[lambda f: f["member"] == 0].reset_index(drop=True)
    data.loc[(data["seed"] == 1) & (data["iteration"] == 5), "episode/env_return"] = np.nan
    drawn = curve(data, "episode/env_return")
    assert drawn.mean[4] == drawn.low[4] == drawn.high[4] == 5.0  # of one seed
    assert drawn.low[3] < drawn.mean[3] < drawn.high[3]


def test_figure_has_a_panel_for_each_outer_value_and_a_line_for_each_inner_one():
    data = pd.concat([frame().assign(**{"reward.goal": goal}) for goal in (1.0, 2.0, 3.0)], ignore_index=True)
    figure = learning_curves(data, "episode/env_return", ["reward.goal", "learning_rate"])
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == ["reward.goal = 1", "reward.goal = 2", "reward.goal = 3"]
    assert [len(axis.lines) for axis in figure.axes] == [2, 2, 2]
    assert figure.axes[0].lines[1].get_ydata()[0] == 10 + 1.5 + 1


def test_panels_that_are_left_out_are_said():
    few = frame(seeds=1, iterations=2)
    data = pd.concat([few.assign(goal=goal) for goal in range(LARGEST_PANELS + 3)], ignore_index=True)
    figure = learning_curves(data, "episode/return", ["goal", "learning_rate"])
    assert "3 more" in figure.get_suptitle()


def test_rates_come_first_and_returns_that_there_are_none_of_not_at_all():
    rates = ["average_env_reward", "average_reward"]
    data = frame().assign(average_reward=1.0, average_env_reward=2.0)
    assert headline_metrics(data, rates) == [*rates, "episode/env_return", "episode/return"]
    endless = data.assign(**{"episode/return": np.nan, "episode/env_return": np.nan})
    assert headline_metrics(endless, rates) == rates
    assert headline_metrics(endless.assign(average_env_reward=1.0), rates) == ["average_reward"]
    assert headline_metrics(endless) == ["episode/return"]


def test_summary_is_of_the_last_tenth_and_best_first():
    table = summary(frame(), ["learning_rate"], "episode/env_return")
    # The last tenth of 20 iterations is 19 and 20; seeds 0 to 3.
    assert table["learning_rate"].tolist() == [0.2, 0.1]
    assert table["mean"].tolist() == [10 + 19.5 + 1.5, 19.5 + 1.5]
    assert table["seeds"].tolist() == [4, 4]


def test_headline_metrics_and_configurations():
    assert headline_metrics(frame()) == ["episode/env_return", "episode/return"]
    assert headline_metrics(frame().assign(**{"episode/return": frame()["episode/env_return"]})) == ["episode/return"]
    of_agents = frame().assign(**{f"episode/env_return/{k}": 1.0 for k in (0, 1, 3)})
    expected = ["episode/env_return", "episode/env_return/0", "episode/env_return/1", "episode/return"]
    assert headline_metrics(of_agents) == expected
    assert [*map(name_of, expected[:2]), name_of("loss/value")] == [
        "environment's return", "environment's return/0", "loss/value"
    ]  # fmt: skip
    assert configurations({"population": [{}]}) == []
    assert configurations({"population": [{"a": 1, "b": 2}, {"a": 2, "b": 2}]}) == ["a", "b"]
    assert [show(x) for x in (0.000123456, 1, "x", 1e6)] == ["0.0001235", "1", "x", "1e+06"]


def test_terminal_table_has_a_row_for_each_configuration():
    table = rich_table(frame(), ["learning_rate"])
    assert [column.header for column in table.columns] == ["learning_rate", "environment's return", "return", "seeds"]
    assert list(table.columns[0].cells) == ["0.2", "0.1"]
    assert next(iter(table.columns[1].cells)).startswith("31 [")


def test_page_is_self_contained_and_says_what_failed(tmp_path):
    folder = write_run(tmp_path / "run", frame(failed=True))
    (folder / "reward.py").write_text("def reward(t): return t.reward < 1")
    page = report(folder).read_text()
    assert report(folder) == folder / "report.html"
    links = {link for link in re.findall(r"https?://[^\s\"'<]+", page) if "w3.org" not in link}
    assert not links
    assert not re.search(r"<(script [^>]|link|img)|src=|href=\"[^#]", page)
    assert "&lt;script&gt;" in page
    assert "1 of 8 runs were not finite" in page
    assert "learning_rate = 0.2, seed 2: from iteration 7" in page
    assert "t.reward &lt; 1" in page
    assert "jax 1.2.3" in page
    assert page.count("<svg") == 4  # two returns, what differs, and the length
    assert "31 [" in page


def test_several_runs_are_compared(tmp_path):
    better = frame().assign(**{"episode/env_return": lambda f: f["episode/env_return"] + 100})
    runs = [write_run(tmp_path / name, data) for name, data in (("first", frame()), ("second", better))]
    page = report(runs, tmp_path / "new" / "page.html").read_text()
    assert "Comparison" in page
    rows = re.findall(r"<tr>(<td.*?)</tr>", page)
    cells = [re.findall(r"<td.*?>(.*?)</td>", row) for row in rows if "learning_rate = " in row]
    best = [row for row in cells if len(row) == 5]
    assert [(cells[0], cells[1], cells[3].split()[0]) for cells in best] == [
        ("first", "learning_rate = 0.2", "31"),
        ("second", "learning_rate = 0.2", "131"),
    ]


def test_no_file_of_anybody_elses_is_written_over(tmp_path):
    run = write_run(tmp_path / "runs" / "first", frame())
    page = report(run, tmp_path / "page.html")
    assert report(run, page) == page  # its own
    for out in (tmp_path / "notes.html", tmp_path / "runs" / "report.html"):
        out.write_text("mine")
        with pytest.raises(RunError, match=r"html is there already and was not made by jaxreward"):
            report(tmp_path / "runs", out)
        assert out.read_text() == "mine"
    (run / "report.html").write_text("of an older version, which did not say so")
    assert "<svg" in report(run).read_text()


def test_figure_is_saved(tmp_path):
    picture = save_curves(write_run(tmp_path / "run", frame()))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_folders_without_runs_are_refused(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        report(tmp_path)


def write_figure(path, scale="small"):
    """A figure whose three claims come out in the three ways there are."""
    claims = (
        Claim("one is <b>positive</b>", lambda data: exact(1), above(0), paper="1"),
        Claim("one is nothing", lambda data: exact(1), within(0, 0)),
        Claim("one seed tells it", lambda data: estimate([1.0]), above(0)),
    )
    checked = [check(claim, None, scale) for claim in claims]
    notes = "Not as in the paper.\n\nAt all."
    made = Reproduced("toy", "A toy", "Nobody 2000", scale, checked, notes, {"versions": {"jax": "1.2.3"}}, path)
    save(made, pd.DataFrame({"x": [1]}), learning_curves(frame(), "episode/return", ["learning_rate"]))
    return path


def write_sweep(path):
    """Two programs of two configurations each; the better one has another width."""
    for width in (8, 16):
        data = frame(seeds=2).assign(**{"episode/env_return": lambda f, w=width: f["episode/env_return"] + w})
        folder = write_run(path / "programs" / str(width), data, "CartPole-v1")
        config = RunFolder(folder).read_config()
        config["config"]["settings"] = {"layers": [width]}
        RunFolder(folder).write_config(config)
    (path / "sweep.json").write_text("{}")
    return path


def cells_of(page):
    return [re.findall(r"<td.*?>(.*?)</td>", row) for row in re.findall(r"<tr>(<td.*?)</tr>", page)]


def test_figures_and_runs_share_a_page_with_all_claims_at_its_top(tmp_path):
    write_figure(tmp_path / "figures" / "toy-small")
    write_run(tmp_path / "figures" / "toy-small" / "runs" / "000", frame(), "in the figure")
    write_run(tmp_path / "runs" / "one", frame(), "CartPole-v1")
    page = report([tmp_path / "figures", tmp_path / "runs"], tmp_path / "page.html").read_text()
    top = page[page.index("<h1>") : page.index(">A toy (small)<")]
    assert "1 figure, 1 run" in top
    assert "3 claims: " in top
    for verdict in ("1 met", "1 not met", "1 not decidable"):
        assert f">{verdict}<" in top
    rows = [[re.sub("<.*?>", "", cell) for cell in row] for row in cells_of(top.replace("</span></td>", "</td>"))]
    assert [row[0] for row in rows] == ["toy, small"] * 3
    assert rows[0][1:4] == ["one is &lt;b&gt;positive&lt;/b&gt;", "1", "1"]
    assert "no interval: it takes two seeds" in page
    assert "in the figure" not in page  # its runs are what the figure is drawn from
    (anchor,) = set(re.findall(r'<a href="#(.*?)"', page))
    assert f'id="{anchor}"' in page


@pytest.mark.parametrize("text", ["{}", "[1]", '"x"', '{"claims": [1]}', '{"claims": []}'])
def test_claims_that_are_none_are_left_out_beside_others_and_refused_alone(tmp_path, text):
    write_figure(tmp_path / "toy")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "claims.json").write_text(text)
    with pytest.warns(UserWarning, match="left out: .*bad/claims.json holds no reproduced figure"):
        assert "1 figure" in report(tmp_path).read_text()
    with pytest.raises(RunError, match=r"bad/claims\.json holds no reproduced figure"):
        report(tmp_path / "bad")


@pytest.mark.parametrize("name", ["sweep.json", "study.json"])
@pytest.mark.parametrize("text", ["[1]", "{}"])
def test_a_damaged_description_of_what_belongs_together_is_named(tmp_path, name, text):
    write_run(tmp_path / "programs" / "0", frame(), "CartPole-v1")
    (tmp_path / name).write_text(text)
    read = {"sweep.json": sweep_of, "study.json": lambda folder: StudyFolder(folder).read()}[name]
    with pytest.raises(RunError, match=name):
        read(tmp_path)


def test_a_figure_alone_is_a_page(tmp_path):
    page = report(write_figure(tmp_path / "toy"))
    assert page == tmp_path / "toy" / "report.html"
    assert "1 figure" in page.read_text()


def test_a_sweep_is_one_table_of_all_its_configurations(tmp_path):
    page = report(write_sweep(tmp_path / "sweep")).read_text()
    assert "<title>sweep</title>" in page
    rows = [row for row in cells_of(page) if len(row) == 5]
    # The agent's return is the same for both widths; the environment's comes first, and is larger for the wider one.
    # Two seeds are one apart, and half of that times 12.71, the quantile of t, is 6.353.
    assert [(row[0], row[1], row[3]) for row in rows[:4]] == [
        ("[16]", "0.2", "46 [39.65, 52.35]"),
        ("[8]", "0.2", "38 [31.65, 44.35]"),
        ("[16]", "0.1", "36 [29.65, 42.35]"),
        ("[8]", "0.1", "28 [21.65, 34.35]"),
    ]
    assert "8 = 4 configurations × 2 seeds" in page


def test_a_sweep_says_which_of_its_configurations_differ_from_the_best(tmp_path):
    page = report(write_sweep(tmp_path / "sweep")).read_text()
    told = page[page.index("Which configurations differ") :]
    rows = [row for row in cells_of(told) if len(row) == 6]
    means = {"[16], 0.2": 46, "[8], 0.2": 38, "[16], 0.1": 36, "[8], 0.1": 28}
    assert [row[1].split()[0] for row in rows] == [str(mean) for mean in means.values()]
    assert [row[2].split()[0] for row in rows] == ["-", "-8", "-10", "-18"]
    # The seeds are one apart, so no run of another scores higher, and two of each are too few to show it.
    assert [row[3].split()[0] for row in rows[1:]] == ["0", "0", "0"]
    assert [(row[4], row[5]) for row in rows[1:]] == [("1", "2")] * 3
    assert "Bar: 95% interval over seeds" in told
    assert told.index("<svg") < told.index("<table")


def test_episodes_drawn_of_a_sweep_s_runs_are_in_its_page(tmp_path):
    folder = write_sweep(tmp_path / "sweep")
    assert "image/gif" not in report(folder).read_text()
    (folder / "programs" / "16" / "episode.gif").write_bytes(b"GIF89a")
    page = report(folder).read_text()
    assert page.index("An episode of programs/16") < page.index("data:image/gif;base64,R0lGODlh")
    assert "An episode of programs/8" not in page
    (folder / "programs" / "8" / "episode.gif").write_bytes(b"GIF89a")
    (folder / "episode.gif").write_bytes(b"GIF89a")  # of the best, by `evaluate` of the sweep
    page = report(folder).read_text()  # the best is one of 16
    assert re.findall("An episode[^<]*", page) == ["An episode", *(f"An episode of programs/{n}" for n in (16, 8))]


def test_one_seed_or_one_configuration_is_compared_with_nothing(tmp_path):
    assert "configurations differ" not in report(write_run(tmp_path / "few", frame(seeds=1))).read_text()
    alone = frame()[lambda f: f["member"] == 0]
    assert "configurations differ" not in report(write_run(tmp_path / "alone", alone)).read_text()


def test_further_seeds_in_another_program_are_seeds_of_the_same_configuration(tmp_path):
    data = frame(seeds=4)
    for name, seeds in (("first", (0, 1)), ("more", (2, 3))):
        part = data[data["seed"].isin(seeds)]
        folder = write_run(tmp_path / name, part, "CartPole-v1")
        config = RunFolder(folder).read_config()
        config["config"]["settings"] = {}
        RunFolder(folder).write_config(config)
    (tmp_path / "sweep.json").write_text("{}")
    rows = [row for row in cells_of(report(tmp_path).read_text()) if len(row) == 4]
    assert [(row[0], row[2].split()[0], row[3]) for row in rows[:2]] == [("0.2", "31", "4"), ("0.1", "21", "4")]


def test_a_search_ranks_what_was_stopped_last_and_keeps_fresh_seeds_apart(tmp_path):
    """The worse configuration goes on in another folder; what is measured again is better by nothing but luck."""
    data = frame(seeds=2)
    ends = data.groupby(["member", "seed"])["env_steps"].transform("max")
    worse, early = data["member"] == 0, data["env_steps"] <= ends / 2
    write_run(tmp_path / "generations" / "00000" / "rung-0" / "program-00", data[early], "CartPole-v1")
    write_run(tmp_path / "generations" / "00000" / "rung-1" / "program-00", data[worse & ~early], "CartPole-v1")
    write_run(tmp_path / "confirmed" / "0a" / "00", data.assign(seed=data["seed"] + 2), "CartPole-v1")
    (tmp_path / "study.json").write_text(json.dumps({"search": {"steps": int(ends.max())}}))
    page = report(tmp_path).read_text()
    assert f"<title>{tmp_path.name}</title>" in page
    assert page.count(f"{tmp_path.name}, on fresh seeds") >= 2
    assert "4 = 2 configurations × 2 seeds" in page
    rows = [row for row in cells_of(page) if len(row) == 5 and row[0] in ("0.1", "0.2")]
    stopped = data[early & ~worse]["env_steps"].max()
    assert [(row[0], row[1], row[4]) for row in rows[:2]] == [
        ("0.1", f"{ends.max():,}", "2"),
        ("0.2", f"{stopped:,}", "2"),
    ]


def test_a_run_that_has_logged_nothing_yet_is_left_out_and_said_so(tmp_path):
    write_run(tmp_path / "one", frame(), "CartPole-v1")
    begun = write_run(tmp_path / "begun", frame(), "CartPole-v1")
    shutil.rmtree(begun / "metrics.parquet")
    page = report(tmp_path).read_text()
    assert "Left out: " in page
    assert "begun has no metrics yet" in page
    assert "<title>one</title>" in page
    with pytest.raises(RunError, match="has no metrics yet"):
        report(tmp_path / "begun")


def test_tables_escape_what_is_not_html():
    made = table(["a<"], [["<b>"], [Html("<i>x</i>")]])
    assert "a&lt;" in made
    assert "&lt;b&gt;" in made
    assert "<i>x</i>" in made


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_shows_the_page_without_errors_or_requests(tmp_path, width):
    write_figure(tmp_path / "figures" / "toy-small")
    write_run(tmp_path / "run", frame(failed=True))
    write_sweep(tmp_path / "sweep")
    page = report(tmp_path, tmp_path / "page.html").read_text()
    (tmp_path / "probed.html").write_text(page.replace("</body>", f"{PROBE}</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--window-size={width},900"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [CHROMIUM, *options, profile, "--dump-dom", (tmp_path / "probed.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "CONSOLE" not in done.stderr
    found = re.search(r'data-probe="(.*?)"', done.stdout)
    seen = json.loads(html.unescape(found[1]))
    assert seen["requests"] == []
    assert seen["wider"] == 0  # nothing makes the page itself scroll sideways
    # One of the figure, one of the comparison; two returns and, folded in, the length and what differs for both others.
    assert len(seen["drawings"]) == page.count("<svg") == 10
    assert all(w > 200 and h > 100 for w, h in seen["drawings"])
    assert all(w > 100 and h > 20 for w, h in seen["tables"])
    assert "1 met" in seen["text"]
    assert "one is <b>positive</b>" in seen["text"]


def test_p_is_corrected_for_all_pairs_and_lost_seeds_are_told():
    scores = np.array([[8.0, 9, 9, 8, 9, 8], [7, 7, 6, 7, 7, 6], [5, 5, 6, 4, 5, np.nan]])
    member, seed = np.indices(scores.shape)
    columns = {"member": member, "seed": seed, "episode/return": scores, "failed": np.isnan(scores)}
    frame = pd.DataFrame({name: values.ravel() for name, values in columns.items()})
    frame = frame.assign(**{"iteration": 100, "episode/count": 1, "run": 0})
    told = configurations_compared(frame, {0: "a", 1: "b", 2: "c"}, "episode/return", "return")
    first, second, third = [row for row in cells_of(told) if len(row) == 6]
    p_values = paired_test(scores[1], scores[0]), unpaired_test(scores[2, :5], scores[0])
    assert [second[4], third[4]] == [f"{min(1.0, 3 * p):.3g}" for p in p_values]
    assert "for all 3 pairs" in told
    assert [row[5] for row in (first, second, third)] == ["6", "6", "5 (1 more without a final value)"]
