"""A discriminator that reads what was seen and done, as GAIL's; its slope may be held back in two ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agents.baselines.parts.critics import MLP
from jaxreward.agents.inverse.parts import judge
from jaxreward.agents.inverse.parts.discriminator import (
    FORMS,
    PENALTIES,
    Form,
    Penalty,
    Scalar,
    between,
    beyond,
    reward_of,
    slopes,
)
from jaxreward.agents.inverse.parts.judge import Judge, Pairs
from jaxreward.learning.networks import ACTIVATIONS, for_agents
from jaxreward.names import check_name


@dataclass(frozen=True)
class Config(judge.Config):
    """What shapes a classifier.

    Attributes:
        reward: What it is worth to be taken for the demonstrator, `positive`, `negative` or `logit`, see `reward_of`.
        penalty: Where slopes are penalised: `none`, or `wgan`, `dragan` or `nagard`, see `between`.
        one_sided: Whether slopes below the target are not.
        spectral_norm: Whether hidden layers have a spectral norm of 1 (Miyato et al. 2018, arXiv:1802.05957).
    """

    reward: Form = "positive"
    penalty: Penalty = "none"
    one_sided: bool = True
    spectral_norm: bool = False


@struct.dataclass
class Hyperparams(judge.Hyperparams):
    """Traced numbers of a classifier.

    Attributes:
        gradient_penalty: Weight of the penalty of slopes.
        penalty_target: The slope that they are to have, or at most to have.
        penalty_spread: Standard deviation of what is added to a row for `dragan` and `nagard`.
    """

    gradient_penalty: Scalar = 10.0
    penalty_target: Scalar = 1.0
    penalty_spread: Scalar = 1.0


def classifier_judge(config: Config, activation: str, agents: tuple[int, ...] = ()) -> Judge:
    """A judge by a classifier, of each agent of a game if there are some.

    Raises:
        ValueError: If there is no such form of reward, or no such penalty, or none that could be two-sided.
    """
    check_name("reward", config.reward, FORMS)
    check_name("penalty", config.penalty, PENALTIES)
    if config.penalty == "none" and not config.one_sided:
        raise ValueError("one_sided=False with penalty=none: there is no penalty; set penalty=wgan, or leave it out")
    network = for_agents(MLP, agents)(1, tuple(config.discriminator_layers), ACTIVATIONS[activation])
    return Judge(Classifier(network, config.reward, config.penalty, config.one_sided), config.spectral_norm)


@dataclass(frozen=True)
class Classifier:
    """The model.

    Attributes:
        network: Of what was seen and done.
        form: What a logit is worth.
        kind: Where slopes are penalised.
        one_sided: Whether those below the target are not.
    """

    network: MLP
    form: Form
    kind: Penalty
    one_sided: bool

    def init(self, key: Key[Array, ""], pairs: Pairs) -> PyTree:
        """Draws params."""
        return self.network.init(key, self.reads(pairs))

    def logit(self, params: PyTree, pairs: Pairs, hyperparams: Any) -> Float[Array, "*batch"]:
        """Of the probability that steps were demonstrated."""
        return self.logits(params)(self.reads(pairs))

    def reads(self, pairs: Pairs) -> Float[Array, "*batch D"]:
        """What was seen and done, as one vector."""
        return jnp.concatenate([pairs.seen, pairs.action], -1)

    def logits(self, params: PyTree) -> Callable[[Float[Array, "*batch D"]], Float[Array, "*batch"]]:
        """The same of vectors."""

        def of(x: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
            outputs: Any = self.network.apply(params, x)
            return outputs[..., 0]

        return of

    def reward(self, params: PyTree, pairs: Pairs, hyperparams: Any) -> Float[Array, "*batch"]:
        """What steps are worth to the policy."""
        return reward_of(self.logit(params, pairs, hyperparams), self.form)

    def penalty(
        self, params: PyTree, expert: Pairs, policy: Pairs, key: Key[Array, ""], hyperparams: Any
    ) -> Float[Array, ""]:
        """That of slopes."""
        if self.kind == "none":
            return jnp.zeros(())
        x = between(self.kind, key, self.reads(expert), self.reads(policy), hyperparams.penalty_spread)
        excess = beyond(slopes(self.logits(params), x), hyperparams.penalty_target, self.one_sided)
        return hyperparams.gradient_penalty * excess.mean()
