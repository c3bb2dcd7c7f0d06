"""The figure of objectives: slopes against closed forms, and its claims on data that meets them and that does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxreward.experiments.figures.meta import drift
from jaxreward.learning.drifts import get_drift
from jaxreward.reproduce.claims import check


def evolved(hidden, runs=5):
    """TA-LPO with such weights: a number for the second half of what it sees, the part that time multiplies."""
    params = jax.tree.map(jnp.zeros_like, get_drift(drift.EVOLVED).init(jax.random.key(0)))
    # tanh is nearly linear here: f = 100 A (log r)^2, times the number, at the end of life.
    params["hidden"] = params["hidden"].at[13, 0].set(0.01 * hidden)
    params["out"] = params["out"].at[0].set(1e4 * hidden)
    return [drift.table(drift.EVOLVED, run, params) for run in range(runs)]


def frame(hidden):
    fixed = [drift.table(name, 0, get_drift(name).init(jax.random.key(0))) for name in ("ppo", "dpo")]
    return pd.concat([*fixed, *evolved(hidden)], ignore_index=True)


def test_the_slope_of_clipping_is_the_advantage_or_nothing():
    table = drift.table("ppo", 0, ())
    up, down = table["ratio"] > 1.2, table["ratio"] < 0.8
    beyond = (up & (table["advantage"] > 0)) | (down & (table["advantage"] < 0))
    np.testing.assert_allclose(table["slope"], np.where(beyond, 0, table["advantage"]), atol=1e-6)
    assert beyond.any()


@pytest.mark.parametrize("hidden", [0.0, 0.1])
def test_updates_that_do_not_shrink_are_seen(hidden):
    """Where time says nothing there is no difference; where a drift joins in that pushes back, slopes become larger."""
    claim = drift.figure.claims[0]
    assert check(claim, frame(hidden), "small").verdict == "not met"


def test_updates_that_shrink_are_seen():
    made = frame(0.0)
    late = (made["objective"] == drift.EVOLVED) & (made["time"] == 1.0)
    made["slope"] = made["slope"].where(~late, 0.5 * made["slope"])
    assert check(drift.figure.claims[0], made, "small").verdict == "met"
    np.testing.assert_allclose(drift.annealed(made).value, drift.update_size(made, 0.0).mean() / 2, rtol=1e-6)


def test_that_time_passes_for_ppo_would_be_seen():
    made = frame(0.0)
    claim = drift.figure.claims[1]
    assert check(claim, made, "smoke").verdict == "met"
    made["slope"] = made["slope"].where(made["objective"] != "dpo", made["slope"] * made["time"])
    assert check(claim, made, "smoke").verdict == "not met"
    assert drift.changed(drift.EVOLVED, made) < 1e-6
    assert drift.changed(drift.EVOLVED, frame(0.1)) > 0.01
