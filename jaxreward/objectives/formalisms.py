"""The formalisms in which an objective can be given, each as a function that makes an `Objective`.

Subramani et al., "On the expressivity of objective-specification formalisms in reinforcement learning" (ICLR 2024,
arXiv:2310.11840). An objective orders the stationary policies of an environment, and one formalism expresses another if
it has all of its orders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxreward.mdp import TabularMDP
from jaxreward.mdp.bellman import EXACT
from jaxreward.objectives.objective import Objective, Order, check_ends
from jaxreward.objectives.product import Labels, product, unseeing
from jaxreward.objectives.trajectories import Trajectories
from jaxreward.objectives.values import (
    Policy,
    long_run_reward,
    reach_probability,
    regularised_return,
    returns,
    transition_occupancy,
)
from jaxreward.rewards.automata import Machine, specification

Fn = Callable[[Array], Float[Array, ""]]


class Formalism(NamedTuple):
    """What is written down in a formalism, and what of it the agents here can train.

    Attributes:
        title: Its name.
        form: What a policy is judged by.
        trained: How an agent that learns from experience maximises it; empty if none does.
    """

    title: str
    form: str
    trained: str = ""


FORMALISMS = {
    "MR": Formalism("Markov rewards", "E[sum_t discount^t R]", "any agent"),
    "LAR": Formalism("limit average reward", "lim E[sum_t R] / T", "agents for the reward rate, such as apo"),
    "LTL": Formalism(
        "linear temporal logic",
        "P(formula)",
        "any agent on `rewards.automata.ltl` that is not observed, discount near 1",
    ),
    "RM": Formalism(
        "reward machines",
        "E[sum_t discount^t R_u]",
        "any agent on `rewards.automata.machine_reward` that is not observed",
    ),
    "INMR": Formalism("inner nonlinear Markov rewards", "E[f(G)]"),
    "IMORL": Formalism("inner multi-objective RL", "E[f(G_1 ... G_K)]"),
    "FTR": Formalism("functions from trajectories to reals", "E[f(trajectory)]"),
    "RRL": Formalism("regularised RL", "E[sum_t discount^t (R - weight F(pi(s)))]", "entropy: sac"),
    "ONMR": Formalism("outer nonlinear Markov rewards", "f(E[G])"),
    "OMORL": Formalism("outer multi-objective RL", "f(E[G_1] ... E[G_K])"),
    "FOMR": Formalism("functions from occupancy measures to reals", "f(occupancy)"),
    "FTLR": Formalism("functions from trajectory lotteries to reals", "f(lottery)"),
    "FPR": Formalism("functions from policies to reals", "f(policy)"),
    "GOMORL": Formalism("generalised outer multi-objective RL", "an order of (E[G_1] ... E[G_K])"),
    "OMO": Formalism("occupancy measure orders", "an order of occupancies"),
    "TLO": Formalism("trajectory lottery orders", "an order of lotteries"),
    "PO": Formalism("policy orders", "an order of policies"),
}
"""By abbreviation. That there are 17 is the paper's; which they are is put together from what it says of them, and its
own table may word or define some otherwise."""


def markov(discount: float) -> Objective:
    """MR: the MDP's own reward, `E[G]` with `G = sum_t discount^t r_t`."""
    return Objective("MR", lambda mdp, policy: returns(mdp, policy, discount, mdp.reward), check=_sum(discount))


def limit_average() -> Objective:
    """LAR: the MDP's reward a step in the long run, which every policy has, multichain and periodic ones too."""
    return Objective("LAR", long_run_reward)


def temporal_logic(formula: str, labels: Labels) -> Objective:
    """LTL: the probability that a co-safe or safe formula holds, see `jaxreward.rewards.automata.ltl`.

    An episode that ends undecided does not satisfy a co-safe formula, and does not violate a safe one.

    Raises:
        ValueError: See `jaxreward.rewards.automata.specification`; when evaluated, `label_numbers`.
    """
    _, fragment, machine = specification(formula)
    (number,) = [number for number, name in enumerate(machine.states) if name in machine.pays]

    def probability(mdp: TabularMDP, policy: Policy) -> Float[Array, ""]:
        pairs = product(mdp, machine, labels)
        decided = jnp.arange(pairs.num_states) % machine.num_states == number
        reached = reach_probability(pairs, unseeing(policy, machine), decided)
        return reached if fragment == "co-safe" else 1 - reached

    return Objective("LTL", probability)


