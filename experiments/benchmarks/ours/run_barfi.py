"""jaxreward's BARFI and REINFORCE, and what no implementation can beat: the environment alone, the products alone."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreward.agents.registry import get_agent
from jaxreward.compilation.cache import compiler_options as compiler_options
from jaxreward.environment import with_reward
from jaxreward.envs import registry
from jaxreward.experiments.benchmarks.ours.run_bounds import init
from jaxreward.experiments.benchmarks.ours.run_ours import batch_numbered
from jaxreward.learning.episodes import play, start_memories
from jaxreward.rewards.beside import auxiliary

batch = batch_numbered


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`; `spec.part` says what of the training is run, all of it unless it is one of `PARTS`."""
    return PARTS.get(spec.part, training)(spec, *registry.make(spec.env, **vars(spec.options)))


def training(spec: SimpleNamespace, env: Any, params: Any) -> tuple[Callable, Callable]:
    """`init` and a scan of `step`, all in one program; run `i` has the numbers `i` of `spec.hyperparams`, in turns."""
    chosen = get_agent(spec.agent)
    config = chosen.Config(num_envs=spec.num_envs, num_steps=spec.num_steps, **vars(spec.config))
    if spec.agent == "reinforce":  # from the sum of both rewards
        env = with_reward(env, auxiliary())
        params = env.default_params
    agent = chosen.make(env, params, config)

    def train(key: jax.Array, number: jax.Array | int = 0) -> dict[str, Any]:
        of_run = {name: jnp.array(each)[number % len(each)] for name, each in vars(spec.hyperparams).items()}
        state = agent.init(jax.random.wrap_key_data(key), chosen.Hyperparams(**of_run))
        state, metrics = jax.lax.scan(lambda state, _: agent.step(state), state, None, spec.iterations)
        return {"params": state.params, "returns": metrics["episode/env_return"]}

    return train, lambda output: {"returns": output["returns"], "episodes": np.ones_like(output["returns"])}


def environment(spec: SimpleNamespace, env: Any, params: Any) -> tuple[Callable, Callable]:
    """Rewarded episodes of drawn actions; those of each iteration depend on the one before, so none is left out."""
    shape, number = (spec.num_steps, spec.num_envs), env.num_actions
    follow = lambda carry, observation, action: (carry, action, ())  # noqa: E731

    def train(key: jax.Array, run: jax.Array | int = 0) -> Any:
        del run
        key = jax.random.wrap_key_data(key)
        actions = jax.random.randint(key, shape, 0, number)

        def iterate(now: tuple, _: Any) -> tuple[tuple, Any]:
            ended, shift, key = now
            key, key_play = jax.random.split(key)
            given = (actions + shift) % number
            ended, episodes, _ = play(env, params, follow, (), given, ended, spec.num_envs, key_play)
            seen = (episodes.steps.observation, episodes.steps.reward, episodes.steps.info["reward/auxiliary"])
            total = jax.tree.reduce(jnp.add, jax.tree.map(jnp.sum, (seen, episodes.valid)))
            return (ended, total.astype(jnp.int32) % number, key), None

        start = (start_memories(env, params, spec.num_envs), jnp.int32(0), key)
        return jax.lax.scan(iterate, start, None, spec.iterations)[0][1]

    return train, lambda _: {}


def products(spec: SimpleNamespace, env: Any, params: Any) -> tuple[Callable, Callable]:
    """The products with the policy's weights alone: for each step played, and two or more for each step learned from.

    An inner step reads its episodes forwards and backwards; so does the gradient of the primary reward. The derivatives
    at the fixed point read theirs forwards and backwards, then twice more for each term of the series and once more.
    """
    width = jax.eval_shape(lambda: env.features(env.reset_env(jax.random.key(0), params)[0])).shape[0]
    updates = [(episodes * spec.num_steps, passes) for episodes, passes in spec.reads]

    def train(key: jax.Array, run: jax.Array | int = 0) -> jax.Array:
        del run
        key = jax.random.wrap_key_data(key)
        rows = {size: jax.random.normal(key, (size, width)) for size, _ in updates}
        seen = jax.random.normal(key, (spec.num_envs, width))

        def iterate(weights: jax.Array, _: Any) -> tuple[jax.Array, Any]:
            act = lambda x, _: (x + 1e-3 * (x @ weights)[:, :1], None)  # noqa: E731
            weights += 1e-6 * jax.lax.scan(act, seen, None, spec.num_steps)[0].sum()
            for size, passes in updates:
                weights = jax.lax.fori_loop(0, passes, lambda _, w, x=rows[size]: w - 1e-6 * (x.T @ (x @ w)), weights)
            return weights, None

        return jax.lax.scan(iterate, init(key, [width, env.num_actions])[0], None, spec.iterations)[0]

    return train, lambda _: {}


PARTS = {"environment": environment, "products": products}
