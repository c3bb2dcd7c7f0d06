"""Optuna's samplers by name, made to choose the same whether or not a study was interrupted."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from jaxreward.names import check_name

SAMPLERS = {
    "random": "independent draws",
    "quasi-random": "a scrambled Sobol sequence, which leaves smaller gaps than independent draws",
    "tpe": "the tree-structured Parzen estimator: draws where good trials are dense and bad ones aren't; "
    "its first 10 trials are independent draws",
    "cma-es": "covariance matrix adaptation, for numbers; choices are drawn at random",
    "nsga-ii": "a genetic algorithm for several objectives",
}
"""What a sampler is called and does."""

AT_ONCE = ("random", "quasi-random")
"""Samplers that learn nothing from trials, so all can train together."""


def default_batch(sampler: str, trials: int, numbers: int) -> int:
    """A number of trials that train together: many fill a program, few let a sampler learn from more generations.

    Args:
        sampler: One of `SAMPLERS`.
        trials: Of the whole search.
        numbers: How many names are searched.

    Returns:
        For a sampler that learns an eighth of the trials, between 8 and 32, and no fewer than its population should
        be: for CMA-ES that of Hansen, "The CMA Evolution Strategy: A Tutorial", 2016, Table 1; for NSGA-II 16, as it
        breeds copies of a few parents otherwise.
    """
    if sampler in AT_ONCE:
        return min(trials, 64)
    population = {"cma-es": 4 + int(3 * math.log(numbers)), "nsga-ii": 16}.get(sampler, 8)
    return min(max(min(trials // 8, 32), population), max(trials, 2))


def check_sampler(sampler: str, objectives: int) -> None:
    """Refuses a sampler that there isn't or that can't do it.

    Raises:
        ValueError: There is no such sampler (says which is nearest), or it is for a single objective.
    """
    check_name("sampler", sampler, SAMPLERS)
    if sampler == "cma-es" and objectives > 1:
        raise ValueError("cma-es is for one objective; for several there are nsga-ii, tpe, random and quasi-random")


def make_sampler(
    name: str, seed: int, batch: int, always: dict[str, BaseDistribution], stops_early: bool = False
) -> BaseSampler:
    """A sampler whose choice for a trial depends on nothing but the seed, the trial's number and what was told.

    Args:
        name: One of `SAMPLERS`.
        seed: Of the study.
        batch: Trials in a generation, which is the population of CMA-ES and NSGA-II.
        always: What is chosen in every trial.
        stops_early: Whether some trials are stopped; CMA-ES then learns from these too, as it would starve otherwise.
    """
    make: dict[str, Callable[[int], BaseSampler]] = {
        "random": lambda drawn: RandomSampler(seed=drawn),
        # One sequence for all trials: its seed is the study's.
        "quasi-random": lambda drawn: QMCSampler(
            scramble=True, seed=seed, independent_sampler=RandomSampler(seed=drawn), warn_independent_sampling=False
        ),
        "tpe": lambda drawn: TPESampler(seed=drawn, constant_liar=True),
        "cma-es": lambda drawn: CmaEsSampler(
            seed=drawn,
            n_startup_trials=0,
            popsize=batch,
            consider_pruned_trials=stops_early,
            warn_independent_sampling=False,
        ),
        "nsga-ii": lambda drawn: _InOrder(seed=drawn, population_size=batch),
    }
    spaces = {
        "quasi-random": always,
        "cma-es": {name: d for name, d in always.items() if not isinstance(d, CategoricalDistribution)},
    }
    return _Numbered(make[name], seed, spaces.get(name))


class _InOrder(NSGAIISampler):
    """NSGA-II whose parents are in the order of their numbers, in which they are when read back from the database."""

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)


class _Numbered(BaseSampler):
    """Makes a sampler anew for each trial and each name that it draws alone.

    Its random numbers are then a function of the study's seed and the trial's number, so a study that was killed
    between two trials goes on as it would have, and workers that share a study never draw the same.

    Args:
        make: A sampler of a seed.
        seed: Of the study.
        space: What is drawn together, where it is known beforehand. Optuna would learn it from finished trials, and
            draw the first generation otherwise.
    """

    def __init__(
        self, make: Callable[[int], BaseSampler], seed: int, space: dict[str, BaseDistribution] | None
    ) -> None:
        self._make, self._seed, self._space = make, seed, space

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._joint = self._sampler(trial)
        return self._joint.infer_relative_search_space(study, trial) if self._space is None else self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._joint.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler(trial, param_name).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._sampler(trial).after_trial(study, trial, state, values)

    def _sampler(self, trial: FrozenTrial, name: str = "") -> BaseSampler:
        entropy = [self._seed, trial.number, zlib.crc32(name.encode())]
        drawn = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        with warnings.catch_warnings():
            # QMCSampler, and CMA-ES that learns from stopped trials, have been experimental for years.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return self._make(drawn)
