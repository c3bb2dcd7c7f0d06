"""ORPO: PPO that stays near a reference in what it visits, not only in how it acts (Laidlaw et al. 2025).

"Correlated proxies: a new definition and improved mitigation for reward hacking" (Laidlaw, Singhal and Dragan, ICLR
2025, arXiv:2403.03185). Each iteration the reference acts as long as the policy does, a discriminator learns to tell
their steps apart, and what it says of a step is taken from its reward before PPO learns from it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, strong
from jaxreward.agents.baselines import ppo
from jaxreward.agents.baselines.parts.critics import MLP
from jaxreward.agents.baselines.parts.on_policy import Batch, Metrics, Scalar, State, on_policy
from jaxreward.agents.baselines.ppo import PPO, drift_of
from jaxreward.agents.hacking.parts.actions import ACTION_DIVERGENCES, action_divergence
from jaxreward.agents.hacking.parts.divergences import DIVERGENCES, MEASURES, Divergence, taken
from jaxreward.agents.hacking.parts.reference import KINDS, Kind, Reference, reference_for
from jaxreward.agents.inverse.parts import judge
from jaxreward.agents.inverse.parts.adversarial import Reader, Steps
from jaxreward.agents.inverse.parts.classifier import Classifier
from jaxreward.agents.inverse.parts.judge import Judge, JudgeState, Pairs
from jaxreward.contract.sizes import size
from jaxreward.environment import scalar_environment
from jaxreward.learning.networks import ACTIVATIONS, flatten, head_for, unroll
from jaxreward.learning.rollout import EnvBatch, Trajectory, reset_batch, rollout
from jaxreward.names import check_name

Regularise = Literal["occupancy", "actions"]
"""What is kept near the reference: the states and actions that are visited, or the actions in a state."""
REGULARISED: tuple[str, ...] = get_args(Regularise)
Start = Literal["random", "reference"]
"""How the policy starts."""
STARTS: tuple[str, ...] = get_args(Start)


@dataclass(frozen=True)
class Config(judge.Config, ppo.Config):
    """What shapes the program: that of PPO, and these.

    Attributes:
        regularise: What is kept near the reference: `occupancy`, which states and actions are visited, or `actions`,
            how it acts in the states that it visits, the usual baseline.
        divergence: `kl`, `chi2`, `sqrt_chi2`, `tv` or `wasserstein`; of actions one of the first three.
        reference: The policy to stay near: `uniform`, or `cloned` from `demonstrations`.
        start: How the policy starts: `random`, or as the `reference`, which must be cloned.
        reads_actions: Whether the discriminator sees what was done, or only what was seen.
        discriminator_updates: Steps of the discriminator's Adam in an iteration.
        discriminator_batch: Steps of the policy, and as many of the reference, for each.
        cloning_updates: Steps of Adam by which the reference is cloned.
    """

    regularise: Regularise = "occupancy"
    divergence: Divergence = "sqrt_chi2"
    reference: Kind = "uniform"
    start: Start = "random"
    reads_actions: bool = True
    discriminator_updates: int = size(16)
    discriminator_batch: int = size(256)
    cloning_updates: int = size(1_000)

    steps_note: ClassVar[str] = "the reference acts as long as the policy, and its steps count"

    @property
    def steps_per_iteration(self) -> int:
        """Those of the policy, and as many of the reference where it acts."""
        return (1 + (self.regularise == "occupancy")) * self.num_envs * self.num_steps

    def check_numbers(self, env: Environment, env_params: PyTree, hyperparams: Any) -> None:
        """Refuses what PPO refuses, and a discount of 1 where it divides.

        Raises:
            ValueError: It is such.
        """
        super().check_numbers(env, env_params, hyperparams)
        if self.regularise == "actions" and not (np.asarray(hyperparams.discount) < 1).all():
            raise ValueError("regularise=actions weighs the divergence by 1 / (1 - discount): set a discount below 1")


@struct.dataclass
class Hyperparams(judge.Learning, ppo.Hyperparams):
    """Traced numbers: those of PPO and of the discriminator, see `judge.Learning`, and these.

    Attributes:
        coefficient: Weight of the divergence (of half of it for `chi2`, twice for `tv`), of occupancies in the unit of
            a step's reward: by the paper's bound the standard deviation of the reward under the reference times
            `sqrt(1 - correlation^2)`.
        penalty_clip: The most that is taken from the reward of a step, or given.
        gradient_penalty: Of `wasserstein`, the weight of how far slopes are from 1.
        discriminator_entropy: Weight of the entropy of what it says, which biases the divergence.
        num_demonstrations: Of how many steps the reference is cloned, the first ones of the file; infinity for all.
    """

    coefficient: Scalar = 0.1
    penalty_clip: Scalar = 1_000.0
    gradient_penalty: Scalar = 10.0
    discriminator_entropy: Scalar = 0.0
    num_demonstrations: Scalar = math.inf


class Beside(NamedTuple):
    """What a run is made of beside PPO: the discriminator, and the reference's params and environments."""

    discriminator: JudgeState
    reference: PyTree
    envs: EnvBatch


