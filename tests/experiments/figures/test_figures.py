"""The figures: their ingredients against exact values, what all would run at every scale, and some at the least.

The others are made at the least scale by name: `pytest -n 0 -m slow -k qd/arm tests/experiments/figures`.
"""

import functools
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from jaxreward.cli import main
from jaxreward.experiments.figures.pbt import toy as pbt_toy
from jaxreward.experiments.figures.potential import shaping as potential_shaping
from jaxreward.experiments.figures.ppo import clipping as ppo_clipping
from jaxreward.mdp import greedy, policy_iteration, policy_value
from jaxreward.reproduce.claims import FEWEST_RUNS, SCALES
from jaxreward.reproduce.figure import default_folder, full_name, get_figure, list_figures
from jaxreward.reproduce.parts import Computed, parts_of, planned
from tests.by_default import by_default

MADE = "loop/regret", "pbt/toy"
"""By default: one that is trained in stages and parts, and one that is computed as a whole."""
LARGE = {"barfi/half_cheetah", "meta/tasks", "ppo/clipping", "qd/mazes", "subpo/ant"}
"""What takes long to make ready: bodies, and mazes."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes a figure with the command, once, and says where it is."""
    folder = tmp_path_factory.mktemp("figures")

    @functools.cache
    def make(name):
        for only in parts_to_run(name):
            command = ["reproduce", name, "--scale", "smoke", "--folder", str(folder), "--quiet"]
            assert main([*command, *only]) == 0
        return default_folder(name, "smoke", folder)

    return make


def parts_to_run(name):
    """What `--only` says the first time, and nothing the second; a figure of one part is run at once."""
    first, *others = parts_of(get_figure(name).data("smoke"))
    return [["--only", first], []] if others else [[]]


def claims_of(folder):
    return json.loads((folder / "claims.json").read_text())["claims"]


@pytest.mark.parametrize("name", by_default(list_figures(), *MADE))
def test_a_figure_is_made_at_the_least_scale(name, made):
    """Its first part alone, and then the others."""
    place = made(name)
    assert (place / "figure.png").stat().st_size > 5_000
    assert "mathdefault" not in (place / "figure.svg").read_text()  # formulas are not set, so no tick may be one
    assert len(claims_of(place)) == len(get_figure(name).claims) > 0
    values = [float(claim["estimate"]["value"]) for claim in claims_of(place)]
    assert np.isfinite(values).any()
    # What isn't run at this scale has no value, and says so.
    assert all(np.isfinite(value) or claim["why"] for value, claim in zip(values, claims_of(place), strict=True))


@pytest.mark.parametrize("name", by_default(list_figures(), *sorted(set(list_figures()) - LARGE)))
def test_what_a_figure_would_train_fits_together_at_every_scale(name, monkeypatch):
    """Nothing is compiled, and what is solved first is left out.

    Each method is made ready, and each environment, but not each method in each of them.
    """
    monkeypatch.setattr("jaxreward.experiments.figures.loop.regret.most_lost", lambda *_: 1.0)
    monkeypatch.setattr("jaxreward.experiments.figures.loop.optimism.settings", lambda *_: {})
    every, seen = set(), set()
    for scale in SCALES:
        parts = parts_of(get_figure(name).data(scale))
        assert parts
        every |= set(parts)
        for part, each in parts.items():
            if isinstance(each, Computed):
                continue
            jobs = planned(part, each, Path("nowhere"))
            assert jobs
            for job in jobs:
                method = repr((replace(job.setup, env=""), sorted(job.members[0])))
                if not {method, job.setup.env} <= seen:
                    with jax.numpy_rank_promotion("allow"):  # others' environments are not so strict
                        assert job.experiment().iterations(job.steps) > 0
                seen |= {method, job.setup.env}
    assert {part for claim in get_figure(name).claims for part in claim.takes} <= every


def test_a_figure_is_also_found_by_its_former_name(capsys):
    assert get_figure("qd_arm") is get_figure("qd/arm")
    assert default_folder("qd_arm", "small") == default_folder("qd/arm", "small") == Path("figures/qd_arm-small")
    assert full_name("qd_arn") == "qd_arn"
    assert main(["reproduce", "qd_arn"]) == 2
    assert "did you mean 'qd/arm'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", list_figures())
