"""AIRL: a reward, and a policy by it, from demonstrations (Fu et al. 2018, arXiv:1710.11248).

The discriminator is `exp(f) / (exp(f) + pi(a | s))` with `f = g(s) + discount h(s') - h(s)`: what it learns as `g` is a
reward that shaping is taken out of. Of a game it is MA-AIRL (Yu et al. 2019, arXiv:1907.13220), on independent PPO.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines import ppo
from jaxreward.agents.baselines.parts.critics import MLP
from jaxreward.agents.baselines.parts.demonstrated import raw_action
from jaxreward.agents.baselines.parts.on_policy import State
from jaxreward.agents.inverse.parts import adversarial as shared
from jaxreward.agents.inverse.parts import judge
from jaxreward.agents.inverse.parts.adversarial import Adversary, Steps, adversarial, adversary_for
from jaxreward.agents.inverse.parts.judge import Judge, Pairs
from jaxreward.learning.networks import ACTIVATIONS, flatten, for_agents
from jaxreward.names import check_name
from jaxreward.reward import Reward, Transition, markov

Worth = Literal["logit", "recovered"]
"""What the policy learns from: `f - log pi`, or `g` alone."""
WORTHS: tuple[str, ...] = get_args(Worth)


@dataclass(frozen=True)
class Config(shared.Config):
    """What shapes the program, see `adversarial.Config`, and where the demonstrations are.

    Attributes:
        state_only: Whether the reward is a function of the state alone, which is what tells it from shaping.
        reward: What the policy learns from: `logit`, `f - log pi`, as in the paper; `recovered`, `g` alone, as in the
            code of MA-AIRL's authors.
    """

    state_only: bool = True
    reward: Worth = "logit"


@struct.dataclass
class Hyperparams(judge.Hyperparams, ppo.Hyperparams):
    """Traced numbers: those of PPO and of the discriminator, see `judge.Hyperparams`."""


class Params(NamedTuple):
    """Those of the reward `g` and of the potential `h`."""

    reward: PyTree
    potential: PyTree


def airl(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An AIRL agent; the reward that it recovers is `agent.reward(state)`, of one run.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space; it may be a game.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: The demonstrations, which must say where episodes end, sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If there are no demonstrations, they are not of this environment or don't say where episodes end, an
            option is unknown or of a game and the environment none, the policy has a memory, sizes do not divide, or
            the reward is a vector and the environment no game.
    """
    check_config(config)
    adversary = adversary_for(env, env_params, config, partial(airl_judge, config), "airl", reads_on=True)
    agent = adversarial(adversary, env, env_params, config)
    return agent._replace(reward=lambda state: recovered(adversary, state))


def check_config(config: Config) -> None:
    """Refuses what does not fit together, before anything is compiled."""
    check_name("reward", config.reward, WORTHS)
    if config.memory:
        raise ValueError(
            f"memory={config.memory}: airl asks how likely the policy is to do what was demonstrated, step by step, "
            "so its policy has no memory; leave it 0, or use gail"
        )


def airl_judge(config: Config, agents: tuple[int, ...] = ()) -> Judge:
    """A judge by `f`, of each agent of a game if there are some."""
    network = for_agents(MLP, agents)(1, tuple(config.discriminator_layers), ACTIVATIONS[config.activation])
    return Judge(Shaped(network, config.state_only, config.reward))


@dataclass(frozen=True)
class Shaped:
    """The model: a reward and a potential that shapes it.

    Attributes:
        network: Of both.
        state_only: Whether the reward reads no action.
        worth: What the policy learns from.
    """

    network: MLP
    state_only: bool
    worth: Worth

    def init(self, key: Key[Array, ""], pairs: Pairs) -> Params:
        """Draws params."""
        key_reward, key_potential = jax.random.split(key)
        reward = self.network.init(key_reward, self.reads(pairs))
        return Params(reward, self.network.init(key_potential, pairs.seen))

    def reads(self, pairs: Pairs) -> Float[Array, "*batch D"]:
        """What the reward is a function of."""
        return pairs.seen if self.state_only else jnp.concatenate([pairs.seen, pairs.action], -1)

    def recovered(self, params: PyTree, pairs: Pairs) -> Float[Array, "*batch"]:
        """`g`, by its own params."""
        return self._value(params, self.reads(pairs))

    def advantage(self, params: Params, pairs: Pairs, discount: Any) -> Float[Array, "*batch"]:
        """`f(s, a, s')`, with nothing behind the end of an episode."""
        before, after = (self._value(params.potential, seen) for seen in (pairs.seen, pairs.following))
        return self.recovered(params.reward, pairs) + discount * jnp.where(pairs.terminated, 0, after) - before

    def logit(self, params: Params, pairs: Pairs, hyperparams: Any) -> Float[Array, "*batch"]:
        """Of `exp(f) / (exp(f) + pi(a | s))`."""
        return self.advantage(params, pairs, hyperparams.discount) - pairs.log_prob

    def reward(self, params: Params, pairs: Pairs, hyperparams: Any) -> Float[Array, "*batch"]:
        """What steps are worth to the policy."""
        if self.worth == "recovered":
            return self.recovered(params.reward, pairs)
        return self.logit(params, pairs, hyperparams)

    def penalty(
        self, params: Params, expert: Pairs, policy: Pairs, key: Key[Array, ""], hyperparams: Any
    ) -> Float[Array, ""]:
        """None."""
        return jnp.zeros(())

    def _value(self, params: PyTree, x: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
        outputs: Any = self.network.apply(params, x)
        return outputs[..., 0]


def recovered(adversary: Adversary, state: State) -> Reward:
    """The reward `g` that was learned, for any environment that shows the same, whose params are the network's.

    Of a game it gives what each agent is paid, or what all are if one judges.

    Args:
        adversary: What judged.
        state: Of one run.
    """
    model = adversary.judge.model
    assert isinstance(model, Shaped)

    def paid(params: PyTree, transition: Transition) -> Float[Array, "*n"]:
        return model.recovered(params, step_of(adversary, transition))

    return markov(paid, lambda key: state.judge.params.reward)


def step_of(adversary: Adversary, transition: Transition) -> Pairs:
    """What a judge reads of one step for the recovered reward alone."""
    seen = flatten(transition.observation, len(adversary.agents))
    steps = Steps(seen, raw_action(jnp.asarray(transition.action), adversary.head), seen, jnp.zeros((), bool))
    return adversary.pairs(steps, jnp.zeros(adversary.agents))
