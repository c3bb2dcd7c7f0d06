"""Models of what each step is worth, by what whole episodes paid: learned beside a policy, which is paid by them.

A `Model` reads what there is of a step, `[F]`, and says what it is worth. Those that learn by gradients differ in the
loss, see `jaxreward.agents.redistribution.parts.losses`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.agents.baselines.td3 import adam
from jaxreward.agents.redistribution.parts.losses import (
    decomposition_loss,
    deviation,
    guidance_loss,
    guidance_of,
    least_squares,
    prefix_loss,
    subset,
)
from jaxreward.agents.redistribution.parts.store import Episodes, drawn
from jaxreward.learning.networks import Torso, dense, unroll
from jaxreward.learning.normaliser import Moments, normalise

Metrics = dict[str, Float[Array, ""]]


class Fitted(NamedTuple):
    """What a model has learned: its params, their optimiser's state, and moments of what it has read."""

    params: PyTree
    optimiser: PyTree
    seen: Moments


class Rollout(NamedTuple):
    """Steps that are to be paid, leaves `[T, N, ...]`: what is read of them, what the environment paid, and ends."""

    inputs: Float[Array, "T N F"]
    reward: Float[Array, "T N"]
    done: Bool[Array, "T N"]


class Model(Protocol):
    """What learns from episodes, and pays steps."""

    def init(self, key: Key[Array, ""], size: int) -> tuple[PyTree, PyTree]:
        """Params, and the state of their optimiser, where `F = size`."""

    def start(self, num_envs: int) -> PyTree:
        """What it remembers of each environment's episode before the first step, leaves `[N, ...]`."""

    def fit(self, fitted: Fitted, ended: Episodes, key: Key[Array, ""], hyperparams: Any) -> tuple[Fitted, Metrics]:
        """Learns from episodes, of which there may be none yet; and what to log."""

    def pay(self, fitted: Fitted, memory: PyTree, rollout: Rollout) -> tuple[PyTree, Float[Array, "T N"]]:
        """What it remembers, and what steps are worth."""


class StepNetwork(nn.Module):
    """A number for each step, `[*batch, F] -> [*batch]`."""

    layers: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "*batch F"]) -> Float[Array, "*batch"]:
        return dense(1, 0.1)(Torso(self.layers, nn.relu)(x))[..., 0]


class PrefixNetwork(nn.Module):
    """A number for what there was up to a step, as `jaxreward.learning.networks.unroll` applies it."""

    width: int

    @nn.compact
    def __call__(self, carry: Array, x: Float[Array, "*batch F"]) -> tuple[Array, Array, Float[Array, "*batch"]]:
        carry, hidden = nn.GRUCell(self.width, param_dtype=jnp.result_type(float))(carry, x)
        said = dense(1, 0.1)(hidden)
        return carry, said, said[..., 0]


@dataclass(frozen=True)
class Trained(ABC):
    """What learns by gradients.

    Attributes:
        updates: Steps of Adam in an iteration.
        batch: Episodes for each.
    """

    updates: int
    batch: int

    @abstractmethod
    def draw(self, key: Key[Array, ""], size: int) -> PyTree:
        """Params."""

    @abstractmethod
    def loss(
        self, params: PyTree, fitted: Fitted, ended: Episodes, batch: Episodes, key: Key[Array, ""], hyperparams: Any
    ) -> Float[Array, " B"]:
        """Of each episode of a batch."""

    def init(self, key: Key[Array, ""], size: int) -> tuple[PyTree, PyTree]:
        """Draws params."""
        params = self.draw(key, size)
        return params, adam(0.0).init(params)

    def fit(self, fitted: Fitted, ended: Episodes, key: Key[Array, ""], hyperparams: Any) -> tuple[Fitted, Metrics]:
        """Some steps of Adam, each on a batch of its own."""
        optimiser = adam(hyperparams.model_learning_rate)

        def mean(params: PyTree, batch: Episodes, key: Key[Array, ""]) -> Float[Array, ""]:
            return self.loss(params, fitted, ended, batch, key, hyperparams).mean()

        def step(carry: tuple, key: Key[Array, ""]) -> tuple[tuple, Array]:
            params, state = carry
            key_batch, key_loss = jax.random.split(key)
            loss, gradient = jax.value_and_grad(mean)(params, drawn(ended, key_batch, (self.batch,)), key_loss)
            updates, state = optimiser.update(gradient, state)
            return (optax.apply_updates(params, updates), state), loss

        carry = fitted.params, fitted.optimiser
        (params, state), losses = jax.lax.scan(step, carry, jax.random.split(key, self.updates))
        return Fitted(params, state, fitted.seen), {"loss/redistribution": losses.mean()}


