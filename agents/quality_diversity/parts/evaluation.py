"""What comes of a genome: one episode, and what is kept of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agents.quality_diversity.parts.controller import Controller, controller_of
from jaxreward.contract.sizes import Sized, size
from jaxreward.environment import WithReward, scalar_environment, select, world
from jaxreward.learning.episodes import episode_limit

Watch = Callable[[PyTree, dict[str, Array]], PyTree]
"""`(state, info) -> what is kept of a step`; the state is that of the environment beneath its rewards."""


@dataclass(frozen=True)
class EvaluationConfig(Sized):
    """How genomes are tried; what all algorithms of this family have in common.

    Attributes:
        chunk_size: Evaluations of an iteration, at least.
        num_steps: The most steps of an episode; 0 for the environment's own limit.
        controller: What genes mean, see `jaxreward.agents.quality_diversity.parts.controller.controller_of`.
        layers: Hidden layers of a network.
        width: Units of each.
        genome_low: Genes are kept above this,
        genome_high: and below this.
    """

    headline: ClassVar[tuple[str, ...]] = ("coverage",)
    needs_episodes: ClassVar[bool] = True

    chunk_size: int = size(1_000)
    num_steps: int = size(0, least=0)
    controller: Literal["shared_bias", "mlp", "constant"] = "shared_bias"
    layers: int = size(2, least=0)
    width: int = size(5)
    genome_low: float = size(-5.0, least=-math.inf)
    genome_high: float = size(5.0, least=-math.inf)

    @property
    def brood(self) -> int:
        """Evaluations of a generation."""
        raise NotImplementedError(f"{type(self).__name__} does not say how many genomes a generation tries")

    @property
    def generations(self) -> int:
        """How many an iteration has."""
        return -(-self.chunk_size // self.brood)

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of an iteration, at most; with emitters, of its exploration."""
        return self.generations * self.brood * self.num_steps

    @property
    def steps_note(self) -> str:
        """Why a run may take other steps than its iterations are counted with."""
        return "(steps are counted as if every episode were as long as it may be; there are fewer where some end early)"

    def for_env(self, env: Environment, env_params: PyTree) -> Self:
        """The config with the steps of an episode.

        Raises:
            ValueError: If neither the config nor the environment limits them.
        """
        return replace(self, num_steps=episode_limit(env, env_params, self.num_steps))


class Outcome(NamedTuple):
    """What came of genomes, leaves `[n, ...]`.

    Attributes:
        reward: Of the whole episode.
        area: The reward area the episode ended with, -1 for none.
        descriptor: `info["descriptor"]` of the last step.
        steps: How many the episode had.
        record: What was watched, leaves `[n, s, ...]`; `()` if nothing was.
    """

    reward: Float[Array, " n"]
    area: Int[Array, " n"]
    descriptor: Float[Array, "n d"]
    steps: Int[Array, " n"]
    record: PyTree


class _Episode(NamedTuple):
    """An episode under way."""

    observation: PyTree
    state: PyTree
    outcome: Outcome
    last: PyTree
    over: Bool[Array, ""]


