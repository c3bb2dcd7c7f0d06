"""A reward under constraints on how often things happen, whose multipliers adapt while an agent trains."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from jaxreward.reward import Components, Memory, Params, Reward, Shared, Transition, of_all_environments
from jaxreward.rewards.algebra import stack
from jaxreward.rewards.arguments import RewardLike, check_scalars

START = 0.02
"""Where each logit of the multipliers starts, as in the authors' code; only their differences matter."""


class Constraint(NamedTuple):
    """What is to happen how often.

    Attributes:
        cost: 1 where it happens and 0 elsewhere.
        rate: The share of steps that is asked for.
        sign: -1 where it is at most that, 1 where it is at least.
        bootstrap: Whether the reward weighs no less than this constraint, see `at_least`.
    """

    cost: RewardLike
    rate: ArrayLike
    sign: float
    bootstrap: bool = False


def at_most(cost: RewardLike, rate: ArrayLike) -> Constraint:
    """What `cost` says happens in no more than this share of the steps.

    Raises:
        ValueError: If the share is a number outside of `[0, 1]`.
    """
    return Constraint(cost, _share(rate), -1.0)


def at_least(cost: RewardLike, rate: ArrayLike, bootstrap: bool = False) -> Constraint:
    """What `cost` says happens in this share of the steps, or more.

    Args:
        cost: 1 where it happens and 0 elsewhere.
        rate: The share.
        bootstrap: For what stands for success, which the reward leads to: the reward is weighed by this constraint's
            multiplier where that is more than its own, so that others don't outweigh it before the task is learned.

    Raises:
        ValueError: If the share is a number outside of `[0, 1]`.
    """
    return Constraint(cost, _share(rate), 1.0, bootstrap)


def _share(rate: ArrayLike) -> ArrayLike:
    if isinstance(rate, int | float) and not 0 <= rate <= 1:
        raise ValueError(f"a constraint is on a share of the steps, from 0 to 1; got rate={rate}")
    return rate


class Multipliers(NamedTuple):
    """What all environments share: logits `z`, Adam's state, and what happened since the last step of it."""

    logits: Float[Array, " K+1"]
    optimiser: PyTree
    happened: Float[Array, " K"]
    steps: Float[Array, ""]


class ConstrainedMemory(NamedTuple):
    """The multipliers, what is to be logged, and the memories of reward and costs."""

    multipliers: Shared
    told: Components
    parts: Memory


