"""Set functions: what all that an episode visited is worth together.

Each gives its marginal gains; `marginal_gains` makes a reward of any of them, for submodular and global RL.
"""

from jaxreward.rewards.sets.compose import from_function, mixture
from jaxreward.rewards.sets.coverage import coverage, facility_location, items, pairwise, probabilistic_coverage
from jaxreward.rewards.sets.function import SetFunction, marginal_gains, modular, set_function
from jaxreward.rewards.sets.information import information_gain, mutual_information
from jaxreward.rewards.sets.kernels import Kernel, matern52, posterior, table
from jaxreward.rewards.sets.patches import patches

__all__ = [  # noqa: RUF022, in the order of the catalogue
    # what a set function is, and the reward made of it
    "SetFunction",
    "marginal_gains",
    "modular",
    "set_function",
    # places
    "coverage",
    "facility_location",
    "items",
    "pairwise",
    "patches",
    "probabilistic_coverage",
    # information
    "Kernel",
    "information_gain",
    "matern52",
    "mutual_information",
    "posterior",
    "table",
    # set functions of others
    "from_function",
    "mixture",
]
