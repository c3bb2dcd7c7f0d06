"""How an autoencoder is trained on what there is, in one traced function (STAX, arXiv:2111.01919)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

Errors: TypeAlias = Callable[[PyTree, PyTree], Float[Array, " B"]]
"""`(weights, rows of data [B, ...]) -> [B]`"""


@dataclass(frozen=True)
class Fitting:
    """A training; the defaults are those of the authors' code of STAX.

    Attributes:
        epochs: How many there are at most.
        batch_size: Pictures of a step.
        learning_rate: Of Adam.
        validation: The share of the pictures that are held back to tell when to stop; with 0 all epochs run.
        patience: So many epochs in a row with a validation error above the lowest one end the training.
    """

    epochs: int = 101
    batch_size: int = 128
    learning_rate: float = 1e-3
    validation: float = 0.2
    patience: int = 4


class Fitted(NamedTuple):
    """Weights and the state of their optimiser, which goes on in the next training as in the authors' code."""

    weights: PyTree
    optimiser: PyTree


class Stopping(NamedTuple):
    """The lowest validation error so far, and for how many epochs in a row it has been exceeded."""

    lowest: Float[Array, ""]
    above: Int[Array, ""]


def not_yet() -> Stopping:
    """Before the first validation."""
    return Stopping(jnp.full((), jnp.inf), jnp.zeros((), jnp.int32))


def validated(stopping: Stopping, error: Float[Array, ""]) -> Stopping:
    """After one more validation: an error that equals the lowest is not above it."""
    is_above = error > stopping.lowest
    return Stopping(jnp.where(is_above, stopping.lowest, error), jnp.where(is_above, stopping.above + 1, 0))


class Split(NamedTuple):
    """Rows in a random order: first those held back, then those trained on, then those that don't exist."""

    rows: Int[Array, " N"]
    held: Int[Array, ""]
    exist: Int[Array, ""]


def split(key: Key[Array, ""], exists: Bool[Array, " N"], validation: float) -> Split:
    """Rows divided at random; what is held back is a whole number of them, rounded down."""
    rows = _shuffled(key, exists)
    number = exists.sum(dtype=jnp.int32)
    return Split(rows, jnp.floor(number * validation).astype(jnp.int32), number)


def _shuffled(key: Key[Array, ""], wanted: Bool[Array, " N"]) -> Int[Array, " N"]:
    """The indices of what is wanted, in a random order, then all others."""
    return jnp.argsort(jnp.where(wanted, jax.random.uniform(key, wanted.shape), 2.0)).astype(jnp.int32)


def _adam(config: Fitting) -> optax.GradientTransformation:
    return optax.adam(config.learning_rate)


def start(weights: PyTree, config: Fitting) -> Fitted:
    """Weights that nothing was learned with yet."""
    return Fitted(weights, _adam(config).init(weights))


def fit(
    fitted: Fitted,
    key: Key[Array, ""],
    errors: Errors,
    data: PyTree,
    exists: Bool[Array, " N"],
    config: Fitting,
) -> Fitted:
    """Adam on minibatches, anew shuffled each epoch, until the validation error has risen for some epochs.

    The first epoch is not validated; the weights are those of the last one, not of the best, as in the authors' code.
    Rows that don't exist cost nothing but their share of a sort. With so few rows that none is held back, or with none
    at all, all epochs run; the latter change nothing.

    Args:
        fitted: Where to go on from.
        key: For what is held back and the order of the rest.
        errors: Of rows of data, of which the mean is lowered.
        data: What to learn from, leaves `[N, ...]`.
        exists: Which rows count.
        config: Sizes and ends.
    """
    key_split, key_epochs = jax.random.split(key)
    training = _Training(errors, data, split(key_split, exists, config.validation), config)

    def goes_on(carry: tuple[Fitted, Stopping, Array]) -> Bool[Array, ""]:
        _, stopping, done = carry
        return (done < config.epochs) & (stopping.above < config.patience)

    def advance(carry: tuple[Fitted, Stopping, Array]) -> tuple[Fitted, Stopping, Array]:
        fitted, stopping, done = carry
        fitted = training.epoch(fitted, jax.random.fold_in(key_epochs, done))
        # An error as high as the lowest one says nothing.
        error = jnp.where(done == 0, stopping.lowest, training.validation_error(fitted.weights))
        return fitted, validated(stopping, error), done + 1

    return jax.lax.while_loop(goes_on, advance, (fitted, not_yet(), jnp.zeros((), jnp.int32)))[0]


@dataclass(frozen=True)
class _Training:
    """What does not change from one epoch to the next."""

    errors: Errors
    data: PyTree
    split: Split
    config: Fitting

    def epoch(self, fitted: Fitted, key: Key[Array, ""]) -> Fitted:
        """A step for each minibatch of what is not held back."""
        rows, held, exist = self.split
        place = jnp.arange(rows.size)
        shuffled = rows[_shuffled(key, (place >= held) & (place < exist))]

        def step(index: Array, fitted: Fitted) -> Fitted:
            examples, counts = self.batch(shuffled, index, exist - held)
            loss = lambda weights: self.total(weights, examples, counts) / jnp.maximum(counts.sum(), 1)  # noqa: E731
            change, optimiser = _adam(self.config).update(jax.grad(loss)(fitted.weights), fitted.optimiser)
            return Fitted(optax.apply_updates(fitted.weights, change), optimiser)

        return jax.lax.fori_loop(0, self.batches(exist - held), step, fitted)

    def validation_error(self, weights: PyTree) -> Float[Array, ""]:
        """The mean error of what is held back; 0 if nothing is."""
        rows, held, _ = self.split
        add = lambda index, total: total + self.total(weights, *self.batch(rows, index, held))  # noqa: E731
        return jax.lax.fori_loop(0, self.batches(held), add, jnp.zeros(())) / jnp.maximum(held, 1)

    def total(self, weights: PyTree, examples: PyTree, counts: Bool[Array, " B"]) -> Float[Array, ""]:
        """The sum of the errors of those that count."""
        return jnp.where(counts, self.errors(weights, examples), 0.0).sum()

    def batch(
        self, rows: Int[Array, " N"], index: Int[Array, ""], number: Int[Array, ""]
    ) -> tuple[PyTree, Bool[Array, " B"]]:
        """One minibatch of the first so many rows; beyond them it repeats the first, which then does not count."""
        places = index * self.config.batch_size + jnp.arange(self.config.batch_size)
        counts = places < number
        chosen = rows[jnp.where(counts, places, 0)]
        return jax.tree.map(lambda leaf: leaf[chosen], self.data), counts

    def batches(self, number: Int[Array, ""]) -> Int[Array, ""]:
        """How many minibatches hold so many rows."""
        return -(-number // self.config.batch_size)
