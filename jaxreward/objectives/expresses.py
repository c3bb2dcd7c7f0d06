"""Whether a formalism can say that some policies are better than others, by linear programming.

What most formalisms make of a policy is linear in numbers that are free to choose, its rewards or what an episode is
worth. So it is a linear programme whether some choice puts policies in a given order; temporal logic, where an episode
is worth 0 or 1, makes it one in whole numbers. That some policies can't be ordered as wanted proves that the formalism
has no such order of all; that they can be proves nothing of the others.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int
from scipy.optimize import Bounds, LinearConstraint, milp

from jaxreward.mdp import TabularMDP, discounted_occupancy, stationary_occupancy
from jaxreward.names import check_name
from jaxreward.objectives.formalisms import FORMALISMS
from jaxreward.objectives.precision import in_double
from jaxreward.objectives.product import Labels, product
from jaxreward.objectives.trajectories import Trajectories, trajectories
from jaxreward.rewards.automata import Machine

ROUNDING = 1e-6
"""A margin below is none: programmes are solved to about a tenth of it."""


class Expressed(NamedTuple):
    """Whether policies can be ordered as wanted.

    Attributes:
        answer: Whether, by more than a millionth.
        margin: How far apart the values of policies next to each other in rank can be kept, if no free number is
            beyond 1; infinite where any function of a policy can be chosen.
        numbers: The free numbers that do it, `[K]`; empty if there are none.
    """

    answer: bool
    margin: float
    numbers: Float[np.ndarray, " K"]


def expresses(
    mdp: TabularMDP,
    policies: Float[ArrayLike, "N S A"],
    ranks: Float[ArrayLike, " N"],
    formalism: str,
    *,
    discount: float = 0.9,
    machine: Machine | None = None,
    labels: Labels | None = None,
) -> Expressed:
    """Whether a formalism orders some policies as wanted, with some choice of what is free in it; on the host.

    Free are: rewards of states and actions (MR, LAR), and also of the machine's state (RM; without a machine what each
    episode is worth, as in FTR), a function of the
    probabilities of actions besides (RRL), what each episode is worth (FTR, INMR and IMORL; LTL: 0 or 1), or any
    function or order of what policies are judged by. The discount is the given one: that an order is expressed at none
    is more than is told. INMR is taken to be FTR: returns of some reward tell all episodes apart.

    Args:
        mdp: The MDP; its rewards don't matter, and terminal states pay nothing.
        policies: `[N, S, A]`.
        ranks: Of each, `[N]`: a greater one is better, and those of equal ranks are to be worth the same.
        formalism: One of `FORMALISMS`.
        discount: Where rewards are summed.
        machine: The reward machine, by default the one that remembers everything.
        labels: What it reads.

    Raises:
        ValueError: There is no such formalism; or LTL, FTR, INMR, IMORL, or RM without a machine is asked for in an MDP
            whose episodes can't be listed; or the discount is not in (0, 1).
    """
    check_name("formalism", formalism, FORMALISMS)
    if not 0 < discount < 1:
        raise ValueError(f"expected a discount within (0, 1), got {discount}")
    if formalism != "RM" and (machine is not None or labels is not None):
        raise ValueError(f"a machine and labels are of RM, and {formalism} reads none; leave them out")
    rows, ranks = np.asarray(policies, float), np.asarray(ranks, float)
    _check(mdp, rows, ranks)
    with jax.enable_x64(True):
        wide = in_double(mdp)
        features = _features(wide, rows, formalism, discount, machine, labels)
    if formalism in _ANY:
        return _told_apart(features, ranks)
    return _ordered(features, np.unique(ranks, return_inverse=True)[1], whole=formalism == "LTL")


_ANY = ("ONMR", "OMORL", "FOMR", "FTLR", "GOMORL", "OMO", "TLO", "FPR", "PO")
"""Those of any function, or order, of what tells policies apart."""


def _check(mdp: TabularMDP, policies: Float[np.ndarray, "N S A"], ranks: Float[np.ndarray, " N"]) -> None:
    """Refuses what are no policies of the MDP, or ranks that are not one for each."""
    shape = (mdp.num_states, mdp.num_actions)
    if policies.ndim != 3 or policies.shape[1:] != shape:
        raise ValueError(f"policies have shape {policies.shape}; expected [N, {shape[0]}, {shape[1]}] of this MDP")
    if (policies < 0).any() or (np.abs(policies.sum(-1) - 1) > 1e-4).any():
        raise ValueError("policies are probabilities of actions in each state, and here some don't sum up to 1")
    if ranks.shape != policies.shape[:1] or not np.isfinite(ranks).all():
        raise ValueError(
            f"expected a finite rank for each of {len(policies)} policies; got ranks of shape {ranks.shape}"
        )


def _features(
    mdp: TabularMDP,
    policies: Float[np.ndarray, "N S A"],
    formalism: str,
    discount: float,
    machine: Machine | None,
    labels: Labels | None,
) -> Float[np.ndarray, "N K"]:
    """What the free numbers of a formalism are weighed with."""
    if formalism in ("FPR", "PO"):
        return policies.reshape(len(policies), -1)
    if formalism == "LAR":
        return np.asarray(_shares(mdp, policies)) * np.repeat(~np.asarray(mdp.terminal), mdp.num_actions)
    if formalism == "RM" and machine is not None:
        pairs = product(mdp, machine, labels or {})
        return np.asarray(_occupancies(pairs, np.repeat(policies, machine.num_states, axis=1), discount))
    if formalism in ("RM", "LTL", "FTR", "INMR", "IMORL"):
        return np.asarray(_lotteries(trajectories(mdp), policies))
    found = np.asarray(_occupancies(mdp, policies, discount))
    return np.concatenate([found, _visits(found, policies)], 1) if formalism == "RRL" else found


@jax.jit
def _occupancies(mdp: TabularMDP, policies: Float[Array, "N S A"], discount: float) -> Float[Array, "N SA"]:
    return jax.vmap(lambda policy: discounted_occupancy(mdp, policy, discount).ravel())(policies)


@jax.jit
def _shares(mdp: TabularMDP, policies: Float[Array, "N S A"]) -> Float[Array, "N SA"]:
    return jax.vmap(lambda policy: stationary_occupancy(mdp, policy).ravel())(policies)


@jax.jit
def _lotteries(listed: Trajectories, policies: Float[Array, "N S A"]) -> Float[Array, "N K"]:
    return jax.vmap(listed.lottery)(policies)


def _visits(occupancy: Float[np.ndarray, "N SA"], policies: Float[np.ndarray, "N S A"]) -> Float[np.ndarray, "N F"]:
    """How often each policy is where it acts with each of the probabilities that any policy acts with anywhere."""
    number, states, actions = policies.shape
    kind = np.unique(policies.reshape(-1, actions).round(12), axis=0, return_inverse=True)[1].reshape(number, states)
    visits = occupancy.reshape(number, states, actions).sum(-1)
    return np.stack([np.where(kind == each, visits, 0).sum(1) for each in range(kind.max() + 1)], 1)


def _told_apart(features: Float[np.ndarray, "N K"], ranks: Float[np.ndarray, " N"]) -> Expressed:
    """Any function will do, if policies of different rank differ."""
    same = np.abs(features[:, None] - features[None]).max(-1) < 1e-12
    answer = not (same & (ranks[:, None] != ranks[None])).any()
    return Expressed(answer, np.inf if answer else 0.0, np.zeros(0))


def _ordered(features: Float[np.ndarray, "N K"], rank: Int[np.ndarray, " N"], whole: bool) -> Expressed:
    """The numbers, within -1 and 1 or whole ones of 0 and 1, that keep values of ranks furthest apart.

    The unknowns are the numbers, the value of each rank, and the margin, which is maximised.
    """
    number, free = features.shape
    levels = rank.max() + 1
    worth = np.concatenate([features, -np.eye(levels)[rank], np.zeros((number, 1))], 1)
    steps = np.eye(levels)[1:] - np.eye(levels)[:-1]
    apart = np.concatenate([np.zeros((levels - 1, free)), steps, -np.ones((levels - 1, 1))], 1)
    most = np.inf if levels > 1 else 1.0  # of one rank the margin is between nothing
    low = np.concatenate([np.full(free, 0.0 if whole else -1.0), np.full(levels, -np.inf), [0.0]])
    high = np.concatenate([np.ones(free), np.full(levels, np.inf), [most]])
    solved = milp(
        np.concatenate([np.zeros(free + levels), [-1.0]]),
        integrality=np.concatenate([np.full(free, int(whole)), np.zeros(levels + 1)]),
        bounds=Bounds(low, high),
        constraints=[LinearConstraint(worth, 0, 0), LinearConstraint(apart, 0, np.inf)],
    )
    infeasible = whole and solved.status == 2  # whole numbers may not even keep ties
    if not (solved.success or infeasible):
        raise RuntimeError(f"the linear programme was not solved: {solved.message}")
    margin = float(solved.x[-1]) if solved.success else 0.0
    return Expressed(margin > ROUNDING, margin, solved.x[:free] if margin > ROUNDING else np.zeros(0))
