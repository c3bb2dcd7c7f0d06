"""Whether the tasks are stated, and can't be stated, as is said of them."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxreward.mdp import TabularMDP
from jaxreward.objectives.certificates import (
    has_level_sets_of_a_return,
    has_more_than_two_sure_levels,
    is_lexicographic,
    jumps,
)
from jaxreward.objectives.expresses import expresses
from jaxreward.objectives.objective import preferences
from jaxreward.objectives.tasks import PAIRS, SURE_CHANCES, WITNESSES, Separation, Task, both_chances, tasks


def statements_hold(seed: int = 0, number: int = 20) -> dict[tuple[str, str], bool]:
    """Whether each statement of a task has its order, among the task's policies and some that are drawn at random.

    Args:
        seed: Of the policies.
        number: How many are drawn.

    Returns:
        By the names of the task and the formalism, those of `WITNESSES`.
    """
    objectives = {name: make() for name, make in WITNESSES.items()}
    policies = {name: np.concatenate([task.policies, drawn(task, seed, number)]) for name, task in tasks().items()}

    mdps = {name: task.mdp for name, task in tasks().items()}

    def agree(mdps: dict[str, TabularMDP], policies: dict[str, Array]) -> dict[tuple[str, str], Bool[Array, ""]]:
        orders = {name: _order(task, policies[name]) for name, task in tasks().items()}
        return {
            name: (preferences(objective, mdps[name[0]], policies[name[0]]) == orders[name[0]]).all()
            for name, objective in objectives.items()
        }

    found = jax.jit(agree)(mdps, {name: jnp.asarray(each, float) for name, each in policies.items()})
    return {name: bool(holds) for name, holds in found.items()}


def is_shown(separation: Separation, discounts: Sequence[float], seed: int = 0) -> bool:
    """Whether it is shown that a formalism can't state a task, at each of some discounts where there is one."""
    task = tasks()[separation.task]
    if separation.how == "jump":
        return task.jump is not None and jumps(task.worth, task.jump)
    if separation.how == "sure levels":
        return has_more_than_two_sure_levels(task.mdp, task.worth, jnp.asarray(SURE_CHANCES))
    if separation.how == "lexicographic":
        first, second = (lambda policy, i=i: both_chances(policy)[i] for i in range(2))
        return is_lexicographic(first, second, jnp.asarray(PAIRS))
    if separation.how == "level sets":
        policies = jnp.asarray(drawn(task, seed, 12))
        return not any(has_level_sets_of_a_return(task.mdp, task.worth, policies, each) for each in discounts)
    ranks = np.asarray(jax.vmap(task.worth)(jnp.asarray(task.policies))).round(9)
    asked = [expresses(task.mdp, task.policies, ranks, separation.formalism, discount=each) for each in discounts]
    return not any(one.answer for one in asked)


def drawn(task: Task, seed: int, number: int) -> Float[np.ndarray, "N S A"]:
    """Policies of a task that take every action, at random."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(task.mdp.num_actions), (number, task.mdp.num_states))


def _order(task: Task, policies: Float[Array, "N S A"]) -> Bool[Array, "N N"]:
    worth = jax.vmap(task.worth)(policies)
    return jax.vmap(jax.vmap(task.at_least, (None, 0)), (0, None))(worth, worth)
