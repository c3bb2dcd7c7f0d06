"""Soft critics learned from demonstrations, of one agent or of each in a game: what IQ-Learn and MAMQL are made of.

An iteration is a rollout of the current policy, to be judged and to be learned from, and some steps of Adam, each on
demonstrated transitions beside others that the value term is estimated from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.baselines.parts import demonstrated
from jaxreward.agents.baselines.parts.action_values import adam, network_for
from jaxreward.agents.baselines.parts.demonstrated import check_file, first_steps
from jaxreward.agents.mamql.parts.criterion import DIVERGENCES, Judged, criterion, judged, mean
from jaxreward.contract.sizes import size
from jaxreward.learning.action_values import ActionValues
from jaxreward.learning.demonstrations import Transitions, read_demonstrations, transitions_of
from jaxreward.learning.networks import categorical_head
from jaxreward.learning.reading import ReadingConfig
from jaxreward.learning.replay import Replay, empty_replay, nearest, sample, write
from jaxreward.learning.rollout import EnvBatch, Trajectory, reset_batch, rollout
from jaxreward.learning.targets import periodic_update
from jaxreward.mdp.soft import soft_max
from jaxreward.names import check_name
from jaxreward.reward import Reward, Transition, bind_discount, markov

Metrics = dict[str, Float[Array, ""]]
Scalar = Float[Array, ""] | float
States = Literal["policy", "expert", "mixed", "start"]
Reads = Literal["state", "others_actions", "joint_action"]
Penalised = Literal["demonstrated", "both"]
Loss = Literal["inverse", "squared_likelihood"]
Collected = Literal["sampled", "greedy"]
_CHOICES = {
    "value_states": get_args(States),
    "penalised": get_args(Penalised),
    "loss": get_args(Loss),
    "collected": get_args(Collected),
    "divergence": DIVERGENCES,
}


@dataclass(frozen=True)
class Config(demonstrated.Config, ReadingConfig):
    """What shapes the program, with what `ReadingConfig` has, and where the demonstrations are.

    Attributes:
        divergence: What is minimised between what was demonstrated and what the policy does, see
            `jaxreward.agents.mamql.parts.criterion.phi`.
        value_states: Where the value term, `(1 - discount) E_start[V]`, is estimated: on transitions of the policies so
            far, on demonstrated ones, on both (see `Hyperparams.policy_share`), or where episodes start. In expectation
            over what one policy does from there it is the same number.
        penalised: Where a chi-squared penalty of the reward's size is taken: at demonstrated transitions, as the
            divergence has it, or half and half at the policy's too.
        loss: The criterion, or the mean square of `log pi(a | s)`, scaled by the temperature: in the authors' code a
            variant without interaction.
        collected: Whether actions are sampled from the policy while transitions are collected, or its likeliest ones.
        target: Whether what followed is judged by a network that follows the learned one; else by the learned one, and
            gradients go through it.
        num_envs: Environments that the policy is played in, `N`.
        num_steps: Steps of each in an iteration, `T`.
        num_updates: Steps of Adam in an iteration.
        batch_size: Transitions of each, of either kind, drawn with replacement.
        capacity: Transitions of the policies so far that are kept, the newest ones; a multiple of `N T`.
        layers: Widths of the hidden layers.
        activation: Between them, a name in `jaxreward.learning.networks.ACTIVATIONS`.
        dropout: Which share of hidden units is left out at random in an update, as the authors of MAMQL do.
    """

    divergence: str = "chi2"
    value_states: States = "policy"
    penalised: Penalised = "demonstrated"
    loss: Loss = "inverse"
    collected: Collected = "sampled"
    target: bool = False
    num_envs: int = size(8)
    num_steps: int = size(8)
    num_updates: int = size(4)
    batch_size: int = size(256)
    capacity: int = size(16_384)
    layers: tuple[int, ...] = size((256, 256))
    activation: str = "elu"
    dropout: float = size(0.0, least=0, most=0.95)

    @property
    def collects(self) -> bool:
        """Whether anything is learned from what the policy does."""
        return self.loss == "inverse" and (self.value_states in ("policy", "mixed") or self.penalised == "both")


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Adam's step size.
        discount: Per step.
        temperature: Of the policies, `softmax(Q / temperature)`, in units of the recovered reward: `1 / lambda`.
        alpha: Of chi-squared: the larger, the less the size of a reward matters.
        policy_share: With `value_states=mixed`, how much the policy's transitions count beside demonstrated ones.
        l2: How much the sum of squares of all params counts in the loss.
        max_grad_norm: Gradients are scaled down to this global norm; infinity to leave them.
        target_period: With `target`, every how many updates it is moved.
        target_step: How far: 1 makes it the learned one.
        num_demonstrations: How many transitions are learned from, the first ones of the file; infinity for all.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 1e-3
    discount: Scalar = 0.99
    temperature: Scalar = 1.0
    alpha: Scalar = 1.0
    policy_share: Scalar = 0.5
    l2: Scalar = 1e-5
    max_grad_norm: Scalar = math.inf
    target_period: Scalar = 1.0
    target_step: Scalar = 0.05
    num_demonstrations: Scalar = math.inf
    env_params: PyTree = None


class Learner(NamedTuple):
    """What is learned; `target` is `()` where there is none."""

    params: PyTree
    target: PyTree
    optimiser: PyTree
    updates: Int[Array, ""]


class State(NamedTuple):
    """Everything a run is made of; `replay` is `()` where nothing is learned from what the policy does."""

    learner: Learner
    replay: Replay | tuple[()]
    envs: EnvBatch
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]

    @property
    def params(self) -> PyTree:
        """The critics', by which a run is known to be broken, and which are exported."""
        return self.learner.params


