"""Genomes with what came of them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agents.quality_diversity.parts.evaluation import EvaluationConfig, Evaluator, Outcome
from jaxreward.agents.quality_diversity.parts.space import Space


class Genotypes(NamedTuple):
    """Some that were tried, leaves `[n, ...]`.

    Attributes:
        genome: Their genes.
        outcome: What came of them.
        behaviour: Where they are among other behaviours.
        surprise: How badly a learned space of behaviours knows them; 0 in one that is given.
        recruited: Whether an emitter was to start from them already.
    """

    genome: Float[Array, "n D"]
    outcome: Outcome
    behaviour: Float[Array, "n b"]
    surprise: Float[Array, " n"]
    recruited: Bool[Array, " n"]


def random_genomes(key: Key[Array, ""], number: int, size: int, config: EvaluationConfig) -> Float[Array, "n D"]:
    """Standard normal genes, clipped to their limits."""
    return jnp.clip(jax.random.normal(key, (number, size)), config.genome_low, config.genome_high)


def mutate(
    key: Key[Array, ""], genomes: Float[Array, "n D"], deviation: Float[Array, "..."] | float, config: EvaluationConfig
) -> Float[Array, "n D"]:
    """Each gene with Gaussian noise of this standard deviation, clipped to its limits."""
    noise = jax.random.normal(key, (genomes.size,)).reshape(genomes.shape)  # cheaper to draw than a table
    return jnp.clip(genomes + noise * deviation, config.genome_low, config.genome_high)


def evaluated(
    evaluator: Evaluator,
    space: Space,
    genomes: Float[Array, "n D"],
    params: PyTree,
    env_params: PyTree,
    key: Key[Array, ""],
) -> Genotypes:
    """Genomes with what comes of them; `params` are those of the space, `key` that of every evaluation."""
    outcome = evaluator.evaluate(genomes, env_params, key)
    behaviour, surprise = space.place(params, outcome, env_params)
    return Genotypes(genomes, outcome, behaviour, surprise, jnp.zeros(len(genomes), bool))


def take(tree: PyTree, rows: Int[Array, "..."] | int) -> PyTree:
    """Some rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def join(*trees: PyTree) -> PyTree:
    """Rows of several, one after the other."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)
