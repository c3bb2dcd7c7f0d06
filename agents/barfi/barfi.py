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

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.barfi.parts.replay import Buffer, Replay, make_buffer
from jaxreward.agents.baselines.parts.learner import (
    AUXILIARY,
    Average,
    Learner,
    Metrics,
    Optimiser,
    Scalar,
    ascent,
    make_learner,
    returns_to_go,
    shows_auxiliary,
)
from jaxreward.contract.sizes import Sized, size
from jaxreward.environment import WithReward, scalar_environment
from jaxreward.learning import bilevel, lazy
from jaxreward.learning.episodes import Episodes, start_memories
from jaxreward.names import check_name
from jaxreward.reward import ENVIRONMENTS, Reward, Transition, bind_discount, episode_rewards
from jaxreward.rewards.alignment import Initial, Primary, alignment

Solver = Literal["neumann", "first_order", "cg", "gmres", "dense", "unrolled"]
RewardKind = Literal["state", "state_action", "numbers", "environment"]
Baseline = Literal["none", "mean"]


@dataclass(frozen=True)
class Config(Sized):
    """What shapes the program.

    The defaults are those of the grid world. Where the authors' code does something else than one would expect, that
    is an option: `outer_batch=4`, `warm_up_batch=2` and, in the grid world, `primary="fixed"`.

    Attributes:
        num_envs: New episodes of an iteration, their `delta`.
        num_steps: The most steps of one, `T`.
        learned: What `r_phi` is. "state" and "state_action", an alignment reward (`jaxreward.rewards.alignment`) whose
            weights are linear in the features of the state, or of those for each action; "numbers", one whose weights
            are the same everywhere, as in HalfCheetah; "environment", the reward that the environment was given by
            `with_reward`, whose params are learned, the primary reward being that beneath it.
        primary: See `alignment`: whether the weight of the primary reward is "learned" or "fixed" to 1.
        initial: See `alignment`: "random", or "sum", the naive sum; with learned="numbers" it is always that.
        solver: How `phi` gets its gradient: of the fixed point, by the name of a solver of
            `jaxreward.learning.bilevel`, or "unrolled", through the inner steps of the iteration (the authors' "Frodo",
            whose discount is fixed).
        num_terms: Terms of the Neumann series beyond the first, or the most steps of "cg" and "gmres".
        buffer: Episodes that are kept.
        batch: Episodes of an inner step.
        inner_steps: Of an iteration.
        first_rounds: How often the first iteration after the warm-up takes them beside its own.
        warm_up: Episodes after which `phi` takes part.
        warm_up_updates: Whether the policy learns from the naive sum before (not in HalfCheetah), a step an iteration.
        warm_up_batch: The newest episodes that it learns from; 0 for all new ones.
        outer_batch: The newest episodes for the primary policy gradient; 0 for all new ones.
        curvature_batch: Earlier episodes for the derivatives of the update at the fixed point.
        features: What policy and alignment reward see, see `jaxreward.agents.baselines.parts.learner.features_of`.
        layers: Widths of rectified linear layers between the features and the policy's output.
        optimiser: Of all three, "rmsprop" or "adam" with PyTorch's defaults.
        average: See `Learner`.
        baseline: What is subtracted from returns: "none", or the "mean" over the batch's steps (in HalfCheetah the
            authors' code has a running mean).
    """

    num_envs: int = size(3)
    num_steps: int = size(50)
    learned: RewardKind = "state"
    primary: Primary = "learned"
    initial: Initial = "random"
    solver: Solver = "neumann"
    num_terms: int = size(5)
    buffer: int = size(1000)
    batch: int = size(1)
    inner_steps: int = size(15)
    first_rounds: int = size(10, least=0)
    warm_up: int = size(155)
    warm_up_updates: bool = True
    warm_up_batch: int = size(0, least=0)
    outer_batch: int = size(0, least=0)
    curvature_batch: int = size(15)
    features: str = "auto"
    layers: tuple[int, ...] = size(())
    optimiser: Optimiser = "rmsprop"
    average: Average = "padded"
    baseline: Baseline = "none"


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Of the policy.
        reward_learning_rate: Of the reward's params.
        discount_learning_rate: Of the learned discount's logit; 0 to keep the discount.
        discount: Of the primary reward, and where the learned discount starts.
        entropy_coefficient: Weight of the entropy bonus, in the inner objective alone.
        discount_penalty: `lambda_gamma`, on the discount itself. It is not scaled by `alpha` as the implicit gradient
            is, so the two are to be searched together.
        reward_penalty: `lambda_r`, on the norm of each of the reward's arrays, not squared.
        alpha: Step of the Neumann series.
        damping: Added to the curvature in "cg" and "gmres"; in "dense" the least that there is of it.
        max_grad_norm: Gradients are scaled down to this norm, those of policy, reward and discount each.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 5e-3
    reward_learning_rate: Scalar = 5e-3
    discount_learning_rate: Scalar = 5e-3
    discount: Scalar = 0.99
    entropy_coefficient: Scalar = 0.25
    discount_penalty: Scalar = 0.25
    reward_penalty: Scalar = 0.0
    alpha: Scalar = 5e-4
    damping: Scalar = 1e-3
    max_grad_norm: Scalar = math.inf
    env_params: PyTree = None


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


