"""When it is said that the reward which is trained on and the true one part: seldom by chance, always when they do."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import Agent
from jaxreward.learning.proxies import CORRELATION
from jaxreward.run.parting import FEWEST, Parting, PartingWarning, parted
from jaxreward.run.train import train

RUNS, ROWS = 2_000, 100
RNG = np.random.default_rng(0)


def rows(slope, peak=ROWS):
    """Noise around what rises up to a row and falls after it."""
    time = np.arange(ROWS)
    return slope * np.minimum(time, 2 * peak - time)[:, None] + RNG.normal(size=(ROWS, RUNS))


@pytest.mark.parametrize(("proxy", "true"), [(0, 0), (0.1, 0), (0.1, 0.1), (0.1, 0.02), (0, -0.1), (-0.1, -0.1)])
def test_by_chance_seldom(proxy, true):
    """Of 2,000 runs in which they don't part, fewer than 1 in 100 are taken to: also where both fall."""
    assert parted(rows(proxy), rows(true)).mean() < 0.01


@pytest.mark.parametrize("peak", [0, 50])
def test_where_they_part_nearly_always(peak):
    assert parted(rows(0.1), rows(0.1, peak)).mean() > 0.99
    assert parted(rows(0.1)[: FEWEST + 1], 1 + 0 * rows(0)[: FEWEST + 1]).mean() == 0
    assert parted(rows(0.1), np.where(RNG.random((ROWS, RUNS)) < 0.5, np.nan, rows(-0.1))).mean() == 0


def test_rows_that_follow_each_other_are_seldom_taken_for_a_change():
    """Each is four fifths of the one before; 2,000 runs are looked at nine times."""
    noise = RNG.normal(size=(2, ROWS, RUNS))
    for row in range(1, ROWS):
        noise[:, row] = 0.8 * noise[:, row - 1] + 0.6 * noise[:, row]
    looks = [parted(*noise[:, :end]) for end in range(FEWEST, ROWS + 1, 10)]
    assert np.any(looks, 0).mean() < 0.02


def test_a_run_that_rests_is_not_judged():
    """Its last row is repeated, and would not vary."""
    rests, stays = Parting(), Parting()
    for row in range(2 * FEWEST):
        metrics = {name: np.full((1, 1), value) for name, value in zip(NAMES, (0.5, row, -row, row, -row), strict=True)}
        rests.see(metrics, np.array([[row > FEWEST]]))
        stays.see(metrics, np.array([[False]]))
    assert rests.news(7) is None
    assert stays.news(7) is not None


def test_what_ended_comes_before_steps_and_is_said_once():
    one = lambda *values: {name: np.full((1, 1), value) for name, value in zip(NAMES, values, strict=True)}  # noqa: E731
    going = np.array([[False]])
    watched, unwatched = Parting(), Parting()
    for row in range(2 * FEWEST):
        metrics = one(0.5, np.nan, np.nan, row, -row)
        watched.see(metrics, going)
        unwatched.see({name: value for name, value in metrics.items() if name != CORRELATION}, going)
    assert "in 1 of 1 runs" in watched.news(7)
    assert watched.news(8) is None
    assert unwatched.news(7) is None
    by_episodes = Parting()
    for row in range(2 * FEWEST):
        by_episodes.see(one(0.5, row, row, row, -row), going)
    assert by_episodes.news(7) is None


NAMES = (CORRELATION, "episode/return", "episode/env_return", "average_reward", "average_env_reward")


class State(NamedTuple):
    params: jax.Array
    key: jax.Array
    hyperparams: dict


def step(state):
    now = state.params + 1
    paid = {"average_reward": now, "average_env_reward": state.hyperparams["sign"] * now}
    metrics = {"env_steps": jnp.int32(1), "episode/count": jnp.int32(0), CORRELATION: jnp.float32(0.5), **paid}
    return state._replace(params=now), metrics


def test_a_run_warns(tmp_path):
    init = lambda key, hyperparams: State(jnp.zeros(()), key, hyperparams)  # noqa: E731
    agent = Agent(init, step, None)
    run = {"iterations": 40, "log_every": 1, "progress": False, "population": [{"sign": 1.0}, {"sign": -1.0}]}
    with pytest.warns(PartingWarning, match=r"in 1 of 2 runs .* as of iteration 20: .* see reward_correlation"):
        train(agent, {"sign": jnp.array([1.0, -1.0])}, folder=tmp_path / "run", **run)
