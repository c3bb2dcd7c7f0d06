"""Reading runs back, and the statistics against SciPy's."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from jaxreward.results.statistics import bootstrap_interval, iqm
from jaxreward.results.tables import final_values, load, summarise
from jaxreward.run.store import RunError, differences, flatten, to_json
from jaxreward.run.train import train
from tests.noisy_quadratic import Hyperparams, agent

floats = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40)


@given(floats)
def test_iqm_is_scipys_trimmed_mean(values):
    np.testing.assert_allclose(iqm(np.array(values)), scipy.stats.trim_mean(values, 0.25), rtol=1e-12, atol=1e-12)


def test_iqm_by_hand():
    assert iqm(np.array([100.0, 1.0, 2.0, 3.0, -50.0, 4.0, 5.0, 6.0])) == (2 + 3 + 4 + 5) / 4
    np.testing.assert_array_equal(iqm(np.arange(8.0).reshape(2, 4)), [1.5, 5.5])


@pytest.mark.parametrize("statistic", [np.mean, iqm])
@pytest.mark.parametrize("confidence", [0.95, 0.6])
def test_bootstrap_is_scipys(statistic, confidence):
    values = np.random.default_rng(1).normal(size=17)
    expected = scipy.stats.bootstrap(
        (values,), statistic, n_resamples=500, confidence_level=confidence, method="percentile",
        rng=np.random.default_rng(7), vectorized=True,
    ).confidence_interval  # fmt: skip
    got = bootstrap_interval(values, statistic, confidence, resamples=500, seed=7)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_bootstrap_of_one_value_says_nothing():
    assert np.isnan(bootstrap_interval(np.array([3.0]))).all()
    assert bootstrap_interval(np.full(5, 3.0)) == (3.0, 3.0)


def frame(rows):
    columns = ["member", "seed", "iteration", "episode/count", "episode/return", "loss"]
    return pd.DataFrame(rows, columns=columns).assign(failed=False)


def test_final_value_weighs_the_last_tenth_by_episodes():
    rows = [(0, 0, 90, 5, 100.0, 7.0), (0, 0, 95, 1, 10.0, 1.0), (0, 0, 97, 0, np.nan, 2.0), (0, 0, 100, 3, 2.0, 6.0)]
    assert final_values(frame(rows))["value"].item() == (1 * 10 + 3 * 2) / 4
    assert final_values(frame(rows), "loss")["value"].item() == 3.0
    assert final_values(frame(rows), "episode/count")["value"].item() == 4 / 3


def test_final_value_is_missing_without_episodes_or_numbers():
    without = (0, 0, 100, 0, np.nan, 1.0)
    diverged = (0, 1, 100, 2, np.nan, np.nan)
    values = final_values(frame([without, diverged]))["value"]
    assert values.isna().all()
    assert final_values(frame([diverged, (0, 1, 95, 2, 1.0, 1.0)]))["value"].isna().all()


def test_summary_of_each_member():
    values = {0: [1.0, 2.0, 3.0, 10.0], 1: [4.0, 4.0, np.nan, 4.0]}
    rows = [(m, s, 100, 1, v, 0.0) for m, column in values.items() for s, v in enumerate(column)]
    data = frame(rows).assign(rate=lambda f: f["member"].map({0: 0.1, 1: 0.2}))
    data.loc[6, "failed"] = True
    table = summarise(data, by=["rate"])
    assert list(table["rate"]) == [0.1, 0.2]
    assert list(table["mean"]) == [4.0, 4.0]
    assert list(table["iqm"]) == [2.5, 4.0]
    assert list(table["seeds"]) == [4, 3]
    assert list(table["failed"]) == [0, 1]
    expected = scipy.stats.ttest_1samp(values[0], 0).confidence_interval()
    np.testing.assert_allclose((table["mean_low"][0], table["mean_high"][0]), expected, rtol=1e-12)
    assert (table["iqm_low"][1], table["iqm_high"][1]) == (4.0, 4.0)


def test_wrong_column_names_the_nearest():
    with pytest.raises(RunError, match="did you mean 'episode/return'"):
        summarise(frame([(0, 0, 1, 1, 1.0, 1.0)]), "episode/returns")


def test_load_joins_runs_and_their_configuration(tmp_path):
    for name, size in (("a", 1), ("b", 2)):
        config = {"env": {"size": size}, "tags": ["x"], "loss": "shadowed"}
        train(agent, Hyperparams(), seeds=2, iterations=2, folder=tmp_path / name, config=config, progress=False)
    table = load([tmp_path / "a", tmp_path / "b"])
    assert len(table) == 2 * 2 * 2
    assert table.groupby("run")["env.size"].unique().map(list).to_dict() == {"a": [1], "b": [2]}
    assert set(table["tags"]) == {"['x']"}
    assert table["loss"].dtype == np.float32
    assert len(summarise(table, "loss", by=["env.size"])) == 2
    pd.testing.assert_frame_equal(load(tmp_path / "a"), table[table["run"] == "a"])


def test_load_says_what_is_wrong(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        load(tmp_path)
    with pytest.raises(RunError, match="no run folders"):
        load([])
    train(agent, Hyperparams(), iterations=2, folder=tmp_path / "a", progress=False)
    part = next((tmp_path / "a" / "metrics.parquet").iterdir())
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(RunError, match="damaged"):
        load(tmp_path / "a")


def test_differences_name_every_key():
    old = {"config": {"a": {"b": 1, "c": 2}}, "hyperparams": {}, "population": [], "seeds": [0], "log_every": 1}
    new = {**old, "config": {"a": {"b": 3}, "d": None}, "seeds": [0, 1]}
    assert differences(old, old) == []
    assert differences(old, new) == [
        "config.a.b: 1 -> 3", "config.a.c: 2 -> absent", "seeds: [0] -> [0, 1]", "config.d: absent -> null",
    ]  # fmt: skip


def test_json_values():
    assert to_json({"a": (1, np.float32(0.1)), "b": float("nan"), "c": np.array([1.5, np.inf])}) == {
        "a": [1, 0.1], "b": "nan", "c": [1.5, "inf"],
    }  # fmt: skip
    assert to_json(Hyperparams())["learning_rate"] == 0.1
    assert to_json(object()) == "<object object>"
    assert flatten({"a": {"b": 1}, "c": {}, "d": [2]}) == {"a.b": 1, "d": [2]}