def test_figures_name_their_source_and_run_at_every_scale(name):
    figure = get_figure(name)
    assert any(year in figure.source for year in map(str, range(1990, 2030)))
    assert len(figure.notes) > 200
    assert len({claim.text for claim in figure.claims}) == len(figure.claims)
    if name == "ppo/clipping":
        sizes = [figure.data(scale) for scale in SCALES]
        assert [len(parts) for parts in sizes] == [1, 3, 3, 6]
        assert all(len(job.members) == 5 for parts in sizes for jobs in parts.values() for job in jobs)


@pytest.mark.parametrize("name", list_figures())
def test_claims_can_be_decided_where_they_are_said_to_be(name):
    """There are enough runs at the least scale of each claim; of what decides nothing there may be fewer."""
    module = import_module(f"jaxreward.experiments.figures.{name.replace('/', '.')}")
    for scale in {claim.least for claim in get_figure(name).claims} - {"smoke"}:
        sizes = module.SIZES[scale]
        each = [sizes] if hasattr(sizes, "_fields") else sizes
        assert max(getattr(size, "seeds", None) or size.runs for size in each) >= FEWEST_RUNS


@pytest.mark.slow
def test_what_is_proved_about_shaping_holds_exactly(made):
    verdicts = [claim["verdict"] for claim in claims_of(made("potential/shaping"))]
    assert verdicts[:3] == ["met"] * 3


def test_shaping_is_the_discounted_difference_of_potentials():
    potential, terminal = jnp.array([1.0, 3.0, 10.0]), jnp.array([False, False, True])
    added = potential_shaping.shaping(potential, terminal, 0.5)
    # discount * potential(s') - potential(s); a terminal state's potential counts as nothing.
    np.testing.assert_allclose(added, [[-0.5, 0.5, -1.0], [-2.5, -1.5, -3.0], [-9.5, -8.5, -10.0]], rtol=1e-6)


@pytest.mark.slow
def test_a_bonus_costs_and_shaping_costs_nothing(made):
    data = pd.read_parquet(made("potential/shaping") / "data.parquet")
    loss, error = (data.groupby("reward")[column] for column in ("loss", "value_error"))
    assert loss.max()["shaping"] < potential_shaping.ROUNDING < loss.median()["bonus"]
    assert loss.min().min() > -potential_shaping.ROUNDING
    assert error.min()["bonus"] > 1e-3


def test_the_grid_world_costs_a_step_for_each_move():
    mdp, potential = potential_shaping.grid_world()
    transition = np.asarray(mdp.transition)
    np.testing.assert_allclose(transition.sum(-1), 1, rtol=1e-6)
    # From the middle: 0.8 + 0.05 as intended, 0.05 to each other side; into a wall is staying.
    np.testing.assert_allclose(transition[55, 0, [56, 65, 54, 45]], [0.85, 0.05, 0.05, 0.05], rtol=1e-6)
    np.testing.assert_allclose(transition[0, 2, 0], 0.85 + 0.05, rtol=1e-6)
    assert potential[0] == -18 / 0.8
    assert potential[potential_shaping.GOAL] == 0
    toward = np.zeros((100, 4), np.float32)
    toward[:, 0], toward[9::10, 1] = 1, 2
    both = jax.jit(lambda mdp: (policy_value(mdp, greedy(toward), 1.0)[0], policy_iteration(mdp, 1.0).value[0]))
    value, best = both(mdp)
    # 18 moves that succeed 0.85 of the time or slip back: no policy is faster than 18 / 0.85, nor that one by much.
    assert best <= -18 / 0.85
    assert value <= best + 1e-3


def test_sarsa_is_slower_than_the_best_policy_and_arrives():
    mdp, _ = potential_shaping.grid_world()
    arrived = np.asarray(jax.jit(lambda key: potential_shaping.sarsa(mdp, key, 20_000))(jax.random.key(0)))
    lengths = potential_shaping.trial_lengths(arrived, 10)
    assert np.isfinite(lengths).all()
    assert lengths.min() >= 18


