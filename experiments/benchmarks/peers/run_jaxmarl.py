"""Steps of JaxMARL's Overcooked with random actions, and of whatever has its functions; it imports nothing of ours.

Started as `python run_jaxmarl.py GIVEN TOLD`, it plays the episodes of one file, `facing` `[E, 2]` and `actions`
`[E, T, 2]`, and writes what they showed and paid to the other.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`."""
    return random_steps(make(), spec.num_envs, spec.num_steps), lambda output: {}


def make() -> Any:
    """JaxMARL's cramped room; it warns that there is a second version."""
    import jaxmarl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return jaxmarl.make("overcooked")


def random_steps(env: Any, num_envs: int, num_steps: int) -> Callable[[jax.Array], jax.Array]:
    """A function of a raw key: steps with drawn actions, and the sum of all that is shown and paid."""
    agents = env.agents

    def train(key: jax.Array) -> jax.Array:
        key_start, key_act, key_steps = jax.random.split(jax.random.wrap_key_data(key), 3)
        state = jax.vmap(env.reset)(jax.random.split(key_start, num_envs))[1]
        actions = jax.random.randint(key_act, (num_steps, num_envs, len(agents)), 0, env.action_space(agents[0]).n)

        def step(now: tuple, x: tuple) -> tuple[tuple, None]:
            state, total = now
            keys = jax.random.split(x[1], num_envs)
            chosen = {name: x[0][:, k] for k, name in enumerate(agents)}
            seen, state, rewards, _, _ = jax.vmap(env.step)(keys, state, chosen)
            sums = [leaf.sum(dtype=jnp.float32) for leaf in jax.tree.leaves((seen, rewards))]
            return (state, total + sum(sums)), None

        keys = jax.random.split(key_steps, num_steps)
        return jax.lax.scan(step, (state, jnp.zeros(())), (actions, keys))[0][1]

    return train


def replay(env: Any, facing: jax.Array, actions: jax.Array) -> dict[str, jax.Array]:
    """What episodes show and pay, `[E, T, ...]`."""
    from jaxmarl.environments.overcooked.common import DIR_TO_VEC

    names = env.agents

    def step(state: Any, action: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        chosen = {name: action[k] for k, name in enumerate(names)}
        seen, state, rewards, _, info = env.step_env(jax.random.key(0), state, chosen)
        both = lambda by_name: jnp.stack([by_name[name] for name in names])  # noqa: E731
        told = {"observation": both(seen), "delivered": rewards[names[0]], "shaped": both(info["shaped_reward"])}
        return state, told

    def episode(facing: jax.Array, actions: jax.Array) -> dict[str, jax.Array]:
        state = env.reset(jax.random.key(0))[1]
        state = state.replace(agent_dir_idx=facing, agent_dir=DIR_TO_VEC[facing])
        return jax.lax.scan(step, state, actions)[1]

    return jax.jit(jax.vmap(episode))(facing, actions)


if __name__ == "__main__":
    given = np.load(sys.argv[1])
    told: dict[str, Any] = replay(make(), *(jnp.asarray(given[name]) for name in ("facing", "actions")))
    np.savez(sys.argv[2], **told)
