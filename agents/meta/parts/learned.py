"""What is common to all ways of learning LPG's objective: what it is, and the agents that it is learned on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from gymnax.environments.environment import Environment
from jaxtyping import Array, Int, Key, PyTree

from jaxreward.agents.meta.parts.follower import Follower, follower
from jaxreward.agents.meta.parts.lpg_network import lpg
from jaxreward.agents.meta.parts.worlds import horizons
from jaxreward.contract.sizes import Sized, size
from jaxreward.contract.wrappers import never_ends
from jaxreward.environment import world
from jaxreward.learning.episodes import episode_limit
from jaxreward.learning.objective import Objective


@dataclass(frozen=True)
class LearnedConfig(Sized):
    """What shapes an objective that is learned, and the agents it is learned on.

    Attributes:
        num_envs: Environments that an agent steps in parallel, `N`.
        num_steps: Steps of each between two updates, `T`.
        predictions: Length of a prediction, `m`.
        width: Units of the objective's GRU.
        temporal: What it reads of the lifetime, see `jaxreward.agents.meta.parts.lpg_network.lpg`.
        with_discount: Whether it reads the discount.
        network: Of policy and predictions, "table" or "mlp"; "auto" for what fits the environment.
        layers: Widths of the hidden layers of "mlp".
        lifetimes: In updates, see `lifetime_distribution`.
        lifetime_distribution: "log_uniform" between two of them, or "list", any of them.
        judged_steps: The most steps of the episodes that a whole life is judged by; 0 for those of the longest.
    """

    num_envs: int = size(64)
    num_steps: int = size(20)
    predictions: int = size(8, least=2)
    width: int = size(256)
    temporal: str = "normalised"
    with_discount: bool = True
    network: str = "auto"
    layers: tuple[int, ...] = size((32,))
    lifetimes: tuple[int, ...] = size((10, 250))
    lifetime_distribution: str = "log_uniform"
    judged_steps: int = size(0, least=0)

    def for_env(self, env: Environment, env_params: PyTree) -> Self:
        """The config with the steps of the longest episode.

        Raises:
            ValueError: If none ends, or they have no limit.
        """
        if never_ends(env):
            raise ValueError(f"{env.name} never ends, and a life is judged by the returns of whole episodes")
        inside = world(env, env_params)[0]
        longest = self.judged_steps or getattr(inside, "longest", 0)
        return dataclasses.replace(self, judged_steps=longest or episode_limit(env, env_params))

    def total(self) -> Callable[[Key[Array, ""]], Int[Array, ""]]:
        """How lifetimes are drawn.

        Raises:
            ValueError: Their numbers do not fit their distribution.
        """
        return horizons(self.lifetime_distribution, self.lifetimes)

    def objective(self) -> Objective:
        """The objective's function."""
        return lpg(self.predictions, self.width, self.temporal, self.with_discount)

    def follower(self, env: Environment, env_params: PyTree, agent: str) -> Follower:
        """How agents follow it."""
        sizes = (self.num_envs, self.num_steps, self.predictions)
        return follower(env, env_params, self.objective(), self.network, self.layers, sizes, agent)
