"""The second compiled program of a run that is evaluated while it trains: it reads the states and changes none."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Agent, spread
from jaxreward.compilation.cache import compiler_options
from jaxreward.learning.evaluation import EvaluationConfig, env_params_of, evaluate_policy, evaluation_key
from jaxreward.run.distributed import for_every_host

Metrics = dict[str, Float[np.ndarray, "population seed"]]
Evaluate = Callable[[PyTree, PyTree, Key[Array, ""]], dict[str, Float[Array, ""]]]


class Evaluation(NamedTuple):
    """How the runs of a training are evaluated.

    Attributes:
        config: When, and by what.
        run: `(state, hyperparams, key) -> metrics` of one run.
    """

    config: EvaluationConfig
    run: Evaluate


def evaluation_of(agent: Agent, env: Environment, env_params: PyTree, config: EvaluationConfig) -> Evaluation:
    """Whole episodes of an agent's policy in an environment, see `jaxreward.learning.evaluation.evaluate_policy`.

    Args:
        agent: The single agent.
        env: Where it is evaluated: the environment it is trained in, or another one that it can act in.
        env_params: Its params, unless hyperparams have their own.
        config: When, and by what.
    """

    def run(state: PyTree, hyperparams: PyTree, key: Key[Array, ""]) -> dict[str, Float[Array, ""]]:
        return evaluate_policy(env, env_params_of(hyperparams, env_params), agent.policy(state), key, config)

    return Evaluation(config, run)


class Evaluator:
    """The program that evaluates all runs.

    Args:
        evaluation: How one is evaluated.
        state: The structure of the state of all, axes `[population, seed, ...]`.
        keys: The key that each run began with.
        hyperparams: With a leading axis `[population]`.
        mesh: The devices they are spread over; one if not given.
        sharding: How the leading axes lie on them.

    Attributes:
        config: When it is due.
        names: Of its metrics.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        state: PyTree,
        keys: Key[Array, "population seed"],
        hyperparams: PyTree,
        mesh: Mesh | None = None,
        sharding: NamedSharding | None = None,
    ) -> None:
        self.config = evaluation.config
        all_runs = jax.vmap(jax.vmap(evaluation.run, (0, None, 0)))
        together = lambda runs, members: all_runs(runs[0], members, runs[1])  # noqa: E731
        together = together if mesh is None else spread(together, mesh, population=True)

        def evaluate(state: PyTree, iteration: Array) -> dict[str, Array]:
            at = jax.vmap(jax.vmap(lambda key: evaluation_key(key, iteration)))(keys)
            return together((state, at), hyperparams)

        jitted = jax.jit(evaluate, in_shardings=(sharding, None), out_shardings=for_every_host(sharding))
        self._traced = jitted.trace(state, jax.ShapeDtypeStruct((), jnp.int32))
        self.names = sorted(self._traced.out_info)

    def compile(self) -> float:
        """Compiles it; returns the seconds that took."""
        began = time.perf_counter()
        self._compiled = self._traced.lower().compile(compiler_options())
        return time.perf_counter() - began

    def __call__(self, state: PyTree, iteration: int) -> Metrics:
        """The metrics of all runs after so many iterations."""
        found = jax.device_get(self._compiled(state, np.int32(iteration)))
        return {name: np.asarray(values) for name, values in found.items()}
