"""Statistics of final scores over seeds and tasks, `[runs, tasks]`, or `[runs]` for a single task.

Aggregates, intervals that hold for few runs, those of rliable, and tests: one place to take them from.
"""

from jaxreward.results.aggregates import (
    Aggregate,
    aggregate_iqm,
    aggregate_mean,
    aggregate_median,
    as_scores,
    average_score_distribution,
    iqm,
    normalise,
    optimality_gap,
    probability_of_improvement,
    score_distribution,
)
from jaxreward.results.bootstrap import (
    bootstrap_estimate,
    bootstrap_improvement,
    bootstrap_interval,
    bootstrap_profile,
)
from jaxreward.results.intervals import (
    NOTHING,
    Estimate,
    Profile,
    estimate,
    estimate_difference,
    estimate_improvement,
    estimate_profile,
)
from jaxreward.results.ratios import estimate_ratio
from jaxreward.results.significance import (
    holm,
    paired_test,
    seeds_needed,
    simulated_power,
    unpaired_test,
    welch_power,
)

__all__ = [  # noqa: RUF022, in the order of the modules
    # one number of many
    "Aggregate",
    "aggregate_iqm",
    "aggregate_mean",
    "aggregate_median",
    "as_scores",
    "average_score_distribution",
    "iqm",
    "normalise",
    "optimality_gap",
    "probability_of_improvement",
    "score_distribution",
    # intervals
    "NOTHING",
    "Estimate",
    "Profile",
    "estimate",
    "estimate_difference",
    "estimate_improvement",
    "estimate_profile",
    "estimate_ratio",
    # rliable's intervals
    "bootstrap_estimate",
    "bootstrap_improvement",
    "bootstrap_interval",
    "bootstrap_profile",
    # whether two differ
    "holm",
    "paired_test",
    "seeds_needed",
    "simulated_power",
    "unpaired_test",
    "welch_power",
]
