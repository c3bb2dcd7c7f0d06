"""Advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783), as an agent of one's own."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxreward import Agent, Policy
from jaxreward.agent import strong
from jaxreward.learning.estimators import gae
from jaxreward.learning.networks import ActorCritic, flatten, head_for
from jaxreward.learning.rollout import reset_batch, rollout
from jaxreward.reward import bind_discount


@dataclass(frozen=True)
class Config:
    num_envs: int = 32
    num_steps: int = 16
    layers: tuple[int, ...] = (64,)


@struct.dataclass
class Hyperparams:
    learning_rate: Any = 1e-2
    discount: Any = 0.99
    entropy_coefficient: Any = 0.01
    env_params: Any = None


class State(NamedTuple):
    params: Any
    optimiser: Any
    envs: Any
    hyperparams: Hyperparams
    key: jax.Array


def a2c(env: Any, env_params: Any, config: Config = Config()) -> Agent:
    """An agent that takes one step of Adam on what each short rollout taught."""
    head, adam = head_for(env.action_space(env_params)), optax.scale_by_adam()
    network = ActorCritic(head.size, head.free, config.layers)

    def params_of_env(hyperparams: Hyperparams) -> Any:
        given = env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(given, hyperparams.discount)

    def init(key: jax.Array, hyperparams: Hyperparams) -> State:
        key, key_params, key_envs = jax.random.split(key, 3)
        envs = reset_batch(env, params_of_env(hyperparams), config.num_envs, key_envs)
        params = network.init(key_params, (), flatten(envs.observation))
        return strong(State(params, adam.init(params), envs, hyperparams, key))

    def step(state: State) -> tuple[State, dict[str, jax.Array]]:
        key, key_noise, key_envs = jax.random.split(state.key, 3)
        noise = head.noise(key_noise, (config.num_steps, config.num_envs))

        def act(memory: Any, observation: Any, noise: jax.Array) -> tuple[Any, Any, Any]:
            action = head.sample(network.apply(state.params, (), flatten(observation))[1], noise)
            return memory, head.to_env(action), action

        env_params, rate = params_of_env(state.hyperparams), state.hyperparams.learning_rate
        envs, _, steps, episodes = rollout(env, env_params, act, (), state.envs, noise, key_envs)
        gradients, entropy = jax.grad(loss, has_aux=True)(state.params, steps, state.hyperparams)
        updates, optimiser = adam.update(gradients, state.optimiser)
        params = jax.tree.map(lambda param, update: param - rate * update, state.params, updates)
        metrics = {"env_steps": jnp.asarray(config.num_envs * config.num_steps), "policy/entropy": entropy, **episodes}
        return State(params, optimiser, envs, state.hyperparams, key), metrics

    def loss(params: Any, steps: Any, hyperparams: Hyperparams) -> tuple[jax.Array, jax.Array]:
        _, outputs, value = network.apply(params, (), flatten(steps.observation, 2))
        next_value = network.apply(params, (), flatten(steps.next_observation, 2))[2]
        ends, policy = (steps.terminated, steps.truncated), head.distribution(outputs)
        advantage = jax.lax.stop_gradient(gae(steps.reward, value, next_value, *ends, hyperparams.discount, 1.0))
        critic = jnp.square(value - jax.lax.stop_gradient(value) - advantage).mean()
        actor, entropy = (policy.log_prob(steps.extras) * advantage).mean(), policy.entropy().mean()
        return 0.5 * critic - actor - hyperparams.entropy_coefficient * entropy, entropy

    def policy(state: State) -> Policy:
        outputs = lambda seen: network.apply(state.params, (), flatten(seen, 0))[1]
        act = lambda memory, seen, key: (memory, head.to_env(head.sample(outputs(seen), head.noise(key, ()))))
        mode = lambda memory, seen, key: (memory, head.to_env(head.distribution(outputs(seen)).mode()))
        return Policy(lambda: (), act, mode)

    return Agent(init, step, policy)