@dataclass(frozen=True)
class Regression(Trained):
    """A network that reads one step.

    Attributes:
        layers: Widths of its hidden layers.
        sampled: Steps of an episode that are read for a loss.
        corrected: See `decomposition_loss`.
        guidance: Whether it learns what episodes with such a step paid, by `guidance_loss`, rather than rewards that
            sum up to it, by `decomposition_loss`.
    """

    layers: tuple[int, ...]
    sampled: int
    corrected: bool = False
    guidance: bool = False

    @property
    def network(self) -> StepNetwork:
        """It."""
        return StepNetwork(self.layers)

    def draw(self, key: Key[Array, ""], size: int) -> PyTree:
        """Params."""
        return self.network.init(key, jnp.zeros(size))

    def start(self, num_envs: int) -> tuple:
        """Nothing."""
        return ()

    def predicted(self, params: PyTree, seen: Moments, inputs: Float[Array, "*batch F"]) -> Float[Array, "*batch"]:
        """What steps are worth."""
        value: Any = self.network.apply(params, normalise(inputs, seen))
        return value

    def loss(
        self, params: PyTree, fitted: Fitted, ended: Episodes, batch: Episodes, key: Key[Array, ""], hyperparams: Any
    ) -> Float[Array, " B"]:
        """Of each episode of a batch."""
        steps, chosen = subset(key, batch.valid, self.sampled)
        inputs = jnp.take_along_axis(batch.inputs, steps[..., None], 1)
        predicted = self.predicted(params, fitted.seen, inputs)
        if self.guidance:
            return guidance_loss(predicted, chosen, guidance_of(batch.total, ended))
        return decomposition_loss(predicted, chosen, batch.total, batch.length, self.corrected)

    def pay(self, fitted: Fitted, memory: tuple, rollout: Rollout) -> tuple[tuple, Float[Array, "T N"]]:
        """What steps are worth."""
        return memory, self.predicted(fitted.params, fitted.seen, rollout.inputs)


class PrefixMemory(NamedTuple):
    """Of each environment's episode: the network's memory, what was paid for it, and what the environment paid."""

    network: Float[Array, "N H"]
    paid: Float[Array, " N"]
    total: Float[Array, " N"]


