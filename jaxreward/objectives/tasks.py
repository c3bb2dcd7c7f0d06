"""Tasks that one formalism can state and others can't: small MDPs with an order of policies.

They are our own counterexamples to show what Subramani et al. (arXiv:2310.11840) say of their formalisms; the paper's
own may be others. `WITNESSES` states a task in a formalism, which can be compared with its order; `SEPARATIONS` says
which formalisms can't, and how that is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxreward.mdp import TabularMDP, tabular_mdp
from jaxreward.objectives.certificates import Jump, Worth
from jaxreward.objectives.formalisms import (
    limit_average,
    machine_rewards,
    markov,
    outer_multi_order,
    outer_nonlinear,
    policy_function,
    policy_order,
    regularised,
    temporal_logic,
)
from jaxreward.objectives.objective import Objective, Order, greater
from jaxreward.objectives.values import Policy
from jaxreward.rewards.automata import reward_machine

DISCOUNT = 0.9
"""Of the statements; what can't be stated is looked at for other discounts, too."""
How = Literal["programme", "level sets", "jump", "sure levels", "lexicographic"]


class Task(NamedTuple):
    """An MDP and an order of its stationary policies.

    Attributes:
        mdp: The MDP; its reward is that of the task's statement, where that has one.
        worth: What policies are ordered by, differentiable where they take every action.
        policies: Some that tell formalisms apart, `[N, S, A]`.
        at_least: The order of worths, if they are not numbers.
        jump: Where the order is not continuous.
    """

    mdp: TabularMDP
    worth: Worth
    policies: Float[np.ndarray, "N S A"]
    at_least: Order = greater
    jump: Jump | None = None


class Separation(NamedTuple):
    """That a formalism can't state a task, and how it is shown.

    Attributes:
        task: By name.
        formalism: By abbreviation.
        how: By a programme (`expresses`), or see `jaxreward.objectives.certificates`.
    """

    task: str
    formalism: str
    how: How = "programme"


def by_chance(*chances: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N S 2"]:
    """Policies by the probability of action 1 in each state."""
    rows = np.stack(np.broadcast_arrays(*map(np.asarray, chances)), -1).astype(float)
    return np.stack([1 - rows, rows], -1)


def in_a_row(states: int, reward: Float[np.ndarray, "..."] | None = None, actions: int = 2) -> TabularMDP:
    """States that follow one another whatever is done, the last of them terminal."""
    moves = np.zeros((states, actions, states))
    moves[np.arange(states - 1), :, np.arange(1, states)] = 1
    reward = np.zeros((states, actions)) if reward is None else reward
    return tabular_mdp(moves, reward, np.eye(states)[0], np.arange(states) == states - 1)


GRID = np.array([0.0, 0.25, 0.5, 1.0])
FIRST, SECOND = np.meshgrid(GRID, GRID, indexing="ij")
TWICE = by_chance(FIRST.ravel(), SECOND.ravel(), np.array(0.0))
"""Policies of two decisions, `[16, 3, 2]`."""


def same(policy: Policy) -> Float[Array, ""]:
    """The probability of the same action in states 0 and 1."""
    return policy[0, 0] * policy[1, 0] + policy[0, 1] * policy[1, 1]


def three_valued(policy: Policy) -> Float[Array, ""]:
    """The same action twice, and better twice the second one."""
    return policy[0, 0] * policy[1, 0] + 2 * policy[0, 1] * policy[1, 1]


def entropy(policy: Policy) -> Float[Array, ""]:
    """Of the first decision."""
    return -_negative_entropy(policy[0])


def _negative_entropy(row: Float[Array, " A"]) -> Float[Array, ""]:
    inside = jnp.where(row > 0, row, 1)
    return jnp.sum(inside * jnp.log(inside))


def target(policy: Policy) -> Float[Array, ""]:
    """How near a return comes to 0.95."""
    return -((policy[0, 1] + DISCOUNT * policy[1, 1] - 0.95) ** 2)


def same_and_goal(policy: Policy) -> Float[Array, ""]:
    """The probability of the same action twice, if the goal is gone to at all."""
    return same(policy) * (policy[2, 1] > 0)


def ratio(policy: Policy) -> Float[Array, ""]:
    """The share of time in state 1 of a chain that begins in state 0."""
    there, back = policy[0, 1], policy[1, 1]
    return there / jnp.where(there > 0, there + back, 1)


def prize(policy: Policy) -> Float[Array, ""]:
    """Prizes of 0, 1 and 2 for three actions."""
    return policy[0, 1] + 2 * policy[0, 2]


def both_chances(policy: Policy) -> Float[Array, " 2"]:
    """What is ordered by the first, and where that is equal by the second."""
    return jnp.stack([policy[0, 1], policy[1, 1]])


def unseen(policy: Policy) -> Float[Array, ""]:
    """What is done in a state that is never seen."""
    return policy[1, 1]


def lexicographic(first: Float[Array, " 2"], second: Float[Array, " 2"]) -> Array:
    """The order of `both_chances`."""
    return (first[0] > second[0]) | ((first[0] == second[0]) & (first[1] >= second[1]))


def _goal() -> TabularMDP:
    """Two decisions, and then a third of whether to stay or to go to the goal."""
    moves = np.zeros((4, 2, 4))
    moves[0, :, 1] = moves[1, :, 2] = moves[2, 0, 2] = moves[2:, 1, 3] = moves[3, 0, 3] = 1
    return tabular_mdp(moves, np.zeros(4), np.eye(4)[0], np.arange(4) == 3)


def _chain() -> TabularMDP:
    """Two states; action 1 goes to the other. It pays to be in the second one."""
    moves = np.zeros((2, 2, 2))
    moves[0, 0, 0] = moves[0, 1, 1] = moves[1, 0, 1] = moves[1, 1, 0] = 1
    return tabular_mdp(moves, np.array([0.0, 1.0]), np.eye(2)[0])


def _hidden() -> TabularMDP:
    """State 1 is like state 0, but nothing leads there."""
    moves = np.zeros((3, 2, 3))
    moves[:, :, 2] = 1
    return tabular_mdp(moves, np.zeros(3), np.eye(3)[0], np.arange(3) == 2)


def _three_ways() -> Float[np.ndarray, "N 2 3"]:
    rows = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [1 / 3] * 3, [0.5, 0.25, 0.25]])
    return np.stack([rows, np.full_like(rows, 1 / 3)], 1)


