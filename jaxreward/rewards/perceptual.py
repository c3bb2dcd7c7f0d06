"""A reward for how far one is in a task of several steps, which are found in a few demonstrations of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from jaxreward.learning.networks import flatten
from jaxreward.reward import Params, Reward, Transition, markov

LEAST_DEVIATION = 1e-3
"""Of a feature, in units of its deviation over all frames: what never varied within a step is not infinitely sure."""


def segment(x: Float[np.ndarray, "T F"], number: int) -> Int[np.ndarray, " number+1"]:
    """Cuts a sequence into so many pieces, of which each varies as little as can be: exactly, by dynamic programming.

    Args:
        x: The sequence.
        number: Of pieces.

    Returns:
        Where pieces begin, and `T`; the sum over pieces of squared distances to the piece's mean is least.

    Raises:
        ValueError: If there are fewer frames than pieces.
    """
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    length = len(x)
    if not 1 <= number <= length:
        raise ValueError(f"{length} frames are cut into 1 to {length} pieces; got number={number}")
    sums = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x - x.mean(0), 0)])
    squares = np.concatenate([[0.0], np.cumsum(np.square(x - x.mean(0)).sum(1))])
    start, end = np.meshgrid(np.arange(length + 1), np.arange(length + 1), indexing="ij")
    gram = sums @ sums.T
    norm = np.diag(gram)
    spread = (norm[:, None] + norm[None] - 2 * gram) / np.maximum(end - start, 1)
    cost = np.where(end > start, squares[end] - squares[start] - spread, np.inf)
    best, cuts = cost[0], []
    for _ in range(number - 1):
        through = best[:, None] + cost
        cuts.append(through.argmin(0))
        best = through.min(0)
    bounds = [length]
    for cut in reversed(cuts):
        bounds.append(int(cut[bounds[-1]]))
    return np.array([0, *bounds[:0:-1], length]) if number > 1 else np.array([0, length])


def perceptual_steps(
    demonstrations: Sequence[Float[np.ndarray, "T F"]],
    number: int,
    of: Callable[[Transition], PyTree] = lambda transition: transition.next_observation,
    num_features: int | None = None,
    weights: ArrayLike | None = None,
) -> Reward:
    """`sum_k weights_k * log-odds of step k`, of steps that demonstrations are cut into (after Sermanet et al. 2016).

    Each demonstration is cut into `number` pieces by `segment`. For each step the features are taken that tell its
    frames best from others, by `|mean - mean of others| / (deviation + deviation of others)`, and the log-odds are
    those of a naive Bayes classifier with a normal distribution for each feature, with steps as likely as not.

    The paper (arXiv:1612.06699) has features of a network that was trained on pictures, and cuts recursively; how it
    weighs steps we do not know for sure: weights of 0, 1, 2, ... are a choice.

    Params: `mean` and `deviation` `[2, K, F]`, of a step's frames and of others, and `weights` `[K]`.

    Args:
        demonstrations: What was seen in each, `F` numbers a frame.
        number: Of steps, `K`.
        of: What is seen now, `F` numbers.
        num_features: How many features say whether it is a step, the best ones; all if None.
        weights: Of the steps, by default their number from 0.

    Raises:
        ValueError: If there is no demonstration, they differ in their features or are shorter than their steps, there
            are not so many features, or not one weight for each step.
    """
    frames = [np.asarray(x, np.float64).reshape(len(x), -1) for x in demonstrations]
    sizes = {x.shape[1] for x in frames}
    if len(sizes) != 1 or number < 2:
        raise ValueError(
            f"steps are 2 or more, of demonstrations with equal features; got number={number} and features {sizes}"
        )
    (size,) = sizes
    if num_features is not None and not 1 <= num_features <= size:
        raise ValueError(f"of {size} features 1 to {size} can tell steps apart; got num_features={num_features}")
    if weights is not None and np.shape(weights) != (number,):
        raise ValueError(f"{number} steps have {number} weights; got weights={weights}")
    labels = np.concatenate([np.repeat(np.arange(number), np.diff(segment(x, number))) for x in frames])
    x = np.concatenate(frames)
    mean, deviation = _moments(x, labels, number)
    chosen = _most_telling(mean, deviation, num_features or size)
    numbers = {"mean": mean, "deviation": deviation, "weights": np.arange(number) if weights is None else weights}

    def paid(params: Params, transition: Transition) -> Float[Array, ""]:
        seen = flatten(of(transition), 0)
        away = (seen[None, None] - params["mean"]) / params["deviation"]
        log_density = -jnp.square(away) / 2 - jnp.log(params["deviation"])
        odds = jnp.where(chosen, log_density[0] - log_density[1], 0.0).sum(-1)
        return (params["weights"] * odds).sum()

    return markov(paid, lambda _: jax.tree.map(lambda leaf: jnp.asarray(leaf, float), numbers))


def _moments(
    x: Float[np.ndarray, "N F"], labels: Int[np.ndarray, " N"], number: int
) -> tuple[Float[np.ndarray, "2 K F"], Float[np.ndarray, "2 K F"]]:
    """Means and deviations of each step's frames, and of all others'."""
    sides = [[x[labels == k] for k in range(number)], [x[labels != k] for k in range(number)]]
    varies = x.std(0) > 1e-12 * np.abs(x).max(0)
    least = np.where(varies, LEAST_DEVIATION * x.std(0), 1.0)  # what never varies tells nothing: odds of about 1
    mean = np.array([[part.mean(0) for part in side] for side in sides])
    return mean, np.array([[np.maximum(part.std(0), least) for part in side] for side in sides])


def _most_telling(mean: Float[np.ndarray, "2 K F"], deviation: Float[np.ndarray, "2 K F"], number: int) -> np.ndarray:
    """Which features tell a step best from others, `[K, F]`."""
    telling = np.abs(mean[0] - mean[1]) / deviation.sum(0)
    order = np.argsort(-telling, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None].repeat(len(order), 0), 1)
    return rank < number
