"""A bonus where a network has not yet learned what another, random one says: what was seldom seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from jaxreward.learning.networks import flatten
from jaxreward.reward import Params, Reward, Shared, Transition, of_all_environments

LIMIT = 5.0
"""Standard deviations that normalised observations are cut at, as in the paper."""


class Layers(NamedTuple):
    """Weights of a network with one hidden layer."""

    hidden: Float[Array, "F H"]
    bias: Float[Array, " H"]
    out: Float[Array, "H K"]


class Seen(NamedTuple):
    """What all environments have taught: the predictor, Adam's state, and moments of the observations so far."""

    predictor: Layers
    optimiser: PyTree
    steps: Float[Array, ""]
    mean: Float[Array, " F"]
    squares: Float[Array, " F"]


def random_network_bonus(
    size: int,
    of: Callable[[Transition], PyTree] = lambda transition: transition.next_observation,
    bonus: ArrayLike = 1.0,
    learning_rate: ArrayLike = 1e-3,
    width: int = 32,
    outputs: int = 16,
) -> Reward:
    """`bonus` times the error of a predictor of a random network's outputs (RND: Burda et al. 2018, arXiv:1810.12894).

    A predictor learns by Adam, from each step of all environments, what a network of fixed random weights says of what
    is seen; the mean squared error before that is paid. What is seen is centred and scaled by its running moments, and
    cut at 5 deviations. Both networks have one hidden layer of rectified linear units, where the paper's are
    convolutional and the predictor's are deeper. The paper divides the bonus by the deviation of its returns: that is
    `normalise(random_network_bonus(...))`. An episode that is played for itself, as to evaluate a policy, is paid as at
    the beginning of training.

    Every environment holds a copy of the predictor: keep it small. Params: `bonus`, `learning_rate`, `target` and
    `predictor`, both drawn.

    Args:
        size: How many numbers it is that are seen, `F`.
        of: What is seen, any arrays, `F` numbers in all.
        bonus: Of an error of 1.
        learning_rate: Of the predictor.
        width: Hidden units.
        outputs: Of both networks, `K`.

    Raises:
        ValueError: If a size is not positive.
    """
    sizes = {"size": size, "width": width, "outputs": outputs}
    if min(sizes.values()) < 1:
        raise ValueError(f"the sizes of a random network are 1 or more; got {sizes}")

    def init(key: Key[Array, ""]) -> Params:
        key_target, key_predictor = jax.random.split(key)
        numbers = {"bonus": jnp.asarray(bonus, float), "learning_rate": jnp.asarray(learning_rate, float)}
        draw = lambda key: _draw(key, size, width, outputs)  # noqa: E731
        return {**numbers, "target": draw(key_target), "predictor": draw(key_predictor)}

    def reset(params: Params) -> Shared:
        zeros = jnp.zeros(size, float)
        optimiser = optax.scale_by_adam().init(params["predictor"])
        return Shared(Seen(params["predictor"], optimiser, jnp.zeros((), float), zeros, zeros))

    def step(params: Params, memory: Shared, transition: Transition) -> tuple[Shared, Float[Array, ""]]:
        seen, x = memory.value, flatten(of(transition), 0)
        if x.shape != (size,):
            raise ValueError(f"random_network_bonus sees {x.size} numbers, and size={size}; set size={x.size}")
        scaled = _scaled(x, seen)
        error, gradient = jax.value_and_grad(_error)(seen.predictor, params["target"], scaled)
        (gradients, xs), valid = of_all_environments((gradient, x), transition)
        return Shared(_learned(seen, gradients, xs, valid, params["learning_rate"])), params["bonus"] * error

    return Reward(init, reset, step, lambda ended, _: ended)


def _draw(key: Key[Array, ""], size: int, width: int, outputs: int) -> Layers:
    """Weights whose layers keep the variance of what they are given (He et al. 2015), random biases too."""
    hidden, bias, out = jax.random.split(key, 3)
    normal = jax.random.normal
    return Layers(
        normal(hidden, (size, width), float) * jnp.sqrt(2.0 / size).astype(float),
        normal(bias, (width,), float),
        normal(out, (width, outputs), float) * jnp.sqrt(2.0 / width).astype(float),
    )


def _said(layers: Layers, x: Float[Array, " F"]) -> Float[Array, " K"]:
    return jax.nn.relu(x @ layers.hidden + layers.bias) @ layers.out


def _error(predictor: Layers, target: Layers, x: Float[Array, " F"]) -> Float[Array, ""]:
    return jnp.square(_said(predictor, x) - jax.lax.stop_gradient(_said(target, x))).mean()


def _scaled(x: Float[Array, " F"], seen: Seen) -> Float[Array, " F"]:
    """By the moments of the steps before; at the first ones, and where nothing varies, it is only centred."""
    variance = seen.squares / jnp.maximum(seen.steps, 1.0)
    varies = variance > 1e-12 * jnp.square(seen.mean)
    return jnp.clip((x - seen.mean) * jnp.where(varies, jax.lax.rsqrt(variance + 1e-8), 1.0), -LIMIT, LIMIT)


def _learned(
    seen: Seen, gradients: Layers, xs: Float[Array, "N F"], valid: Float[Array, " N"], rate: Float[Array, ""]
) -> Seen:
    """After a step of all environments, of which only those count that belong to an episode."""
    number = valid.sum().astype(float)
    mean_of = lambda x: jnp.where(valid.reshape(-1, *[1] * (x.ndim - 1)), x, 0.0).sum(0) / jnp.maximum(number, 1.0)  # noqa: E731
    updates, optimiser = optax.scale_by_adam().update(jax.tree.map(mean_of, gradients), seen.optimiser)
    predictor = jax.tree.map(lambda w, update: w - rate * update, seen.predictor, updates)
    here, steps = mean_of(xs), seen.steps + number
    spread, away = mean_of(jnp.square(xs - here[None])) * number, here - seen.mean
    share = number / jnp.maximum(steps, 1.0)
    squares = seen.squares + spread + jnp.square(away) * seen.steps * share
    after = Seen(predictor, optimiser, steps, seen.mean + away * share, squares)
    return jax.tree.map(lambda new, old: jnp.where(number > 0, new, old), after, seen)
