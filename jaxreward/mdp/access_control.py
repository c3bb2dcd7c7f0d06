"""Access control to servers: a queue of customers who pay differently (Sutton and Barto 2018, example 10.2)."""

from __future__ import annotations

import math

import jax
import numpy as np
from jaxtyping import Float

from jaxreward.mdp.tabular import TabularMDP, tabular_mdp
from jaxreward.names import check_name

PRIORITIES = (1.0, 2.0, 4.0, 8.0)
"""What a customer of each kind pays."""

ORDERS = ("csuite", "naik", "previously_busy")
"""What a step does first: accept, and then each busy server, the new one too, may become free; let servers become free
and then accept; accept, but only servers that were busy before may become free."""


def access_control(
    order: str = "csuite",
    num_servers: int = 10,
    free_probability: float = 0.06,
    dtype: jax.typing.DTypeLike | None = None,
) -> TabularMDP:
    """Whether the next customer gets a server (action 1) or is turned away (action 0); the next one is of any kind.

    Three orders of what happens within a step are in use, and their gains differ. State `busy * 4 + kind` has `busy`
    servers taken and a customer of `PRIORITIES[kind]` at the head of the queue, who is turned away in any case where no
    server is free. Where two ways with different rewards lead to the same state, as with all servers taken in the order
    "naik", the reward of that transition is their mean.

    Args:
        order: One of `ORDERS`.
        num_servers: How many there are, at least 1.
        free_probability: That a busy server becomes free, each step.
        dtype: Of the numbers.

    Raises:
        ValueError: There is no such order, or a number is out of its range.
    """
    check_name("order of access control", order, ORDERS)
    if num_servers < 1 or not 0 < free_probability <= 1:
        raise ValueError(
            f"num_servers={num_servers}, free_probability={free_probability}; expected at least 1, and one in (0, 1]"
        )
    left = _left_busy(num_servers, free_probability)
    following = np.stack([left, _following(order, left)])  # [action, busy, next busy]
    paid = np.zeros_like(following)
    paid[1] = _paid(order, left)
    kinds = len(PRIORITIES)
    shape = (num_servers + 1, kinds, 2, num_servers + 1, kinds)
    moves = np.broadcast_to(following.transpose(1, 0, 2)[:, None, :, :, None] / kinds, shape)
    pay = np.asarray(PRIORITIES)[None, :, None, None, None] * paid.transpose(1, 0, 2)[:, None, :, :, None]
    size = (num_servers + 1) * kinds
    start = np.where(np.arange(size) < kinds, 1 / kinds, 0)
    reward = np.broadcast_to(pay, shape).reshape(size, 2, size)
    return tabular_mdp(moves.reshape(size, 2, size), reward, start, dtype=dtype)


def _left_busy(num_servers: int, free_probability: float) -> Float[np.ndarray, "N N"]:
    """Probability that of `i` busy servers `j` stay busy: binomial."""
    stay = 1 - free_probability
    return np.array(
        [
            [math.comb(i, j) * stay**j * free_probability ** (i - j) if j <= i else 0.0 for j in range(num_servers + 1)]
            for i in range(num_servers + 1)
        ]
    )


def _following(order: str, left: Float[np.ndarray, "N N"]) -> Float[np.ndarray, "N N"]:
    """Where accepting leads to, from each number of busy servers."""
    more = np.minimum(np.arange(len(left)) + 1, len(left) - 1)
    if order == "csuite":
        return left[more]
    one_more = np.eye(len(left))[more]  # a newcomer takes a server, where one is free
    accepted = left @ one_more
    if order == "previously_busy":
        accepted[-1] = left[-1]  # there was none when the customer came
    return accepted


def _paid(order: str, left: Float[np.ndarray, "N N"]) -> Float[np.ndarray, "N N"]:
    """How sure accepting is to be paid, given where it led to."""
    paid = np.ones_like(left)
    paid[-1] = 0.0
    if order == "naik":
        # From all taken: one may have become free and been taken again, or none did.
        paid[-1] = 1.0
        paid[-1, -1] = left[-1, -2] / (left[-1, -2] + left[-1, -1])
    return paid