_SMALL = 2.0 ** -np.arange(2, 18, 3)
_RATES = np.array([0.1, 0.2, 0.4, 0.8])
_THERE, _BACK = (x.ravel() for x in np.meshgrid(_RATES, _RATES, indexing="ij"))
_SURE = np.stack([x.ravel() for x in np.indices((2, 2))], -1).astype(float)


@cache
def tasks() -> dict[str, Task]:
    """All of them, by name."""
    return {
        "same action twice": Task(in_a_row(3), same, TWICE),
        "three values": Task(in_a_row(3), three_valued, TWICE),
        "entropy": Task(in_a_row(2, actions=3), entropy, _three_ways()),
        "target return": Task(in_a_row(3, np.array([[0.0, 1.0]] * 3)), target, TWICE),
        "same and goal": Task(
            _goal(),
            same_and_goal,
            by_chance(*TWICE[:, :2, 1].T, np.array(1.0), np.array(0.0)),
            jump=Jump(
                by_chance(np.array(0.0), np.array(0.0), _SMALL, np.array(0.0)),
                by_chance(np.array(0.0), np.array(0.0), 0 * _SMALL, np.array(0.0)),
            ),
        ),
        "share of time": Task(
            _chain(),
            ratio,
            by_chance(_THERE, _BACK),
            jump=Jump(by_chance(_SMALL, _SMALL), by_chance(_SMALL, 2 * _SMALL)),
        ),
        "three prizes": Task(in_a_row(2, np.array([[0.0, 1.0, 2.0]] * 2), 3), prize, _three_ways()),
        "lexicographic": Task(in_a_row(3), both_chances, TWICE, lexicographic),
        "unseen": Task(_hidden(), unseen, by_chance(np.array(0.5), GRID, np.array(0.0))),
    }


SURE_CHANCES = by_chance(*_SURE.T)
"""Deterministic policies of the share of time."""
PAIRS = np.stack([by_chance(GRID, np.array(second), np.array(0.0)) for second in (0.25, 0.75)], 1)
"""Policies that are alike in the first decision alone."""


