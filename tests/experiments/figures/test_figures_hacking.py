"""The figure of tomatoes: what is known exactly, and claims on data that meets them and on data that does not."""

import numpy as np
import pandas as pd
import pytest

from jaxreward.experiments.figures.hacking import tomato
from jaxreward.experiments.figures.hacking.tomato import ACTIONS, MULTIPLES, VISITS, VISITS_KL
from jaxreward.reproduce.claims import check

TRUE = {VISITS: (2, 4, 6.5, 7, 6, 5.6), VISITS_KL: (2, 3, 5, 6.5, 6, 5.6), ACTIONS: (2, 2, 3, 5.8, 5.6, 5.5)}


def table(true, proxy=45.0):
    """Six runs of each method at each strength, a little apart."""
    rows = [
        (method, multiple, seed, value + 0.02 * (-1) ** seed, proxy + seed)
        for method, each in true.items()
        for multiple, value in zip(MULTIPLES, each, strict=True)
        for seed in range(6)
    ]
    frame = pd.DataFrame(rows, columns=["method", "multiple", "seed", "true", "proxy"])
    return frame.assign(reference=5.5, reference_proxy=6.0, best=9.74, unit=0.05)


def verdicts(frame, scale="small"):
    return [check(claim, frame, scale).verdict for claim in tomato.figure.claims]


def test_claims_are_met_where_the_proxy_is_hacked_and_regularisation_helps():
    assert verdicts(table(TRUE)) == ["met"] * 5
    assert verdicts(table(TRUE), "smoke") == ["not decidable"] * 5
    alone = table(TRUE).query("method == @VISITS")
    assert verdicts(alone) == ["met"] * 3 + ["not decidable"] * 2


@pytest.mark.parametrize(
    ("changed", "proxy", "wrong"),
    [
        ({}, -5.0, [0]),
        ({VISITS: (6, 4, 6.5, 7, 6, 5.6)}, 45.0, [1]),
        ({VISITS: (2, 4, 5, 7, 6, 5.6)}, 45.0, [2]),
        ({ACTIONS: (2, 2, 3, 5.8, 7.5, 5.5)}, 45.0, [3]),
        ({VISITS_KL: (2, 3, 5, 7.5, 6, 5.6)}, 45.0, [4]),
    ],
)
def test_claims_are_not_met_otherwise(changed, proxy, wrong):
    found = verdicts(table({**TRUE, **changed}, proxy))
    assert [place for place, verdict in enumerate(found) if verdict == "not met"] == wrong


def test_the_unit_is_that_of_the_bound():
    """By an episode of acting at random, which has exact returns; the rest is worked out from samples of it."""
    exact = tomato.known()
    np.testing.assert_allclose(exact.best, (9.74, 9.74), atol=5e-3)
    rng, returns, paid = np.random.default_rng(0), [], []
    env = tomato.make(tomato.TASK)[0]
    for _ in range(300):
        cell, watered = env.start, np.zeros(env.num_tomatoes, bool)
        for _ in range(100):
            cell = env.next_cell[cell, rng.integers(4)]
            watered = (watered | (np.arange(env.num_tomatoes) == env.tomato[cell])) & env.near[cell]
            true = 0.02 * watered.sum()
            paid.append((true, 0.02 * env.num_cells if env.in_bucket[cell] else true))
        returns.append(np.sum(paid[-100:], 0))
    spread = np.std(returns, 0) / np.sqrt(len(returns))
    assert (abs(np.mean(returns, 0) - exact.reference) < 4 * spread).all()
    correlation, deviation = np.corrcoef(np.transpose(paid))[0, 1], np.std(paid, 0)[1]
    np.testing.assert_allclose(deviation * np.sqrt(1 - correlation**2), exact.unit, rtol=0.12)


def test_it_is_drawn():
    left, right = tomato.plot(table(TRUE)).axes
    assert [text.get_text() for text in right.get_legend().get_texts()][:3] == list(TRUE)
    np.testing.assert_allclose(left.lines[0].get_ydata(), TRUE[VISITS])
    assert left.lines[-1].get_ydata()[0] == 9.74
    assert right.lines[0].get_ydata()[0] == 47.5


def test_no_seed_is_judged_by_what_its_strength_was_chosen_by():
    """One lucky seed has both others taken where it was lucky, and not itself."""
    returns = {0.0: (9.0, 0.0, 0.0), 1.0: (1.0, 1.0, 1.0)}
    rows = [("ours", multiple, seed, each[seed]) for multiple, each in returns.items() for seed in range(3)]
    frame = pd.DataFrame(rows, columns=["method", "multiple", "seed", "true"])
    np.testing.assert_array_equal(tomato.at_best(frame, "ours"), [1.0, 0.0, 0.0])