def orpo(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An ORPO agent.

    Departures: occupancies are those of what rollouts visit, not discounted, as in the authors' code. What is taken by
    `wasserstein` is our derivation, and its slope is held by a gradient penalty.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: What to stay near and how it is measured, sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If an option is unknown or does not fit the others, sizes do not divide, there is nothing to clone,
            or the reward is a vector.
    """
    ppo.check_config(config)
    env = scalar_environment(env, env_params)
    head = head_for(env.action_space(env_params))
    _check_options(config, env.name, discrete=not head.free)
    network = MLP(1, tuple(config.discriminator_layers), ACTIVATIONS[config.activation])
    penalty: Any = "wgan" if config.divergence == "wasserstein" else "none"
    model = Ratio(network, "logit", penalty, one_sided=False, reads_actions=config.reads_actions)
    return on_policy(
        partial(
            ORPO,
            drift=drift_of(config),
            reader=Reader(head, config),
            judge=Judge(model, apart=MEASURES[config.divergence].apart),
            reference=reference_for(env, env_params, config),
        ),
        env,
        env_params,
        config,
    )


def _check_options(config: Config, name: str, discrete: bool) -> None:
    """Refuses what does not fit together, before anything is compiled."""
    check_name("divergence", config.divergence, DIVERGENCES)
    check_name("regularise", config.regularise, REGULARISED)
    check_name("reference", config.reference, KINDS)
    check_name("start", config.start, STARTS)
    if config.regularise == "actions":
        check_name("divergence of actions", config.divergence, ACTION_DIVERGENCES)
        if config.reference == "uniform" and not discrete:
            raise ValueError(
                f"regularise=actions with reference=uniform: the actions of {name} are continuous, and no Gaussian is "
                "near uniform ones; set reference=cloned and demonstrations=FILE, or regularise=occupancy"
            )
    if config.memory or config.normalise_observations:
        given = f"memory={config.memory}" if config.memory else "normalise_observations=True"
        raise ValueError(f"{given}: orpo compares what is done in a state, which is seen as it is; leave it out")
    if config.start == "reference" and config.reference == "uniform":
        raise ValueError("start=reference with reference=uniform: nothing is cloned to start from; leave start=random")
    if config.demonstrations and config.reference == "uniform":
        raise ValueError(
            f"demonstrations={config.demonstrations} with reference=uniform: nothing is cloned; set reference=cloned"
        )


@dataclass(frozen=True)
class Ratio(Classifier):
    """The model: minus its logit is `d`, see `jaxreward.agents.hacking.parts.divergences`.

    Attributes:
        reads_actions: Whether it sees what was done.
    """

    reads_actions: bool = True

    def reads(self, pairs: Pairs) -> Float[Array, "*batch D"]:
        """What it is a function of."""
        return super().reads(pairs) if self.reads_actions else pairs.seen

    def penalty(
        self, params: PyTree, expert: Pairs, policy: Pairs, key: Key[Array, ""], hyperparams: Any
    ) -> Float[Array, ""]:
        """That of slopes that are not 1."""
        return super().penalty(params, expert, policy, key, Slopes(hyperparams.gradient_penalty))


class Slopes(NamedTuple):
    """How slopes are held, see `jaxreward.agents.inverse.parts.classifier.Hyperparams`."""

    gradient_penalty: Scalar
    penalty_target: Scalar = 1.0
    penalty_spread: Scalar = 0.0


@dataclass(frozen=True)
class ORPO(PPO):
    """PPO's steps, with what is done before it learns.

    Attributes:
        reader: How the discriminator reads steps.
        judge: It.
        reference: The policy to stay near.
        near: That policy's params while an update is made.
    """

    config: Config
    reader: Reader
    judge: Judge
    reference: Reference
    near: PyTree = ()

    def init(self, key: Key[Array, ""], hyperparams: Any) -> State:
        """As PPO, and the discriminator, the reference and its environments."""
        key, key_judge, key_reference, key_envs, key_action = jax.random.split(key, 5)
        state = super().init(key, hyperparams)
        params = self.reference.init(key_reference, state.hyperparams.num_demonstrations)
        envs = reset_batch(self.env, self.params_of_env(state.hyperparams), self.config.num_envs, key_envs)
        seen = flatten(envs.observation)[:1]
        action = self.reference.act(params, seen, self.reference.noise(key_action, (1,)))
        pairs = self.reader.pairs(Steps(seen, action), jnp.zeros(1))
        state = state._replace(judge=strong(Beside(self.judge.init(key_judge, pairs), params, envs)))
        if self.config.start == "reference":
            state = state._replace(params=strong(self.reference.as_actor(params, state.params)))
        return state

    def learn(self, state: State, trajectory: Trajectory, key: Key[Array, ""]) -> tuple[State, Metrics]:
        """The discriminator learns from both, then the policy from its rewards less what that says."""
        if self.config.regularise == "actions":
            return super().learn(state, trajectory, key)
        key_judge, key_noise, key_envs, key_rows = jax.random.split(state.judge.discriminator.key, 4)
        beside = state.judge._replace(discriminator=state.judge.discriminator._replace(key=key_judge))
        envs, other, played = self.play(state, key_noise, key_envs)
        steps = self.reader.taken(trajectory), self.reader.taken(other)
        judged, losses = self.told_apart(beside.discriminator, steps, key_rows, state.hyperparams)
        d, d_reference = (self.ratio(judged, each, state.hyperparams) for each in steps)
        penalty = taken(self.config.divergence, d, state.hyperparams.coefficient, state.hyperparams.penalty_clip)
        rewarded = trajectory._replace(reward=trajectory.reward - penalty.reshape(trajectory.reward.shape))
        after, learned = super().learn(state, rewarded, key)
        told = {
            "reference/divergence": MEASURES[self.config.divergence].estimate(d, d_reference),
            "reference/penalty": penalty.mean(),
            "env_steps": jnp.asarray(self.config.steps_per_iteration, jnp.int32),
        }
        beside = beside._replace(discriminator=judged, envs=envs)
        return after._replace(judge=beside), {**learned, **losses, **played, **told}

    def play(
        self, state: State, key_noise: Key[Array, ""], key_envs: Key[Array, ""]
    ) -> tuple[EnvBatch, Trajectory, Metrics]:
        """A rollout of the reference, and the rates of its rewards."""
        noise = self.reference.noise(key_noise, (self.config.num_steps, self.config.num_envs))
        params = state.judge.reference

        def act(carry: tuple, observation: PyTree, noise: Array) -> tuple[tuple, Array, tuple]:
            action = self.reference.act(params, flatten(observation), noise)
            return carry, self.reader.head.to_env(action), ()

        of_env = self.params_of_env(state.hyperparams)
        envs, _, trajectory, metrics = rollout(self.env, of_env, act, (), state.judge.envs, noise, key_envs)
        rates = {name: value for name, value in metrics.items() if not name.startswith("episode/")}
        return envs, trajectory, {f"reference/{name}": value for name, value in rates.items()}

    def told_apart(
        self, discriminator: JudgeState, steps: tuple[Steps, Steps], key: Key[Array, ""], hyperparams: Any
    ) -> tuple[JudgeState, Metrics]:
        """Some updates of the discriminator on the policy's steps and the reference's."""
        keys = jax.random.split(key)
        drawn = [self.reader.drawn(k, each, len(each.features)) for k, each in zip(keys, steps, strict=True)]
        policy, reference = (self.reader.pairs(each, jnp.zeros(each.features.shape[:-1])) for each in drawn)
        return self.judge.train(discriminator, reference, policy, hyperparams)

    def ratio(self, discriminator: JudgeState, steps: Steps, hyperparams: Any) -> Float[Array, " B"]:
        """`d` of steps."""
        pairs = self.reader.pairs(steps, jnp.zeros(len(steps.features)))
        return -self.judge.model.logit(self.judge.params(discriminator), pairs, hyperparams)

    def update(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, PyTree, Metrics]:
        """As PPO, with the reference at hand."""
        return PPO.update(dataclasses.replace(self, near=state.judge.reference), state, batch, key)

    def loss(
        self, params: PyTree, batch: Batch, hyperparams: Any, iteration: Int[Array, ""] | int = 0
    ) -> tuple[Float[Array, ""], Metrics]:
        """As PPO, with the divergence of actions where those are kept near."""
        total, metrics = super().loss(params, batch, hyperparams, iteration)
        if self.config.regularise == "occupancy":
            return total, metrics
        outputs = unroll(self.forward, params, (), batch.features, batch.start)[1]
        near = self.reference.outputs(self.near, batch.features)
        away = action_divergence(self.config.divergence, self.head, outputs, near).mean()
        total = total + hyperparams.coefficient / (1 - hyperparams.discount) * away
        return total, {**metrics, "reference/divergence": away}