@dataclass(frozen=True)
class Evaluator:
    """Episodes of genomes.

    Attributes:
        env: The environment.
        controller: What genes mean.
        num_steps: The most steps of an episode, `T`.
        watch: What is kept of a step; None for nothing.
        steps: Of which steps, from 0 to `T - 1`; an episode that has ended before repeats its last.
    """

    env: Environment
    controller: Controller
    num_steps: int
    watch: Watch | None = None
    steps: tuple[int, ...] = ()

    def evaluate(self, genomes: Float[Array, "n D"], env_params: PyTree, key: Key[Array, ""]) -> Outcome:
        """One episode of each genome, all from the same start: what differs between them is their own doing."""
        return jax.vmap(self._episode, (0, None, None))(genomes, env_params, key)

    def _episode(self, genome: Float[Array, " D"], env_params: PyTree, key: Key[Array, ""]) -> Outcome:
        key_reset, key_steps = jax.random.split(key)
        observation, state = self.env.reset_env(key_reset, env_params)
        slots = np.full(self.num_steps, len(self.steps), np.int32)
        slots[list(self.steps)] = np.arange(len(self.steps))

        def step(episode: _Episode, x: tuple[Array, Array]) -> tuple[_Episode, None]:
            index, slot = x
            return self._step(episode, genome, env_params, jax.random.fold_in(key_steps, index), slot), None

        shapes = jax.eval_shape(lambda: self._watched(key_reset, observation, state, genome, env_params))
        start = _Episode(observation, state, *self._nothing(shapes), jnp.zeros((), bool))
        return jax.lax.scan(step, start, (jnp.arange(self.num_steps), jnp.asarray(slots)))[0].outcome

    def _step(self, episode: _Episode, genome: Array, env_params: PyTree, key: Array, slot: Array) -> _Episode:
        action = self.controller.act(genome, episode.observation)
        observation, state, reward, terminated, info = self.env.step_env(key, episode.state, action, env_params)
        over = episode.over | terminated | self.env.is_truncated(state, env_params)
        seen = info["descriptor"], info["area"], self._look(state, info)
        past = episode.outcome
        before = (past.descriptor, past.area, episode.last)
        after = select(episode.over, (episode.observation, episode.state, before), (observation, state, seen))
        observation, state, (descriptor, area, last) = after
        record = jax.tree.map(lambda rows, new: rows.at[slot].set(new, mode="drop"), past.record, last)
        total = past.reward + jnp.where(episode.over, 0.0, reward)
        outcome = Outcome(total, area, descriptor, past.steps + ~episode.over, record)
        return _Episode(observation, state, outcome, last, over)

    def _look(self, state: PyTree, info: dict[str, Array]) -> PyTree:
        if self.watch is None or not self.steps:
            return ()
        env = self.env
        while isinstance(env, WithReward):
            env, state = env.env, state.env
        return self.watch(state, info)

    def _watched(self, key: Array, observation: PyTree, state: PyTree, genome: Array, env_params: PyTree) -> PyTree:
        """What a step shows, for its shapes."""
        action = self.controller.act(genome, observation)
        _, state, _, _, info = self.env.step_env(key, state, action, env_params)
        return info["descriptor"], info["area"], self._look(state, info)

    def _nothing(self, shapes: PyTree) -> tuple[Outcome, PyTree]:
        descriptor, area, last = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        record = jax.tree.map(lambda leaf: jnp.zeros((len(self.steps), *leaf.shape), leaf.dtype), last)
        return Outcome(jnp.zeros(()), area, descriptor, jnp.zeros((), jnp.int32), record), last


def make_evaluator(
    env: Environment,
    env_params: PyTree,
    config: EvaluationConfig,
    watch: Watch | None = None,
    steps: Callable[[int], tuple[int, ...]] = lambda _: (),
) -> Evaluator:
    """Trials in an environment.

    Args:
        env: One whose `info` has `descriptor` and `area`.
        env_params: Its params.
        config: How genomes are tried.
        watch: What is kept of a step.
        steps: Of which steps, given how many there are.

    Raises:
        ValueError: If the environment has no descriptor, no limit where none is given, or a vector of rewards.
    """
    env = scalar_environment(env, env_params)
    if not hasattr(world(env, env_params)[0], "descriptor_bounds"):
        raise ValueError(
            f"{env.name} does not say how its behaviours are described: it has no `descriptor_bounds`, and no "
            '`info["descriptor"]` and `info["area"]`; the tasks qd/... have'
        )
    limit = config.for_env(env, env_params).num_steps
    if not config.genome_low < config.genome_high:
        raise ValueError(f"genes lie between genome_low={config.genome_low} and genome_high={config.genome_high}")
    controller = controller_of(env, env_params, config.controller, config.layers, config.width)
    return Evaluator(env, controller, limit, watch, steps(limit))
