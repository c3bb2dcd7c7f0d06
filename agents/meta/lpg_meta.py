"""Learning LPG's objective by meta-gradients through a few updates of many agents (Oh et al., arXiv:2007.08794).

Every agent lives in a world of its own. An iteration makes `K` updates of each, plays it once more, and moves the
objective's params along the gradient, through those updates, of how well it then acts, by a policy gradient with a
value that is learned beside (Jackson et al., NeurIPS 2023, arXiv:2310.02782, section 2.2 and table 2). Who has lived
for its lifetime makes room for another in another world.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.meta.parts.citizens import Citizen, Citizens
from jaxreward.agents.meta.parts.curation import CURATIONS, NEW, Buffer, Over, chosen, empty, returned
from jaxreward.agents.meta.parts.follower import Follower, Metrics, Scalar, entropy
from jaxreward.agents.meta.parts.learned import LearnedConfig
from jaxreward.agents.meta.parts.scores import Scores, check_score
from jaxreward.agents.meta.parts.worlds import check_drawn
from jaxreward.contract.sizes import size
from jaxreward.environment import scalar_environment
from jaxreward.learning.bilevel import unrolled_gradient
from jaxreward.learning.lazy import when
from jaxreward.learning.objective import Lifetime
from jaxreward.learning.population import pooled
from jaxreward.names import check_name
from jaxreward.reward import bind_discount


@dataclass(frozen=True)
class Config(LearnedConfig):
    """What shapes the program; sizes are GROOVE's, but that there are 512 agents there.

    Attributes:
        num_agents: How many live at once.
        at_once: How many of them are computed at once, which bounds memory; 0 for all.
        num_updates: Updates of each in an iteration, `K`.
        frozen_value_critic: Whether the value that a policy is judged with stays as it was drawn, which is what the
            authors' code comes to.
        curation: Which levels come again: "none"; by their scores, "rank" the highest first, or "proportional", see
            `jaxreward.agents.meta.parts.curation`.
        curation_score: What they are scored by: "regret", "optimal_regret", "l1_value_loss" or "positive_value_loss",
            see `jaxreward.agents.meta.parts.scores.Scores`.
        buffer_size: How many levels are kept for that.
    """

    num_agents: int = size(64)
    at_once: int = size(0, least=0)
    num_updates: int = size(5)
    frozen_value_critic: bool = False
    curation: str = "none"
    curation_score: str = "regret"
    buffer_size: int = size(4000)

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of an iteration."""
        return self.num_agents * (self.num_updates + 1) * self.num_envs * self.num_steps


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        meta_learning_rate: Of the objective's Adam.
        policy_entropy: Weight of the policies' entropy, `beta_0`.
        prediction_entropy: Of the predictions', `beta_1`.
        score_penalty: Of the mean square of the objective's scores, `beta_2`.
        prediction_penalty: Of the mean squared length of what it asks of predictions, `beta_3`.
        gae_lambda: Trace decay of the advantages that judge a policy.
        value_rate: How far a row of the value's table goes towards the mean of what it should be; the step size of a
            network is `learning_rate`.
        table_rate: See `jaxreward.agents.meta.lpg`.
        learning_rate: See there.
        prediction_scale: See there.
        prediction_weight: See there.
        max_grad_norm: See there.
        discount: Per step; rewards with an `AgentDiscount` follow it.
        replay: With curation, how likely a newborn lives in a level of the buffer.
        temperature: With "proportional" curation, of the scores.
        env_params: Params of the environment and its reward, of which those that are drawn are not looked at; None for
            those the agent was made with.
    """

    meta_learning_rate: Scalar = 1e-4
    policy_entropy: Scalar = 0.05
    prediction_entropy: Scalar = 1e-3
    score_penalty: Scalar = 5e-3
    prediction_penalty: Scalar = 1e-3
    gae_lambda: Scalar = 0.95
    value_rate: Scalar = 0.5
    table_rate: Scalar = 40.0
    learning_rate: Scalar = 1e-3
    prediction_scale: Scalar = 1.0
    prediction_weight: Scalar = 0.5
    max_grad_norm: Scalar = 0.5
    discount: Scalar = 0.99
    replay: Scalar = 0.5
    temperature: Scalar = 1.0
    env_params: PyTree = None


class Course(NamedTuple):
    """A citizen in the course of some updates, what they earned on the way, and what they logged, `[K]`."""

    citizen: Citizen
    bonus: Float[Array, ""]
    metrics: Metrics


class State(NamedTuple):
    """Everything a run is made of: `params` are the objective's, `citizens` have a leading axis.

    The buffer is there with curation.
    """

    params: PyTree
    optimiser: PyTree
    citizens: Citizen
    buffer: Buffer | None
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def lpg_meta(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent whose params are those of an objective, which it learns on agents that follow it.

    It logs `meta/objective`, what is ascended, `meta/gradient`, its slope, `meta/explained_variance` of the value, and
    `meta/born`, how many agents made room for others, beside what the agents log, averaged over all of them. Its policy
    is that of the first agent.

    Args:
        env: With a `Discrete` action space; if it has `sample_params(key)`, as `levels/NAME` do, each agent lives in a
            world of its own, else all in the one given.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If an option is unknown, params would be drawn over, or the reward is a vector.
    """
    env = scalar_environment(env, env_params)
    check_drawn(env, env_params, "lpg_meta")
    check_name("curation", config.curation, CURATIONS)
    check_score(config.curation_score, env)
    config = config.for_env(env, env_params) if config.curation != "none" else config
    config.total()
    algorithm = MetaGradient(config.follower(env, env_params, "lpg_meta"), env_params, config)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class MetaGradient:
    """The steps of the algorithm."""

    lives: Follower
    env_params: PyTree
    config: Config

    @property
    def citizens(self) -> Citizens:
        """How agents are born and judged."""
        return Citizens(self.lives, self.config.total(), self.config.frozen_value_critic)

    @property
    def scores(self) -> Scores:
        """What levels are worth living in again."""
        return Scores(self.config.curation_score, self.citizens, self.config.judged_steps)

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Draws the objective's params and all agents."""
        key, key_objective, key_agents = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        params = self.lives.objective.init(key_objective)
        keys = jax.random.split(key_agents, self.config.num_agents)
        citizens = jax.vmap(self.citizens.born, (0, None))(keys, self.params_of_env(hyperparams))
        optimiser = optax.scale_by_adam().init(params)
        one = jax.tree.map(lambda leaf: leaf[0], citizens)
        buffer = empty(one.world, one.total, self.config.buffer_size) if self.config.curation != "none" else None
        return strong(State(params, optimiser, citizens, buffer, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: some updates of all agents, and one of the objective."""
        key, key_course, key_levels, key_born = jax.random.split(state.key, 4)
        hyperparams = state.hyperparams

        def of_one(args: tuple[Citizen, Key[Array, ""]]) -> tuple[PyTree, Citizen, Metrics]:
            return self.meta_gradient(state.params, *args, hyperparams)

        keys = jax.random.split(key_course, self.config.num_agents)
        each = self.config.at_once or self.config.num_agents
        gradients, citizens, metrics = jax.lax.map(of_one, (state.citizens, keys), batch_size=each)
        gradient = jax.tree.map(lambda leaf: leaf.mean(0), gradients)
        change, optimiser = optax.scale_by_adam().update(gradient, state.optimiser)
        params = jax.tree.map(lambda x, step: x + hyperparams.meta_learning_rate * step, state.params, change)
        over = citizens.step >= citizens.total
        metrics = pooled(jax.tree.map(jnp.ravel, metrics))
        buffer, place = state.buffer, citizens.place
        if buffer is not None:
            buffer, place, said = self.curated(buffer, citizens, over, hyperparams, key_levels)
            metrics |= said
        citizens = self.renewed(citizens, over, buffer, place, self.params_of_env(hyperparams), key_born)
        after = State(params, optimiser, citizens, buffer, hyperparams, key, state.iteration + 1)
        steps = jnp.asarray(self.config.steps_per_iteration, jnp.int32)
        told = {"meta/gradient": optax.tree.norm(gradient), "meta/born": over.sum().astype(float)}
        return after, {"env_steps": steps, **metrics, **told}

    def policy(self, state: State) -> Policy:
        """The policy of the first agent."""
        return self.lives.policy(jax.tree.map(lambda leaf: leaf[0], state.citizens.life.params.policy))

    def renewed(
        self,
        citizens: Citizen,
        over: Bool[Array, " L"],
        buffer: Buffer | None,
        place: Int[Array, " L"],
        env_params: PyTree,
        key: Key[Array, ""],
    ) -> Citizen:
        """The agents, others in place of those whose lives are over: few at a time, so few are computed at once."""

        def renew(over: Array, citizen: Citizen, place: Array, key: Key[Array, ""]) -> Citizen:
            other = lambda _, place, key: self.citizens.born(key, env_params, buffer, place)  # noqa: E731
            return when(over, other, citizen, place, key, group=self.group)

        return jax.vmap(renew)(over, citizens, place, jax.random.split(key, self.config.num_agents))

    @property
    def group(self) -> int:
        """How many of those whose lives are over are looked at together."""
        return max(1, self.config.num_agents // 16)

    def curated(
        self,
        buffer: Buffer,
        citizens: Citizen,
        over: Bool[Array, " L"],
        hyperparams: Hyperparams,
        key: Key[Array, ""],
    ) -> tuple[Buffer, Int[Array, " L"], Metrics]:
        """The buffer with the scores of lives that are over, where their successors live, and what to log."""
        key_score, key_choice = jax.random.split(key)

        def score(over: Array, citizen: Citizen, key: Key[Array, ""]) -> Array:
            of_level = lambda _, citizen, key: self.scores(citizen, hyperparams, key)  # noqa: E731
            return when(over, of_level, jnp.zeros(()), citizen, key, group=self.group)

        scores = jax.vmap(score)(over, citizens, jax.random.split(key_score, self.config.num_agents))
        buffer = returned(buffer, Over(over, citizens.place, citizens.world, citizens.total, scores))
        numbers = hyperparams.replay, hyperparams.temperature
        buffer, place = chosen(buffer, over, key_choice, self.config.curation, *numbers)
        filled = buffer.score > -jnp.inf
        mean = jnp.where(filled, buffer.score, 0.0).sum() / jnp.maximum(filled.sum(), 1)
        told = {
            "curation/levels": filled.sum().astype(float),
            "curation/score": mean,
            f"curation/{self.config.curation_score}": jnp.where(over, scores, 0.0).sum() / jnp.maximum(over.sum(), 1),
            "curation/replayed": (over & (place != NEW)).sum().astype(float),
        }
        return buffer, place, told

    def meta_gradient(
        self, params: PyTree, citizen: Citizen, key: Key[Array, ""], hyperparams: Hyperparams
    ) -> tuple[PyTree, Citizen, Metrics]:
        """How the objective is to change for one agent's sake, that agent later, and what to log, leaves `[K]`."""
        key_updates, key_last = jax.random.split(key)
        told = jax.eval_shape(lambda: self.updated(citizen, params, hyperparams, key)[2])
        number = self.config.num_updates
        empty = jax.tree.map(lambda leaf: jnp.zeros((number, *leaf.shape), leaf.dtype), told)

        def step(course: Course, params: PyTree, x: tuple[Int[Array, ""], Key[Array, ""]]) -> Course:
            after, bonus, metrics = self.updated(course.citizen, params, hyperparams, x[1])
            metrics = jax.tree.map(lambda all_, one: all_.at[x[0]].set(one), course.metrics, metrics)
            return Course(after, course.bonus + bonus / number, metrics)

        def outer(course: Course) -> tuple[Float[Array, ""], tuple[Citizen, Metrics]]:
            worth, citizen, judged = self.judged(course.citizen, key_last, hyperparams)
            total = course.bonus + worth
            same = {"meta/objective": total, **judged}
            return total, (citizen, {**course.metrics, **{name: jnp.full(number, x) for name, x in same.items()}})

        inputs = jnp.arange(number), jax.random.split(key_updates, number)
        begin = Course(citizen, jnp.zeros(()), empty)
        gradient, (citizen, metrics) = unrolled_gradient(step, outer, begin, params, inputs, has_aux=True)
        return gradient, citizen, metrics

    def updated(
        self, citizen: Citizen, params: PyTree, hyperparams: Hyperparams, key: Key[Array, ""]
    ) -> tuple[Citizen, Float[Array, ""], Metrics]:
        """An agent after an update, what the objective earns for how it was, and what to log."""
        lifetime = Lifetime(citizen.step, citizen.total)
        life, steps, said = self.lives.update(citizen.life, lifetime, params, citizen.world, hyperparams, key)
        log_policy = self.lives.log_policy(life.params.policy, steps.observation)
        log_prediction = self.lives.log_prediction(life.params.prediction, steps.observation)
        bonus = hyperparams.policy_entropy * entropy(log_policy)
        bonus += hyperparams.prediction_entropy * entropy(log_prediction)
        bonus -= hyperparams.score_penalty * said["objective/squared_score"]
        bonus -= hyperparams.prediction_penalty * said["objective/squared_prediction"]
        citizen = citizen._replace(life=life, step=citizen.step + 1)
        return self.citizens.valued(citizen, steps, hyperparams)[0], bonus, said

    def judged(
        self, citizen: Citizen, key: Key[Array, ""], hyperparams: Hyperparams
    ) -> tuple[Float[Array, ""], Citizen, Metrics]:
        """What is ascended of a policy: the mean of `A log pi` over a rollout of its own, `A` of unit spread."""
        envs, steps, _ = self.lives.collect(citizen.life, citizen.world, key)
        log_policy = self.lives.log_policy(citizen.life.params.policy, steps.observation)
        log_prob = jnp.take_along_axis(log_policy, steps.action[..., None], -1)[..., 0]
        citizen = citizen._replace(life=citizen.life._replace(envs=envs))
        citizen, advantage, explained = self.citizens.valued(citizen, steps, hyperparams)
        score = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        told = {"meta/explained_variance": explained, "meta/average_reward": steps.reward.mean()}
        return (log_prob * score).mean(), citizen, told

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params, any discount among its reward's following the agents'."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, hyperparams.discount)
