"""BARFI with PPO inside: the reward and the discount that PPO learns from are learned so that it earns what is wanted.

The bilevel problem is that of `jaxreward.agents.barfi.barfi` (Gupta et al., NeurIPS 2023, arXiv:2310.19007), PPO that
of `jaxreward.agents.baselines.ppo` as it is. An iteration takes some of PPO's under `r_phi` and `gamma_phi`, plays
whole episodes with the policy that comes of it, and takes one step in `phi` up the implicit gradient of the primary
return.

That gradient is of a fixed point, `Delta(theta*, phi) = 0`. `Delta` is what PPO follows at its first minibatch, where
no ratio is clipped yet: the mean over steps of `A / std(A) grad log pi + c grad H`, `c` weighing the entropy `H`. Where
it is zero, so is the expectation of PPO's gradient, clipped or not. Some of this is approximate:

* `A` is what an episode goes on to earn less what others do, where PPO has generalised advantages. Both have the
  expectation of the true ones if `gae_lambda` is 1 or the critic is right, and not the same spread, which `c` is
  relative to.
* What a truncated episode would have gone on to earn counts for nothing, where PPO has its critic.
* PPO is not at rest: it has taken a few iterations, on noisy minibatches, and its critic lags behind `phi`. With the
  usual small `c` it doesn't rest before its policy is deterministic, as a smaller spread makes up for that.
* Of the entropy's derivatives that through which states are visited is left out, and so is that of `std(A)` through
  the returns that follow.

Only the actor has a part in this, with the memory it shares with the critic, if there is one. The episodes are the
policy's own, so which of them there are depends on `theta` as well: the derivatives of `Delta` include that.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, get_args

import distrax
import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent, strong
from jaxreward.agents.barfi import barfi
from jaxreward.agents.barfi.barfi import Barfi
from jaxreward.agents.barfi.parts.config import RewardKind, Solver
from jaxreward.agents.barfi.parts.inner import Aligned, Learning, Params
from jaxreward.agents.barfi.parts.learned_reward import alignment_for, beneath
from jaxreward.agents.baselines import ppo
from jaxreward.agents.baselines.parts.learner import (
    Metrics,
    Optimiser,
    Scalar,
    make_learner,
    returns_to_go,
    without_rest,
)
from jaxreward.agents.baselines.parts.on_policy import actor_critic
from jaxreward.agents.subpo.parts.estimators import others_mean
from jaxreward.contract.sizes import size
from jaxreward.environment import WithRewardParams, scalar_environment, with_reward, world
from jaxreward.learning.bilevel import Gradient, implicit_gradient
from jaxreward.learning.episodes import Episodes, play, start_memories
from jaxreward.learning.networks import head_for, unroll
from jaxreward.names import check_name
from jaxreward.rewards.alignment import Initial, Primary

SOLVERS = tuple(name for name in get_args(Solver) if name != "unrolled")
"""PPO's many steps are not differentiated one by one."""


@dataclass(frozen=True)
class Config(ppo.Config):
    """What shapes the program: PPO's sizes and architecture, and these.

    Attributes:
        inner_iterations: Of PPO, between two steps in `phi`.
        num_episodes: Whole episodes that say how the primary return changes with the policy, `N`.
        curvature_episodes: Further ones that say how the update at the fixed point changes with policy and `phi`; 0 to
            take the same ones, which saves time and correlates the two.
        episode_steps: The most steps of an episode.
        learned: What `r_phi` is: "state", "state_action", "numbers" or "environment", see
            `jaxreward.agents.barfi.parts.config.Config`.
        primary: See `jaxreward.rewards.alignment`: whether the weight of the primary reward is "learned" or "fixed".
        initial: See there: "random", or "sum", the naive sum.
        features: Of the observation, that an alignment reward is linear in, see
            `jaxreward.agents.baselines.parts.learner.features_of`; PPO's networks see the observation itself.
        solver: Of the linear system behind the implicit gradient, by the name of a solver of
            `jaxreward.learning.bilevel`. "neumann" with few terms looks as many steps ahead and needs no rest. "gmres"
            takes the system at its word: where curvature is still positive, as it is early on, its gradient may point
            the other way.
        num_terms: Terms of the Neumann series beyond the first, or the most steps of "cg" and "gmres".
        optimiser: Of `phi`, "rmsprop" or "adam" with PyTorch's defaults.
    """

    needs_episodes: ClassVar[bool] = True

    inner_iterations: int = size(1)
    num_episodes: int = size(64, least=2)
    curvature_episodes: int = size(64, least=0)
    episode_steps: int = size(50)
    learned: RewardKind = "state"
    primary: Primary = "learned"
    initial: Initial = "sum"
    features: str = "auto"
    solver: Solver = "neumann"
    num_terms: int = size(5)
    optimiser: Optimiser = "adam"

    @property
    def played(self) -> int:
        """Whole episodes of an iteration."""
        return self.num_episodes + self.curvature_episodes

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps, those of PPO and those of whole episodes."""
        return self.inner_iterations * self.num_envs * self.num_steps + self.played * self.episode_steps

    def for_length(self, hyperparams: Any, iterations: int) -> Any:
        """A lifetime is of PPO's iterations, of which there are several in each."""
        return super().for_length(hyperparams, self.inner_iterations * iterations)


