"""SAM: adversarial imitation that learns from old transitions (Blonde and Kalousis 2019, arXiv:1809.02064).

On TD3 it is also known as discriminator-actor-critic (Kostrikov et al. 2019, arXiv:1809.02925). Transitions are worth
what the discriminator of today says of them whenever they are drawn. Its slope is held back, without which critics
have nothing smooth to learn (Blonde et al. 2022, "Lipschitzness is all you need", arXiv:2006.16785). Left out is that
terminal states are wrapped in absorbing ones, whose worth is learned: what is behind a termination is 0 here, so with
`reward=positive` it pays to go on, and with `negative` to end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines import td3
from jaxreward.agents.baselines.parts import off_policy as loop
from jaxreward.agents.baselines.parts.critics import MLP
from jaxreward.agents.baselines.parts.demonstrated import check_file, features_of, first_steps
from jaxreward.agents.baselines.parts.off_policy import Metrics, OffPolicy, Scalar, State
from jaxreward.agents.inverse.parts import classifier
from jaxreward.agents.inverse.parts.classifier import Classifier, classifier_judge
from jaxreward.agents.inverse.parts.discriminator import Penalty, pessimistic, slopes
from jaxreward.agents.inverse.parts.forward_model import ForwardModel
from jaxreward.agents.inverse.parts.judge import Judge, JudgeState, Pairs
from jaxreward.environment import scalar_environment
from jaxreward.learning.demonstrations import read_demonstrations
from jaxreward.learning.n_step import Steps
from jaxreward.learning.networks import ACTIVATIONS, flatten
from jaxreward.learning.replay import Replay, sample
from jaxreward.learning.squashed import UnitBox
from jaxreward.names import check_name

Pessimism = Literal["none", "discriminator", "forward"]


@dataclass(frozen=True)
class Config(classifier.Config, td3.Config):
    """What shapes the program: that of TD3 and of the discriminator, and where the demonstrations are.

    The discriminator takes as many steps as TD3 updates, on batches as large.

    Attributes:
        penalty: Where slopes of the discriminator are penalised, see `classifier.Config`.
        spectral_norm: Whether hidden layers of the discriminator have a spectral norm of 1.
        pessimistic: Where rewards are less: `none`; where the `discriminator` is steep, see
            `discriminator.pessimistic`; or in batches where a `forward` model of the dynamics is, which is learned with
            networks of the discriminator's size and at the policy's learning rate, see `forward_model.ForwardModel`.
    """

    penalty: Penalty = "wgan"
    spectral_norm: bool = True
    pessimistic: Pessimism = "none"


@struct.dataclass
class Hyperparams(classifier.Hyperparams, td3.Hyperparams):
    """Traced numbers: those of TD3 and of the discriminator, see `classifier.Hyperparams`, and these.

    Attributes:
        pessimism: How much less rewards are where the discriminator is steep, if they are.
        forward_target: The slope of a forward model that nothing is taken for.
        least_factor: What rewards are multiplied by at the least where it is steeper.
    """

    pessimism: Scalar = 1.0
    forward_target: Scalar = 9.0
    least_factor: Scalar = 0.7


def sam(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A SAM agent.

    Args:
        env: A gymnax `Environment` whose actions are a `Box` with bounds.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: The demonstrations, sizes and architecture.

    Raises:
        TypeError: If actions are not continuous.
        ValueError: If there are no demonstrations or they are not of this environment, an option is unknown or doesn't
            fit another, a side of the action space has no bound, the reward is a vector, or sizes do not fit.
    """
    check_config(config)
    algorithm = td3.algorithm_for(env, env_params, config, "sam")
    judge = classifier_judge(config, config.activation)
    given = read_demonstrations(config.demonstrations, scalar_environment(env, env_params), env_params)
    expert = Pairs(
        jnp.asarray(features_of(given.observation), float), algorithm.box.from_env(jnp.asarray(given.action, float))
    )
    layers, activation = tuple(config.discriminator_layers), ACTIVATIONS[config.activation]
    forward = ForwardModel(MLP(expert.seen.shape[-1], layers, activation))
    kind = partial(SAM, judge=judge, expert=expert, box=algorithm.box, forward=forward)
    return loop.off_policy(env, env_params, config, lambda env, env_params: algorithm, "sam", kind)