def test_trial_lengths():
    arrived = np.array([0, 0, 1, 0, 1, 1, 0], bool)
    np.testing.assert_array_equal(potential_shaping.trial_lengths(arrived, 2), [3, 2])
    np.testing.assert_array_equal(potential_shaping.trial_lengths(arrived, 5), [3, 2, 1, np.nan, np.nan])


def test_scores_are_normalised_by_the_untrained_policy_and_the_best_clipping():
    returns = {("A", 0.1): 30.0, ("A", 0.2): 50.0, ("A", np.inf): 20.0, ("A", None): 10.0}
    returns |= {("B", 0.1): -1.0, ("B", 0.2): -2.0, ("B", np.inf): np.nan, ("B", None): -5.0}
    rows = [
        {
            "run": env,
            "env": env,
            "member": member,
            "seed": seed,
            "iteration": 1,
            "failed": np.isnan(value),
            "clip": 0.2 if clip is None else clip,
            "learning_rate": 0.0 if clip is None else np.nan,
            "episode/return": value + (seed - 0.5) * (env == "A"),
            "episode/count": 1,
        }
        for member, ((env, clip), value) in enumerate(returns.items())
        for seed in (0, 1)
    ]
    scores = ppo_clipping.scores(pd.DataFrame(rows))
    mean = scores.groupby(["env", "clip"])["score"].mean()
    assert mean["A"].tolist() == [0.5, 1.0, 0.25]
    # What was not finite counts as the worst, here that of the untrained policy.
    assert mean["B"].tolist() == [1.0, 0.75, 0.0]
    assert ppo_clipping.of_clip(scores, np.inf).shape == (2, 2)
    estimate = ppo_clipping.advantage(np.inf, pd.DataFrame(rows))
    assert estimate.value == pytest.approx((1 + 0.75) / 2 - 0.125)
    # Seeds are one apart over the range of 40 in the one task of two that has any: a standard error of 0.5 / 40 / 2
    # with and without clipping, each of one degree of freedom.
    reach = scipy.stats.t.ppf(0.975, 2) * 0.5 / 40 / 2 * np.sqrt(2)
    assert estimate.value - estimate.low == pytest.approx(reach)


def test_a_worker_follows_the_gradient_of_what_it_sees():
    state = pbt_toy.worker.init(jax.random.key(0), pbt_toy.Hyperparams(jnp.array(1.0), jnp.array(0.5)))
    for _ in range(3):
        state, metrics = pbt_toy.worker.step(state)
    # theta is multiplied by 1 - 2 h times the step size at each step.
    expected = [0.9 * 0.96**3, 0.9 * 0.98**3]
    np.testing.assert_allclose(state.theta, expected, rtol=1e-6)
    np.testing.assert_allclose(metrics["score"], 1.2 - np.sum(np.square(expected)), atol=1e-6)


def test_workers_of_the_toy_do_what_their_method_says(made):
    frame = pd.read_parquet(made("pbt/toy") / "data.parquet")
    assert len(frame) == 4 * 5 * 200 * 2
    by_method = {method: frame[frame["method"] == method] for method in pbt_toy.METHODS}
    grid = by_method["grid search"][lambda f: (f["seed"] == 0) & (f["worker"] == 0)]
    np.testing.assert_allclose(grid["theta0"], 0.9 * 0.96 ** np.arange(1, 201), rtol=1e-4)
    np.testing.assert_allclose(grid["theta1"], 0.9, rtol=1e-6)
    # At step 10 workers that exploit are at the same place, at step 9 they are not.
    places = by_method["exploit only"].pivot_table(index=["seed", "step"], columns="worker", values="theta0")
    apart = (places[0] - places[1]).abs().groupby("step").max()
    assert apart[10] == 0 < apart[9]
    # Exploiting has no chance in it; exploring has.
    last = {method: part[part["step"] == 200] for method, part in by_method.items()}
    spread = {method: rows.groupby("worker")["theta0"].std().max() for method, rows in last.items()}
    assert spread["exploit only"] < 1e-6 < 1e-3 < spread["explore only"]
    assert pbt_toy.reached("grid search", frame).value == pytest.approx(0.39 - 0.81 * 0.96**400, abs=1e-6)
