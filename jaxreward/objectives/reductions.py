"""What one formalism states in the words of another: each objective of the lower one is made one of the upper one.

Each function draws an objective of the lower formalism on a given MDP and says it in the upper one. That both order
policies alike is to be seen by evaluating them. These show that the upper formalism has all orders of the lower one, as
Subramani et al. (arXiv:2310.11840) prove; the constructions are our own and simple.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxreward.mdp import TabularMDP, tabular_mdp
from jaxreward.objectives.formalisms import (
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
from jaxreward.objectives.objective import Objective, Order
from jaxreward.objectives.product import label_numbers
from jaxreward.objectives.trajectories import Trajectories, trajectories
from jaxreward.objectives.values import Policy, long_run_reward, reach_probability, transition_occupancy
from jaxreward.rewards.automata import Machine, reward_machine, specification

DISCOUNT = 0.8


class Reduction(NamedTuple):
    """An objective of one formalism, and the same of another.

    Attributes:
        upper: That which states the other's.
        lower: The other.
        said: Both of them, the upper one's first.
        endless: Whether it is to be seen in the `endless_world`.
    """

    upper: str
    lower: str
    said: tuple[Objective, Objective]
    endless: bool = False


def world(rng: np.random.Generator) -> TabularMDP:
    """Three layers and an end, next states by chance, and rewards of three values."""
    moves = np.zeros((6, 2, 6))
    for layer in ((0, 1), (1, 3), (3, 5)):
        following = {0: (1, 3), 1: (3, 5), 3: (5, 6)}[layer[0]]
        for state in range(*layer):
            moves[state, :, following[0] : following[1]] = rng.dirichlet(np.ones(following[1] - following[0]), 2)
    return tabular_mdp(moves, rng.choice(LEVELS, (6, 2, 6)), np.eye(6)[0], np.arange(6) == 5)


LEVELS = np.array([-1.0, 0.5, 2.0])


def endless_world(rng: np.random.Generator) -> TabularMDP:
    """Two states that lead anywhere, and two pairs of states that are never left."""
    moves = np.zeros((6, 2, 6))
    moves[:2] = rng.dirichlet(np.ones(6), (2, 2))
    moves[2:4, :, 2:4] = rng.dirichlet(np.ones(2), (2, 2))
    moves[4:, :, 4:] = rng.dirichlet(np.ones(2), (2, 2))
    return tabular_mdp(moves, rng.normal(size=(6, 2, 6)), np.eye(6)[0])


def reductions(mdp: TabularMDP, rng: np.random.Generator) -> list[Reduction]:
    """Every one that the diagram is drawn from, of objectives that are drawn at random.

    Args:
        mdp: See `world`.
        rng: Draws objectives.
    """
    listed, rewards = trajectories(mdp), jnp.asarray(rng.normal(size=(2, *mdp.reward.shape)), mdp.reward.dtype)
    return [
        *_from_rewards(mdp, rng),
        *_from_trajectories(mdp, listed, rewards, rng),
        *_of_numbers(mdp, listed, rewards),
        *_of_orders(mdp, listed, rewards),
    ]


def _from_rewards(mdp: TabularMDP, rng: np.random.Generator) -> list[Reduction]:
    plain = markov(DISCOUNT)
    return [
        Reduction("RM", "MR", (_one_state(mdp), plain)),
        Reduction("RRL", "MR", (regularised(_squares, 0.0, DISCOUNT), plain)),
        Reduction("ONMR", "MR", (outer_nonlinear(lambda g: g, DISCOUNT), plain)),
        Reduction("OMORL", "ONMR", (_first_of_one(mdp), outer_nonlinear(jnp.tanh, DISCOUNT))),
        Reduction("FOMR", "RRL", (_regularised_by_occupancy(mdp), regularised(_squares, 0.4, DISCOUNT))),
    ]


def _from_trajectories(
    mdp: TabularMDP,
    listed: Trajectories,
    rewards: Float[Array, "2 S A S"],
    rng: np.random.Generator,
) -> list[Reduction]:
    labels, machine, spec = _reading(mdp, rng), _machine(rng), specification(_FORMULA)
    worth = jnp.asarray(rng.normal(size=len(listed.chance)), listed.chance.dtype)
    best = inner_multi(lambda g: jnp.max(g, 0), rewards, DISCOUNT, listed)
    squared = inner_nonlinear(jnp.square, DISCOUNT, listed)
    any_of_all = trajectory_function(worth, listed)
    return [
        Reduction("FTR", "RM", (_by_reading(mdp, listed, machine, labels), machine_rewards(machine, labels, DISCOUNT))),
        Reduction(
            "FTR", "LTL", (_by_reading(mdp, listed, spec.machine, labels, 1.0), temporal_logic(_FORMULA, labels))
        ),
        Reduction("FTR", "LAR", (_by_class(), limit_average()), endless=True),
        Reduction("FTR", "IMORL", (trajectory_function(jnp.max(listed.returns(rewards, DISCOUNT), 0), listed), best)),
        Reduction("IMORL", "INMR", (inner_multi(lambda g: g[0] ** 2, mdp.reward[None], DISCOUNT, listed), squared)),
        Reduction("INMR", "FTR", (_looked_up(rewards[0], worth, listed), any_of_all)),
        Reduction("FTLR", "FTR", (lottery_function(lambda p: jnp.sum(p * worth), listed), any_of_all)),
    ]


def _of_numbers(mdp: TabularMDP, listed: Trajectories, rewards: Float[Array, "2 S A S"]) -> list[Reduction]:
    """Functions of expected returns, of occupancies, of lotteries and of policies, in one another."""
    summed = lambda m: jnp.einsum("kijl,ijl->k", rewards, m)  # noqa: E731
    of_lottery = lambda p: _occupancy_of(listed, mdp, p)  # noqa: E731
    of_occupancy = lambda m: listed.lottery(_policy_of(m))  # noqa: E731
    of_policy = lambda policy: transition_occupancy(mdp, policy, DISCOUNT)  # noqa: E731
    of_visits = lambda fn: occupancy_function(fn, DISCOUNT)  # noqa: E731
    of_returns, spread = outer_multi(_product, rewards, DISCOUNT), of_visits(_spread)
    return [
        Reduction("FOMR", "OMORL", (of_visits(lambda m: _product(summed(m))), of_returns)),
        Reduction("OMORL", "FOMR", (outer_multi(_spread, _each(mdp), DISCOUNT), spread)),
        Reduction("FTLR", "FOMR", (lottery_function(lambda p: _spread(of_lottery(p)), listed), spread)),
        Reduction("FOMR", "FTLR", (of_visits(lambda m: jnp.max(of_occupancy(m))), lottery_function(jnp.max, listed))),
        Reduction("GOMORL", "OMORL", (outer_multi_order(_by(_product), rewards, DISCOUNT), of_returns)),
        Reduction("FPR", "FOMR", (policy_function(lambda policy: _spread(of_policy(policy))), spread)),
        Reduction("PO", "FPR", (policy_order(_by(_first)), policy_function(_first))),
    ]


def _of_orders(mdp: TabularMDP, listed: Trajectories, rewards: Float[Array, "2 S A S"]) -> list[Reduction]:
    """Orders of these, in one another."""
    summed = lambda m: jnp.einsum("kijl,ijl->k", rewards, m)  # noqa: E731
    of_lottery = lambda p: _occupancy_of(listed, mdp, p)  # noqa: E731
    of_occupancy = lambda m: listed.lottery(_policy_of(m))  # noqa: E731
    of_policy = lambda policy: transition_occupancy(mdp, policy, DISCOUNT)  # noqa: E731
    of_visits = lambda order: occupancy_order(order, DISCOUNT)  # noqa: E731
    of_returns = lambda rewards: outer_multi_order(_better, rewards, DISCOUNT)  # noqa: E731
    spread, likeliest = of_visits(_by(_spread)), _by(jnp.max)
    return [
        Reduction("OMO", "GOMORL", (of_visits(_through(summed, _better)), of_returns(rewards))),
        Reduction("GOMORL", "OMO", (of_returns(_each(mdp)), of_visits(_through(jnp.ravel, _better)))),
        Reduction("TLO", "OMO", (lottery_order(_through(of_lottery, _by(_spread)), listed), spread)),
        Reduction("OMO", "TLO", (of_visits(_through(of_occupancy, likeliest)), lottery_order(likeliest, listed))),
        Reduction("PO", "OMO", (policy_order(_through(of_policy, _by(_spread))), spread)),
    ]


def _each(mdp: TabularMDP) -> Float[Array, "K S A S"]:
    """A reward for each transition alone."""
    size = mdp.reward.size
    return jnp.eye(size, dtype=mdp.reward.dtype).reshape(size, *mdp.reward.shape)


def _product(returns: Float[Array, " 2"]) -> Float[Array, ""]:
    return returns[0] * returns[1]


def _spread(occupancy: Float[Array, "S A S"]) -> Float[Array, ""]:
    return jnp.sum(occupancy**2)


def _first(policy: Float[Array, "S A"]) -> Float[Array, ""]:
    return policy[0, 0]


def _squares(row: Float[Array, " A"]) -> Float[Array, ""]:
    return jnp.sum(row**2)


def _better(first: Float[Array, " K"], second: Float[Array, " K"]) -> Array:
    """An order that is not of numbers: in the sum of the first half, and in the largest entry."""
    half = len(first) // 2
    return (first[:half].sum() >= second[:half].sum() - 1e-9) & (first.max() >= second.max() - 1e-9)


def _by(fn: Callable[[Array], Float[Array, ""]]) -> Order:
    """The order of a number."""
    return lambda first, second: fn(first) >= fn(second) - 1e-9


def _through(fn: Callable[[Array], Array], order: Order) -> Order:
    """The order of what is made of both."""
    return lambda first, second: order(fn(first), fn(second))


_FORMULA = "F (a & X F b)"


def _reading(mdp: TabularMDP, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: rng.random(mdp.reward.shape) < 0.5 for name in ("a", "b")}


def _machine(rng: np.random.Generator) -> Machine:
    pays = rng.normal(size=3)
    return reward_machine(("0", "a", "1", pays[0]), ("1", "b & !a", "2", pays[1]), ("1", "a", "0", pays[2]))


def _one_state(mdp: TabularMDP) -> Objective:
    """The Markov reward by a machine of one state, that reads which of its values is earned."""
    names = [f"level{i}" for i in range(len(LEVELS))]
    labels = {name: np.asarray(mdp.reward) == level for name, level in zip(names, LEVELS, strict=True)}
    exactly = [" & ".join(other if other == name else f"!{other}" for other in names) for name in names]
    edges = [("0", at, "0", level, name) for at, level, name in zip(exactly, LEVELS, names, strict=True)]
    return machine_rewards(reward_machine(*edges), labels, DISCOUNT)


def _first_of_one(mdp: TabularMDP) -> Objective:
    return outer_multi(lambda g: jnp.tanh(g[0]), mdp.reward[None], DISCOUNT)


def _policy_of(occupancy: Float[Array, "S A S"]) -> Policy:
    """The policy that has an occupancy, where it has been; anything elsewhere."""
    taken = occupancy.sum(-1)
    been = taken.sum(-1, keepdims=True)
    return jnp.where(been > 0, taken / jnp.where(been > 0, been, 1), 1 / taken.shape[-1])


def _regularised_by_occupancy(mdp: TabularMDP) -> Objective:
    def value(occupancy: Float[Array, "S A S"]) -> Float[Array, ""]:
        cost = jnp.sum(_policy_of(occupancy) ** 2, -1)
        return jnp.sum(occupancy * mdp.reward) - 0.4 * jnp.sum(occupancy.sum((1, 2)) * cost)

    return occupancy_function(value, DISCOUNT)


def _occupancy_of(listed: Trajectories, mdp: TabularMDP, lottery: Float[Array, " N"]) -> Float[Array, "S A S"]:
    weight = jnp.where(listed.valid, DISCOUNT ** jnp.arange(listed.state.shape[1]), 0) * lottery[:, None]
    return jnp.zeros_like(mdp.reward).at[listed.state, listed.action, listed.following].add(weight)


def _by_reading(
    mdp: TabularMDP, listed: Trajectories, machine: Machine, labels: dict[str, np.ndarray], discount: float = DISCOUNT
) -> Objective:
    """What a machine pays along each episode, read step by step."""
    number, pays = label_numbers(mdp, machine, labels), [*machine.pays.values(), 0.0]
    steps = [np.asarray(x) for x in (listed.state, listed.action, listed.following, listed.valid)]
    worth = np.zeros(len(steps[0]))
    for row, (*places, valid) in enumerate(zip(*steps, strict=True)):
        state = 0
        for time in range(valid.sum()):
            label = number[tuple(place[time] for place in places)]
            worth[row] += discount**time * pays[machine.paid[state, label]]
            state = machine.following[state, label]
    return trajectory_function(jnp.asarray(worth, mdp.reward.dtype), listed)


def _by_class() -> Objective:
    """What a trajectory earns in the long run, which is told by the states it ends among, in the mean."""
    ends = [np.arange(6) // 2 == end for end in (1, 2)]

    def mean(mdp: TabularMDP, policy: Policy) -> Float[Array, ""]:
        within = [mdp._replace(start=jnp.asarray(end / 2, mdp.start.dtype)) for end in ends]
        each = [
            reach_probability(mdp, policy, jnp.asarray(end)) * long_run_reward(one, policy)
            for end, one in zip(ends, within, strict=True)
        ]
        return each[0] + each[1]

    return Objective("FTR", mean)


def _looked_up(reward: Float[Array, "S A S"], worth: Float[Array, " N"], listed: Trajectories) -> Objective:
    """Any worth of episodes as a function of a return that is another one for each of them."""
    known = listed.returns(reward, DISCOUNT)
    look_up = lambda g: worth[jnp.argmin(jnp.abs(g[:, None] - known[None, :]), 1)]  # noqa: E731
    objective = inner_nonlinear(look_up, DISCOUNT, listed)
    return objective._replace(summary=lambda mdp, policy: objective.summary(mdp._replace(reward=reward), policy))
