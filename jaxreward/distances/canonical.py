"""One reward for all that differ by shaping, and by what they pay for next states that come by chance.

Two rewards order policies alike if they differ by a positive factor, by potential shaping `discount Phi(s') - Phi(s)`
(Ng et al. 1999), and by redistribution over next states that keeps `E[R(s, a, s')]`. A canonicalisation maps rewards to
one of their kind. Of Skalse et al. (ICLR 2024, arXiv:2309.15257), Gleave et al. (ICLR 2021, arXiv:2006.13900; EPIC) and
Wulfe et al. (ICLR 2022, arXiv:2201.10081; DARD). EPIC, DARD and those that only shape do not see redistribution.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxreward.mdp import TabularMDP, policy_value, uniform_policy
from jaxreward.mdp.bellman import EXACT, Discount
from jaxreward.names import check_name

Reward = Float[Array, "S A S"]
Policy = Float[Array, "S A"]
_ROUNDS = 200
"""Of reweighting, for the least sum of absolute values."""


def canonicalise(
    kind: str, mdp: TabularMDP, discount: Discount, policy: Policy | None = None, norm: str = "l2"
) -> Reward:
    """The canonical form of the reward of an MDP.

    Args:
        kind: One of `CANONICALISATIONS`.
        mdp: The MDP; a terminal state counts as one that leads to itself for no reward.
        discount: In `[0, 1)`; it may be 1 for those that solve for no values or potentials, "none", "epic" and "dard".
        policy: Whose values are taken, and whose actions in a state count how much; uniform by default.
        norm: Of "minimal_potential" alone: what is to be small, see `minimal_potential`.

    Returns:
        `[S, A, S]`.

    Raises:
        ValueError: If there is no such canonicalisation or norm, it says which is nearest; or the discount is not
            such a number.
    """
    check_name("canonicalisation", kind, CANONICALISATIONS)
    check_discount(discount, kind in SOLVED)
    policy = uniform_policy(mdp) if policy is None else policy
    if kind == "minimal_potential":
        return minimal_potential(mdp, discount, norm)
    return CANONICALISATIONS[kind](mdp, discount, policy)


def check_discount(discount: Discount, solved: bool = True) -> None:
    """Refuses a discount, unless it is traced, at which not all rewards have values.

    Args:
        discount: A number or an array of them.
        solved: Whether values or potentials are solved for; else it may be 1.

    Raises:
        ValueError: It is not in `[0, 1)`, or `[0, 1]`.
    """
    if isinstance(discount, jax.core.Tracer):
        return
    given = np.asarray(discount)
    if not np.all((given >= 0) & ((given < 1) | ((given == 1) & (not solved)))):
        most = "below 1" if solved else "1"
        raise ValueError(f"distances are of discounted rewards: expected a discount from 0 to {most}, not {discount}")


def shaped(reward: Reward, potential: Float[Array, " S"], discount: Discount) -> Reward:
    """With potential shaping, `R + discount Phi(s') - Phi(s)`."""
    return reward + discount * potential[None, None, :] - potential[:, None, None]


def unchanged(mdp: TabularMDP, discount: Discount, policy: Policy) -> Reward:
    """The reward as it is."""
    return mdp.reward


def advantage(mdp: TabularMDP, discount: Discount, policy: Policy) -> Reward:
    """VAL: `E_x[R(s, a, x) - V(s) + discount V(x)]` with the policy's values, which is its advantage function.

    It is the same for all next states.
    """
    paid = jnp.sum(mdp.transition * value_potential(mdp, discount, policy), -1, keepdims=True)
    return jnp.broadcast_to(paid, mdp.reward.shape)


def value_potential(mdp: TabularMDP, discount: Discount, policy: Policy) -> Reward:
    """VALPotential: shaped by the policy's values, `R - V(s) + discount V(s')`."""
    return shaped(mdp.reward, policy_value(mdp, policy, discount), discount)


def epic(mdp: TabularMDP, discount: Discount, policy: Policy) -> Reward:
    """EPIC with uniform coverage: `R + discount m(s') - m(s) - discount E[m]`, `m(s) = E[R(s, A, S')]`.

    Next states are drawn uniformly, whether they can follow or not.
    """
    mean = jnp.mean(mdp.reward, (-1, -2))
    return shaped(mdp.reward, mean, discount) - discount * jnp.mean(mean)


def dard(mdp: TabularMDP, discount: Discount, policy: Policy) -> Reward:
    """DARD with uniform actions, and next states as they follow.

    `R + discount m(s') - m(s) - discount E[R(X, A, Y)]` with `m(s) = E[R(s, A, x)]`, `x` of `(s, A)`, and in the last
    term `X` of `(s, A)` and `Y` of `(s', A)` for one action `A`, as its authors compute it.
    """
    following, actions = mdp.transition, mdp.transition.shape[1]
    mean = jnp.mean(jnp.sum(following * mdp.reward, -1), -1)
    between = jnp.einsum("sax,tay,xay->st", following, following, mdp.reward, precision=EXACT) / actions
    return shaped(mdp.reward, mean, discount) - discount * between[:, None, :]


def minimal(mdp: TabularMDP, discount: Discount, policy: Policy) -> Reward:
    """The smallest of all rewards of the kind, by the sum of squares, in closed form.

    What redistribution leaves of `u = E[R] + discount E[Phi(s')] - Phi(s)` is smallest as `P u / |P|^2`, whose square
    is `u^2 / |P|^2`; so the potential is that of a weighted least squares problem.
    """
    weight = 1 / jnp.sum(mdp.transition**2, -1)
    states = jnp.eye(mdp.num_states, dtype=weight.dtype)
    slope = discount * mdp.transition - states[:, None, :]
    mean = jnp.sum(mdp.transition * mdp.reward, -1)
    left = jnp.einsum("sai,sa,saj->ij", slope, weight, slope, precision=EXACT)
    right = -jnp.einsum("sai,sa->i", slope, weight * mean, precision=EXACT)
    rest = mean + jnp.einsum("sai,i->sa", slope, jnp.linalg.solve(left, right), precision=EXACT)
    return mdp.transition * (weight * rest)[..., None]


def minimal_potential(mdp: TabularMDP, discount: Discount, norm: str = "l2") -> Reward:
    """The smallest of all rewards that differ by shaping.

    Args:
        mdp: The MDP.
        discount: In `[0, 1)`.
        norm: "l2" or "weighted_l2", exactly; "l1" or "weighted_l1", by least squares that are reweighted, to a
            ten-thousandth of the least norm. The largest absolute value has no unique minimum.

    Raises:
        ValueError: For another norm.
    """
    check_name("norm to minimise by shaping", norm, ("l1", "l2", "weighted_l1", "weighted_l2"))
    weight = mdp.transition if norm.startswith("weighted") else jnp.ones_like(mdp.transition)
    least = lambda weight: shaped(mdp.reward, least_squares_potential(mdp.reward, weight, discount), discount)  # noqa: E731
    found = least(weight)
    if norm.endswith("l2"):
        return found

    largest = jnp.max(jnp.abs(found))  # of a canonical reward, so that its whole kind ends at the same one

    def reweighted(number: Array, found: Reward) -> Reward:
        near = largest * 2.0 ** -(number / 10)  # what is smaller than this counts as a square
        return least(weight / jnp.maximum(jnp.abs(found), near))

    return jax.lax.fori_loop(0, _ROUNDS, reweighted, found)


def least_squares_potential(reward: Reward, weight: Reward, discount: Discount) -> Float[Array, " S"]:
    """The potential for which `sum weight (R + discount Phi(s') - Phi(s))^2` is least, by its normal equations."""
    between = jnp.sum(weight, 1)
    diagonal = jnp.sum(between, 1) + discount**2 * jnp.sum(between, 0)
    left = jnp.diag(diagonal) - discount * (between + between.T)
    paid = jnp.sum(weight * reward, 1)
    return jnp.linalg.solve(left, jnp.sum(paid, 1) - discount * jnp.sum(paid, 0))


CANONICALISATIONS: dict[str, Callable[[TabularMDP, Discount, Policy], Reward]] = {
    "none": unchanged,
    "epic": epic,
    "dard": dard,
    "val": advantage,
    "val_potential": value_potential,
    "minimal": minimal,
    "minimal_potential": lambda mdp, discount, policy: minimal_potential(mdp, discount),
}
"""By name; "val" is that of STARC, "minimal" needs no policy."""
SOLVED = ("val", "val_potential", "minimal", "minimal_potential")
"""Those that solve for values or potentials, whose equations are singular at a discount of 1."""
