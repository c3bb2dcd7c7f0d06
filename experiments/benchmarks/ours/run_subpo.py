"""jaxreward's SubPO, and what no implementation can beat: its environment alone, its matrix products alone."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreward.agents.subpo.subpo import Config, Hyperparams, parts, subpo
from jaxreward.compilation.cache import compiler_options as compiler_options
from jaxreward.environment import earn, memories, world
from jaxreward.envs import registry
from jaxreward.experiments.benchmarks.ours.run_bounds import Weights, descend, init
from jaxreward.experiments.benchmarks.ours.run_ours import batch_numbered
from jaxreward.reward import Transition

batch = batch_numbered


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`; `spec.part` says what of the training is run, all of it unless it is one of `PARTS`."""
    env, params = registry.make(spec.env, **vars(spec.options))
    config = Config(
        num_envs=spec.num_envs,
        num_steps=spec.horizon - 1,
        estimator=spec.estimator,
        baseline=spec.baseline,
        history=spec.history,
    )
    return PARTS.get(spec.part, training)(spec, env, params, config)


def training(spec: SimpleNamespace, env: Any, params: Any, config: Config) -> tuple[Callable, Callable]:
    """`init` and a scan of `step`, all in one program; run `i` is on instance `i` if `spec.instance` is not given."""
    agent = subpo(env, params, config)

    def train(key: jax.Array, number: jax.Array | int = 0) -> dict[str, Any]:
        instance = number % env.num_instances if spec.instance is None else spec.instance
        hyperparams = Hyperparams(spec.learning_rate, env_params=params.replace(instance=jnp.int32(instance)))
        state = agent.init(jax.random.wrap_key_data(key), hyperparams)
        if spec.initial == "theirs":
            state = state._replace(params=drawn_as_theirs(jax.random.fold_in(state.key, 0), state.params))
        state, metrics = jax.lax.scan(lambda state, _: agent.step(state), state, None, spec.iterations)
        return {"params": state.params, "returns": metrics["episode/return"]}

    return train, lambda output: {"returns": output["returns"], "episodes": np.ones_like(output["returns"])}


def drawn_as_theirs(key: jax.Array, params: Any) -> Any:
    """Layers drawn as torch does by default: weights and biases uniform, up to one over the root of the inputs."""
    if not isinstance(params, dict):
        return params
    keys = dict(zip(params, jax.random.split(key, len(params)), strict=True))
    if "kernel" not in params:
        return {name: drawn_as_theirs(keys[name], params[name]) for name in params}
    most = len(params["kernel"]) ** -0.5
    return {name: jax.random.uniform(keys[name], params[name].shape, minval=-most, maxval=most) for name in params}


def environment(spec: SimpleNamespace, env: Any, params: Any, config: Config) -> tuple[Callable, Callable]:
    """Episodes of drawn actions in the environment without its reward."""
    base, base_params = world(env, params)
    last = lambda episodes: jax.tree.map(lambda x: x[-1], episodes.next_state)  # noqa: E731
    return _repeat(spec, config, lambda actions: last(_episodes(base, base_params, actions)))


def rewarded(spec: SimpleNamespace, env: Any, params: Any, config: Config) -> tuple[Callable, Callable]:
    """The same episodes with their reward."""
    base, base_params = world(env, params)

    def play(actions: jax.Array) -> jax.Array:
        episodes = _episodes(base, base_params, actions)
        valid = jnp.ones(len(actions), bool)
        reward = lambda episode: earn(env, params, memories(env, params), episode, valid)[1].reward  # noqa: E731
        return jax.vmap(reward, 1, 1)(episodes)

    return _repeat(spec, config, play)


def network(spec: SimpleNamespace, env: Any, params: Any, config: Config) -> tuple[Callable, Callable]:
    """A policy's products: forwards for every step in turn, then forwards and backwards for all of them."""
    widths = [env.observation_space(params).shape[0], *config.layers, env.num_actions]
    rows = config.num_envs // parts(config) * config.num_steps

    def train(key: jax.Array, number: jax.Array | int = 0) -> tuple[Weights, Any]:
        del number
        key = jax.random.wrap_key_data(key)
        observations = jax.random.normal(key, (config.num_envs, widths[0]))
        steps = jax.random.normal(key, (parts(config), rows, widths[0]))

        def epoch(weights: Weights, _: None) -> tuple[Weights, Any]:
            act = lambda x, _: (x + 1e-3 * _products(weights, x)[:, :1], None)  # noqa: E731
            seen = jax.lax.scan(act, observations, None, config.num_steps)[0]
            weights = jax.lax.scan(lambda weights, x: (descend(weights, x), None), weights, steps)[0]
            return weights, seen.sum()

        return jax.lax.scan(epoch, init(key, widths), None, spec.iterations)

    return train, lambda _: {}


PARTS = {"environment": environment, "rewarded": rewarded, "network": network}


def _repeat(spec: SimpleNamespace, config: Config, play: Callable[[jax.Array], Any]) -> tuple[Callable, Callable]:
    """Plays as many epochs as a training has; the actions of each depend on the one before, so none is left out."""
    shape = (config.num_steps, config.num_envs)

    def train(key: jax.Array, number: jax.Array | int = 0) -> Any:
        del number
        actions = jax.random.randint(jax.random.wrap_key_data(key), shape, 0, 5)

        def epoch(shift: jax.Array, _: None) -> tuple[jax.Array, None]:
            outcome = jax.tree.map(lambda x: x.sum().astype(jnp.int32), play((actions + shift) % 5))
            return jax.tree.reduce(jnp.add, outcome) % 5, None

        return jax.lax.scan(epoch, jnp.int32(0), None, spec.iterations)[0]

    return train, lambda _: {}


def _episodes(env: Any, params: Any, actions: jax.Array) -> Transition:
    """Steps the environments with actions `[T, N]`, from states that are drawn with one key: they start as one."""
    key = jax.random.key(0)
    start = jax.vmap(lambda _: env.reset_env(key, params))(actions[0])

    def one(now: tuple, action: jax.Array) -> tuple[tuple, Transition]:
        observation, state = now
        last, after, reward, terminated, info = env.step_env(key, state, action, params)
        over = env.is_truncated(after, params)
        return (last, after), Transition(observation, action, reward, last, terminated, over, state, after, info)

    return jax.lax.scan(jax.vmap(one), start, actions)[1]


def _products(weights: Weights, x: jax.Array) -> jax.Array:
    for w in weights:
        x = x @ w
    return x
