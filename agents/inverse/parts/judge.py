"""What tells a policy's steps from those that were demonstrated, learns to, and says what they are worth by it.

A model is a function of steps, such as GAIL's or AIRL's; a `Judge` trains one. In a game a model has params for each
agent, and what is told of them is a mean over agents.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import strong
from jaxreward.agents.baselines.parts import demonstrated
from jaxreward.agents.baselines.td3 import adam
from jaxreward.agents.inverse.parts.discriminator import cross_entropy, entropy
from jaxreward.agents.inverse.parts.spectral import first_vectors, spectrally_normalised
from jaxreward.contract.sizes import size

Metrics = dict[str, Float[Array, ""]]
Scalar = Float[Array, ""] | float


class Pairs(NamedTuple):
    """Steps as a model reads them, of each agent of a game.

    Attributes:
        seen: What was seen.
        action: What was done, as numbers.
        following: What followed; `()` for models that don't read it.
        terminated: Whether the episode ended there; `()` likewise.
        log_prob: Of the action under the policy that is learning; `()` likewise.
    """

    seen: Float[Array, "*batch F"]
    action: Float[Array, "*batch A"]
    following: PyTree = ()
    terminated: PyTree = ()
    log_prob: PyTree = ()


class Model(Protocol):
    """How steps are told apart."""

    def init(self, key: Key[Array, ""], pairs: Pairs) -> PyTree:
        """Draws params."""

    def logit(self, params: PyTree, pairs: Pairs, hyperparams: Any) -> Float[Array, "*batch"]:
        """Of the probability that steps were demonstrated."""

    def reward(self, params: PyTree, pairs: Pairs, hyperparams: Any) -> Float[Array, "*batch"]:
        """What steps are worth to the policy."""

    def penalty(
        self, params: PyTree, expert: Pairs, policy: Pairs, key: Key[Array, ""], hyperparams: Any
    ) -> Float[Array, ""]:
        """What is added to the loss, of the model's own."""


class JudgeState(NamedTuple):
    """What a judge is made of.

    `vectors` are there where hidden layers have a spectral norm of 1, `forward` where rewards are less by that model.
    """

    params: PyTree
    vectors: dict[str, Array]
    optimiser: PyTree
    key: Key[Array, ""]
    forward: PyTree = ()


@dataclass(frozen=True)
class Config(demonstrated.Config):
    """What a discriminator learns from, and its size.

    Attributes:
        discriminator_layers: Widths of its hidden layers.
    """

    discriminator_layers: tuple[int, ...] = size((64, 64))


@struct.dataclass
class Learning:
    """Traced numbers of how a discriminator learns.

    Attributes:
        discriminator_learning_rate: Adam's step size.
        discriminator_decay: Weight of half the squares of its params in the loss.
        discriminator_entropy: Weight of the entropy of what it says, which keeps it from being sure.
    """

    discriminator_learning_rate: Scalar = 1e-3
    discriminator_decay: Scalar = 0.0
    discriminator_entropy: Scalar = 1e-3


@struct.dataclass
class Hyperparams(Learning):
    """Traced numbers of a discriminator.

    Attributes:
        label_smoothing: What the label of what was demonstrated is below 1.
        num_demonstrations: How many steps are learned from, the first ones of the file; infinity for all.
    """

    label_smoothing: Scalar = 0.0
    num_demonstrations: Scalar = math.inf


def crossed(expert: Float[Array, "*batch"], policy: Float[Array, "*batch"], hyperparams: Any) -> Float[Array, ""]:
    """The cross-entropy of logits."""
    return cross_entropy(expert, policy, hyperparams.label_smoothing)


@dataclass(frozen=True)
class Judge:
    """Trains a model.

    Attributes:
        model: It.
        spectral_norm: Whether its hidden layers have a spectral norm of 1.
        apart: `(logits of demonstrated steps, of the policy's, hyperparams) -> loss`: how both are told apart.
    """

    model: Model
    spectral_norm: bool = False
    apart: Callable[[Array, Array, Any], Array] = crossed

    def init(self, key: Key[Array, ""], pairs: Pairs) -> JudgeState:
        """Draws params for such steps."""
        key, key_params, key_vectors = jax.random.split(key, 3)
        params = self.model.init(key_params, pairs)
        vectors = first_vectors(key_vectors, params) if self.spectral_norm else {}
        return strong(JudgeState(params, vectors, adam(0.0).init(params), key))

    def train(self, state: JudgeState, expert: Pairs, policy: Pairs, hyperparams: Any) -> tuple[JudgeState, Metrics]:
        """A step of Adam for each of `U` batches, leaves `[U, B, ...]`, and the means of what to log."""
        key, key_train = jax.random.split(state.key)
        optimiser = adam(hyperparams.discriminator_learning_rate)

        def step(state: JudgeState, batch: tuple[Pairs, Pairs, Key[Array, ""]]) -> tuple[JudgeState, Metrics]:
            gradient, (vectors, metrics) = jax.grad(self.loss, has_aux=True)(state.params, state, *batch, hyperparams)
            updates, optimiser_state = optimiser.update(gradient, state.optimiser)
            params = optax.apply_updates(state.params, updates)
            return state._replace(params=params, vectors=vectors, optimiser=optimiser_state), metrics

        keys = jax.random.split(key_train, jax.tree.leaves(expert)[0].shape[0])
        state, metrics = jax.lax.scan(step, state, (expert, policy, keys))
        return state._replace(key=key), jax.tree.map(jnp.mean, metrics)

    def loss(
        self,
        params: PyTree,
        state: JudgeState,
        expert: Pairs,
        policy: Pairs,
        key: Key[Array, ""],
        hyperparams: Any,
    ) -> tuple[Float[Array, ""], tuple[dict[str, Array], Metrics]]:
        """How both are told apart and what holds the model back; and vectors of power iteration, and what to log."""
        used, vectors = spectrally_normalised(params, state.vectors)
        of_expert, of_policy = (self.model.logit(used, pairs, hyperparams) for pairs in (expert, policy))
        apart = self.apart(of_expert, of_policy, hyperparams)
        unsure = (entropy(of_expert).mean() + entropy(of_policy).mean()) / 2
        squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
        penalty = self.model.penalty(used, expert, policy, key, hyperparams)
        loss = apart + penalty - hyperparams.discriminator_entropy * unsure
        loss = loss + hyperparams.discriminator_decay / 2 * squares
        right = ((of_expert > 0).mean(dtype=float) + (of_policy < 0).mean(dtype=float)) / 2
        metrics = {
            "loss/discriminator": apart,
            "loss/penalty": penalty,
            "discriminator/accuracy": right,
            "discriminator/entropy": unsure,
        }
        return loss, (vectors, metrics)

    def params(self, state: JudgeState) -> PyTree:
        """Those that a model is asked with."""
        return spectrally_normalised(state.params, state.vectors)[0]

    def reward(self, state: JudgeState, pairs: Pairs, hyperparams: Any) -> Float[Array, "*batch"]:
        """What steps are worth to the policy; nothing is learned through it."""
        return jax.lax.stop_gradient(self.model.reward(self.params(state), pairs, hyperparams))
