"""Choices of several agents at once, of which no two are the same."""

from __future__ import annotations

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreward.agents.dispatch.parts.actor import NEVER
from jaxreward.envs.games.assignment import dealt
from jaxreward.learning.networks import Head


def deal(scores: Float[Array, "*batch n K"]) -> Int[Array, "*batch n"]:
    """As many of the first `K - 1` choices as can be, each to one agent, by the most sum of scores; else the last."""
    none = scores.shape[-1] - 1
    games = scores[..., :none].reshape(-1, *scores.shape[-2:-1], none)
    found = jax.vmap(lambda game: dealt(game, game > NEVER / 2))(games)
    return jnp.where(found < 0, none, found).reshape(scores.shape[:-1])


class Dealt(distrax.Categorical):
    """A softmax for each agent, whose most likely choices are those that all can have at once.

    That an agent gets none is not its own choice, and so has a probability of 1.
    """

    def __init__(self, scores: Float[Array, "*batch n K"]) -> None:
        super().__init__(logits=scores)
        self.scores = scores  # `logits` are less by what makes them probabilities, of each agent

    def mode(self) -> Int[Array, "*batch n"]:
        """What is dealt without noise."""
        return deal(self.scores)

    def log_prob(self, value: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Of a choice; 0 of none."""
        return jnp.where(value == self.num_categories - 1, 0.0, super().log_prob(value))

    def entropy(self) -> Float[Array, "*batch"]:
        """Of the softmax; 0 where nothing can be chosen."""
        return jnp.where((self.scores > NEVER / 2).any(-1), super().entropy(), 0.0)


def dealing_head(choices: int) -> Head:
    """A softmax over choices for each agent, by which it is judged; what it chooses is dealt.

    To scores Gumbel noise is added before dealing: an agent whose choice nobody else wants draws from its softmax.
    """
    return Head(
        size=choices,
        free=0,
        noise=lambda key, batch: jax.random.gumbel(key, (*batch, choices)),
        distribution=Dealt,
        sample=lambda logits, noise: deal(logits + noise),
        to_env=lambda action: action,
    )
