"""Objectives of hand-made curves, against sums written out."""

import numpy as np
import pandas as pd
import pytest

from jaxreward.results.statistics import iqm
from jaxreward.results.tables import final_values
from jaxreward.run.job import Setup
from jaxreward.search.objective import Objective, check_metrics, default_objective, intervals, parse_objective, scores

RETURNS = np.random.default_rng(0).normal(10.0, 3.0, (3, 5, 20))
"""Of 3 choices with 5 seeds, in 20 rows."""
COUNTS = np.random.default_rng(1).integers(1, 9, RETURNS.shape)


def curves(returns=RETURNS, counts=COUNTS, steps_per_row=100, failed=()):
    """Metrics of runs, the rows in no order."""
    index = [axis.ravel() for axis in np.indices(returns.shape)]
    frame = pd.DataFrame({"choice": index[0], "seed": index[1], "iteration": index[2] + 1})
    frame["env_steps"] = frame["iteration"] * steps_per_row
    frame["episode/return"] = returns.ravel()
    frame["episode/count"] = counts.ravel()
    frame["loss"] = -returns.ravel()
    frame["failed"] = [key in failed for key in zip(index[0], index[1], strict=True)]
    frame["member"] = 0
    frame["run"] = "any"
    frame.loc[frame["episode/count"] == 0, "episode/return"] = np.nan
    return frame.sample(frac=1.0, random_state=0, ignore_index=True)


def finals(returns=RETURNS, counts=COUNTS):
    """The mean over the episodes of the last tenth: 2 of 20 rows."""
    late, weight = returns[..., -2:], counts[..., -2:]
    return (late * weight).sum(-1) / weight.sum(-1)


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("final", [iqm(values) for values in finals()]),
        ("mean", finals().mean(axis=1)),
        ("worst", finals().min(axis=1)),
        ("auc", [iqm(values) for values in RETURNS.mean(axis=-1)]),
    ],
)
def test_statistics(statistic, expected):
    found = scores(curves(), Objective("episode/return", statistic))
    assert found.index.name == "choice"
    np.testing.assert_allclose(found.to_numpy(), expected)


def test_the_worst_seed_is_the_largest_of_what_is_minimised():
    found = scores(curves(), Objective("loss", "worst", maximise=False))
    np.testing.assert_allclose(found, (-RETURNS[..., -2:]).mean(axis=-1).max(axis=1))


def test_final_values_are_those_of_the_results():
    values = final_values(curves().query("choice == 1"))["value"].to_numpy()
    np.testing.assert_allclose(scores(curves(), Objective("episode/return", "mean"))[1], values.mean())


def test_the_area_is_over_environment_steps_and_rungs():
    """A run that went on in rows twice as long: each row counts as long as it is."""
    first = curves(RETURNS[..., :10], COUNTS[..., :10])
    second = curves(RETURNS[..., 10:], COUNTS[..., 10:])
    second["iteration"] = 10 + 2 * second["iteration"]
    second["env_steps"] = second["iteration"] * 100
    weights = np.repeat([1.0, 2.0], 10)
    found = scores(pd.concat([first, second]), Objective("episode/return", "auc"))
    areas = (RETURNS * weights).sum(axis=-1) / weights.sum()
    np.testing.assert_allclose(found, [iqm(values) for values in areas])


def test_where_no_episode_ended_the_last_one_counts():
    counts = COUNTS.copy()
    counts[0, :, :3] = 0
    counts[0, 2, 15:] = 0
    found = curves(counts=counts)
    expected = finals()[0]
    expected[2] = RETURNS[0, 2, 14]
    np.testing.assert_allclose(scores(found, Objective(statistic="final"))[0], iqm(expected))
    held = RETURNS[0].copy()
    held[:, :3] = held[:, 3:4]
    held[2, 15:] = held[2, 14]
    np.testing.assert_allclose(scores(found, Objective(statistic="auc"))[0], iqm(held.mean(axis=1)))


@pytest.mark.parametrize("statistic", ["final", "mean", "worst", "auc"])
def test_without_a_number_for_each_seed_there_is_none(statistic):
    counts = COUNTS.copy()
    counts[2, 1] = 0
    found = scores(curves(counts=counts, failed={(0, 3)}), Objective(statistic=statistic))
    assert found.isna().tolist() == [True, False, True]


def test_intervals_hold_what_they_are_of():
    found = intervals(curves(), Objective())
    np.testing.assert_allclose(found["value"], scores(curves(), Objective()))
    assert (found["low"] < found["value"]).all()
    assert (found["value"] < found["high"]).all()
    assert found["seeds"].tolist() == [5, 5, 5]
    assert intervals(curves(), Objective(statistic="worst"))["low"].isna().all()


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("episode/return", Objective()),
        ("auc:episode/length", Objective("episode/length", "auc")),
        ("minimise:worst:loss/value", Objective("loss/value", "worst", False)),
        ("minimize:loss/value", Objective("loss/value", "final", False)),
    ],
)
def test_texts_are_objectives(text, objective):
    assert parse_objective(text) == objective
    assert parse_objective(objective.name) == objective


def test_objectives_that_there_are_not():
    with pytest.raises(ValueError, match="no statistic 'finale'; did you mean 'final'"):
        parse_objective("finale:episode/return")
    with pytest.raises(ValueError, match="METRIC, STATISTIC:METRIC or minimise:STATISTIC:METRIC, not 'a:b:c'"):
        parse_objective("a:b:c")
    check_metrics([Objective(), Objective("loss/value", maximise=False)], Setup())
    with pytest.raises(ValueError, match="no metric 'episode/retrun'; did you mean 'episode/return'"):
        check_metrics([Objective("episode/retrun")], Setup())
    with pytest.raises(ValueError, match="final:episode/return is given twice"):
        check_metrics([Objective(maximise=False), Objective()], Setup())


@pytest.mark.parametrize(
    ("env", "space", "metric"),
    [
        ("CartPole-v1", ["clip"], "episode/return"),
        ("CartPole-v1", ["clip", "reward.weight"], "episode/env_return"),
        ("average/two_choice", ["clip"], "average_reward"),
        ("average/two_choice", ["reward.weight"], "average_env_reward"),
    ],
)
def test_what_is_made_better_unless_something_is_said(env, space, metric):
    assert default_objective(Setup(env=env), space) == Objective(metric)


def test_returns_are_no_objective_where_nothing_ends():
    setup = Setup(env="average/two_choice")
    check_metrics([Objective("average_reward")], setup)
    with pytest.raises(ValueError, match=r"no metric 'episode/return'"):
        check_metrics([Objective()], setup)
