"""jaxreward's searches for many behaviours; what no implementation can beat: parts of the same work alone."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreward.agents.quality_diversity.parts.autoencoder import Autoencoder, errors
from jaxreward.agents.quality_diversity.parts.evaluation import make_evaluator
from jaxreward.agents.quality_diversity.parts.fitting import Fitted, Fitting, fit, start
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
            **updates(told["params"][1]),
        }
    }


def updates(space: Any) -> dict[str, Any]:
    """How many steps of Adam a space of behaviours was learned with, if it is one that is learned."""
    return {"updates": optax.tree.get(space.optimiser, "count")} if isinstance(space, Fitted) else {}


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
    dimensions = config.frames * config.code if hasattr(config, "frames") else len(env.descriptor_bounds[0])
    number = config.population_size * (1 + config.children)

    def generation(key: jax.Array, index: jax.Array) -> jax.Array:
        behaviours = jax.random.uniform(key, (number + config.archive_capacity, dimensions))
        exists = jnp.arange(len(behaviours)) < number + index * config.archived
        own = jnp.arange(number)
        return nearest(behaviours[:number], behaviours, config.neighbours, mask=exists, own=own).distances.sum()

    return _generations(config, generation)


def pictures(spec: SimpleNamespace, env: Any, params: Any) -> tuple[Callable, Callable]:
    """Each evaluation's pictures drawn once, of arms in postures at random."""
    config = get_agent(spec.agent).Config(**vars(spec.config))
    _, arm = env.reset_env(jax.random.key(0), params)
    draw = jax.vmap(lambda angles: env.image(arm.replace(angles=angles), params, config.image_size))

    def block(key: jax.Array, number: int) -> jax.Array:
        return draw(jax.random.uniform(key, (number, *arm.angles.shape), minval=-1)).sum()

    return _in_blocks(config, block)


def encoding(spec: SimpleNamespace, env: Any, params: Any) -> tuple[Callable, Callable]:
    """As many pictures to codes and back: how much one surprises is how much it differs then."""
    config = get_agent(spec.agent).Config(**vars(spec.config))

    def block(key: jax.Array, number: int) -> jax.Array:
        # Weights are drawn here, and cost little, so that many seeds at once don't share them.
        network, weights = new_network(key, config)
        images = made_up(jax.random.uniform(key, (number,)), config)
        codes, made = cast(tuple[jax.Array, jax.Array], network.apply(weights, images))
        return codes.sum() + errors(images, made).sum()

    return _in_blocks(config, block)


def training(spec: SimpleNamespace, env: Any, params: Any) -> tuple[Callable, Callable]:
    """All epochs of the trainings that are due, on as many pictures, at least: those of what was paid are left out."""
    config = get_agent(spec.agent).Config(**vars(spec.config))
    fitting = Fitting(config.epochs, config.images, patience=config.epochs)
    numbers = jnp.array(trained_on(config, spec.iterations))

    def train(key: jax.Array) -> dict[str, Any]:
        key = jax.random.wrap_key_data(key)
        network, weights = new_network(key, config)
        shades = jax.random.uniform(key, (max(trained_on(config, spec.iterations)),))

        def error(weights: Any, shades: jax.Array) -> jax.Array:
            images = made_up(shades, config)
            return errors(images, cast(tuple[jax.Array, jax.Array], network.apply(weights, images))[1])

        def learn(fitted: Fitted, x: tuple[jax.Array, jax.Array]) -> tuple[Fitted, None]:
            return fit(fitted, x[0], error, shades, jnp.arange(shades.size) < x[1], fitting), None

        keys = jax.random.split(key, len(numbers))
        return {"space": jax.lax.scan(learn, start(weights, fitting), (keys, numbers))[0]}

    return train, lambda told: {"found": updates(told["space"])}


def trained_on(config: Any, iterations: int) -> list[int]:
    """How many pictures there are at each training; due after 1, 3, 6, ... iterations, see `parts.retraining`."""
    due = [n * (n + 1) // 2 for n in range(1, iterations + 1)]
    known = config.population_size + config.brood
    return [config.frames * (known + config.archived * config.generations * n) for n in due if n <= iterations]


def new_network(key: jax.Array, config: Any) -> tuple[Autoencoder, Any]:
    """An autoencoder, and weights it starts with."""
    network = Autoencoder(config.image_size, config.channels, config.code)
    images = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), jnp.float32)
    return network, network.lazy_init(key, images)


def made_up(shades: jax.Array, config: Any) -> jax.Array:
    """Pictures that cost nothing to draw, `[n, size, size, 3]`: the same noise, darker or brighter."""
    noise = jax.random.uniform(jax.random.key(0), (config.image_size, config.image_size, 3))
    return shades[:, None, None, None] * noise[None]


PARTS = {
    "evaluation": evaluation,
    "novelty": novelty,
    "pictures": pictures,
    "encoding": encoding,
    "training": training,
}


def _in_blocks(config: Any, block: Callable[[jax.Array, int], jax.Array]) -> tuple[Callable, Callable]:
    """What is to be done for all pictures of each generation, for as many at once as the search does."""
    number = config.brood * config.frames
    blocks = -(-number // config.images)

    def generation(key: jax.Array, _: Any) -> jax.Array:
        return jax.lax.map(lambda key: block(key, -(-number // blocks)), jax.random.split(key, blocks)).sum()

    return _generations(config, generation)


def _generations(config: Any, generation: Callable[[jax.Array, jax.Array], jax.Array]) -> tuple[Callable, Callable]:
    """As many generations as a budget has; what they come to is summed, so that none is left out."""
    size = config.population_size * config.children
    number = -(-config.budget // size)

    def train(key: jax.Array) -> jax.Array:
        keys = jax.random.split(jax.random.wrap_key_data(key), number)
        add = lambda total, xs: (total + generation(*xs), None)  # noqa: E731
        return jax.lax.scan(add, jnp.zeros(()), (keys, jnp.arange(number)))[0]

    return train, lambda total: {"found": {"evaluations": np.full(np.shape(total), size * number)}}
