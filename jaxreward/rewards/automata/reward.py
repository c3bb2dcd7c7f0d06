"""Rewards that an automaton pays: reward machines, and formulas of linear temporal logic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.observed import Observed
from jaxreward.reward import Params, Reward, Transition
from jaxreward.rewards.automata.machine import Machine, check_propositions, specification

Labels: TypeAlias = Callable[[Transition], Mapping[str, Bool[Array, ""]]]
"""What holds in a step, by the names of propositions."""


def machine_reward(machine: Machine, labels: Labels, *, observed: bool = True) -> Reward:
    """The reward that a machine pays for what it reads, step by step; its state is the memory.

    The machine never ends an episode, and pays nothing for the state an episode ends in. The first observation is not
    read: labels are of steps.

    Params: the machine's `pays` by name.

    Args:
        machine: Such as `jaxreward.rewards.automata.reward_machine` makes.
        labels: What holds in a step: `labels(transition)` gives booleans by name, at least those that the machine
            reads.
        observed: Whether the policy sees the machine's state beside the environment's observation (see
            `jaxreward.observed`). To a policy that sees neither it nor the past the reward is not Markov.

    Raises:
        ValueError: When traced, so by `with_reward`: a proposition is missing, or is no single boolean.
    """
    following, paid = jnp.asarray(machine.following, jnp.int32), jnp.asarray(machine.paid, jnp.int32)

    def init(key: Key[Array, ""]) -> Params:
        return {name: jnp.asarray(number, float) for name, number in machine.pays.items()}

    def reset(params: Params) -> Observed | Int[Array, ""]:
        start = jnp.zeros((), jnp.int32)
        return Observed(start, machine.num_states) if observed else start

    def step(params: Params, memory: Any, transition: Transition) -> tuple[Any, Float[Array, ""]]:
        state = memory.value if observed else memory
        place = state, _label(machine, labels(transition))
        after = following[place]
        earned = _earned(machine, params, paid[place])
        return (Observed(after, machine.num_states) if observed else after), earned

    return Reward(init, reset, step)


def ltl(formula: str, labels: Labels, *, observed: bool = True) -> Reward:
    """Pays 1 in the step that satisfies a co-safe formula, -1 in that which violates a safe one, and 0 in all others.

    So the expected sum of rewards is the probability of a co-safe formula, or that of a safe one less 1. That of an
    episode that ends undecided counts as not satisfied, and as not violated. An agent whose discount is below 1
    maximises another number: it prefers to be sooner satisfied and later violated.

    Params: `satisfied` or `violated`, the number.

    Args:
        formula: Such as `"F (coffee & X F office)"` or `"!wet U home"`, see `jaxreward.rewards.automata.specification`.
        labels: See `machine_reward`.
        observed: See `machine_reward`.

    Raises:
        ValueError: The formula can't be read, or is neither co-safe nor safe, or always true or false; see
            `machine_reward`.
    """
    return machine_reward(specification(formula).machine, labels, observed=observed)


def _label(machine: Machine, holds: Any) -> Int[Array, ""]:
    """The number of the set of propositions that hold."""
    if not isinstance(holds, Mapping):
        raise ValueError(
            f"labels returned a {type(holds).__name__}; expected a dict of booleans by proposition, such as "
            f"{{{', '.join(f'{name!r}: ...' for name in machine.propositions)}}}"
        )
    check_propositions(list(holds), machine)
    for name in machine.propositions:
        if jnp.shape(holds[name]) or jnp.result_type(holds[name]) != jnp.bool_:
            what = f"{jnp.result_type(holds[name])}{list(jnp.shape(holds[name])) if jnp.ndim(holds[name]) else ''}"
            raise ValueError(f"proposition {name!r} is {what}; expected a single boolean, such as `x > 0`")
    bits = [jnp.asarray(holds[name], jnp.int32) << i for i, name in enumerate(machine.propositions)]
    return sum(bits, jnp.zeros((), jnp.int32))


def _earned(machine: Machine, params: Params, paid: Int[Array, ""]) -> Float[Array, ""]:
    numbers = jnp.stack([*(params[name] for name in machine.pays), jnp.zeros(())])
    return numbers[paid]  # -1, where nothing is paid, is the last
