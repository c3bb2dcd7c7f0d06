"""TA-LPG: LPG's objective, evolved by what agents come to earn in whole lifetimes that it knows the length of.

Jackson et al., Discovering Temporally-Aware Reinforcement Learning Algorithms, ICLR 2024 (arXiv:2402.05828). Two
candidates of opposite noise bring up the same agent in the same world, for as many updates, and the better one counts.
Numbers are those of the authors' code, in which a generation is of 1024.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Int, Key, PyTree

from jaxreward.agent import Agent, Policy
from jaxreward.agents.meta import lpg
from jaxreward.agents.meta.parts import evolved
from jaxreward.agents.meta.parts.evolved import Problem
from jaxreward.agents.meta.parts.follower import Follower, Life, Scalar
from jaxreward.agents.meta.parts.learned import LearnedConfig
from jaxreward.agents.meta.parts.worlds import check_drawn, mean_horizon, worlds
from jaxreward.environment import scalar_environment
from jaxreward.names import check_name
from jaxreward.reward import bind_discount

INITIAL = ("zeros", "drawn")
"""Where evolution may begin."""
SET = ("objective", "env_params")
"""What the outer loop sets for the agents."""


@dataclass(frozen=True)
class Config(evolved.Config, LearnedConfig):
    """What shapes the program: that of the outer loop, of the objective and its agents, and this.

    Attributes:
        shaping: See `jaxreward.agents.meta.parts.evolved.Config`.
        initial: Where the objective's params begin: "zeros", as in the authors' code, by which policies stay as they
            are and predictions become even, or "drawn".
    """

    needs_episodes: ClassVar[bool] = True

    shaping: str = "pairwise"
    initial: str = "zeros"

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of a generation, at most."""
        return round(self.steps_with(max(self.lifetimes)))

    @property
    def mean_steps_per_iteration(self) -> float:
        """Environment steps of a generation, the mean over the lifetimes that are drawn."""
        return self.steps_with(mean_horizon(self.lifetime_distribution, self.lifetimes))

    def steps_with(self, lifetime: float) -> float:
        """Environment steps of a generation whose lifetimes have so many updates in the mean."""
        return self.population_size * self.num_envs * (lifetime * self.num_steps + self.judged_steps)

    @property
    def steps_note(self) -> str:
        """Why a run may take other steps than its iterations are counted with."""
        return "(steps are counted as if every lifetime were the longest; there are fewer where they are drawn)"

    def check_numbers(self, env: Environment, env_params: PyTree, hyperparams: Any) -> None:
        """Refuses a lifetime that the outer loop draws.

        Raises:
            ValueError: One was given.
        """
        if not np.isinf(np.asarray(hyperparams.inner.lifetime)).all():
            raise ValueError("lifetimes are drawn: set lifetimes and lifetime_distribution, and not inner.lifetime")


@struct.dataclass
class Hyperparams(evolved.Hyperparams):
    """Traced numbers of both loops: each may be vmapped over or searched.

    Attributes:
        inner: Those of the agents, see `jaxreward.agents.meta.lpg.Hyperparams`, such as `inner.table_rate`.
        env_params: Params of the environment and its reward, of which those that are drawn are not looked at; None for
            those the agent was made with.
    """

    sigma: Scalar = 0.1
    sigma_decay: Scalar = 1.0
    sigma_least: Scalar = 0.0
    learning_rate: Scalar = 0.01
    learning_rate_decay: Scalar = 0.999
    learning_rate_least: Scalar = 1e-5
    b1: Scalar = 0.99
    inner: lpg.Hyperparams = field(default_factory=lpg.Hyperparams)
    env_params: PyTree = None


class Task(NamedTuple):
    """What both of a pair meet.

    Attributes:
        total: How many updates there are.
        world: Params of the environment.
        life: The newborn agent.
        key: For what comes.
    """

    total: Int[Array, ""]
    world: PyTree
    life: Life
    key: Key[Array, ""]


def lpg_es(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that evolves LPG's objective; its `params` are the objective's, its policy that of the fittest agent.

    A lifetime's fitness is the mean return of fresh episodes after its end. It logs what
    `jaxreward.agents.meta.parts.evolved.evolved` does; episodes are those of the judgement.

    Args:
        env: With a `Discrete` action space; if it has `sample_params(key)`, as `levels/NAME` do, each pair lives in a
            world of its own, else all in the one given.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes of both loops.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If an option is unknown, sizes do not divide, params would be drawn over, episodes have no limit, or
            the reward is a vector.
    """
    check_name("initial objective", config.initial, INITIAL)
    env = scalar_environment(env, env_params)
    check_drawn(env, env_params, "lpg_es")
    config = config.for_env(env, env_params)
    lives = Lifetimes(config.follower(env, env_params, "lpg_es"), env_params, config)
    config.total()
    return evolved.evolved(Problem(lives.init, lives.live, lives.policy, lives.length), config)


@dataclass(frozen=True)
class Lifetimes:
    """What evolution judges objectives by.

    Attributes:
        lives: How agents follow one.
        env_params: Params of the environment they were made for.
        config: How they live.
    """

    lives: Follower
    env_params: PyTree
    config: Config

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> PyTree:
        """The objective's params at first.

        Raises:
            ValueError: The agents were given what the outer loop sets.
        """
        given = [name for name in SET if getattr(hyperparams.inner, name) is not None]
        if given:
            raise ValueError(f"inner.{given[0]} is set by the outer loop; the environment's params are env_params")
        params = self.lives.objective.init(key)
        return jax.tree.map(jnp.zeros_like, params) if self.config.initial == "zeros" else params

    def length(self, key: Key[Array, ""], hyperparams: Hyperparams) -> Int[Array, ""]:
        """How many updates a task's lifetime has."""
        del hyperparams
        return self.config.total()(jax.random.split(key, 4)[0])

    def task(self, key: Key[Array, ""], hyperparams: Hyperparams) -> Task:
        """What is drawn with a task's key."""
        _, key_world, key_life, key_course = jax.random.split(key, 4)
        drawn = worlds(self.lives.env)(key_world, self.params_of_env(hyperparams))
        return Task(self.length(key, hyperparams), drawn, self.lives.init(key_life, drawn), key_course)

    def live(self, params: PyTree, key: Key[Array, ""], hyperparams: Hyperparams) -> evolved.Life:
        """A lifetime under an objective, and what its policy then earns."""
        task = self.task(key, hyperparams)
        key_updates, key_judged = jax.random.split(task.key)

        life, updates = self.lives.live(task.life, task.total, params, task.world, hyperparams.inner, key_updates)
        sizes = self.config.judged_steps, self.config.num_envs
        metrics = self.lives.evaluate(life.params.policy, task.world, *sizes, key_judged)
        steps = self.config.num_envs * (updates * self.config.num_steps + self.config.judged_steps)
        return evolved.Life(metrics["episode/return"], {"env_steps": steps, **metrics}, life.params.policy)

    def policy(self, left: PyTree, hyperparams: Hyperparams) -> Policy:
        """How to act with a policy's params."""
        del hyperparams
        return self.lives.policy(left)

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params, any discount among its reward's following the agents'."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, hyperparams.inner.discount)