@dataclass(frozen=True)
class Prefix(Trained):
    """A GRU that predicts the return after each step; steps are paid by how they change it (RUDDER).

    Attributes:
        width: Of the GRU.
    """

    width: int

    @property
    def network(self) -> PrefixNetwork:
        """It."""
        return PrefixNetwork(self.width)

    def draw(self, key: Key[Array, ""], size: int) -> PyTree:
        """Params, and the deviation of returns, in units of which it predicts."""
        network = self.network.init(key, jnp.zeros(self.width), jnp.zeros(size))
        return {"network": network, "scale": jnp.ones(())}

    def start(self, num_envs: int) -> PrefixMemory:
        """Nothing yet."""
        return PrefixMemory(jnp.zeros((num_envs, self.width)), jnp.zeros(num_envs), jnp.zeros(num_envs))

    def fit(self, fitted: Fitted, ended: Episodes, key: Key[Array, ""], hyperparams: Any) -> tuple[Fitted, Metrics]:
        """Some steps of Adam, in units of the returns that are kept."""
        params = {**fitted.params, "scale": deviation(ended)}
        return super().fit(fitted._replace(params=params), ended, key, hyperparams)

    def predicted(
        self, params: PyTree, seen: Moments, memory: Array, inputs: Float[Array, "T N F"], start: Bool[Array, "T N"]
    ) -> tuple[Array, Float[Array, "T N"]]:
        """The network's memory behind each step, and the return it predicts there."""
        read = normalise(inputs, seen)
        memories, _, said = unroll(self.network.apply, params["network"], memory, read, start)
        return memories, jax.lax.stop_gradient(params["scale"]) * said

    def loss(
        self, params: PyTree, fitted: Fitted, ended: Episodes, batch: Episodes, key: Key[Array, ""], hyperparams: Any
    ) -> Float[Array, " B"]:
        """Of each episode of a batch."""
        inputs = jnp.moveaxis(batch.inputs, 1, 0)
        memory, never = jnp.zeros((self.batch, self.width)), jnp.zeros(inputs.shape[:2], bool)
        predicted = self.predicted(params, fitted.seen, memory, inputs, never)[1]
        scale = jax.lax.stop_gradient(params["scale"])
        return prefix_loss(predicted.T, batch, scale, hyperparams.prefix_weight)

    def pay(self, fitted: Fitted, memory: PrefixMemory, rollout: Rollout) -> tuple[PrefixMemory, Float[Array, "T N"]]:
        """By how much steps change what is predicted; the last one so that all sum up to what the environment paid.

        What was paid is remembered rather than what was predicted: that may have been by other params.
        """
        start = jnp.roll(rollout.done, 1, 0).at[0].set(False)
        memories, predicted = self.predicted(fitted.params, fitted.seen, memory.network, rollout.inputs, start)

        def step(known: tuple[Array, Array], x: tuple) -> tuple[tuple, Array]:
            (paid, total), (predicted, reward, done) = known, x
            total = total + reward
            due = jnp.where(done, total, predicted) - paid
            return (jnp.where(done, 0.0, paid + due), jnp.where(done, 0.0, total)), due

        now = (predicted, rollout.reward, rollout.done)
        (paid, total), due = jax.lax.scan(step, (memory.paid, memory.total), now)
        last = jnp.where(rollout.done[-1][:, None], 0.0, memories[-1])
        return PrefixMemory(last, paid, total), due


@dataclass(frozen=True)
class Linear:
    """Weights of factors, by `least_squares`; one more factor is 1 at each step."""

    def init(self, key: Key[Array, ""], size: int) -> tuple[PyTree, PyTree]:
        """No weights yet."""
        return jnp.zeros(size + 1), ()

    def start(self, num_envs: int) -> tuple:
        """Nothing."""
        return ()

    def fit(self, fitted: Fitted, ended: Episodes, key: Key[Array, ""], hyperparams: Any) -> tuple[Fitted, Metrics]:
        """The weights that fit all episodes best."""
        full = ended._replace(inputs=jnp.concatenate([ended.inputs, ended.valid[..., None]], -1))
        there = ended.length > 0
        weights = least_squares(full._replace(total=jnp.where(there, ended.total, 0.0)), hyperparams.ridge)
        error = jnp.where(there, jnp.square(full.inputs.sum(-2) @ weights - ended.total), 0.0)
        loss = error.sum() / jnp.maximum(there.sum(), 1)
        return fitted._replace(params=weights), {"loss/redistribution": loss}

    def pay(self, fitted: Fitted, memory: tuple, rollout: Rollout) -> tuple[tuple, Float[Array, "T N"]]:
        """What steps are worth."""
        return memory, rollout.inputs @ fitted.params[:-1] + fitted.params[-1]