class RecoveredParams(NamedTuple):
    """The params of a recovered reward: the critics', and what makes a reward of them."""

    critic: PyTree
    discount: Float[Array, ""]
    temperature: Float[Array, ""]


def inverse_q(
    env: Environment, env_params: PyTree, config: Config, agents: tuple[int, ...], name: str, reads: Reads = "state"
) -> Agent:
    """An agent that learns soft critics from demonstrations.

    Args:
        env: The environment, as it was looked at.
        env_params: Its params.
        config: The demonstrations, sizes and architecture.
        agents: `(n,)` of a game, `()` of one agent.
        name: What it is called.
        reads: Which actions critics read beside what an agent sees.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If there is no such option, sizes do not fit together, or there are no demonstrations of this
            environment that say where episodes end.
    """
    check_config(config, reads)
    check_file(config, name)
    network = network_for(env, env_params, name, config, agents=agents, dropout=config.dropout)
    given = transitions_of(read_demonstrations(config.demonstrations, env, env_params))
    algorithm = InverseQ(env, env_params, config, network, jax.tree.map(jnp.asarray, given), agents, reads)
    return Agent(algorithm.init, algorithm.step, algorithm.policy, algorithm.reward)


def check_config(config: Config, reads: Reads = "state") -> None:
    """Refuses what does not fit together, before anything is compiled."""
    for option, choices in _CHOICES.items():
        check_name(option, getattr(config, option), choices)
    check_name("reads", reads, get_args(Reads))
    block = config.num_envs * config.num_steps
    if config.collects and config.capacity % block:
        raise ValueError(
            f"capacity={config.capacity} is no multiple of num_envs * num_steps = {block}; "
            f"try {nearest(config.capacity, block)}"
        )
    if config.divergence != "chi2" and config.penalised == "both":
        raise ValueError(
            f"penalised=both is a part of chi2, and the divergence is {config.divergence}: leave one of them as it is"
        )
    if config.penalised == "both" and (config.value_states == "start" or config.loss != "inverse"):
        raise ValueError(
            f"penalised=both needs the policy's transitions, which value_states={config.value_states} with "
            f"loss={config.loss} does without: take value_states=policy, expert or mixed, and loss=inverse"
        )
    if config.loss != "inverse" and config.divergence != "chi2":
        raise ValueError(f"loss={config.loss} has no divergence: leave divergence={config.divergence} out")
    if reads != "state" and config.value_states == "start":
        raise ValueError("there are no actions where an episode starts: set value_states to another one than start")