def check_config(config: Config) -> None:
    """Refuses what does not fit together, before anything is compiled."""
    check_file(config, "sam")
    if config.relabel:
        raise ValueError("relabel=True: sam tells what old transitions are worth by its discriminator; leave it out")
    check_name("pessimistic", config.pessimistic, get_args(Pessimism))
    if config.pessimistic != "none" and config.reward != "positive":
        raise ValueError(
            f"pessimistic={config.pessimistic} lowers rewards by a factor, and those of reward={config.reward} may be "
            "negative, of which less is more: set reward=positive"
        )


@dataclass(frozen=True)
class SAM(OffPolicy):
    """The loop around TD3, in which a judge learns and says what transitions are worth.

    Attributes:
        judge: By a classifier.
        expert: What was demonstrated, leaves `[N, ...]`.
        box: The actions.
        forward: A model of the dynamics, learned where rewards are less by it.
    """

    config: Config
    judge: Judge
    expert: Pairs
    box: UnitBox
    forward: ForwardModel

    def init(self, key: Key[Array, ""], hyperparams: Any) -> State:
        """As without a judge, and the judge."""
        key, key_judge = jax.random.split(key)
        one = jax.tree.map(lambda leaf: leaf[:1], self.expert)
        judge = self.judge.init(key_judge, one)
        if self.config.pessimistic == "forward":
            judge = judge._replace(forward=self.forward.init(jax.random.fold_in(key_judge, 1), one))
        return super().init(key, hyperparams)._replace(judge=judge)

    def judged(self, state: State, replay: Replay) -> tuple[State, Metrics]:
        """The judge learns from what is stored and from demonstrations, drawn by its own key."""
        key, key_expert, key_policy = jax.random.split(state.judge.key, 3)
        shape = self.config.num_updates, self.config.batch_size
        number = first_steps(state.hyperparams.num_demonstrations, len(self.expert.seen))
        rows = jax.random.randint(key_expert, shape, 0, number)
        expert = jax.tree.map(lambda leaf: leaf[rows], self.expert)
        policy = self.pairs(sample(replay, key_policy, shape))

        def train(judged: JudgeState, expert: Pairs, policy: Pairs) -> tuple[JudgeState, Metrics]:
            judged, metrics = self.judge.train(judged, expert, policy, state.hyperparams)
            if self.config.pessimistic != "forward":
                return judged, metrics
            forward, errors = self.forward.train(judged.forward, policy, state.hyperparams)
            return judged._replace(forward=forward), {**metrics, **errors}

        judged, metrics = self.once_stored(state, train, state.judge._replace(key=key), expert, policy)
        return state._replace(judge=judged), metrics

    def earn(self, state: State) -> Callable[[Steps], Float[Array, "*batch"]]:
        """What stored steps are worth today."""
        params, hyperparams, model = self.judge.params(state.judge), state.hyperparams, self.judge.model
        assert isinstance(model, Classifier)

        def worth(steps: Steps) -> Float[Array, "*batch"]:
            pairs = self.pairs(steps)
            reward = model.reward(params, pairs, hyperparams)
            if self.config.pessimistic == "none":
                return reward
            if self.config.pessimistic == "forward":
                return reward * self.forward.factor(state.judge.forward, pairs, hyperparams)
            slope = slopes(model.logits(params), model.reads(pairs))
            return pessimistic(reward, slope, hyperparams.penalty_target, hyperparams.pessimism)

        return worth

    def pairs(self, steps: Steps) -> Pairs:
        """Steps as the judge reads them, and a model of the dynamics what followed."""
        pairs = Pairs(flatten(steps.observation, steps.terminated.ndim), self.box.from_env(steps.action))
        if self.config.pessimistic != "forward":
            return pairs
        return pairs._replace(following=flatten(steps.next_observation, steps.terminated.ndim))
