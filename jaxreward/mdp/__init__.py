"""The catalogue of tabular MDPs and exact solvers: ground truth for everything that learns.

Functions are pure, run under `jit` and `vmap`, and compute in the dtype of the MDP they are given; only `tabular_mdp`,
`validate`, the named examples and `to_tabular` work on the host.
"""

from jaxreward.mdp.access_control import access_control
from jaxreward.mdp.average import (
    AverageSolution,
    average_policy_iteration,
    gain_and_bias,
    gap,
    limiting_matrix,
    relative_value_iteration,
    unichain_gain_and_bias,
)
from jaxreward.mdp.bellman import (
    Chain,
    action_value,
    continuation,
    deterministic_policies,
    expected_reward,
    greedy,
    induced_chain,
    uniform_policy,
)
from jaxreward.mdp.continuing import hard_two_state, random_mdp, six_arms, two_choice
from jaxreward.mdp.convert import to_tabular, without_clock
from jaxreward.mdp.discounted import Solution, policy_iteration, policy_value, value_iteration
from jaxreward.mdp.environment import Outcomes, TabularEnv, TabularParams, TabularState
from jaxreward.mdp.examples import corridor, cycle, river_swim, two_state
from jaxreward.mdp.finite import FiniteSolution, backward_induction, finite_policy_value
from jaxreward.mdp.garnet import garnet
from jaxreward.mdp.inverse import (
    Inferred,
    causal_log_likelihood,
    empirical_occupancy,
    feature_expectations,
    infer_reward,
    likelihood_gradient,
    with_linear_reward,
)
from jaxreward.mdp.iteration import span
from jaxreward.mdp.occupancy import (
    DIVERGENCES,
    discounted_occupancy,
    finite_occupancy,
    occupancy_divergence,
    stationary_occupancy,
)
from jaxreward.mdp.rewards import reward_table
from jaxreward.mdp.rivers import jump_river_swim, river_swim_loop, river_swim_variant
from jaxreward.mdp.soft import (
    soft_backward_induction,
    soft_max,
    soft_policy,
    soft_policy_value,
    soft_value_iteration,
)
from jaxreward.mdp.structure import diameter, is_communicating
from jaxreward.mdp.tabular import TabularMDP, tabular_mdp, validate, with_terminal

__all__ = [  # noqa: RUF022, in the order of the catalogue
    # the MDP
    "TabularMDP",
    "tabular_mdp",
    "validate",
    "with_terminal",
    # one step, policies and the chains they induce
    "Chain",
    "action_value",
    "continuation",
    "deterministic_policies",
    "expected_reward",
    "greedy",
    "induced_chain",
    "uniform_policy",
    # discounted
    "Solution",
    "policy_iteration",
    "policy_value",
    "value_iteration",
    # finite horizon
    "FiniteSolution",
    "backward_induction",
    "finite_policy_value",
    # average reward
    "AverageSolution",
    "average_policy_iteration",
    "gain_and_bias",
    "gap",
    "limiting_matrix",
    "relative_value_iteration",
    "span",
    "unichain_gain_and_bias",
    # entropy-regularised
    "soft_backward_induction",
    "soft_max",
    "soft_policy",
    "soft_policy_value",
    "soft_value_iteration",
    # occupancy measures
    "DIVERGENCES",
    "discounted_occupancy",
    "finite_occupancy",
    "occupancy_divergence",
    "stationary_occupancy",
    # rewards that explain an expert
    "Inferred",
    "causal_log_likelihood",
    "empirical_occupancy",
    "feature_expectations",
    "infer_reward",
    "likelihood_gradient",
    "with_linear_reward",
    # structure
    "diameter",
    "is_communicating",
    # generators
    "access_control",
    "corridor",
    "cycle",
    "garnet",
    "hard_two_state",
    "jump_river_swim",
    "random_mdp",
    "river_swim",
    "river_swim_loop",
    "river_swim_variant",
    "six_arms",
    "two_choice",
    "two_state",
    # environments
    "Outcomes",
    "TabularEnv",
    "TabularParams",
    "TabularState",
    "reward_table",
    "to_tabular",
    "without_clock",
]
