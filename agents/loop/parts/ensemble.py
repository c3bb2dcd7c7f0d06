"""Networks that say what follows an action, how far they agree, and how surprised they are by what did.

Each of an ensemble gives a normal distribution for the change of the observation and for the reward (probabilistic
ensembles: Chua et al. 2018, arXiv:1805.12114). To each is added a network that is never trained, so that they differ
where nothing was seen (randomised priors: Osband et al. 2018, arXiv:1806.03335).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agents.baselines.parts.critics import MLP
from jaxreward.learning.normaliser import Moments, normalise
from jaxreward.learning.replay import Replay, sample

Scalar = Float[Array, ""] | float

LEAST = 1e-3
"""Of the deviation of a change or a reward, where all were the same so far."""
LOG_STD = (-3.0, 0.5)
"""Where logarithms of what is taken for noise are kept, in units of how much changes vary."""


class Steps(NamedTuple):
    """Steps that were taken, leaves `[*batch, ...]`.

    Attributes:
        observation: As networks read it.
        action: In [-1, 1].
        reward: What it paid.
        next_observation: What followed.
    """

    observation: Float[Array, "*batch F"]
    action: Float[Array, "*batch d"]
    reward: Float[Array, "*batch"]
    next_observation: Float[Array, "*batch F"]

    def read(self) -> Float[Array, "*batch F+d"]:
        """What the networks read."""
        return jnp.concatenate([self.observation, self.action], -1)

    def told(self) -> Float[Array, "*batch F+1"]:
        """What they say: the change, and the reward."""
        return jnp.concatenate([self.next_observation - self.observation, self.reward[..., None]], -1)


class Model(NamedTuple):
    """An ensemble of `E`.

    Attributes:
        params: Leaves `[E, ...]`.
        priors: Of the networks that are never trained.
        read: Moments of what they read, `[F + d]`.
        told: Of what they say, `[F + 1]`; its deviations are its units.
    """

    params: PyTree
    priors: PyTree
    read: Moments
    told: Moments


class Forecast(NamedTuple):
    """What an ensemble says, in its units.

    Attributes:
        mean: What its members say in the mean.
        doubt: The standard deviation between them.
        noise: That of what follows, by their mean.
    """

    mean: Float[Array, "*batch F+1"]
    doubt: Float[Array, "*batch F+1"]
    noise: Float[Array, "*batch F+1"]

    def at(self, radius: Float[Array, ""] | float, choice: Float[Array, "*batch F+1"]) -> Float[Array, "*batch F+1"]:
        """The mean of a model of the confidence set: so many deviations away, each side's share in [-1, 1]."""
        return self.mean + radius * self.doubt * choice


@dataclass(frozen=True)
class Ensemble:
    """The networks.

    Attributes:
        members: `E`.
        network: Of a member, two numbers for each that it says.
        prior_scale: How far the networks that are never trained reach, in units of what is said.
    """

    members: int
    network: MLP
    prior_scale: float = 1.0

    def init(self, key: Key[Array, ""], read: Float[Array, "*batch F+d"]) -> tuple[PyTree, PyTree]:
        """Params of all, and those of their priors."""
        params, priors = jax.random.split(key, (2, self.members))
        start = jax.vmap(self.network.init, (0, None))
        return start(params, read), start(priors, read)

    def forecast(self, model: Model, read: Float[Array, "*batch F+d"]) -> Forecast:
        """What they say together."""
        each = jax.vmap(self.said, (0, 0, None))
        mean, log_std = each(model.params, model.priors, normalise(read, model.read))
        return Forecast(mean.mean(0), mean.std(0), jnp.exp(log_std).mean(0))

    def said(self, params: PyTree, prior: PyTree, read: Float[Array, "*batch F+d"]) -> tuple[Array, Array]:
        """Mean and logarithm of the noise by one member, `[*batch, F + 1]` each."""
        mean, log_std = jnp.split(jnp.asarray(self.network.apply(params, read)), 2, -1)
        fixed = jnp.split(jnp.asarray(self.network.apply(prior, read)), 2, -1)[0]
        low, high = LOG_STD
        return mean + self.prior_scale * fixed, low + (high - low) * jax.nn.sigmoid(log_std)

    def fitted(
        self, model: Model, seen: Replay, key: Key[Array, ""], learning_rate: Scalar, steps: int, batch_size: int
    ) -> Model:
        """Moves each member towards the most likely one, by so many steps of Adam on batches of its own."""
        optimiser = optax.adam(learning_rate)

        def loss(params: PyTree, batch: Steps) -> Array:
            mean, log_std = jax.vmap(self.said)(params, model.priors, normalise(batch.read(), model.read))
            off = (in_units(batch.told(), model.told) - mean) * jnp.exp(-log_std)
            return jnp.sum(jnp.mean(jnp.square(off) / 2 + log_std, (1, 2)))

        def update(carry: tuple, key: Key[Array, ""]) -> tuple[tuple, None]:
            params, averages = carry
            gradient = jax.grad(loss)(params, sample(seen, key, (self.members, batch_size)))
            change, averages = optimiser.update(gradient, averages)
            return (optax.apply_updates(params, change), averages), None

        first = model.params, optimiser.init(model.params)
        (params, _), _ = jax.lax.scan(update, first, jax.random.split(key, steps))
        return model._replace(params=params)


def in_units(told: Float[Array, "*batch F+1"], units: Moments) -> Float[Array, "*batch F+1"]:
    """Changes and rewards as networks say them."""
    return (told - as_row(units.mean, told)) / as_row(jnp.sqrt(units.variance), told)


def as_told(said: Float[Array, "*batch F+1"], units: Moments) -> Float[Array, "*batch F+1"]:
    """Back."""
    return said * as_row(jnp.sqrt(units.variance), said) + as_row(units.mean, said)


def as_row(x: Float[Array, " F"], batch: Float[Array, "*batch F"]) -> Float[Array, "#*batch F"]:
    """With as many axes as a batch has."""
    return x.reshape((1,) * (batch.ndim - x.ndim) + x.shape)


def units_of(told: Moments, reward_scale: Scalar) -> Moments:
    """Moments without a deviation of 0, and one of the reward that is at least so large, as it may never have paid."""
    least = jnp.full_like(told.variance, LEAST).at[-1].max(reward_scale)
    return told._replace(variance=jnp.maximum(told.variance, jnp.square(least)))


def excess(
    forecast: Forecast, mean: Float[Array, "*batch F+1"], told: Float[Array, "*batch F+1"]
) -> Float[Array, "*batch"]:
    """By how much less likely what followed is than what a normal distribution about `mean` expects of itself.

    Nought in expectation if the model holds, and positive where it does not.
    """
    return jnp.sum(jnp.square((told - mean) / forecast.noise) - 1, -1) / 2


def no_moments(size: int) -> Moments:
    """Of nothing."""
    return Moments(jnp.zeros(()), jnp.zeros(size), jnp.ones(size))


def observed(read: Moments, observation: Float[Array, "*batch F"]) -> Moments:
    """Those of observations, of those of what models read."""
    size = observation.shape[-1]
    return read._replace(mean=read.mean[..., :size], variance=read.variance[..., :size])
