"""Comparisons of final scores: what is drawn where."""

import math

import numpy as np
import pandas as pd
import pytest

from jaxreward.reproduce.claims import exact
from jaxreward.results.charts import intervals, profiles, sensitivity
from jaxreward.results.curves import learning_curves
from jaxreward.results.described import title_of
from jaxreward.results.statistics import Estimate, estimate_profile


def frame(values, score=lambda value, seed: value + seed):
    rows = [
        {"member": m, "seed": s, "iteration": 1, "failed": False, "x": value, "loss": score(m, s)}
        for m, value in enumerate(values)
        for s in range(3)
    ]
    return pd.DataFrame(rows)


def test_intervals_have_a_panel_for_each_quantity_and_a_bar_for_each_method():
    figure = intervals(
        {"IQM": {"a": (1.0, 0.5, 2.0), "b": (3.0, 2.5, 3.5)}, "mean": {"b": (0, -1, 1), "a": (0, -2, 2)}}
    )
    left, right = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["IQM", "mean"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b"]
    assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in left.patches] == [(0.5, 2.0), (2.5, 3.5)]
    assert [tuple(line.get_xdata()) for line in left.lines] == [(1.0, 1.0), (3.0, 3.0)]
    # The second panel's methods are in the order of the first's.
    assert [bar.get_width() for bar in right.patches] == [4, 2]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first method is at the top


def test_profiles_are_lines_with_their_intervals():
    scores = np.linspace(0, 1, 5)
    figure = profiles(scores, {"a": (1 - scores, 0.9 - scores, 1.1 - scores), "b": (scores, scores, scores)}, "return")
    (axis,) = figure.axes
    np.testing.assert_array_equal(axis.lines[0].get_ydata(), 1 - scores)
    assert len(axis.collections) == 2
    assert axis.get_xlabel() == "return"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "places", "scale"),
    [
        ([1e-4, 1e-3, 1e-2], [1e-4, 1e-3, 1e-2], "log"),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], "linear"),
        ([0.0, 0.1, 1.0], [0.0, 0.1, 1.0], "linear"),
        ([0.1, 0.2, 0.3, math.inf], [0.1, 0.2, 0.3, 0.4], "linear"),
        ([1e-3, 1e-2, 1e-1, math.inf], [1e-3, 1e-2, 1e-1, 1.0], "log"),
        (["tanh", "relu", "swish"], [1, 2, 0], "linear"),
        ([0.1, math.inf], [0, 1], "linear"),
    ],
)
def test_sensitivity_is_drawn_over_the_values(values, places, scale):
    figure = sensitivity(frame(values, lambda member, seed: 10.0 * member), "x", "loss")
    (axis,) = figure.axes
    (line,) = axis.lines
    drawn = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    np.testing.assert_allclose(sorted(drawn), sorted(float(place) for place in places))
    if not isinstance(values[0], str):
        assert [drawn[x] for x in sorted(drawn)] == [10.0 * member for member in range(len(values))]
    assert axis.get_xscale() == scale
    assert len(axis.get_xticklabels()) == len(values)


def test_sensitivity_draws_an_interquartile_mean_within_its_interval():
    figure = sensitivity(frame([1, 2, 3], lambda member, seed: float(seed)), "x", "loss")
    (axis,) = figure.axes
    np.testing.assert_array_equal(axis.lines[0].get_ydata(), [1.0, 1.0, 1.0])
    edges = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert edges.min() < 1 < edges.max()


def test_sensitivity_has_a_line_for_each_value_of_another_column():
    data = pd.concat([frame([1, 2, 3]).assign(env=env, run=env) for env in "ab"], ignore_index=True)
    figure = sensitivity(data, "x", "loss", by="env")
    assert len(figure.axes[0].lines) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_pictures_say_of_how_many_runs_they_are():
    panels = {name: {"a": Estimate(1, 0, 2, runs), "b": exact(3)} for name, runs in (("IQM", 8), ("mean", 5))}
    assert [label.get_text() for label in intervals(panels).axes[0].get_yticklabels()] == ["a (n = 5 to 8)", "b"]
    thresholds = np.array([0.0, 1.5])
    curves = {name: estimate_profile([1.0, 2.0, 3.0], thresholds) for name in ("a", "b")}
    legend = profiles(thresholds, curves).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["a (n = 3)", "b (n = 3)"]
    assert "95% interval, 3 seeds" in sensitivity(frame([0.1, 0.2]), "x", "loss").axes[0].get_ylabel()
    data = frame([0.1, 0.2]).assign(env_steps=8)
    assert "95% interval, 3 seeds" in learning_curves(data, "loss", ["x"]).get_supylabel()
    assert "95% interval, 2 to 3 seeds" in learning_curves(data.drop(index=0), "loss", ["x"]).get_supylabel()


def test_a_picture_says_what_was_trained_and_what_line_and_band_are():
    one = {"config": {"agent": "ppo", "env": "CartPole-v1", "reward": "environment"}}
    other = {"config": {"agent": "dqn", "env": "CartPole-v1", "reward": "goal"}}
    assert title_of([one]) == "ppo on CartPole-v1 for the environment's own reward"
    assert title_of([one, other]) == "ppo, dqn on CartPole-v1 for reward environment, goal"
    assert title_of([{"config": {**one["config"], "env": str(k)}} for k in range(4)]).startswith("ppo on 4 envs for")
    assert title_of([{"config": {}}]) == ""
    figure = learning_curves(curve_frame(), "episode/env_return", [], "ppo on x", beside="episode/return")
    assert [axis.get_title() for axis in figure.axes] == ["environment's return", "return"]
    assert [axis.lines[0].get_ydata().tolist() for axis in figure.axes] == [[1.0, 2.0], [10.0, 20.0]]
    assert figure.get_suptitle() == "ppo on x"
    assert figure.get_supylabel() == "line: mean, band: 95% interval, 2 seeds"


def test_what_counts_has_whole_numbers_on_its_axis():
    ticks = {}
    for metric in ("episode/length", "episode/env_return"):
        figure = learning_curves(curve_frame(), metric, [])
        figure.draw_without_rendering()
        ticks[metric] = figure.axes[0].get_yticks()
        assert (figure.axes[0].get_xticks() % 1 == 0).all()
    assert (ticks["episode/length"] % 1 == 0).all()
    assert (ticks["episode/env_return"] % 1 != 0).any()


def curve_frame():
    """Two steps of two seeds, alike."""
    rows = {"member": 0, "seed": [0, 0, 1, 1], "env_steps": [1, 2, 1, 2], "iteration": [1, 2, 1, 2], "failed": False}
    more = {"episode/env_return": [1.0, 2.0] * 2, "episode/return": [10.0, 20.0] * 2, "episode/length": [1.0, 2.0] * 2}
    return pd.DataFrame({**rows, **more})