def beneath(env: Environment, env_params: PyTree) -> tuple[Environment, PyTree]:
    """The environment whose reward is primary, and its params, where the outermost reward is the learned one.

    Raises:
        ValueError: If there is no such reward, or nothing of it can be learned.
    """
    if not isinstance(env, WithReward):
        raise ValueError(
            f"{env.name} has its own reward, so learned='environment' has no params to learn: give it another with "
            "`with_reward`, or learn an alignment reward, learned='state'"
        )
    leaves = jax.tree.leaves(env_params.reward)
    if not leaves or not all(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves):
        kinds = ", ".join(sorted({str(jnp.result_type(leaf)) for leaf in leaves})) or "none"
        raise ValueError(f"to be learned a reward's params are to be floating-point numbers; they are {kinds}")
    return env.env, env_params.env


def alignment_for(learner: Learner, env_params: PyTree, config: Config) -> Reward:
    """The alignment reward that a config asks for.

    Raises:
        ValueError: If the environment shows no auxiliary reward.
    """
    env, features = learner.env, learner.features
    if not shows_auxiliary(env, env_params):
        raise ValueError(
            f"{env.name} shows no auxiliary reward: give it one with `jaxreward.rewards.beside`, as auxiliary=..., or "
            "learn the params of its reward, learned='environment'"
        )
    if config.learned == "numbers":
        return alignment(primary=config.primary, initial="sum")
    space = env.action_space(env_params)

    def of_pair(observation: PyTree, action: PyTree) -> Float[Array, " F"]:
        seen = features(observation)
        if config.learned == "state":
            return seen
        if isinstance(space, spaces.Discrete):
            return jnp.outer(jax.nn.one_hot(action, space.n), seen).ravel()
        return jnp.concatenate([seen, jnp.ravel(action)])

    observation = jax.eval_shape(lambda: env.reset_env(jax.random.key(0), env_params)[0])
    size = jax.eval_shape(of_pair, observation, jax.eval_shape(space.sample, jax.random.key(0))).shape[0]
    return alignment(lambda t: of_pair(t.observation, t.action), size, config.primary, config.initial)


def check_config(config: Config) -> None:
    """Refuses options that are unknown or don't go together, before anything is compiled."""
    check_name("learned reward", config.learned, get_args(RewardKind))
    check_name("weight of the primary reward", config.primary, get_args(Primary))
    check_name("initial alignment reward", config.initial, get_args(Initial))
    check_name("solver", config.solver, get_args(Solver))
    check_name("baseline", config.baseline, get_args(Baseline))
    check_name("optimiser", config.optimiser, get_args(Optimiser))
    newest = max(config.outer_batch, config.warm_up_batch, config.num_envs)
    if config.buffer <= newest:
        raise ValueError(f"buffer={config.buffer} has no room for episodes before the newest {newest}; make it larger")
    if config.warm_up < newest:
        raise ValueError(f"warm_up={config.warm_up} ends before there are {newest} episodes; set warm_up={newest}")


