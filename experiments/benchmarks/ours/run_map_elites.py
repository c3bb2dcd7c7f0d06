"""jaxreward's MAP-Elites, and what no implementation can beat: children and their evaluation without a grid."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment

from jaxreward.agents.quality_diversity.parts.evaluation import make_evaluator
from jaxreward.agents.quality_diversity.parts.genotypes import random_genomes
from jaxreward.agents.registry import get_agent
from jaxreward.compilation.cache import compiler_options as compiler_options
from jaxreward.envs import registry
from jaxreward.envs.qd.discs import NO_AREA
from jaxreward.experiments.benchmarks.ours.run_ours import batch as batch
from jaxreward.experiments.benchmarks.ours.run_stax import search


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`; `spec.part` says what of the search is run: all of it, or children alone."""
    env, params = registry.make(spec.env, **vars(spec.options))
    if spec.feet:
        env = FeetContact(env, spec.feet)
    if spec.part == "children":
        return children(spec, env, params)
    cells = spec.config.bins ** len(env.descriptor_bounds[0])
    return search(spec, env, params), lambda told: {
        "found": {"coverage": told["archive/size"] / cells, "qd_score": told["qd_score"]}
    }


def children(spec: SimpleNamespace, env: Any, params: Any) -> tuple[Callable, Callable]:
    """As many children, each generation those of the one before, and their evaluation."""
    config = get_agent(spec.agent).Config(**vars(spec.config))
    evaluator = make_evaluator(env, params, config)
    iso, line = spec.hyperparams.iso, spec.hyperparams.line

    def train(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        key, key_start = jax.random.split(jax.random.wrap_key_data(key))
        genomes = random_genomes(key, config.batch, evaluator.controller.size, config)

        def generation(now: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[tuple, None]:
            genomes, total = now
            key_iso, key_line = jax.random.split(key)
            # Drawn flat: XLA's CPU code for normal numbers is several times slower over short rows.
            noise = jax.random.normal(key_iso, (genomes.size,)).reshape(genomes.shape)
            towards = jnp.roll(genomes, 1, axis=0) - genomes
            born = genomes + iso * noise + line * jax.random.normal(key_line, (len(genomes), 1)) * towards
            born = jnp.clip(born, config.genome_low, config.genome_high)
            outcome = evaluator.evaluate(born, params, key_start)
            return (born, total + outcome.reward.sum() + outcome.descriptor.sum()), None

        number = spec.iterations * config.generations
        return jax.lax.scan(generation, (genomes, jnp.zeros(())), jax.random.split(key, number))[0]

    return train, lambda output: {}


class FeetState(NamedTuple):
    """A simulated robot's state, and how many steps each of its feet has stood on the ground, `[feet]`."""

    inner: Any
    stood: jax.Array
    time: jax.Array


class FeetContact(Environment):
    """One of brax's robots, described by the share of steps that begin with a foot on the ground, `[feet]`.

    It is what QDax calls `..._uni`.
    """

    num_areas = 0

    def __init__(self, env: Any, feet: list[str]) -> None:
        """Wraps `env`, one of `brax/NAME?debug=true`: brax then keeps its contacts. `feet` are names of links."""
        super().__init__()
        self.env = env
        links = env.simulator.sys.link_names
        self.links = np.array([links.index(foot) for foot in feet])
        self.descriptor_bounds = ((0.0,) * len(feet), (1.0,) * len(feet))

    def __getattr__(self, name: str) -> Any:
        if name == "env" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.env, name)

    @property
    def default_params(self) -> Any:
        return self.env.default_params

    @property
    def num_actions(self) -> int:
        return self.env.num_actions

    def action_space(self, params: Any = None) -> Any:
        return self.env.action_space(params)

    def reset_env(self, key: jax.Array, params: Any) -> tuple[jax.Array, FeetState]:
        observation, inner = self.env.reset_env(key, params)
        return observation, FeetState(inner, jnp.zeros(len(self.links)), jnp.zeros((), jnp.int32))

    def step_env(self, key: jax.Array, state: FeetState, action: jax.Array, params: Any) -> tuple:
        stood = state.stood + self.stands(state.inner)
        observation, inner, reward, terminated, info = self.env.step_env(key, state.inner, action, params)
        time = state.time + 1
        told = {**info, "descriptor": stood / time, "area": jnp.asarray(NO_AREA, jnp.int32)}
        return observation, FeetState(inner, stood, time), reward, terminated, told

    def is_truncated(self, state: FeetState, params: Any) -> jax.Array:
        return self.env.is_truncated(state.inner, params)

    def is_terminated(self, state: FeetState, params: Any) -> jax.Array:
        return self.env.is_terminated(state.inner, params)

    def stands(self, state: Any) -> jax.Array:
        """Which feet touch something, as numbers, `[feet]`."""
        contact = state.sim.pipeline_state.contact
        touched = (contact.link_idx[1][None] == self.links[:, None]) & (contact.dist <= 0)[None]
        return touched.any(-1).astype(float)