def _labels(task: str) -> dict[str, np.ndarray]:
    """What holds in the steps of a task: action 1 was taken, and the goal is reached."""
    shape = tasks()[task].mdp.transition.shape
    one = np.broadcast_to(np.arange(shape[1]).reshape(1, -1, 1) == 1, shape)
    return {"one": one, "goal": np.arange(shape[0]) == shape[0] - 1}


_TWICE = "((one & X one) | (!one & X !one))"


def _memory(zeros: float, ones: float) -> Callable[[], Objective]:
    """A reward machine that pays for the same action twice."""
    machine = reward_machine(
        ("start", "one", "1"), ("start", "!one", "0"), ("1", "one", "end", ones), ("0", "!one", "end", zeros)
    )
    return lambda: machine_rewards(machine, _labels("same action twice"), DISCOUNT)


WITNESSES: dict[tuple[str, str], Callable[[], Objective]] = {
    ("same action twice", "RM"): _memory(1.0, 1.0),
    ("same action twice", "LTL"): lambda: temporal_logic(_TWICE, _labels("same action twice")),
    ("three values", "RM"): _memory(1.0, 2.0),
    ("entropy", "RRL"): lambda: regularised(_negative_entropy, 1.0, DISCOUNT),
    ("target return", "ONMR"): lambda: outer_nonlinear(lambda g: -((g - 0.95) ** 2), DISCOUNT),
    ("same and goal", "LTL"): lambda: temporal_logic(f"{_TWICE} & F goal", _labels("same and goal")),
    ("share of time", "LAR"): limit_average,
    ("three prizes", "MR"): lambda: markov(DISCOUNT),
    ("lexicographic", "GOMORL"): lambda: outer_multi_order(_by_two_returns, jnp.asarray(_two_rewards()), DISCOUNT),
    ("lexicographic", "PO"): lambda: policy_order(lambda x, y: lexicographic(both_chances(x), both_chances(y))),
    ("unseen", "FPR"): lambda: policy_function(unseen),
}
"""Tasks and formalisms that state them, with the statement."""


def _two_rewards() -> Float[np.ndarray, "2 3 2 3"]:
    """Pay for action 1 in the first state, and in the second, the same of both when discounted."""
    rewards = np.zeros((2, 3, 2, 3))
    rewards[0, 0, 1] = 1
    rewards[1, 1, 1] = 1 / DISCOUNT
    return rewards


def _by_two_returns(first: Float[Array, " 2"], second: Float[Array, " 2"]) -> Array:
    """Lexicographic, but for rounding."""
    gap = first - second
    tie = jnp.abs(gap[0]) < 1e-6
    return jnp.where(tie, gap[1] >= -1e-6, gap[0] > 0)


SEPARATIONS: tuple[Separation, ...] = (
    *(Separation("same action twice", each) for each in ("MR", "LAR", "RRL")),
    Separation("same action twice", "ONMR", "level sets"),
    *(Separation("three values", each) for each in ("MR", "LAR", "LTL", "RRL")),
    Separation("three values", "ONMR", "level sets"),
    *(Separation("entropy", each) for each in ("MR", "LAR", "LTL", "RM", "FTR")),
    Separation("entropy", "ONMR", "level sets"),
    *(Separation("target return", each) for each in ("MR", "LAR", "LTL", "RM", "RRL", "FTR")),
    *(Separation("same and goal", each) for each in ("MR", "LAR", "RRL")),
    Separation("same and goal", "ONMR", "level sets"),
    Separation("same and goal", "RM", "jump"),
    *(Separation("share of time", each) for each in ("MR", "RRL")),
    Separation("share of time", "ONMR", "level sets"),
    Separation("share of time", "RM", "jump"),
    Separation("share of time", "LTL", "sure levels"),
    *(Separation("three prizes", each) for each in ("LAR", "LTL")),
    Separation("lexicographic", "OMORL", "lexicographic"),
    Separation("lexicographic", "FPR", "lexicographic"),
    *(Separation("unseen", each) for each in ("OMORL", "GOMORL")),
)
"""What is shown of which task. Of a class of formalisms that state the same, one stands for all."""