@dataclass(frozen=True)
class Barfi:
    """The steps of the algorithm.

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

    def outer(self, learning: Learning, replay: Replay, hyperparams: Hyperparams, key: Key[Array, ""]) -> Learning:
        """A step in `phi` or, unrolled, of both levels."""
        if self.config.solver == "unrolled":
            found, policy, optimiser = self.unrolled(learning, replay, hyperparams, key)
            return self.realign(moved(learning, policy, optimiser), found, hyperparams)
        return self.realign(learning, self.implicit(learning.params, replay, hyperparams, key), hyperparams)

    def primary(self, replay: Replay, discount: Scalar) -> Data:
        """The newest episodes, weighed by the primary reward."""
        episodes = self.buffer.newest(replay, self.config.outer_batch or self.config.num_envs)
        return self.data(episodes, returns_to_go(episodes.steps.reward, discount))

    def implicit(
        self, params: Params, replay: Replay, hyperparams: Hyperparams, key: Key[Array, ""]
    ) -> bilevel.Gradient:
        """The gradient of `J_p` at the fixed point, with derivatives of the update on earlier episodes."""
        primary = self.primary(replay, hyperparams.discount)
        gradient = jax.grad(self.learner.surrogate)(params.policy, *primary)
        episodes = self.buffer.sample(replay, key, self.config.curvature_batch, self.config.num_envs)

        def update(policy: PyTree, aligned: Aligned) -> PyTree:
            return self.update(policy, self.aligned_data(aligned, episodes), hyperparams)

        return bilevel.implicit_gradient(update, *params, gradient, self.solver(hyperparams))

    def unrolled(
        self, learning: Learning, replay: Replay, hyperparams: Hyperparams, key: Key[Array, ""]
    ) -> tuple[bilevel.Gradient, PyTree, PyTree]:
        """The gradient through the inner steps, and where these lead."""
        drawn = self.buffer.sample(replay, key, self.config.inner_steps * self.config.batch)
        primary = self.primary(replay, hyperparams.discount)

        def step(now: tuple[PyTree, PyTree], aligned: Aligned, episodes: Episodes) -> tuple[PyTree, PyTree]:
            return self.ascend(now, self.aligned_data(aligned, episodes), hyperparams)[0]

        def outer(now: tuple[PyTree, PyTree]) -> Float[Array, ""]:
            return self.learner.surrogate(now[0], *primary)

        start = (learning.params.policy, learning.optimisers[0])
        gradient, (policy, optimiser) = bilevel.unrolled_gradient(
            step, outer, start, learning.params.aligned, self.batches(drawn)
        )
        return bilevel.Gradient(gradient, {}), policy, optimiser

    def realign(self, learning: Learning, found: bilevel.Gradient, hyperparams: Hyperparams) -> Learning:
        """A step in `phi`, less what the penalties ask for."""
        policy, aligned = learning.params
        of_policy, of_reward, of_discount = learning.optimisers
        penalty = jax.grad(lambda phi: self.penalty(phi, hyperparams))(aligned)
        gradient = jax.tree.map(jnp.subtract, found.phi, penalty)
        of_rate = lambda rate: self.ascent(hyperparams, rate)  # noqa: E731
        change, of_reward = of_rate(hyperparams.reward_learning_rate).update(gradient.reward, of_reward)
        turn, of_discount = of_rate(hyperparams.discount_learning_rate).update(gradient.logit, of_discount)
        aligned = optax.apply_updates(aligned, Aligned(change, turn))
        told = {**found.metrics, "outer/gradient_norm": optax.tree.norm(found.phi)}
        return Learning(Params(policy, aligned), (of_policy, of_reward, of_discount), told)

    def penalty(self, aligned: Aligned, hyperparams: Hyperparams) -> Float[Array, ""]:
        """`lambda_gamma gamma_phi + lambda_r ||phi_r||`, the norm of each array by itself, flat at zero."""
        norms = sum(optax.safe_norm(x, 1e-12) for x in jax.tree.leaves(aligned.reward))
        return hyperparams.discount_penalty * aligned.discount + hyperparams.reward_penalty * norms

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

    def solver(self, hyperparams: Hyperparams) -> bilevel.Solver:
        """Of the linear system behind the implicit gradient."""
        number, damping = self.config.num_terms, hyperparams.damping
        solvers = {
            "neumann": lambda: bilevel.neumann(number, hyperparams.alpha),
            "first_order": bilevel.first_order,
            "cg": lambda: bilevel.cg(number, damping),
            "gmres": lambda: bilevel.gmres(number, damping),
            "dense": lambda: bilevel.dense(clip=damping),
        }
        return solvers[self.config.solver]()

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
