"""What a discriminator is made of: its loss, the rewards it makes, and how its slope is held back.

`D = sigmoid(logit)` is the probability that a pair of state and action was demonstrated. Everything is a pure function
of logits, or of a function that gives them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

Scalar = Float[Array, ""] | float
Logits = Callable[[Float[Array, "*batch D"]], Float[Array, "*batch"]]

Form = Literal["positive", "negative", "logit"]
"""What a logit is worth, see `reward_of`."""
FORMS: tuple[str, ...] = get_args(Form)

Penalty = Literal["none", "wgan", "dragan", "nagard"]
"""Where slopes are penalised, see `between`."""
PENALTIES: tuple[str, ...] = get_args(Penalty)


def cross_entropy(
    expert: Float[Array, "*batch"], policy: Float[Array, "*batch"], smoothing: Scalar = 0.0
) -> Float[Array, ""]:
    """`-E_expert[(1 - smoothing) log D + smoothing log(1 - D)] - E_policy[log(1 - D)]`, of logits.

    The labels of the expert alone are smoothed (Salimans et al. 2016, arXiv:1606.03498). Where both are
    as often as `p` and `q` say, it is least at `D = (1 - smoothing) p / (p + q)`.
    """
    demonstrated = (1 - smoothing) * jax.nn.softplus(-expert) + smoothing * jax.nn.softplus(expert)
    return demonstrated.mean() + jax.nn.softplus(policy).mean()


def entropy(logit: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """In nats, of whether a pair was demonstrated."""
    return jax.nn.softplus(logit) - logit * jax.nn.sigmoid(logit)


def reward_of(logit: Float[Array, "*batch"], form: Form) -> Float[Array, "*batch"]:
    """What a logit is worth to the policy.

    `positive` is `-log(1 - D)`, never below 0, under which it pays to go on; `negative` is `log D`, never above 0,
    under which it pays to end; `logit` is their sum, of either sign, as Fu et al. 2018 (arXiv:1710.11248) have it.
    Which one suits depends on how episodes end (Kostrikov et al. 2019, arXiv:1809.02925).
    """
    forms = {"positive": jax.nn.softplus, "negative": lambda x: -jax.nn.softplus(-x), "logit": lambda x: x}
    return forms[form](logit)


def slopes(logits: Logits, x: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
    """The Euclidean norms of the gradients of logits in what they are of; each is of its own row alone."""
    gradient = jax.grad(lambda x: logits(x).sum())(x)
    return optax.safe_norm(gradient, 1e-12, axis=-1)


def beyond(slope: Float[Array, "*batch"], target: Scalar, one_sided: bool) -> Float[Array, "*batch"]:
    """The square of how far slopes are from a target, or of how far above it."""
    off = slope - target
    return jnp.square(jnp.maximum(off, 0) if one_sided else off)


def pessimistic(
    reward: Float[Array, "*batch"], slope: Float[Array, "*batch"], target: Scalar, strength: Scalar
) -> Float[Array, "*batch"]:
    """Rewards that are not negative, times `exp(-strength max(0, slope - target)^2)`: less where slopes are steep.

    One of the factors in (0, 1] that Blonde et al. 2022 (arXiv:2006.16785) put before a reward, of the discriminator's
    own slope; see `jaxreward.agents.inverse.parts.forward_model` for one of the dynamics'.
    """
    return reward * jnp.exp(-strength * beyond(slope, target, one_sided=True))


def between(
    kind: Penalty,
    key: Key[Array, ""],
    expert: Float[Array, "*batch D"],
    policy: Float[Array, "*batch D"],
    spread: Scalar,
) -> Float[Array, "*batch D"]:
    """Where slopes are penalised.

    Args:
        kind: `wgan` between a row of each, uniformly (Gulrajani et al. 2017, arXiv:1704.00028, algorithm 1), `dragan`
            around the expert's (Kodali et al. 2017, arXiv:1705.07215), `nagard` around the policy's (Blonde et al.
            2022, arXiv:2006.16785).
        key: For the draw.
        expert: What was demonstrated.
        policy: What the policy did.
        spread: Standard deviation of what is added around a row.
    """
    if kind == "wgan":
        share = jax.random.uniform(key, (*expert.shape[:-1], 1))
        return share * policy + (1 - share) * expert
    around = expert if kind == "dragan" else policy
    return around + spread * jax.random.normal(key, around.shape)
