"""Proofs that no objective of a formalism has an order, where no finite number of policies can show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxreward.mdp import TabularMDP
from jaxreward.objectives.precision import in_double
from jaxreward.objectives.values import Policy

Worth = Callable[[Policy], Float[Array, ""]]
"""A number by which policies are ordered."""


def has_level_sets_of_a_return(
    mdp: TabularMDP, worth: Worth, policies: Float[Array, "N S A"], discount: float, tolerance: float = 1e-8
) -> bool:
    """Whether some Markov reward has, to first order at some policies, the level sets of a given worth.

    ONMR orders policies by `f(E[G])`. If `worth` has that order, it is constant wherever `E[G]` is, so that at every
    policy the gradient of `E[G]`, where it is not zero, is along that of `worth`. Rewards for which that is so at all
    of these policies solve linear equations. If none of them has a return that changes at any of the policies, ONMR
    does not have the order, whatever `f` is, continuous or not; that no return but a constant one is flat at all of
    them is supposed, so give more than a few, at random. If some has, nothing is proved.

    Args:
        mdp: The MDP.
        worth: Differentiable in the policy, at these policies.
        policies: With all probabilities positive.
        discount: In `[0, 1)`.
        tolerance: Singular values below are zero, relative to the largest one; and so are slopes.
    """
    with jax.enable_x64(True):  # rounding of single precision would be taken for slopes
        logits = jnp.log(jnp.asarray(np.asarray(policies), float))
        along = jax.jit(jax.vmap(jax.grad(lambda logits: worth(jax.nn.softmax(logits)))))(logits)
        along = np.asarray(along).reshape(len(logits), -1)
    wide = in_double(mdp)
    visits = np.stack([_visit_slopes(wide, np.asarray(policy, float), discount) for policy in policies])
    sizes = np.linalg.norm(along, axis=-1)
    told = sizes > tolerance * sizes.max()
    along, visits = along[told], visits[told]
    unit = along / np.linalg.norm(along, axis=-1, keepdims=True)
    across = visits - (visits @ unit[..., None]) * unit[:, None]
    equations = across.transpose(0, 2, 1).reshape(-1, visits.shape[1])
    _, singular, rows = np.linalg.svd(equations)
    largest = np.linalg.norm(visits, axis=(1, 2)).max()
    rank = int((singular > tolerance * largest).sum())
    moved = np.einsum("ks,nsl->knl", rows[rank:], visits)
    return bool(np.abs(moved).max(initial=0.0) > np.sqrt(tolerance) * largest)


def _visit_slopes(mdp: TabularMDP, policy: Float[np.ndarray, "S A"], discount: float) -> Float[np.ndarray, "SA SA"]:
    """How the discounted occupancy changes with the logits of a policy, in closed form on the host."""
    states, actions = policy.shape
    moves = np.where(np.asarray(mdp.terminal), 0, np.asarray(mdp.transition))
    inverse = np.linalg.inv(np.eye(states) - discount * np.einsum("sa,sat->ts", policy, moves))
    often = inverse @ np.asarray(mdp.start)
    tilt = np.einsum("sa,ab->sab", policy, np.eye(actions)) - policy[:, :, None] * policy[:, None, :]
    states_move = discount * np.einsum("s,sab,sat->tsb", often, tilt, moves)
    more = np.einsum("vt,tsb->vsb", inverse, states_move)  # of visits of state v by logit (s, b)
    there = np.einsum("v,vab,vs->vasb", often, tilt, np.eye(states))
    return (there + policy[:, :, None, None] * more[:, None]).reshape(states * actions, -1)


class Jump(NamedTuple):
    """Two sequences of policies that come to the same one, `[K, S, A]` each."""

    first: Float[np.ndarray, "K S A"]
    second: Float[np.ndarray, "K S A"]


def jumps(worth: Worth, jump: Jump) -> bool:
    """Whether an order is constant along two sequences of policies that come together, and different between them.

    No objective that is continuous in the policy has such an order: both sequences would be worth what their limit is.
    MR and RM are continuous, their rewards being bounded and their discounts below 1. That the order is constant beyond
    the policies given, and that they come together, is for whoever gives them to see to: here the last two are to be
    nearer than a thousandth of the first two.
    """
    first, second = (np.asarray(jax.vmap(worth)(jnp.asarray(policies))) for policies in jump)
    gap = np.abs(jump.first - jump.second).max((1, 2))
    constant = max(np.ptp(first), np.ptp(second)) < 1e-9
    return bool(constant and abs(first[0] - second[0]) > 1e-3 and gap[-1] < 1e-3 * gap[0])


def has_more_than_two_sure_levels(mdp: TabularMDP, worth: Worth, policies: Float[Array, "N S A"]) -> bool:
    """Whether policies under which nothing is left to chance are of more than two ranks.

    A policy with one possible trajectory satisfies a formula or does not, so LTL has two ranks of those.

    Raises:
        ValueError: Something is left to chance.
    """
    moves, chosen = np.asarray(mdp.transition), np.asarray(policies)
    if not (
        np.isin(moves, (0, 1)).all() and np.isin(chosen, (0, 1)).all() and np.isin(np.asarray(mdp.start), (0, 1)).all()
    ):
        raise ValueError("the MDP and the policies are to be deterministic; a probability is neither 0 nor 1")
    return len(np.unique(np.asarray(jax.vmap(worth)(policies)).round(9))) > 2


def is_lexicographic(first: Worth, second: Worth, pairs: Float[Array, "K 2 S A"]) -> bool:
    """Whether each of some pairs of policies is alike in the first number and apart in the second.

    An order by the first number and then the second gives each such pair an interval of its own, of which numbers have
    only countably many: if there is such a pair for each of a continuum of first numbers, no function to numbers has
    the order (Debreu 1954). Here they are looked for at those that are given, no two alike.
    """
    values = np.asarray(jax.vmap(jax.vmap(lambda policy: jnp.stack([first(policy), second(policy)])))(pairs))
    alike = np.abs(values[:, 0, 0] - values[:, 1, 0]) < 1e-9
    apart = values[:, 1, 1] - values[:, 0, 1] > 1e-3
    different = np.diff(np.sort(values[:, 0, 0])) > 1e-9
    return bool(alike.all() and apart.all() and different.all())