def constrained(
    reward: RewardLike, *, learning_rate: ArrayLike = 0.03, every: ArrayLike = 2000.0, **constraints: Constraint
) -> Reward:
    """`w_0 r + sum_k sign_k w_k c_k`, with weights that find out what each constraint takes (Roy et al. 2022).

    Direct behaviour specification (arXiv:2112.12228): the weights are multipliers of a Lagrangian, normalised,
    `w = softmax(z)`, so that the reward's is what the constraints leave. After every so many steps of all environments,
    `z` goes down `sum_k sign_k w_k (rate of c_k - asked rate_k)` by a step of Adam: what is broken weighs more. What is
    wanted of an agent is then said in shares of steps, not in weights.

    The authors have a critic for each cost, with soft actor-critic. Here the agent is any one, and has one critic, of
    the weighted sum. While weights move this lags behind, and agents that learn from old transitions learn from old
    weights. The rate is that of the steps since the last change, where the authors take the last 2,000; and a
    step of Adam comes every 2,000 steps, where theirs comes every 10 updates of the agent. An episode that is played
    for itself, as to evaluate a policy, is paid as at the beginning of training.

    `reward/NAME` in `info` is what each constraint's cost was, and `reward/weight/NAME` what it weighed. So
    `episode/NAME` is how often it happened in an episode.

    Params: `rates` by name, `learning_rate`, `every`, and `parts`, a tuple of the reward's and the costs'.

    Args:
        reward: What is to be high within the constraints, a scalar; on a scale of 1 a step.
        learning_rate: Of Adam on `z`; the authors' is 100 times that of their policy, 0.03.
        every: After how many steps of all environments.
        **constraints: By name, made by `at_most` and `at_least`.

    Raises:
        ValueError: If there are no constraints, one is none, or `every` is a number below 1.
    """
    if not constraints:
        raise ValueError("constrained needs constraints by name, such as falls=at_most(fell, 0.01); got none")
    for name, constraint in constraints.items():
        if not isinstance(constraint, Constraint):
            raise ValueError(f"{name} is no constraint but {constraint!r}; make it one with at_most or at_least")
    if isinstance(every, int | float) and every < 1:
        raise ValueError(f"multipliers change every 1 or more steps; got every={every}")
    parts = stack(reward, *(constraint.cost for constraint in constraints.values()))
    signs = jnp.asarray([constraint.sign for constraint in constraints.values()])
    lifts = jnp.asarray([constraint.bootstrap for constraint in constraints.values()])

    def init(key: Key[Array, ""]) -> Params:
        numbers = {"learning_rate": jnp.asarray(learning_rate, float), "every": jnp.asarray(every, float)}
        rates = {name: jnp.asarray(constraint.rate, float) for name, constraint in constraints.items()}
        return {**numbers, "rates": rates, "parts": parts.init(key)}

    def told(costs: Float[Array, " K"], weights: Float[Array, " K"]) -> Components:
        named = {name: costs[k] for k, name in enumerate(constraints)}
        return Components(named | {f"weight/{name}": weights[k] for k, name in enumerate(constraints)}, {})

    def reset(params: Params) -> ConstrainedMemory:
        none, logits = jnp.zeros(len(constraints), float), jnp.full(len(constraints) + 1, START, float)
        multipliers = Multipliers(logits, optax.scale_by_adam().init(logits), none, jnp.zeros((), float))
        return ConstrainedMemory(Shared(multipliers), told(none, none), parts.reset(params["parts"]))

    def step(params: Params, memory: ConstrainedMemory, transition: Transition) -> tuple[ConstrainedMemory, Array]:
        known = memory.multipliers.value
        inner, values = parts.step(params["parts"], memory.parts, transition)
        check_scalars("constrained", values, len(constraints) + 1)
        value, costs = values[0], values[1:]
        weights = jax.nn.softmax(known.logits)
        own = jnp.maximum(weights[0], jnp.where(lifts, weights[1:], 0.0).max())
        paid = own * value + (signs * weights[1:] * costs).sum()
        asked = jnp.stack([params["rates"][name] for name in constraints])  # a pytree's own order is another
        known = _adapted(_counted(known, costs, transition), asked, signs, params)
        return ConstrainedMemory(Shared(known), told(costs, weights[1:]), inner), paid

    def persist(ended: ConstrainedMemory, fresh: ConstrainedMemory) -> ConstrainedMemory:
        return ConstrainedMemory(ended.multipliers, fresh.told, parts.persist(ended.parts, fresh.parts))

    return Reward(init, reset, step, persist)


def _counted(known: Multipliers, costs: Float[Array, " K"], transition: Transition) -> Multipliers:
    """With a step of all environments."""
    brought, valid = of_all_environments(costs, transition)
    happened = known.happened + jnp.where(valid[:, None], brought, 0.0).sum(0)
    return known._replace(happened=happened, steps=known.steps + valid.sum().astype(float))


def _adapted(
    known: Multipliers, asked: Float[Array, " K"], signs: Float[Array, " K"], params: dict[str, Array]
) -> Multipliers:
    """With a step of Adam, if enough steps were taken since the last one."""
    slack = signs * (known.happened / jnp.maximum(known.steps, 1.0) - asked)
    gradient = jax.grad(lambda logits: (jax.nn.softmax(logits)[1:] * slack).sum())(known.logits)
    update, optimiser = optax.scale_by_adam().update(gradient, known.optimiser)
    none = jnp.zeros_like
    changed = Multipliers(
        known.logits - params["learning_rate"] * update, optimiser, none(known.happened), none(known.steps)
    )
    due = known.steps >= params["every"]
    return jax.tree.map(lambda new, old: jnp.where(due, new, old), changed, known)
