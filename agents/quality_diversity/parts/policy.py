"""The best of a search, as a policy."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Policy
from jaxreward.agents.quality_diversity.parts.controller import Controller
from jaxreward.agents.quality_diversity.parts.genotypes import Genotypes
from jaxreward.quality_diversity import Archive, is_stored


def best_genome(present: Sequence[Genotypes], archives: Sequence[Archive] = ()) -> Float[Array, " D"]:
    """The genome that earned most among those at hand and those stored, the first of several."""
    genomes = [part.genome for part in present] + [archive.items.genome for archive in archives]
    rewards = [part.outcome.reward for part in present]
    stored = [jnp.where(is_stored(archive), archive.items.outcome.reward, -jnp.inf) for archive in archives]
    return jnp.concatenate(genomes)[jnp.argmax(jnp.concatenate(rewards + stored))]


def policy_of(controller: Controller, genome: Float[Array, " D"]) -> Policy:
    """The policy of a genome, which has no noise."""

    def act(carry: PyTree, observation: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
        return carry, controller.act(genome, observation)

    return Policy(lambda: (), act, act)
