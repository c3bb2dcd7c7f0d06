"""BARFI's inner level: a policy that learns from episodes of the past, off-policy, under `r_phi` and `gamma_phi`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.agents.barfi.parts.config import Config, Hyperparams
from jaxreward.agents.barfi.parts.replay import Buffer, Replay, make_buffer
from jaxreward.agents.baselines.parts.learner import (
    AUXILIARY,
    Learner,
    Metrics,
    Scalar,
    ascent,
    returns_to_go,
)
from jaxreward.learning.episodes import Episodes, start_memories
from jaxreward.reward import ENVIRONMENTS, Reward, Transition, bind_discount, episode_rewards


class Aligned(NamedTuple):
    """What the outer level learns: `phi`.

    Attributes:
        reward: Params of the reward.
        logit: Of the discount.
    """

    reward: PyTree
    logit: Float[Array, ""]

    @property
    def discount(self) -> Float[Array, ""]:
        """`gamma_phi`."""
        return jax.nn.sigmoid(self.logit)


class Params(NamedTuple):
    """What is learned: the policy's params, `theta`, and `phi`."""

    policy: PyTree
    aligned: Aligned


class Learning(NamedTuple):
    """The learner at work.

    Attributes:
        params: See `Params`.
        optimisers: Of the policy, the reward and the discount.
        told: What the last outer step had to tell; zeros before the first.
    """

    params: Params
    optimisers: tuple[PyTree, PyTree, PyTree]
    told: Metrics


class Data(NamedTuple):
    """What the inner objective needs of episodes, leaves `[T, N, ...]`.

    Attributes:
        features: What the policy reads.
        action: Raw actions.
        weight: What their scores are weighed by.
        valid: Which steps belong to an episode.
    """

    features: Float[Array, "T N F"]
    action: Array
    weight: Float[Array, "T N"]
    valid: Bool[Array, "T N"]


