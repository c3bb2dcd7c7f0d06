"""What can be wanted of a policy, and in which ways it can be said: seventeen formalisms on tabular MDPs.

`jaxreward.objectives.formalisms` makes objectives; `preferences` orders policies by one, `optimise` maximises one, and
`expresses` tells whether a formalism can say that some policies are better than others.
"""

from jaxreward.objectives.expresses import Expressed, expresses
from jaxreward.objectives.formalisms import (
    FORMALISMS,
    Formalism,
    inner_multi,
    inner_nonlinear,
    limit_average,
    lottery_function,
    lottery_order,
    machine_rewards,
    markov,
    occupancy_function,
    occupancy_order,
    outer_multi,
    outer_multi_order,
    outer_nonlinear,
    policy_function,
    policy_order,
    regularised,
    temporal_logic,
    trajectory_function,
)
from jaxreward.objectives.objective import Objective, preferences, summaries
from jaxreward.objectives.optimise import Optimised, optimise
from jaxreward.objectives.product import label_numbers, product, unseeing
from jaxreward.objectives.trajectories import Trajectories, trajectories
from jaxreward.objectives.values import (
    long_run_reward,
    reach_probability,
    regularised_return,
    returns,
    transition_occupancy,
)

__all__ = [
    "FORMALISMS",
    "Expressed",
    "Formalism",
    "Objective",
    "Optimised",
    "Trajectories",
    "expresses",
    "inner_multi",
    "inner_nonlinear",
    "label_numbers",
    "limit_average",
    "long_run_reward",
    "lottery_function",
    "lottery_order",
    "machine_rewards",
    "markov",
    "occupancy_function",
    "occupancy_order",
    "optimise",
    "outer_multi",
    "outer_multi_order",
    "outer_nonlinear",
    "policy_function",
    "policy_order",
    "preferences",
    "product",
    "reach_probability",
    "regularised",
    "regularised_return",
    "returns",
    "summaries",
    "temporal_logic",
    "trajectories",
    "trajectory_function",
    "transition_occupancy",
    "unseeing",
]
