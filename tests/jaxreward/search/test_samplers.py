"""Samplers on a quadratic, asked and told in generations."""

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState, create_trial
from scipy.stats import binomtest

from jaxreward.search.hypervolume import hypervolume
from jaxreward.search.samplers import check_sampler, default_batch, make_sampler

NUMBERS = {f"x{index}": FloatDistribution(0.0, 1.0) for index in range(4)}


def search(name, seed, objective, trials=64, directions=("minimize",), space=NUMBERS, batch=8):
    """The values of all trials."""
    storage = optuna.storages.InMemoryStorage()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = make_sampler(name, seed, batch, space)
    study = optuna.create_study(storage=storage, sampler=sampler, directions=directions)
    for _ in range(trials // batch):
        asked = []
        for _ in range(batch):
            study.add_trial(create_trial(state=TrialState.RUNNING))
            trial = Trial(study, study.get_trials(deepcopy=False)[-1]._trial_id)
            asked.append((trial, np.array([trial._suggest(name, prior) for name, prior in space.items()])))
        for trial, x in asked:
            study.tell(trial, objective(x))
    return study


def quadratic(seed):
    centre = np.random.default_rng(seed).uniform(0.1, 0.9, 4)
    return lambda x: float(np.sum((x - centre) ** 2))


@pytest.mark.parametrize("name", ["tpe", "cma-es"])
def test_samplers_that_learn_beat_random_ones(name):
    """Of 15 quadratics at 64 trials in generations of 8, more than half: one in a hundred if it were luck."""
    wins = sum(
        search(name, seed, quadratic(seed)).best_value < search("random", seed + 100, quadratic(seed)).best_value
        for seed in range(15)
    )
    assert binomtest(wins, 15, alternative="greater").pvalue < 0.01


def zdt1(x):
    """A curved front at x[1:] = 0 (Zitzler, Deb and Thiele, "Comparison of Multiobjective Evolutionary Algorithms")."""
    g = 1 + 9 * float(np.mean(x[1:]))
    return float(x[0]), g * (1 - float(np.sqrt(x[0] / g)))


def test_a_genetic_algorithm_beats_random_draws_on_two_objectives():
    def volume(name, seed):
        study = search(name, seed, zdt1, 256, ("minimize", "minimize"), batch=16)
        return hypervolume(np.array([trial.values for trial in study.trials]), np.array([1.0, 10.0]))

    wins = sum(volume("nsga-ii", seed) > volume("random", seed + 100) for seed in range(8))
    assert binomtest(wins, 8, alternative="greater").pvalue < 0.01


def test_a_quasi_random_sequence_leaves_smaller_gaps():
    """In every half of every dimension and every quarter of each pair lie as many points of a Sobol sequence."""
    study = search("quasi-random", 3, lambda x: 0.0)
    points = np.array([[trial.params[name] for name in NUMBERS] for trial in study.trials])
    quarters = (points[:, :2] * 2).astype(int) @ [2, 1]
    assert np.bincount(quarters).tolist() == [16, 16, 16, 16]
    assert ((points < 0.5).sum(axis=0) == 32).all()


@pytest.mark.parametrize("name", ["random", "quasi-random", "tpe", "cma-es", "nsga-ii"])
def test_seeds_decide_what_is_asked_for(name):
    space = {**NUMBERS, "n": IntDistribution(1, 5), "c": CategoricalDistribution(("a", "b"))}
    objective = lambda x: float(x[0]) - 0.5  # noqa: E731
    strings = lambda x: objective(x.astype(object))  # noqa: E731
    asked = [[trial.params for trial in search(name, seed, strings, 24, space=space).trials] for seed in (0, 0, 1)]
    assert asked[0] == asked[1]
    assert asked[0] != asked[2]
    assert len({repr(params) for params in asked[0]}) > 20  # children may be copies


def test_the_first_generation_of_cma_es_is_its_own():
    """Optuna's would be drawn at random, over all of the space."""
    points = np.array([list(t.params.values()) for t in search("cma-es", 0, quadratic(0), 8).trials])
    assert points.std() < 0.25  # of a uniform distribution 0.29; it begins with a sixth of the range
    one = search("cma-es", 0, lambda x: float(x[0]), 16, space={"x0": NUMBERS["x0"]})
    assert len(one.trials) == 16


def test_generations_are_as_large_as_suits():
    assert default_batch("random", 40, 3) == 40
    assert default_batch("quasi-random", 1000, 3) == 64
    assert [default_batch("tpe", trials, 3) for trials in (4, 64, 128, 1000)] == [4, 8, 16, 32]
    assert default_batch("cma-es", 64, 20) == 4 + int(3 * np.log(20))
    assert [default_batch("nsga-ii", trials, 3) for trials in (1, 64)] == [2, 16]


def test_samplers_that_there_are_not():
    with pytest.raises(ValueError, match="no sampler 'cmaes'; did you mean 'cma-es'"):
        check_sampler("cmaes", 1)
    with pytest.raises(ValueError, match="cma-es is for one objective; for several there are nsga-ii"):
        check_sampler("cma-es", 2)
