"""PPO for several rewards at once, weighed so that each moves the policy as much: GradNorm (Chen et al. 2018).

"GradNorm: gradient normalization for adaptive loss balancing in deep multitask networks" (ICML 2018,
arXiv:1711.02257), with policy gradients for the gradients of losses. A value for each reward gives an advantage for
each, and the policy ascends their weighted sum.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Agent, strong
from jaxreward.agents.baselines import ppo
from jaxreward.agents.baselines.parts.on_policy import Batch, Metrics, Scalar, State, actor_critic
from jaxreward.agents.baselines.ppo import PPO, drift_of
from jaxreward.contract.games import refuse_game
from jaxreward.contract.wrappers import as_environment
from jaxreward.environment import reward_shape, world
from jaxreward.learning.centring import Average, averaged
from jaxreward.learning.estimators import gae
from jaxreward.learning.networks import head_for, unroll
from jaxreward.learning.rollout import Trajectory


@dataclass(frozen=True)
class Config(ppo.Config):
    """What shapes the program; see `jaxreward.agents.baselines.ppo.Config`."""


@struct.dataclass
class Hyperparams(ppo.Hyperparams):
    """Traced numbers: those of PPO, and these.

    Attributes:
        norm_rate: How far an iteration moves the running means of gradients' norms.
        norm_floor: The share of the largest norm that a smaller one counts as, so that what is never paid does not
            come to weigh everything.
    """

    norm_rate: Scalar = 0.1
    norm_floor: Scalar = 0.001


def gradnorm(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A PPO agent that balances the `K` parts of a vector reward; of a scalar it is PPO.

    Departures: rates of training, `alpha` of the paper, are not looked at (`alpha = 0`), as a return tells none; the
    weights at which norms are equal are taken as they are, of running means of norms, in place of steps towards them;
    norms are those of all params of the policy, in place of the last shared layer's.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space, whose reward may be a vector, such as
            `jaxreward.rewards.stack` makes.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If sizes do not divide, the activation or the objective is unknown, it is a game, rewards are to be
            centred, or the environment pays a vector by itself.
    """
    ppo.check_config(config)
    if config.centring:
        raise ValueError("gradnorm takes no centring=True: it has a value for each reward, and a rate of none")
    env = as_environment(env)
    refuse_game(env)
    shape = reward_shape(env, env_params)
    if shape and reward_shape(*world(env, env_params)):
        raise ValueError(
            f"{env.name} itself pays {shape[0]} rewards, of which none says how well a run does; make the environment "
            "pay the one that does, and give gradnorm several as the reward, --reward or with_reward(env, stack(...))"
        )
    number = (*shape, 1)[0]
    head = head_for(env.action_space(env_params))
    network = actor_critic(env, env_params, config, head).clone(values=number)
    algorithm = GradNorm(env, env_params, config, head, network, drift_of(config))
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class GradNorm(PPO):
    """The steps of the algorithm; a state's `judge` is the running mean of norms.

    Attributes:
        weights: Of the `K` rewards in an iteration, `[K]`; there are none outside of one.
    """

    weights: Any = ()

    def init(self, key: Key[Array, ""], hyperparams: Any) -> State:
        """PPO's, and no norms yet."""
        none = Average(jnp.zeros(self.network.values), jnp.zeros(()))
        return strong(super().init(key, hyperparams)._replace(judge=none))

    def learn(self, state: State, trajectory: Trajectory, key: Key[Array, ""]) -> tuple[State, Metrics]:
        """What PPO learns with the weights that the iterations before have led to, and the norms of this one."""
        weights = balanced(state.judge, state.hyperparams.norm_floor)
        after, metrics = PPO.learn(dataclasses.replace(self, weights=weights), state, trajectory, key)
        norms = jnp.stack([metrics[f"gradient_norm/{k}"] for k in range(len(weights))])
        return after._replace(judge=averaged(state.judge, norms, state.hyperparams.norm_rate)), metrics

    def estimated(
        self, trajectory: Trajectory, value: Float[Array, "T N K"], next_value: Float[Array, "T N K"], hyperparams: Any
    ) -> Float[Array, "T N K"]:
        """Generalised advantages of each reward."""
        ends = trajectory.terminated, trajectory.truncated
        numbers = hyperparams.discount, hyperparams.gae_lambda
        each = jax.vmap(lambda reward, now, following: gae(reward, now, following, *ends, *numbers), -1, -1)
        return each(trajectory.reward.reshape(value.shape), value, next_value)

    def advantage_of(self, batch: Batch) -> Float[Array, "*batch"]:
        """The weighted sum of the rewards' advantages."""
        return batch.advantage @ self.weights

    def update(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, PyTree, Metrics]:
        """PPO's, which tells weights, and norms before it."""
        params, optimiser, metrics = super().update(state, batch, key)
        told = {"gradient_norm": self.norms(state.params, batch), "weight": self.weights}
        named = {f"{name}/{k}": each[k] for name, each in told.items() for k in range(len(each))}
        return params, optimiser, {**metrics, **named}

    def norms(self, params: PyTree, batch: Batch) -> Float[Array, " K"]:
        """The norm of each reward's policy gradient, `|E[(A_k - E[A_k]) grad log pi]|`.

        Of advantages less their mean, as the policy ascends them: what all actions have in common moves nothing.
        """
        memory = jax.tree.map(lambda x: x[0], batch.memory)

        def surrogate(params: PyTree, advantage: Float[Array, "*batch"]) -> Float[Array, ""]:
            outputs = unroll(self.forward, params, memory, batch.features, batch.start)[1]
            centred = advantage - advantage.mean()
            return (self.head.distribution(outputs).log_prob(batch.action) * centred).mean()

        return jax.vmap(lambda advantage: optax.tree.norm(jax.grad(surrogate)(params, advantage)), -1)(batch.advantage)


def balanced(norms: Average, floor: Scalar) -> Float[Array, " K"]:
    """The weights, `K` in sum, that bring all norms to one: GradNorm's with `alpha = 0`; even ones of none."""
    seen = jnp.where(norms.value.max() > 0, norms.value, 1.0)
    inverse = 1 / jnp.maximum(seen, floor * seen.max())
    return len(inverse) * inverse / inverse.sum()
