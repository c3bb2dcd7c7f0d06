"""BARFI: behaviour alignment by bilevel optimisation of a reward and a discount (Gupta et al., NeurIPS 2023).

arXiv:2310.19007. A designer gives a primary reward, what is wanted, and an auxiliary one, a hint that may be wrong. The
inner level learns a policy from `r_phi` and `gamma_phi` by off-policy REINFORCE; the outer level changes `phi` so that
what the policy becomes earns more of the primary reward:

    max_phi J_p(theta*(phi)) - lambda_gamma gamma_phi - lambda_r ||phi_r||,   Delta(theta*(phi), phi) = 0,

by the implicit function theorem, see `jaxreward.learning.bilevel`. An iteration plays some episodes, takes one step in
`phi`, whose direction the new episodes give, and then steps in `theta` on episodes of the past.

`r_phi` may be any `Reward`: see `Config.learned`. Of the paper the abstract and summaries could be read; what these
leave open is as in the authors' code, or an option where that does something odd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.barfi.parts.config import Config, Hyperparams, check_config
from jaxreward.agents.barfi.parts.inner import Aligned, Learning, Params
from jaxreward.agents.barfi.parts.learned_reward import alignment_for, beneath
from jaxreward.agents.barfi.parts.outer import OuterLevel
from jaxreward.agents.barfi.parts.replay import Replay
from jaxreward.agents.baselines.parts.learner import (
    Metrics,
    make_learner,
)
from jaxreward.environment import scalar_environment
from jaxreward.learning import lazy
from jaxreward.learning.episodes import start_memories


class State(NamedTuple):
    """Everything a run is made of; `ended` is what the primary reward remembers of earlier episodes."""

    params: Params
    optimisers: tuple[PyTree, PyTree, PyTree]
    told: Metrics
    replay: Replay
    ended: tuple[PyTree, ...]
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def barfi(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A BARFI agent. Its metric `episode/return` is of the primary reward.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space. It shows an auxiliary reward in
            `info["reward/auxiliary"]`, see `jaxreward.rewards.beside`, or has a reward whose params are to be learned.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes, and which reward.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If an option is unknown or does not fit the environment, or the reward is a vector.
    """
    check_config(config)
    env = scalar_environment(env, env_params)
    own = config.learned == "environment"
    played, played_params = beneath(env, env_params) if own else (env, env_params)
    sizes = (config.num_envs, config.num_steps, config.average)
    learner = make_learner(played, played_params, config.features, config.layers, *sizes)
    reward = env.reward if own else alignment_for(learner, env_params, config)
    algorithm = Barfi(learner, env_params, config, reward)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class Barfi(OuterLevel):
    """The two levels in turn."""

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Draws params."""
        key, key_policy, key_reward = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        env_params = self.played_params(hyperparams)
        logit = jax.scipy.special.logit(hyperparams.discount)
        aligned = Aligned(self.draw_reward(key_reward, hyperparams), logit)
        params = strong(Params(self.learner.init(key_policy, env_params), aligned))
        step = self.ascent(hyperparams, hyperparams.learning_rate)
        optimisers = tuple(step.init(part) for part in (params.policy, aligned.reward, logit))
        learning, replay = Learning(params, optimisers, {}), self.buffer.empty()
        told = jax.eval_shape(self.outer, learning, replay, hyperparams, key).told
        told = jax.tree.map(lambda x: jnp.zeros(x.shape), told)
        ended = start_memories(self.learner.env, env_params, self.config.num_envs)
        start = jnp.zeros((), jnp.int32)
        return strong(State(params, optimisers, told, replay, ended, hyperparams, key, start))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: play, take a step in `phi`, learn."""
        key, key_play, key_outer, key_inner = jax.random.split(state.key, 4)
        hyperparams, policy = state.hyperparams, state.params.policy
        env_params = self.played_params(hyperparams)
        ended, episodes, metrics = self.learner.play(policy, env_params, state.ended, key_play)
        replay = self.buffer.add(state.replay, episodes)
        learning = Learning(state.params, state.optimisers, state.told)
        learning = self.learn(learning, replay, hyperparams, (key_outer, key_inner))
        learned = self.rewards(state.params.aligned, episodes).sum(0).mean()
        metrics = {**metrics, "episode/learned_return": learned, **learning.told}
        metrics["outer/discount"] = learning.params.aligned.discount
        return State(*learning, replay, ended, hyperparams, key, state.iteration + 1), metrics

    def policy(self, state: State) -> Policy:
        """The policy learned so far; its mode is the most likely action."""
        return self.learner.policy(state.params.policy)

    def learn(
        self, learning: Learning, replay: Replay, hyperparams: Hyperparams, keys: tuple[Key[Array, ""], Key[Array, ""]]
    ) -> Learning:
        """What an iteration does with its episodes: the warm-up's step, or one of `phi` and then many of the policy.

        The outer step is first, as new episodes are of the policy that the last inner steps led to.
        """
        config, (key_outer, key_inner) = self.config, keys
        ready = replay.seen > config.warm_up
        was_ready = replay.seen - config.num_envs > config.warm_up
        first = ready & ~was_ready
        if config.warm_up_updates:
            learning = lazy.when(~was_ready, self.warm_up, learning, replay, hyperparams)
        learning = lazy.when(was_ready, self.outer, learning, replay, hyperparams, key_outer)
        if config.first_rounds:
            learning = lazy.when(first, self.first_rounds, learning, replay, hyperparams, key_inner)
        # Unrolled, the outer step has taken the inner steps as well.
        inner = first if config.solver == "unrolled" else ready
        return lazy.when(inner, self.inner, learning, replay, hyperparams, jax.random.fold_in(key_inner, 0))