@dataclass(frozen=True)
class InnerLevel:
    """The policy's steps under the learned reward and discount.

    Attributes:
        learner: Plays in the primary environment.
        env_params: Those the agent was made with.
        config: Its sizes.
        reward: `r_phi`, of the primary environment's transitions.
    """

    learner: Learner
    env_params: PyTree
    config: Config
    reward: Reward

    def first_rounds(
        self, learning: Learning, replay: Replay, hyperparams: Hyperparams, key: Key[Array, ""]
    ) -> Learning:
        """The inner steps that only the first iteration after the warm-up takes."""
        inner = lambda i, now: self.inner(now, replay, hyperparams, jax.random.fold_in(key, i))  # noqa: E731
        return jax.lax.fori_loop(1, 1 + self.config.first_rounds, inner, learning)

    def warm_up(self, learning: Learning, replay: Replay, hyperparams: Hyperparams) -> Learning:
        """A step on the naive sum, or on the environment's reward as it is, where that is the learned one."""
        episodes = self.buffer.newest(replay, self.config.warm_up_batch or self.config.num_envs)
        aligned = learning.params.aligned
        if self.config.learned == "environment":
            rewards = self.rewards(aligned, episodes)
        else:
            auxiliary = jnp.where(episodes.valid, episodes.steps.info[AUXILIARY], 0.0)
            rewards = episodes.steps.reward + auxiliary
        data = self.data(episodes, returns_to_go(rewards, aligned.discount))
        (policy, optimiser), _ = self.ascend((learning.params.policy, learning.optimisers[0]), data, hyperparams)
        return moved(learning, policy, optimiser)

    def inner(self, learning: Learning, replay: Replay, hyperparams: Hyperparams, key: Key[Array, ""]) -> Learning:
        """Steps of the policy on episodes of the past, with `r_phi` and `gamma_phi`."""
        episodes = self.buffer.sample(replay, key, self.config.inner_steps * self.config.batch)
        batches = self.batches(self.aligned_data(learning.params.aligned, episodes))
        start = (learning.params.policy, learning.optimisers[0])
        (policy, optimiser), _ = jax.lax.scan(lambda x, data: self.ascend(x, data, hyperparams), start, batches)
        return moved(learning, policy, optimiser)

    def ascend(
        self, now: tuple[PyTree, PyTree], data: Data, hyperparams: Hyperparams
    ) -> tuple[tuple[PyTree, PyTree], None]:
        """One step of the policy, `(params, optimiser)`."""
        policy, optimiser = now
        gradient = self.update(policy, data, hyperparams)
        change, optimiser = self.ascent(hyperparams, hyperparams.learning_rate).update(gradient, optimiser)
        return (optax.apply_updates(policy, change), optimiser), None

    def update(self, policy: PyTree, data: Data, hyperparams: Hyperparams) -> PyTree:
        """`Delta(theta, phi)`, where the policy is to go."""
        return jax.grad(self.learner.surrogate)(policy, *data, hyperparams.entropy_coefficient)

    def aligned_data(self, aligned: Aligned, episodes: Episodes) -> Data:
        """Episodes weighed by `r_phi` and `gamma_phi`."""
        return self.data(episodes, returns_to_go(self.rewards(aligned, episodes), aligned.discount))

    def data(self, episodes: Episodes, returns: Float[Array, "T N"]) -> Data:
        """Episodes weighed by returns, less the baseline."""
        valid = episodes.valid
        if self.config.baseline == "mean":
            returns = returns - jnp.where(valid, returns, 0.0).sum() / jnp.maximum(valid.sum(), 1)
        return Data(self.learner.read(episodes.steps.observation, 2), episodes.extras, returns, valid)

    def rewards(self, aligned: Aligned, episodes: Episodes) -> Float[Array, "T N"]:
        """`r_phi` of each step, zero behind an episode's end; discounts within it follow `gamma_phi`."""
        params = bind_discount(aligned.reward, aligned.discount)

        def of_episode(steps: Transition, valid: Bool[Array, " T"]) -> Float[Array, " T"]:
            return episode_rewards(self.reward, params, self.reward.reset(params), steps, valid)[1]

        rewards = jax.vmap(of_episode, 1, 1, axis_name=ENVIRONMENTS)(episodes.steps, episodes.valid)
        return jnp.where(episodes.valid, rewards, 0.0)

    def batches(self, many: PyTree) -> PyTree:
        """Leaves `[T, steps * batch, ...]` as one batch for each inner step, `[steps, T, batch, ...]`."""
        steps = self.config.inner_steps
        return jax.tree.map(
            lambda x: jnp.moveaxis(x.reshape(len(x), steps, self.config.batch, *x.shape[2:]), 1, 0), many
        )

    def ascent(self, hyperparams: Hyperparams, learning_rate: Scalar) -> optax.GradientTransformation:
        """The optimiser of a part."""
        return ascent(self.config.optimiser, learning_rate, hyperparams.max_grad_norm)

    def draw_reward(self, key: Key[Array, ""], hyperparams: Hyperparams) -> PyTree:
        """Where the reward's params start: drawn, or as they are in the environment's."""
        if self.config.learned == "environment":
            return self.all_params(hyperparams).reward
        return self.reward.init(key)

    def all_params(self, hyperparams: Hyperparams) -> PyTree:
        """The params of the environment and all its rewards."""
        return self.env_params if hyperparams.env_params is None else hyperparams.env_params

    def played_params(self, hyperparams: Hyperparams) -> PyTree:
        """Those of the primary environment, whose discounts follow the agent's."""
        params = self.all_params(hyperparams)
        params = params.env if self.config.learned == "environment" else params
        return bind_discount(params, hyperparams.discount)

    @cached_property
    def buffer(self) -> Buffer:
        """How episodes are stored."""
        hyperparams, key = Hyperparams(env_params=self.env_params), jax.random.key(0)
        env_params = self.played_params(hyperparams)
        ended = start_memories(self.learner.env, env_params, self.config.num_envs)
        reward = self.draw_reward(key, hyperparams)

        def episodes() -> Episodes:
            return self.learner.play(self.learner.init(key, env_params), env_params, ended, key)[1]

        def read(episodes: Episodes) -> PyTree:
            data = self.aligned_data(Aligned(reward, jnp.zeros(())), episodes)
            info = () if self.config.learned == "environment" else episodes.steps.info[AUXILIARY]
            return data, episodes.steps.reward, info

        return make_buffer(self.config.buffer, jax.eval_shape(episodes), read)


def moved(learning: Learning, policy: PyTree, optimiser: PyTree) -> Learning:
    """The learner with its policy elsewhere."""
    params = learning.params._replace(policy=policy)
    return learning._replace(params=params, optimisers=(optimiser, *learning.optimisers[1:]))
