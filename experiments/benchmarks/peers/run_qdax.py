"""QDax's MAP-Elites, as the package ships it, as its own examples put it together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from qdax.core.containers.mapelites_repertoire import compute_euclidean_centroids
from qdax.core.emitters.mutation_operators import isoline_variation
from qdax.core.emitters.standard_emitters import MixingEmitter
from qdax.core.map_elites import MAPElites
from qdax.utils.metrics import default_qd_metrics


class Task(NamedTuple):
    """What is searched.

    Attributes:
        score: `(genotypes, key) -> (fitnesses, descriptors, extra scores)`.
        genotypes: `key -> ` a batch to start from.
        bounds: Of genes, if they have any.
        descriptors: Between which numbers these lie.
    """

    score: Callable
    genotypes: Callable[[jax.Array], Any]
    bounds: dict[str, float]
    descriptors: tuple[Any, Any]


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`. A run is `init` and a scan of `scan_update`, as in its examples."""
    task = _arm(spec) if spec.task == "arm" else _brax(spec)
    vary = functools.partial(isoline_variation, iso_sigma=spec.iso, line_sigma=spec.line, **task.bounds)
    emitter = MixingEmitter(lambda genotypes, _: genotypes, vary, variation_percentage=1.0, batch_size=spec.batch)
    measure = functools.partial(default_qd_metrics, qd_offset=spec.offset)
    algorithm = MAPElites(task.score, emitter, measure)
    centroids = compute_euclidean_centroids(tuple(spec.bins), *task.descriptors)

    def train(key: jax.Array) -> dict[str, jax.Array]:
        key, key_genotypes, key_init = jax.random.split(jax.random.wrap_key_data(key), 3)
        repertoire, state, _ = algorithm.init(task.genotypes(key_genotypes), centroids, key_init)
        start = (repertoire, state, key)
        (repertoire, _, _), metrics = jax.lax.scan(algorithm.scan_update, start, None, length=spec.iterations)
        return {"repertoire": repertoire.fitnesses, **jax.tree.map(lambda each: each[-1], metrics)}

    return train, lambda output: {
        "found": {"coverage": output["coverage"] / 100, "qd_score": output["qd_score"], "best": output["max_fitness"]}
    }


def _arm(spec: SimpleNamespace) -> Task:
    from qdax.tasks.arm import arm_scoring_function

    uniform = lambda key: jax.random.uniform(key, (spec.batch, spec.joints))  # noqa: E731
    return Task(arm_scoring_function, uniform, {"minval": 0.0, "maxval": 1.0}, (0.0, 1.0))


def _brax(spec: SimpleNamespace) -> Task:
    from qdax.tasks.brax.v2.env_creators import create_default_brax_task_components

    env, policy, score = create_default_brax_task_components(
        spec.task, jax.random.key(0), spec.num_steps, (spec.width,) * spec.layers
    )
    nothing = jnp.zeros((spec.batch, env.observation_size))
    draw = lambda key: jax.vmap(policy.init)(jax.random.split(key, spec.batch), nothing)  # noqa: E731
    return Task(score, draw, {}, env.descriptor_limits)
