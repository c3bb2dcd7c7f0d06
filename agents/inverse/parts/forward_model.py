"""A model of the dynamics, learned beside a discriminator: where it is steep, what is said to be worth much is doubted.

It is the code of Blonde et al. 2022, "Lipschitzness is all you need" (arXiv:2006.16785), that has this factor; in the
paper it is one of a class of such factors, and its notation is not known to us.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import strong
from jaxreward.agents.baselines.parts.critics import MLP
from jaxreward.agents.baselines.td3 import adam
from jaxreward.agents.inverse.parts.discriminator import Scalar, beyond, slopes
from jaxreward.agents.inverse.parts.judge import Metrics, Pairs

RECENT = 10
"""Batches whose spread excesses are measured in."""


class ForwardState(NamedTuple):
    """What a model is made of, and by how much it was too steep in the last batches, 0 before there were as many."""

    params: PyTree
    optimiser: PyTree
    recent: Float[Array, "10"]


@dataclass(frozen=True)
class ForwardModel:
    """What follows, by what was seen and done.

    Attributes:
        network: As many outputs as numbers are seen.
    """

    network: MLP

    def init(self, key: Key[Array, ""], pairs: Pairs) -> ForwardState:
        """Draws params for such steps."""
        params = self.network.init(key, reads(pairs))
        return strong(ForwardState(params, adam(0.0).init(params), jnp.zeros(RECENT)))

    def train(self, state: ForwardState, steps: Pairs, hyperparams: Any) -> tuple[ForwardState, Metrics]:
        """A step of Adam on the squared error for each of `U` batches, `steps.following` in them, and its mean."""
        optimiser = adam(hyperparams.learning_rate)

        def loss(params: PyTree, batch: Pairs) -> Float[Array, ""]:
            return jnp.square(self.told(params, reads(batch)) - batch.following).mean()

        def step(state: ForwardState, batch: Pairs) -> tuple[ForwardState, Float[Array, ""]]:
            error, gradient = jax.value_and_grad(loss)(state.params, batch)
            updates, inner = optimiser.update(gradient, state.optimiser)
            excess = self.excess(state.params, batch, hyperparams.forward_target)[0]
            recent = jnp.append(state.recent[1:], excess)
            return ForwardState(optax.apply_updates(state.params, updates), inner, recent), error

        state, errors = jax.lax.scan(step, state, steps)
        return state, {"loss/forward": errors.mean()}

    def factor(self, state: ForwardState, steps: Pairs, hyperparams: Any) -> Float[Array, "*U 1"]:
        """`max(least, exp(-excess / sd))`, one for each batch, `sd` the deviation of excesses of the last batches."""
        excess = self.excess(state.params, steps, hyperparams.forward_target)
        return jnp.maximum(jnp.exp(-excess / (state.recent.std() + 1e-8)), hyperparams.least_factor)

    def excess(self, params: PyTree, steps: Pairs, target: Scalar) -> Float[Array, "*U 1"]:
        """The mean over a batch of `max(0, |d sum f(s, a)| - target)^2`."""
        slope = slopes(lambda x: self.told(params, x).sum(-1), reads(steps))
        return beyond(slope, target, one_sided=True).mean(-1, keepdims=True)

    def told(self, params: PyTree, x: Float[Array, "*batch D"]) -> Float[Array, "*batch F"]:
        """What would follow."""
        outputs: Any = self.network.apply(params, x)
        return outputs


def reads(pairs: Pairs) -> Float[Array, "*batch D"]:
    """What was seen and done, as one vector."""
    return jnp.concatenate([pairs.seen, pairs.action], -1)
