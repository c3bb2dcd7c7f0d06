"""rejax's agents, as the package ships them, without evaluation: PPO, or one by name with its arguments."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import rejax
from rejax.compat import create
from rejax.evaluate import evaluate

EVALUATION_EPISODES = 16


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`. Returns are recorded for curves only: rejax does not by itself, and should not pay for it."""
    algorithm = _algorithm(spec)
    if not spec.curves:
        return lambda key: algorithm.train(key)[0], lambda state: {"evaluation": _evaluate(algorithm, state)}
    return lambda key: algorithm.train(key)[1], lambda sums: {
        name: _difference(x) for name, x in sums._asdict().items()
    }


def _algorithm(spec: SimpleNamespace) -> Any:
    setting = spec.setting
    batch = setting.num_envs * setting.num_steps
    env, env_params = _environment(setting.env)
    name, arguments = getattr(spec, "peer", "ppo"), getattr(spec, "arguments", None)
    algorithm = rejax.get_algo(name).create(
        env=_Recorded(env) if spec.curves else env,
        env_params=env_params,
        total_timesteps=spec.iterations * batch,
        eval_freq=batch if spec.curves else spec.iterations * batch,
        skip_initial_evaluation=True,
        **(_of_ppo(setting) if arguments is None else vars(arguments)),
    )
    return algorithm.replace(eval_callback=_read_record if spec.curves else lambda *_: ())


def _of_ppo(setting: SimpleNamespace) -> dict[str, Any]:
    return {
        "agent_kwargs": {"hidden_layer_sizes": tuple(setting.hidden), "activation": "tanh"},
        "num_envs": setting.num_envs,
        "num_steps": setting.num_steps,
        "num_epochs": setting.num_epochs,
        "num_minibatches": setting.num_minibatches,
        "learning_rate": setting.learning_rate,
        "gamma": setting.discount,
        "gae_lambda": setting.gae_lambda,
        "clip_eps": setting.clip,
        "ent_coef": setting.entropy_coefficient,
        "vf_coef": setting.value_coefficient,
        "max_grad_norm": setting.max_grad_norm,
    }


def _environment(name: str) -> tuple[Any, Any]:
    name, _, backend = name.partition("?backend=")
    return create(name, backend=backend) if backend else create(name)


def _evaluate(algorithm: Any, states: Any) -> jax.Array:
    """Mean return of fresh episodes of each seed's stochastic policy, `[seeds]`."""

    def one(state: Any) -> jax.Array:
        act, limit = algorithm.make_act(state), algorithm.env_params.max_steps_in_episode
        key = jax.random.PRNGKey(0)
        return evaluate(act, key, algorithm.env, algorithm.env_params, EVALUATION_EPISODES, limit)[1].mean()

    return jax.jit(jax.vmap(one))(states)


class _Record(NamedTuple):
    """Of all episodes ended so far, summed over environments."""

    returns: jax.Array
    episodes: jax.Array


class _RecordedState(NamedTuple):
    inner: Any
    running: jax.Array
    record: _Record


class _Recorded:
    """An environment (gymnax 0.0.9) that keeps a record of its episodes' returns in its state."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        if name == "env" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(self, key: jax.Array, params: Any) -> tuple:
        observation, state = self.env.reset(key, params)
        zero = jnp.zeros(())
        return observation, _RecordedState(state, zero, _Record(zero, zero))

    def step(self, key: jax.Array, state: _RecordedState, action: jax.Array, params: Any) -> tuple:
        observation, inner, reward, done, info = self.env.step(key, state.inner, action, params)
        running = state.running + reward
        record = _Record(state.record.returns + done * running, state.record.episodes + done)
        return observation, _RecordedState(inner, running * (1 - done), record), reward, done, info


def _read_record(algorithm: Any, state: Any, key: jax.Array) -> _Record:
    del algorithm, key
    return jax.tree.map(jnp.sum, state.env_state.record)


def _difference(sums: jax.Array) -> jax.Array:
    """What each iteration added to a running sum, `[seeds, iterations]`."""
    return jnp.diff(sums, axis=1, prepend=0.0)