@struct.dataclass
class Hyperparams(ppo.Hyperparams, barfi.Hyperparams):
    """Traced numbers of both levels: each may be vmapped over or searched.

    Those of `jaxreward.agents.baselines.ppo` are PPO's, but that the discount is the primary reward's, and where the
    learned one, which PPO has, starts. `max_grad_norm` bounds the gradients of reward and discount, too. The others are
    as in `jaxreward.agents.barfi.barfi`, with an `alpha` and a `damping` that suit advantages of unit spread.
    """

    reward_learning_rate: Scalar = 3e-2
    discount_learning_rate: Scalar = 1e-2
    discount_penalty: Scalar = 0.0
    alpha: Scalar = 0.1
    damping: Scalar = 0.1


class State(NamedTuple):
    """Everything a run is made of.

    Attributes:
        inner: PPO's own state, whose hyperparams have `phi` in them.
        aligned: `phi`.
        optimisers: Of the reward and of the discount.
        ended: What the primary reward remembers of earlier whole episodes.
        hyperparams: Those of the agent.
        key: For what comes.
        iteration: How many there were.
    """

    inner: ppo.State
    aligned: Aligned
    optimisers: tuple[PyTree, PyTree]
    ended: tuple[PyTree, ...]
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def barfi_ppo(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A PPO agent whose reward and discount are learned. Its metric `episode/return` is of the primary reward.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space. It shows an auxiliary reward in
            `info["reward/auxiliary"]`, see `jaxreward.rewards.beside`, or has a reward whose params are to be learned.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If an option is unknown or does not fit the environment, sizes do not divide, or the reward is a
            vector.
    """
    check_config(config, env, env_params)
    env = scalar_environment(env, env_params)
    own = config.learned == "environment"
    played, played_params = beneath(env, env_params) if own else (env, env_params)
    learner = make_learner(played, played_params, config.features, (), config.played, config.episode_steps)
    options = {name: getattr(config, name) for name in ("learned", "primary", "initial", "solver", "num_terms")}
    outer_config = barfi.Config(optimiser=config.optimiser, **options)
    reward = env.reward if own else alignment_for(learner, env_params, outer_config)
    outer = Barfi(learner, env_params, outer_config, reward)
    learned = env if own else with_reward(env, reward)
    head = head_for(env.action_space(env_params))
    network = actor_critic(env, env_params, config, head)
    algorithm = BarfiPPO(config, outer, ppo.PPO(learned, None, config, head, network, ppo.drift_of(config)))
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


def check_config(config: Config, env: Environment, env_params: PyTree) -> None:
    """Refuses options that are unknown or don't fit, before anything is compiled."""
    ppo.check_config(config)
    check_name("learned reward", config.learned, get_args(RewardKind))
    check_name("solver of barfi_ppo", config.solver, SOLVERS)
    check_name("optimiser", config.optimiser, get_args(Optimiser))
    if config.curvature_episodes == 1:
        raise ValueError("one curvature episode has no others to be compared with; set curvature_episodes=2, or 0")
    limit = getattr(world(env, env_params)[1], "max_steps_in_episode", config.episode_steps)
    if int(limit) > config.episode_steps:
        raise ValueError(
            f"an episode of {env.name} has up to {limit} steps, episode_steps={config.episode_steps}: set "
            f"episode_steps={limit}, or make the environment with max_steps_in_episode={config.episode_steps}"
        )


@dataclass(frozen=True)
class BarfiPPO:
    """The steps of the algorithm.

    Attributes:
        config: Its sizes.
        outer: What is done with `phi`.
        inner: PPO in the environment whose reward is `r_phi`.
    """

    config: Config
    outer: Barfi
    inner: ppo.PPO

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Draws params and start states."""
        key, key_inner, key_reward = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        logit = jax.scipy.special.logit(hyperparams.discount)
        aligned = strong(Aligned(self.outer.draw_reward(key_reward, hyperparams), logit))
        inner = self.inner.init(key_inner, self.inner_hyperparams(hyperparams, aligned))
        step = self.outer.ascent(hyperparams, hyperparams.reward_learning_rate)
        optimisers = (step.init(aligned.reward), step.init(logit))
        env_params = self.outer.played_params(hyperparams)
        ended = start_memories(self.outer.learner.env, env_params, self.config.played)
        return strong(State(inner, aligned, optimisers, ended, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: learn from `r_phi`, play, take a step in `phi`."""
        key, key_play = jax.random.split(state.key)
        hyperparams, aligned = state.hyperparams, state.aligned
        inner = state.inner._replace(hyperparams=self.inner_hyperparams(hyperparams, aligned))
        inner, losses = self.improve(inner)
        ended, episodes, metrics = self.play(inner, hyperparams, state.ended, key_play)
        found = self.implicit(inner, aligned, episodes, hyperparams)
        learning = Learning(Params((), aligned), ((), *state.optimisers), {})
        learning = self.outer.realign(learning, found, hyperparams)
        learned = self.outer.rewards(aligned, episodes).sum(0).mean()
        metrics = {
            "env_steps": jnp.asarray(self.config.steps_per_iteration, jnp.int32),
            **metrics,
            "episode/learned_return": learned,
            **losses,
            **learning.told,
            "outer/discount": learning.params.aligned.discount,
        }
        optimisers = learning.optimisers[1:]
        kept = (inner, learning.params.aligned, optimisers, ended, hyperparams, key)
        return State(*kept, state.iteration + 1), metrics

    def policy(self, state: State) -> Any:
        """PPO's policy."""
        return self.inner.policy(state.inner)

    def inner_hyperparams(self, hyperparams: Hyperparams, aligned: Aligned) -> Hyperparams:
        """PPO's: its reward is `r_phi` and its discount `gamma_phi`."""
        env_params = strong(WithRewardParams(self.outer.played_params(hyperparams), aligned.reward))
        return dataclasses.replace(hyperparams, env_params=env_params, discount=aligned.discount)

    def improve(self, inner: ppo.State) -> tuple[ppo.State, Metrics]:
        """PPO's iterations, and the means of what it says of its losses."""
        inner, metrics = jax.lax.scan(lambda now, _: self.inner.step(now), inner, length=self.config.inner_iterations)
        told = {
            name: value for name, value in metrics.items() if name.partition("/")[0] not in ("episode", "env_steps")
        }
        return inner, jax.tree.map(jnp.mean, told)

    def play(
        self, inner: ppo.State, hyperparams: Hyperparams, ended: tuple[PyTree, ...], key: Key[Array, ""]
    ) -> tuple[tuple[PyTree, ...], Episodes, Metrics]:
        """Whole episodes in the primary environment; their extras are the raw actions."""
        key_noise, key_envs = jax.random.split(key)
        head, size = self.inner.head, self.config.played
        noise = head.noise(key_noise, (self.config.episode_steps, size))

        def act(memory: PyTree, observation: PyTree, noise: Array) -> tuple[PyTree, Array, Array]:
            memory, outputs, _ = self.inner.forward(inner.params, memory, self.inner.features(inner, observation))
            action = head.sample(outputs, noise)
            return memory, head.to_env(action), action

        env_params = self.outer.played_params(hyperparams)
        memory = self.inner.network.initial_carry(size)
        ended, episodes, metrics = play(self.outer.learner.env, env_params, act, memory, noise, ended, size, key_envs)
        return ended, without_rest(episodes), metrics

    def implicit(self, inner: ppo.State, aligned: Aligned, episodes: Episodes, hyperparams: Hyperparams) -> Gradient:
        """The gradient of the primary return in `phi`, at the fixed point that PPO is taken to be at."""
        actor, number = actor_of(inner.params), self.config.num_episodes
        fresh = jax.tree.map(lambda x: x[:, :number], episodes)
        others = jax.tree.map(lambda x: x[:, number:], episodes) if self.config.curvature_episodes else fresh
        gradient = self.primary_gradient(inner, actor, fresh, hyperparams.discount)

        def update(actor: PyTree, aligned: Aligned) -> PyTree:
            return self.update(inner, actor, aligned, others)

        return implicit_gradient(update, actor, aligned, gradient, self.outer.solver(hyperparams))

    def primary_gradient(self, inner: ppo.State, actor: PyTree, episodes: Episodes, discount: Scalar) -> PyTree:
        """Of the discounted primary return, later states weighing less, which they don't in the authors' code."""
        earned = returns_to_go(episodes.steps.reward, discount)
        time = jnp.arange(len(earned))[:, None]
        weight = discount**time * (earned - others_mean(earned, episodes.valid))

        def objective(actor: PyTree) -> Float[Array, ""]:
            scores = self.distribution(inner, actor, episodes).log_prob(episodes.extras) * weight
            return jnp.where(episodes.valid, scores, 0.0).sum() / episodes.valid.shape[1]

        return jax.grad(objective)(actor)

    def update(self, inner: ppo.State, actor: PyTree, aligned: Aligned, episodes: Episodes) -> PyTree:
        """`Delta(theta, phi)`, where PPO's actor is to go."""
        valid, number = episodes.valid, jnp.maximum(episodes.valid.sum(), 1)
        earned = returns_to_go(self.outer.rewards(aligned, episodes), aligned.discount)
        advantage = jnp.where(valid, earned - others_mean(earned, valid), 0.0)
        log_prob = self.distribution(inner, actor, episodes).log_prob(episodes.extras)
        chance = jnp.where(valid, log_prob - jax.lax.stop_gradient(log_prob), 0.0)
        weight = on_policy(advantage, chance, aligned.discount) / spread(advantage, chance, valid)

        def objective(actor: PyTree) -> Float[Array, ""]:
            distribution = self.distribution(inner, actor, episodes)
            bonus = inner.hyperparams.entropy_coefficient * distribution.entropy()
            return jnp.where(valid, distribution.log_prob(episodes.extras) * weight + bonus, 0.0).sum() / number

        return jax.grad(objective)(actor)

    def distribution(self, inner: ppo.State, actor: PyTree, episodes: Episodes) -> distrax.Distribution:
        """Of raw actions, at each step `[T, N]`."""
        params = {"params": {**inner.params["params"], **actor}}
        features = self.inner.features(inner, episodes.steps.observation, 2)
        memory = self.inner.network.initial_carry(features.shape[1])
        start = jnp.zeros(features.shape[:2], bool)
        return self.inner.head.distribution(unroll(self.inner.forward, params, memory, features, start)[1])


def actor_of(params: PyTree) -> PyTree:
    """The params of a PPO network that its policy depends on."""
    return {name: part for name, part in params["params"].items() if not name.startswith("critic")}


def on_policy(advantage: Float[Array, "T N"], chance: Float[Array, "T N"], discount: Scalar) -> Float[Array, "T N"]:
    """The advantages, which change with the policy that the episodes are of.

    With `E[advantage_t grad log pi_t]` for a policy gradient, its derivative has these terms beside that of the score:
    `grad log pi_k advantage_t` for actions before, `k < t`, and `discount^(k - t) grad log pi_k advantage_k` for the
    action itself and those that follow (Farquhar, Whiteson, Foerster 2019, Loaded DiCE, here with whole returns).

    Args:
        advantage: Returns less a baseline, zero behind an episode's end.
        chance: `log pi - stop_gradient(log pi)` of the actions, which is zero, and zero behind the end.
        discount: That of the returns.
    """
    before = jnp.cumsum(chance, 0) - chance
    return advantage * (1 + before) + returns_to_go(chance * advantage, discount)


def spread(advantage: Float[Array, "T N"], chance: Float[Array, "T N"], valid: Bool[Array, "T N"]) -> Float[Array, ""]:
    """The standard deviation of advantages over steps, which changes with how likely these are, see `on_policy`."""
    weight = jnp.where(valid, 1 + jnp.cumsum(chance, 0), 0.0)
    mean = lambda x: (weight * x).sum() / jnp.maximum(weight.sum(), 1)  # noqa: E731
    return jnp.sqrt(jnp.maximum(mean(jnp.square(advantage - mean(advantage))), 1e-12))
