"""An MDP beside an automaton that reads it: then what the automaton pays is a Markov reward."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from jaxreward.mdp import TabularMDP
from jaxreward.names import check_name
from jaxreward.rewards.automata import Machine, check_propositions

Labels = Mapping[str, ArrayLike]
"""What holds, by the names of propositions: booleans `[S, A, S]`, or `[S]` for what holds where a step leads to."""


def product(
    mdp: TabularMDP, machine: Machine, labels: Labels, pays: Mapping[str, ArrayLike] | None = None
) -> TabularMDP:
    """The MDP whose states are pairs, number `s * U + u`, and whose rewards are what the machine pays.

    Nothing is read or paid in terminal states.

    Args:
        mdp: With `S` states; its rewards don't matter.
        machine: With `U` states.
        labels: What holds in a transition.
        pays: Numbers by name, instead of the machine's.

    Returns:
        `S * U` states, and the same actions.

    Raises:
        ValueError: A proposition is missing, or has another shape.
    """
    states, actions, machines = mdp.num_states, mdp.num_actions, machine.num_states
    number = label_numbers(mdp, machine, labels)
    after, paid = (jnp.asarray(np.moveaxis(table[:, number], 0, 1)) for table in (machine.following, machine.paid))
    stays = jnp.arange(machines).reshape(1, -1, 1, 1)
    after = jnp.where(mdp.terminal.reshape(-1, 1, 1, 1), stays, after)
    leads = after[..., None] == jnp.arange(machines).reshape(1, 1, 1, 1, -1)
    transition = jnp.where(leads, mdp.transition[:, None, :, :, None], 0)
    for name in pays or {}:
        check_name("number that the machine pays", name, list(machine.pays))
    each = {**machine.pays, **(pays or {})}
    numbers = jnp.stack([*(jnp.asarray(each[name], float) for name in machine.pays), jnp.zeros(())])
    reward = jnp.where(mdp.terminal.reshape(-1, 1, 1, 1), 0, numbers[paid])[..., None]
    shape = states * machines, actions, states * machines
    start = jnp.zeros((states, machines), mdp.start.dtype).at[:, 0].set(mdp.start)
    return TabularMDP(
        transition.reshape(shape),
        jnp.broadcast_to(reward, transition.shape).reshape(shape).astype(mdp.reward.dtype),
        start.reshape(-1),
        jnp.repeat(mdp.terminal, machines),
    )


def unseeing(policy: Float[Array, "S A"], machine: Machine) -> Float[Array, "SU A"]:
    """A policy of the states alone, as one of the pairs."""
    return jnp.repeat(policy, machine.num_states, axis=0)


def label_numbers(mdp: TabularMDP, machine: Machine, labels: Labels) -> Int[np.ndarray, "S A S"]:
    """The number of the set of propositions that hold in each transition.

    Raises:
        ValueError: A proposition is missing, or has another shape.
    """
    check_propositions(list(labels), machine)
    shape = mdp.transition.shape
    number = np.zeros(shape, int)
    for bit, name in enumerate(machine.propositions):
        holds = np.asarray(labels[name])
        if holds.shape not in (shape, shape[:1]) or holds.dtype != bool:
            raise ValueError(
                f"proposition {name!r} is {holds.dtype}{list(holds.shape)}; expected booleans [S, A, S] = "
                f"{list(shape)}, or [S] = {list(shape[:1])} of where a step leads to"
            )
        number += holds.astype(int) << bit
    return number
