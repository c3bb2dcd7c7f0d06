"""An agent in a world of its own, with a value beside, which its policy is judged with while it lives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import strong
from jaxreward.agents.meta.parts.curation import NEW, Buffer
from jaxreward.agents.meta.parts.follower import Follower, Life
from jaxreward.agents.meta.parts.worlds import worlds
from jaxreward.environment import select
from jaxreward.learning.estimators import gae
from jaxreward.learning.rollout import Trajectory


class Rates(Protocol):
    """The hyperparams that a value reads.

    Attributes:
        value_rate: How far a row of its table goes towards the mean of what it should be.
        learning_rate: Step size of a network's Adam.
        discount: Per step.
        gae_lambda: Trace decay of advantages.
    """

    value_rate: Any
    learning_rate: Any
    discount: Any
    gae_lambda: Any


class Citizen(NamedTuple):
    """One agent and what is known of it.

    Attributes:
        life: What it has learned, and where its environments stand.
        world: The params of its environment.
        step: How many updates it has made.
        total: How many it will make.
        value: Params of what its policy is judged with.
        value_optimiser: Its optimiser.
        place: Of its level in the buffer, or `NEW`.
    """

    life: Life
    world: PyTree
    step: Int[Array, ""]
    total: Int[Array, ""]
    value: PyTree
    value_optimiser: PyTree
    place: Int[Array, ""]


@dataclass(frozen=True)
class Citizens:
    """How they are born, and how their values learn.

    Attributes:
        lives: How they follow an objective.
        total: Draws how long a life is.
        frozen_value: Whether values stay as they were drawn.
    """

    lives: Follower
    total: Callable[[Key[Array, ""]], Int[Array, ""]]
    frozen_value: bool

    def born(
        self, key: Key[Array, ""], env_params: PyTree, buffer: Buffer | None = None, place: Int[Array, ""] | int = NEW
    ) -> Citizen:
        """An agent at the beginning of its life, in a new level or that of a place in the buffer."""
        key_world, key_total, key_life, key_value = jax.random.split(key, 4)
        drawn = worlds(self.lives.env)(key_world, env_params), self.total(key_total)
        if buffer is not None:
            kept = jax.tree.map(lambda leaf: leaf[jnp.maximum(place, 0)], (buffer.world, buffer.total))
            drawn = select(jnp.asarray(place) == NEW, drawn, kept)
        world, total = drawn
        value = self.lives.network.init(key_value, 1)
        optimiser = () if self.lives.network.is_table else self.lives.scaling(1.0).init(value)
        life, zero = self.lives.init(key_life, world), jnp.zeros((), jnp.int32)
        return strong(Citizen(life, world, zero, total, value, optimiser, jnp.asarray(place, jnp.int32)))

    def valued(
        self, citizen: Citizen, steps: Trajectory, hyperparams: Rates
    ) -> tuple[Citizen, Float[Array, "T N"], Float[Array, ""]]:
        """An agent whose value has learned from a rollout, the advantages before that, and what part it explained."""
        worth = lambda value, seen: self.lives.network.apply(value, seen, 2)[..., 0]  # noqa: E731
        value, following = (worth(citizen.value, seen) for seen in (steps.observation, steps.next_observation))
        ends = steps.terminated, steps.truncated
        advantage = gae(steps.reward, value, following, *ends, hyperparams.discount, hyperparams.gae_lambda)
        target = value + advantage
        explained = 1 - jnp.var(advantage) / (jnp.var(target) + 1e-8)
        if self.frozen_value:
            return citizen, advantage, explained
        error = lambda params: -0.5 * jnp.square(worth(params, steps.observation) - target).mean()  # noqa: E731
        change, optimiser = self.value_step(jax.grad(error)(citizen.value), citizen, steps, worth, hyperparams)
        moved = jax.tree.map(jnp.add, citizen.value, change)
        return citizen._replace(value=moved, value_optimiser=optimiser), advantage, explained

    def value_step(
        self, slope: PyTree, citizen: Citizen, steps: Trajectory, worth: Callable[..., Array], hyperparams: Rates
    ) -> tuple[PyTree, PyTree]:
        """How the value moves along a slope, and its optimiser.

        A table's rows by the means of their errors, and not by how often they were seen too: with a step that suits
        rows seen all the time, others would stay where they are.
        """
        if self.lives.network.is_table:
            seen = jax.grad(lambda value: worth(value, steps.observation).mean())(citizen.value)
            return jax.tree.map(lambda x, n: hyperparams.value_rate * x / jnp.maximum(n, 1e-8), slope, seen), ()
        change, optimiser = self.lives.scaling(1.0).update(slope, citizen.value_optimiser)
        return jax.tree.map(lambda x: hyperparams.learning_rate * x, change), optimiser