def machine_rewards(
    machine: Machine, labels: Labels, discount: float, pays: Mapping[str, ArrayLike] | None = None
) -> Objective:
    """RM: the discounted sum of what a reward machine pays, by default its own numbers."""

    def value(mdp: TabularMDP, policy: Policy) -> Float[Array, ""]:
        pairs = product(mdp, machine, labels, pays)
        return returns(pairs, unseeing(policy, machine), discount, pairs.reward)

    return Objective("RM", value, check=_sum(discount))


def trajectory_function(worth: Float[Array, " N"], listed: Trajectories) -> Objective:
    """FTR: `E[f(trajectory)]`, with what each listed episode is worth."""
    return Objective("FTR", lambda mdp, policy: _mean(listed, policy, worth))


def inner_nonlinear(fn: Fn, discount: float, listed: Trajectories) -> Objective:
    """INMR: `E[f(G)]` of the MDP's own reward."""

    def mean(mdp: TabularMDP, policy: Policy) -> Float[Array, ""]:
        return _mean(listed, policy, fn(listed.returns(mdp.reward, discount)))

    return Objective("INMR", mean)


def inner_multi(fn: Fn, rewards: Float[Array, "K S A S"], discount: float, listed: Trajectories) -> Objective:
    """IMORL: `E[f(G_1 ... G_K)]`; `fn` takes the returns of all episodes, `[K, N]`, and gives `[N]`."""
    return Objective("IMORL", lambda mdp, policy: _mean(listed, policy, fn(listed.returns(rewards, discount))))


def regularised(regulariser: Fn, weight: float, discount: float) -> Objective:
    """RRL: `E[sum_t discount^t (r_t - weight F(pi(. | s_t)))]`; `F` takes the probabilities of actions, `[A]`.

    It is to be finite where one is 0: `jax.scipy.special.xlogy(p, p).sum()` for the entropy.
    """

    def value(mdp: TabularMDP, policy: Policy) -> Float[Array, ""]:
        return regularised_return(mdp, policy, discount, weight, regulariser)

    return Objective("RRL", value, check=_sum(discount))


def outer_nonlinear(fn: Fn, discount: float) -> Objective:
    """ONMR: `f(E[G])` of the MDP's own reward."""
    return Objective("ONMR", lambda mdp, policy: fn(returns(mdp, policy, discount, mdp.reward)), check=_sum(discount))


def outer_multi(fn: Fn, rewards: Float[Array, "K S A S"], discount: float) -> Objective:
    """OMORL: `f(E[G_1] ... E[G_K])`; `fn` takes `[K]`."""
    return Objective("OMORL", lambda mdp, policy: fn(returns(mdp, policy, discount, rewards)), check=_sum(discount))


def occupancy_function(fn: Fn, discount: float) -> Objective:
    """FOMR: `f(m)` with the occupancy `m(s, a, s') = sum_t discount^t P(s_t = s, a_t = a, s_t+1 = s')`, `[S, A, S]`."""
    return Objective("FOMR", lambda mdp, policy: fn(transition_occupancy(mdp, policy, discount)), check=_sum(discount))


def lottery_function(fn: Fn, listed: Trajectories) -> Objective:
    """FTLR: a function of the probabilities of all episodes, `[N]`."""
    return Objective("FTLR", lambda mdp, policy: fn(listed.lottery(policy)))


def policy_function(fn: Fn) -> Objective:
    """FPR: a function of the policy, `[S, A]`."""
    return Objective("FPR", lambda mdp, policy: fn(policy))


def outer_multi_order(at_least: Order, rewards: Float[Array, "K S A S"], discount: float) -> Objective:
    """GOMORL: a preorder of `(E[G_1] ... E[G_K])`; `at_least` takes two of them, `[K]`."""
    return Objective("GOMORL", lambda mdp, policy: returns(mdp, policy, discount, rewards), at_least, _sum(discount))


def occupancy_order(at_least: Order, discount: float) -> Objective:
    """OMO: a preorder of occupancies, `[S, A, S]`, see `occupancy_function`."""
    return Objective("OMO", lambda mdp, policy: transition_occupancy(mdp, policy, discount), at_least, _sum(discount))


def lottery_order(at_least: Order, listed: Trajectories) -> Objective:
    """TLO: a preorder of the probabilities of all episodes, `[N]`."""
    return Objective("TLO", lambda mdp, policy: listed.lottery(policy), at_least)


def policy_order(at_least: Order) -> Objective:
    """PO: a preorder of policies, `[S, A]`."""
    return Objective("PO", lambda mdp, policy: policy, at_least)


def _mean(listed: Trajectories, policy: Policy, worth: Float[Array, " N"]) -> Float[Array, ""]:
    return jnp.matmul(listed.lottery(policy), worth, precision=EXACT)


def _sum(discount: float) -> Callable[[TabularMDP], None]:
    return partial(check_ends, discount=discount)
