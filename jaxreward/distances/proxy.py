"""What makes a reward a proxy of another one, and what maximising it may cost.

"Correlated proxies: a new definition and improved mitigation for reward hacking" (Laidlaw, Singhal and Dragan, ICLR
2025, arXiv:2403.03185): a reward is a proxy of another where the two go together on what a reference policy visits, and
it is hacked where a policy that maximises it earns less of the other than the reference does.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.distances.canonical import Policy, Reward
from jaxreward.mdp import TabularMDP, discounted_occupancy, expected_reward, occupancy_divergence
from jaxreward.mdp.bellman import Discount


class Together(NamedTuple):
    """Two rewards on what a policy visits, by its occupancy.

    Attributes:
        correlation: Pearson's, of expected rewards of state and action; 0 where one doesn't vary.
        deviation: The standard deviation of the reward of the MDP.
        other_deviation: That of the other one.
    """

    correlation: Float[Array, ""]
    deviation: Float[Array, ""]
    other_deviation: Float[Array, ""]


class Improvement(NamedTuple):
    """How much more than the reference a policy earns a step, in standard deviations of the reward under the reference.

    Attributes:
        gained: By the reward of the MDP, which is the true one.
        least: What that is at least, by the proxy's gain and how far the policy goes from the reference.
    """

    gained: Float[Array, ""]
    least: Float[Array, ""]


def rewards_together(mdp: TabularMDP, other: Reward, reference: Policy, discount: Discount) -> Together:
    """How two rewards go together on what a policy visits.

    Args:
        mdp: The MDP with the one reward.
        other: The other one, `[S, A, S]`.
        reference: The policy.
        discount: In `[0, 1)`; later states count less in the occupancy.
    """
    share, rewards = _normalised(mdp, reference, discount), _expected(mdp, other)
    centred = [reward - jnp.sum(share * reward) for reward in rewards]
    spread = [jnp.sqrt(jnp.sum(share * each**2)) for each in centred]
    rounding = [32 * jnp.finfo(each.dtype).eps * jnp.max(jnp.abs(each)) for each in rewards]
    varies = (spread[0] > rounding[0]) & (spread[1] > rounding[1])
    scale = jnp.where(varies, spread[0] * spread[1], 1.0)
    correlation = jnp.clip(jnp.sum(share * centred[0] * centred[1]) / scale, -1, 1)  # rounding goes beyond
    return Together(jnp.where(varies, correlation, 0.0), *spread)


def proxy_correlation(mdp: TabularMDP, other: Reward, reference: Policy, discount: Discount) -> Float[Array, ""]:
    """The correlation that makes a reward a proxy of another one, where it is positive."""
    return rewards_together(mdp, other, reference, discount).correlation


def least_regularisation(mdp: TabularMDP, proxy: Reward, reference: Policy, discount: Discount) -> Float[Array, ""]:
    """How strongly to regularise by the root of chi-squared so that the true reward can't fall below the reference's.

    `sd_proxy sqrt(1 - correlation^2)`, in the proxy's unit: what is then maximised is, but for a factor, the bound of
    `least_improvement`. Infinite where the correlation is not positive: no strength makes that sure.
    """
    together = rewards_together(mdp, proxy, reference, discount)
    strength = together.other_deviation * jnp.sqrt(1 - together.correlation**2)
    return jnp.where(together.correlation > 0, strength, jnp.inf)


def least_improvement(
    mdp: TabularMDP, proxy: Reward, policy: Policy, reference: Policy, discount: Discount
) -> Improvement:
    """What a policy gains over the reference by the true reward, and what it gains at least.

    `(J(p) - J(q)) / sd >= ((J'(p) - J'(q)) / sd' - sqrt((1 - r^2) chi2(p | q))) / r` with `J` the mean reward under the
    normalised occupancy, primes for the proxy, and correlation and deviations under the reference `q`: standardised,
    the proxy is `r` times the true reward and `sqrt(1 - r^2)` times what is not correlated with it, of which
    Cauchy-Schwarz bounds the gain by `sqrt(chi2)`. Minus infinity where the correlation is not positive.

    Args:
        mdp: The MDP with the true reward.
        proxy: The proxy, `[S, A, S]`.
        policy: That is judged.
        reference: Where the rewards are correlated.
        discount: In `[0, 1)`.
    """
    together = rewards_together(mdp, proxy, reference, discount)
    p, q = (_normalised(mdp, each, discount) for each in (policy, reference))
    gained, proxys = (jnp.sum((p - q) * reward) for reward in _expected(mdp, proxy))
    is_proxy = together.correlation > 0
    r = jnp.where(is_proxy, together.correlation, 1.0)
    unit = jnp.where(together.deviation > 0, together.deviation, 1.0)
    other = jnp.where(is_proxy, together.other_deviation, 1.0)
    chi2 = occupancy_divergence("chi2", p, q)
    away = jnp.where(jnp.isinf(chi2), jnp.inf, jnp.sqrt((1 - r**2) * chi2))
    return Improvement(gained / unit, jnp.where(is_proxy, (proxys / other - away) / r, -jnp.inf))


def _normalised(mdp: TabularMDP, policy: Policy, discount: Discount) -> Float[Array, "S A"]:
    """Which share of discounted time is spent in each state and action, but in terminal states."""
    occupancy = jnp.where(mdp.terminal[:, None], 0.0, discounted_occupancy(mdp, policy, discount))
    return occupancy / jnp.sum(occupancy)


def _expected(mdp: TabularMDP, other: Reward) -> list[Float[Array, "S A"]]:
    return [expected_reward(mdp._replace(reward=reward)) for reward in (mdp.reward, other)]