@dataclass(frozen=True)
class InverseQ:
    """The steps of the algorithm.

    Attributes:
        env: The environment.
        env_params: Its params.
        config: Sizes and options.
        network: The critics, `[*batch, *agents, F] -> [*batch, *agents, A]`.
        data: What was demonstrated.
        agents: `(n,)` of a game, `()` of one agent.
        reads: Which actions critics read too.
    """

    env: Environment
    env_params: PyTree
    config: Config
    network: ActionValues
    data: Transitions
    agents: tuple[int, ...]
    reads: Reads

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Draws params and start states; nothing is stored."""
        key, key_params, key_envs = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        envs = reset_batch(self.env, self.params_of_env(hyperparams), self.config.num_envs, key_envs)
        params = self.network.init(key_params, self.read(envs.observation))
        target = params if self.config.target else ()
        learner = Learner(params, target, self.optimiser(hyperparams).init(params), jnp.zeros((), jnp.int32))
        rows = self.config.capacity // self.config.num_envs
        replay = empty_replay(self.example(envs), rows) if self.config.collects else ()
        return strong(State(learner, replay, envs, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: play, store, learn."""
        key, key_play, key_learn = jax.random.split(state.key, 3)
        envs, trajectory, episodes = self.play(state, key_play)
        replay = write(state.replay, stored(trajectory)) if isinstance(state.replay, Replay) else ()
        state = state._replace(replay=replay, envs=envs, key=key, iteration=state.iteration + 1)
        learner, losses = self.learn(state, key_learn)
        steps = jnp.asarray(self.config.num_envs * self.config.num_steps, jnp.int32)
        return state._replace(learner=learner), {"env_steps": steps, **episodes, **losses}

    def play(self, state: State, key: Key[Array, ""]) -> tuple[EnvBatch, Trajectory, Metrics]:
        """A rollout of the policy."""
        key_noise, key_envs = jax.random.split(key)
        shape = self.config.num_steps, self.config.num_envs, *self.agents
        noise = jax.random.uniform(key_noise, shape)

        def act(carry: tuple, observation: PyTree, noise: Array) -> tuple[tuple, Array, tuple]:
            return carry, self.act(state, self.values(state.params, observation), noise), ()

        params = self.params_of_env(state.hyperparams)
        envs, _, trajectory, episodes = rollout(self.env, params, act, (), state.envs, noise, key_envs)
        return envs, trajectory, episodes

    def act(
        self, state: State, values: Float[Array, "*batch A"], noise: Float[Array, "*batch"]
    ) -> Int[Array, "*batch"]:
        """Actions while transitions are collected."""
        if self.config.collected == "greedy":
            return jnp.argmax(values, -1).astype(jnp.int32)
        return categorical_head(values.shape[-1]).sample(values / state.hyperparams.temperature, noise)

    def learn(self, state: State, key: Key[Array, ""]) -> tuple[Learner, Metrics]:
        """The updates of an iteration, and the means of what they log."""
        key_rows, key_beside, key_units = jax.random.split(key, 3)
        shape = self.config.num_updates, self.config.batch_size
        number = first_steps(state.hyperparams.num_demonstrations, len(self.data.action))
        rows = jax.random.randint(key_rows, shape, 0, number)
        drawn = rows, self.beside(state, shape, key_beside), jax.random.split(key_units, shape[0])

        def update(learner: Learner, drawn: tuple[Int[Array, " B"], PyTree, Key[Array, ""]]) -> tuple[Learner, Metrics]:
            rows, *rest = drawn
            return self.update(learner, state.hyperparams, jax.tree.map(lambda x: x[rows], self.data), *rest)

        learner, metrics = jax.lax.scan(update, state.learner, drawn)
        return learner, jax.tree.map(jnp.mean, metrics)

    def beside(self, state: State, shape: tuple[int, int], key: Key[Array, ""]) -> PyTree:
        """What demonstrated transitions are held against, leaves `[U, B, ...]`: stored steps, or states of starts."""
        if isinstance(state.replay, Replay):
            return sample(state.replay, key, shape)
        if self.config.value_states == "start" and self.config.loss == "inverse":
            reset = lambda key: self.env.reset_env(key, self.params_of_env(state.hyperparams))[0]  # noqa: E731
            return jax.vmap(jax.vmap(reset))(jax.random.split(key, shape))
        return ()

    def update(
        self, learner: Learner, hyperparams: Hyperparams, batch: Transitions, beside: PyTree, key: Key[Array, ""]
    ) -> tuple[Learner, Metrics]:
        """A step of Adam, and of the target behind it."""
        drawn = hyperparams, batch, beside, key
        grads, metrics = jax.grad(self.loss, has_aux=True)(learner.params, learner.target, *drawn)
        updates, optimiser = self.optimiser(hyperparams).update(grads, learner.optimiser)
        params, number = optax.apply_updates(learner.params, updates), learner.updates + 1
        moved = number, hyperparams.target_period, hyperparams.target_step
        target = periodic_update(params, learner.target, *moved) if self.config.target else ()
        return Learner(params, target, optimiser, number), metrics

    def loss(
        self,
        params: PyTree,
        target: PyTree,
        hyperparams: Hyperparams,
        batch: Transitions,
        beside: PyTree,
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], Metrics]:
        """What is minimised, a sum over agents, whose params are their own, and what to log: means over them."""
        key_shown, key_beside = jax.random.split(key)
        shown = self.judge(params, target, hyperparams, batch, key_shown)
        if self.config.loss == "squared_likelihood":
            each = mean(jnp.square(shown.surprise))
        else:
            each = self.inverse(params, target, hyperparams, shown, beside, key_beside)
        loss = each.sum() + hyperparams.l2 * optax.tree.norm(params, squared=True)
        values = self.values(params, batch.observation, batch.action)
        return loss, {
            "loss/critic": each.mean(),
            "loss/policy": shown.surprise.mean() / hyperparams.temperature,
            "policy/agreement": (jnp.argmax(values, -1) == batch.action).mean(),
            "value/mean": shown.value.mean(),
            "recovered/mean": shown.reward.mean(),
            "recovered/largest": jnp.abs(shown.reward).max(),
        }

    def inverse(
        self,
        params: PyTree,
        target: PyTree,
        hyperparams: Hyperparams,
        shown: Judged,
        beside: PyTree,
        key: Key[Array, ""],
    ) -> Float[Array, "*n"]:
        """The criterion of each agent, its value term estimated as configured."""
        config, alpha = self.config, hyperparams.alpha
        if config.value_states == "start":
            start = mean(soft_max(self.values(params, beside, key=key), hyperparams.temperature))
            return criterion(shown, (1 - hyperparams.discount) * start, config.divergence, alpha)
        if not config.collects:
            return criterion(shown, mean(shown.lost), config.divergence, alpha)
        played = self.judge(params, target, hyperparams, beside, key)
        share = {"policy": 1.0, "expert": 0.0, "mixed": hyperparams.policy_share}[config.value_states]
        lost = share * mean(played.lost) + (1 - share) * mean(shown.lost)
        if config.penalised == "both":
            excess = mean(jnp.square(played.reward)) - mean(jnp.square(shown.reward))
            lost = lost + excess / (8 * alpha)
        return criterion(shown, lost, config.divergence, alpha)

    def judge(
        self, params: PyTree, target: PyTree, hyperparams: Hyperparams, batch: Transitions, key: Key[Array, ""]
    ) -> Judged:
        """What critics say of transitions; actions that they read are those of the step, in what followed too."""
        keys, after = jax.random.split(key), target if self.config.target else params
        values = self.values(params, batch.observation, batch.action, keys[0])
        following = self.values(after, batch.next_observation, batch.action, keys[1])
        scale = hyperparams.discount, hyperparams.temperature
        return judged(values, batch.action, following, batch.terminated, *scale)

    def values(
        self, params: PyTree, observation: PyTree, action: Array | None = None, key: Key[Array, ""] | None = None
    ) -> Float[Array, "*batch A"]:
        """Of each agent's actions, of observations `[B, *n, ...]`.

        Args:
            params: The critics'.
            observation: What was seen.
            action: The joint action, where of it something is read; zeros without.
            key: Which units are left out; none without.
        """
        left_out = {} if key is None else {"dropout": key}
        return jnp.asarray(self.network.apply(params, self.read(observation, action), rngs=left_out))

    def read(self, observation: PyTree, action: Array | None = None) -> Array:
        """What the critics are given of observations `[B, *n, ...]`."""
        seen = self.network.read(observation, 1 + len(self.agents))
        if self.reads == "state":
            return seen
        actions = self.env.action_space(self.env_params).n
        done = jnp.zeros((*seen.shape[:-1], actions)) if action is None else jax.nn.one_hot(action, actions)
        own = jnp.eye(self.agents[0]) * (self.reads == "others_actions")
        read = done[:, None] * (1 - own)[None, ..., None]
        return jnp.concatenate([seen, read.reshape(*seen.shape[:-1], -1)], -1)

    def policy(self, state: State) -> Policy:
        """The policies learned so far; their mode is the likeliest action of each agent."""

        def values(observation: PyTree) -> Float[Array, "*n A"]:
            return self.values(state.params, jax.tree.map(lambda leaf: leaf[None], observation))[0]

        def act(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
            logits = values(observation) / state.hyperparams.temperature
            return carry, categorical_head(logits.shape[-1]).sample(logits, jax.random.uniform(key, self.agents))

        def mode(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
            return carry, jnp.argmax(values(observation), -1).astype(jnp.int32)

        return Policy(lambda: (), act, mode)

    def reward(self, state: State) -> Reward:
        """The reward that explains the critics, `Q(s, a) - discount V(s')`, of a game `[n]`, the marginal ones.

        It is known up to what shaping and next states by chance can make of it; see `jaxreward.distances`. Its params
        are `RecoveredParams`: it may be trained on or searched like any other.
        """
        hyperparams = state.hyperparams
        params = RecoveredParams(state.params, jnp.asarray(hyperparams.discount), jnp.asarray(hyperparams.temperature))

        def paid(params: RecoveredParams, transition: Transition) -> Float[Array, "*n"]:
            one = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)  # noqa: E731
            here = one((transition.observation, transition.action, transition.next_observation, transition.terminated))
            values, following = (self.values(params.critic, shown, here[1]) for shown in (here[0], here[2]))
            return judged(values, here[1], following, here[3], params.discount, params.temperature).reward[0]

        return markov(paid, lambda key: params)

    def example(self, envs: EnvBatch) -> Transitions:
        """The shapes of one row of what is stored."""
        over = jax.ShapeDtypeStruct((self.config.num_envs,), bool)
        action = jax.ShapeDtypeStruct((self.config.num_envs, *self.agents), jnp.int32)
        shown = jax.eval_shape(lambda: envs.observation)
        return Transitions(shown, action, shown, over)

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params, any discount among its reward's following the agent's."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, hyperparams.discount)

    def optimiser(self, hyperparams: Hyperparams) -> optax.GradientTransformation:
        """Adam with gradients clipped."""
        return adam(hyperparams.learning_rate, hyperparams.max_grad_norm)


def stored(trajectory: Trajectory) -> Transitions:
    """What is kept of a trajectory."""
    return Transitions(trajectory.observation, trajectory.action, trajectory.next_observation, trajectory.terminated)
