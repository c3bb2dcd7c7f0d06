"""The diagram of formalisms: it is verified at smoke, and what is broken is seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.experiments.figures.objectives.hasse import cover, data, figure, gap, lacks, states
from jaxreward.objectives.formalisms import markov, regularised
from jaxreward.objectives.reductions import Reduction, world
from jaxreward.objectives.tasks import SEPARATIONS, WITNESSES
from jaxreward.reproduce.claims import check


@pytest.fixture(scope="module")
def frame():
    return data("smoke").table()


def verdicts(frame):
    return [check(claim, frame, "smoke").verdict for claim in figure.claims]


def test_every_reduction_statement_and_separation_holds(frame):
    reduced = frame[frame["kind"] == "reduced"]
    assert reduced["gap"].max() < 1e-12
    assert len(reduced) == 24
    assert frame["holds"].all()
    assert len(frame) == 24 + len(WITNESSES) + len(SEPARATIONS)
    assert verdicts(frame) == ["met"] * 6


def test_the_diagram(frame):
    assert set(cover(states(frame))) == {
        ("PO", "GOMORL"),
        ("PO", "FPR"),
        ("GOMORL", "OMORL"),
        ("FPR", "OMORL"),
        ("OMORL", "FTR"),
        ("OMORL", "RRL"),
        ("OMORL", "ONMR"),
        ("FTR", "RM"),
        ("FTR", "LTL"),
        ("FTR", "LAR"),
        ("RM", "MR"),
        ("RRL", "MR"),
        ("ONMR", "MR"),
    }
    drawn = figure.plot(frame)
    assert len(drawn.axes[0].lines) == 13
    assert len(drawn.axes[0].texts) == 11


def test_claims_are_lost_with_what_they_rest_on(frame):
    without = lambda column, value: frame.assign(holds=frame["holds"] & (frame[column] != value))  # noqa: E731
    assert verdicts(without("task", "share of time"))[0] == "not met"
    assert verdicts(without("task", "three prizes"))[3] == "not met"
    assert verdicts(without("task", "unseen"))[4:] == ["not met", "not met"]
    apart = frame.assign(gap=frame["gap"].where(frame["lower"] != "ONMR", 0.1))
    assert verdicts(apart)[2] == "not met"
    assert verdicts(apart)[5] == "not met"
    apart = frame.assign(gap=frame["gap"].where(frame["upper"] != "INMR", 0.1))
    assert verdicts(apart)[1] == "not met"
    assert not (states(frame) & lacks(frame)).any()


def test_a_gap_is_of_values_and_what_tells_no_policies_apart_shows_nothing():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        mdp, policies = world(rng), jnp.asarray(rng.dirichlet(np.ones(2), (4, 6)))
        flat = mdp._replace(reward=jnp.ones_like(mdp.reward) * (mdp.transition > 0))
        costly = regularised(lambda row: jnp.ones(()), 0.5, 0.8)
        of = jax.jit(lambda mdp: gap(Reduction("RRL", "MR", (costly, markov(0.8))), mdp, policies))
        np.testing.assert_allclose(of(mdp)[0], 0.5 * (1 + 0.8 + 0.64), rtol=1e-9)  # three steps cost half each
        assert of(mdp)[1]
        assert not of(flat)[1]
