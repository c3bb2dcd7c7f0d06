"""jaxreward's searches for many behaviours; what no implementation can beat: evaluations and neighbours alone."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreward.agents.quality_diversity.parts.evaluation import make_evaluator
from jaxreward.agents.quality_diversity.parts.genotypes import random_genomes
from jaxreward.agents.registry import get_agent
from jaxreward.compilation.cache import compiler_options as compiler_options
from jaxreward.envs import registry
from jaxreward.experiments.benchmarks.ours.run_ours import batch as batch
from jaxreward.quality_diversity import nearest


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`; `spec.part` says what of the search is run, all of it unless it is one of `PARTS`."""
    env, params = registry.make(spec.env, **vars(spec.options))
    if spec.part in PARTS:
        return PARTS[spec.part](spec, env, params)
    return search(spec, env, params), lambda told: {
        "found": {
            "evaluations": told["evaluations"],
            "coverage": told["coverage"],
            "best": np.max([each for name, each in told.items() if name.startswith("best/")], axis=0),
        }
    }


def search(spec: SimpleNamespace, env: Any, params: Any) -> Callable:
    """`init` and a scan of `step`, all in one program: what is learned, and the metrics of the last iteration."""
    chosen = get_agent(spec.agent)
    agent = chosen.make(env, params, chosen.Config(**vars(spec.config)))
    hyperparams = chosen.Hyperparams(**vars(spec.hyperparams))

    def train(key: jax.Array) -> dict[str, Any]:
        state = agent.init(jax.random.wrap_key_data(key), hyperparams)
        state, metrics = jax.lax.scan(lambda state, _: agent.step(state), state, None, spec.iterations)
        return {"params": state.params, **jax.tree.map(lambda each: each[-1], metrics)}

    return train


def evaluation(spec: SimpleNamespace, env: Any, params: Any) -> tuple[Callable, Callable]:
    """As many evaluations, of new random genomes."""
    config = get_agent(spec.agent).Config(**vars(spec.config))
    evaluator = make_evaluator(env, params, config)

    def generation(key: jax.Array, _: Any) -> jax.Array:
        genomes = random_genomes(key, config.population_size * config.children, evaluator.controller.size, config)
        outcome = evaluator.evaluate(genomes, params, key)
        return outcome.reward.sum() + outcome.descriptor.sum()

    return _generations(config, generation)


def novelty(spec: SimpleNamespace, env: Any, params: Any) -> tuple[Callable, Callable]:
    """The distances to nearest neighbours of as many generations, among themselves and in an archive that grows."""
    config = get_agent(spec.agent).Config(**vars(spec.config))
    dimensions = len(env.descriptor_bounds[0])
    number = config.population_size * (1 + config.children)

    def generation(key: jax.Array, index: jax.Array) -> jax.Array:
        behaviours = jax.random.uniform(key, (number + config.archive_capacity, dimensions))
        exists = jnp.arange(len(behaviours)) < number + index * config.archived
        own = jnp.arange(number)
        return nearest(behaviours[:number], behaviours, config.neighbours, mask=exists, own=own).distances.sum()

    return _generations(config, generation)


PARTS = {"evaluation": evaluation, "novelty": novelty}


def _generations(config: Any, generation: Callable[[jax.Array, jax.Array], jax.Array]) -> tuple[Callable, Callable]:
    """As many generations as a budget has; what they come to is summed, so that none is left out."""
    size = config.population_size * config.children
    number = -(-config.budget // size)

    def train(key: jax.Array) -> jax.Array:
        keys = jax.random.split(jax.random.wrap_key_data(key), number)
        add = lambda total, xs: (total + generation(*xs), None)  # noqa: E731
        return jax.lax.scan(add, jnp.zeros(()), (keys, jnp.arange(number)))[0]

    return train, lambda total: {"found": {"evaluations": np.full(np.shape(total), size * number)}}
