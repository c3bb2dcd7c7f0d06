"""The figure of distances: what it computes at once is what each function gives alone, and its claims can be lost."""

import jax
import numpy as np
import pandas as pd

from jaxreward.distances import regret, starc_distance
from jaxreward.experiments.figures.distances import random_mdps
from jaxreward.experiments.figures.distances.random_mdps import DISCOUNT, FEATURES, KINDS, Size, correlation, figure
from jaxreward.reproduce.claims import check

TINY = Size(runs=1, pairs=1, steps=2, states=4, norms=("l2", "weighted_linf"))


def test_all_variants_at_once_are_those_of_the_library():
    with jax.enable_x64(True):
        mdp = random_mdps.random_world(jax.random.key(0), TINY.states, 2)
        key = jax.random.key(7)  # of which neither reward is nothing but shaping
        first, second = (random_mdps.random_reward(mdp, each) for each in jax.random.split(key))
        here = mdp._replace(reward=first)

        @jax.jit
        def both(key, other):
            alone = [
                starc_distance(here, other, DISCOUNT, kind=kind, norm=norm or None, metric=metric)
                for kind, norm, metric in random_mdps.tried(TINY)
                if (kind, norm) != ("minimal_potential", "weighted_linf")
            ]
            lost = regret(here, other, DISCOUNT), regret(mdp._replace(reward=other), first, DISCOUNT)
            return random_mdps.distances_and_regrets(TINY, mdp, key), (alone, lost)

        found = both(key, first + (second - first))  # rounded alike: ties stay ties
        (distance, lost), (alone, each) = jax.tree.map(np.asarray, found)
    np.testing.assert_allclose(distance[-1], alone, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(lost[-1], np.mean(each), rtol=1e-9)
    assert lost[-1] > 0.01


def made(noise, environments=12):
    """Sums of distances that are regrets and noise, of so much for each canonical form."""
    rng, rows = np.random.default_rng(0), []
    for seed in range(environments):
        y = rng.uniform(size=200)
        for kind, scale in noise.items():
            for norm, metric in (("l2", "l2"), ("l1", "l2"), ("", "l2")):
                x = y + scale * rng.normal(size=200)
                sums = len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()
                told = dict(zip(FEATURES, sums, strict=True))
                rows.append({"seed": seed, "kind": kind, "norm": norm, "metric": metric, "raw": (x, y), **told})
    return pd.DataFrame(rows)


def test_a_correlation_is_that_of_all_that_was_summed():
    frame = made({"val": 0.5}, 3)
    rows = frame[frame["norm"] == "l2"]["raw"]
    x, y = (np.concatenate([row[side] for row in rows]) for side in (0, 1))
    np.testing.assert_allclose(correlation(frame, "val", "l2", "l2"), np.corrcoef(x, y)[0, 1])
    x, y = (np.concatenate([row[side] for row in rows.iloc[1:]]) for side in (0, 1))
    np.testing.assert_allclose(correlation(frame, "val", "l2", "l2", without=0), np.corrcoef(x, y)[0, 1])


def test_claims_are_met_by_what_is_claimed_and_not_by_the_opposite():
    verdicts = lambda noise: [check(claim, made(noise), "small").verdict for claim in figure.claims]  # noqa: E731
    near = dict.fromkeys(KINDS, 0.6) | {"val": 0.22}
    assert verdicts(near)[:5] == ["met"] * 5
    assert verdicts(near)[-1] == "met"
    far = dict.fromkeys(KINDS, 0.3) | {"val": 0.8}
    assert verdicts(far) == ["not met"] * 8
