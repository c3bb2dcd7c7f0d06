"""Who goes on: the criteria by which populations are cut."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.agents.quality_diversity.parts.genotypes import Genotypes
from jaxreward.quality_diversity import nearest, nsga2_order

Selection = Literal["novelty", "surprise", "novelty_or_surprise", "novelty_and_surprise", "nsga2", "nslc"]


class Reference(NamedTuple):
    """The behaviours that novelty is measured against.

    Attributes:
        behaviour: Where they are.
        reward: What they earned.
        exists: Which of the rows there are.
    """

    behaviour: Float[Array, "R b"]
    reward: Float[Array, " R"]
    exists: Bool[Array, " R"]


class Merits(NamedTuple):
    """What speaks for each of `n` genotypes.

    Attributes:
        novelty: The mean distance to the nearest of the reference.
        beaten: How many of these earned less: local competition (Lehman & Stanley 2011).
    """

    novelty: Float[Array, " n"]
    beaten: Float[Array, " n"]


def merits(genotypes: Genotypes, reference: Reference, neighbours: int) -> Merits:
    """Novelty and local competition of those that are the first rows of the reference themselves."""
    own = jnp.arange(genotypes.surprise.size)
    near = nearest(genotypes.behaviour, reference.behaviour, neighbours, mask=reference.exists, own=own)
    there = jnp.isfinite(near.distances)
    number = jnp.maximum(there.sum(1), 1)
    novelty = jnp.where(there, near.distances, 0).sum(1) / number
    less = there & (reference.reward[near.indices] < genotypes.outcome.reward[:, None])
    return Merits(novelty, less.sum(1).astype(float))


def order(selection: Selection, key: Key[Array, ""], genotypes: Genotypes, merits: Merits) -> Int[Array, " n"]:
    """Rows of the genotypes, the best first.

    Args:
        selection: "novelty" (Lehman & Stanley 2011) or "surprise" alone; "novelty_or_surprise", one of the two by the
            toss of a coin (TAXONS, arXiv:1909.05508); by non-domination and crowding (NSGA-II, Deb et al. 2002) in
            "novelty_and_surprise", "nsga2", novelty and reward, or "nslc", novelty and local competition.
        key: For the coin.
        genotypes: Whom to put in order.
        merits: What speaks for them.
    """
    surprise = genotypes.surprise
    if selection == "novelty_or_surprise":
        return jnp.argsort(-jnp.where(jax.random.bernoulli(key), merits.novelty, surprise))
    if selection in ("novelty", "surprise"):
        return jnp.argsort(-(merits.novelty if selection == "novelty" else surprise))
    second = {"novelty_and_surprise": surprise, "nsga2": genotypes.outcome.reward, "nslc": merits.beaten}
    return nsga2_order(jnp.stack([merits.novelty, second[selection]], 1), jnp.ones(surprise.shape, bool))
