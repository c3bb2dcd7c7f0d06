"""A world with one of several objectives: the instances of a task differ in numbers alone, so they share a program."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.environment import WithReward
from jaxreward.reward import Reward


@struct.dataclass
class TaskParams:
    """Params of a task.

    Attributes:
        env: Those of the world.
        objectives: Those of the reward, of all instances, leaves `[K, ...]`.
        instance: Which of them it is.
    """

    env: PyTree
    objectives: PyTree
    instance: Int[Array, ""]

    @property
    def reward(self) -> PyTree:
        """The reward's params of this instance."""
        return jax.tree.map(lambda leaf: leaf[self.instance], self.objectives)


class Task(WithReward):
    """A world whose own reward is that of one of several instances, `env.instance` by name.

    Attributes:
        best: What no return of each instance exceeds, `[K]`, None where no such bound is known. What makes the task
            says whether it can be reached.
    """

    def __init__(
        self,
        name: str,
        world: Environment,
        reward: Reward,
        objectives: PyTree,
        slip: float = 0.0,
        best: Float[np.ndarray, " K"] | None = None,
    ) -> None:
        """Makes a task.

        Args:
            name: What it is called.
            world: Where it takes place.
            reward: What is to be maximised.
            objectives: The reward's params of all instances, leaves `[K, ...]`.
            slip: With which probability actions are random, where the world's params have that number.
            best: See the class.

        Raises:
            ValueError: If `slip` is not a probability.
        """
        super().__init__(world, reward)
        if not 0 <= slip <= 1:
            raise ValueError(f"slip is a probability, from 0 to 1; got {slip}")
        self._name, self.objectives, self.slip, self.best = name, objectives, slip, best

    @property
    def name(self) -> str:
        return self._name

    @property
    def num_instances(self) -> int:
        """How many there are; `instance` beyond the last is the last."""
        return len(jax.tree.leaves(self.objectives)[0])

    def init_params(self, key: Key[Array, ""]) -> TaskParams:
        world = self.env.default_params
        world = world.replace(slip=jnp.asarray(self.slip, float)) if self.slip else world
        return TaskParams(world, self.objectives, jnp.zeros((), jnp.int32))

    def describe(self, env_reward: Array, info: dict[str, Any], parts: dict[str, Array]) -> dict[str, Any]:
        # The objective is the environment's own reward: what the world pays is not.
        described = super().describe(env_reward, info, parts)
        return {name: value for name, value in described.items() if name != "env_reward"}
