"""A policy for a model that may be chosen within a confidence set, learned from what is imagined.

The policy chooses an action and, with it, where within the set the model is: hallucinated actions (H-UCRL: Curi et al.
2020, arXiv:2006.08684). It follows the gradient, through the model, of what the next step pays and of the value of
where it leads; the value is moved towards the same less the gain, which is the mean value of a sample of states, as in
relative value iteration. Chains of imagined steps start where something was seen, and are begun anew now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from gymnax.environments import spaces
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agents.baselines.parts.critics import MLP
from jaxreward.learning.normaliser import Moments, normalise
from jaxreward.learning.replay import Replay, sample
from jaxreward.learning.targets import soft_update

Imagine = Callable[[Array, Array, Array, Array], tuple[Array, Array]]
"""`(observation [B, F], action [B, d], choice [B, F + 1], noise [B, F + 1]) -> (next observation, reward)`."""


TAILS = 1e-3
"""What the square of an output before tanh costs, as from its tails none would come back."""


class Plan(NamedTuple):
    """Params of the networks, and the gain that is hoped for."""

    policy: PyTree
    value: PyTree
    gain: Float[Array, ""]


class Networks(NamedTuple):
    """What is learned; values are bootstrapped from one that follows."""

    policy: PyTree
    value: PyTree


@dataclass(frozen=True)
class Planner:
    """How a plan is found.

    Attributes:
        policy: Of a normalised observation: an action, and a choice within the set.
        value: Of the same.
        action_size: `d`.
        steps: Of Adam.
        batch_size: Chains, and states of the sample.
    """

    policy: MLP
    value: MLP
    action_size: int
    steps: int
    batch_size: int

    def init(self, key: Key[Array, ""], observation: Float[Array, "*batch F"]) -> Plan:
        """Draws params."""
        key_policy, key_value = jax.random.split(key)
        policy, value = self.policy.init(key_policy, observation), self.value.init(key_value, observation)
        return Plan(policy, value, jnp.zeros(()))

    def chosen(self, policy: PyTree, observation: Float[Array, "*batch F"]) -> tuple[Array, Array]:
        """Action `[*batch, d]` and choice `[*batch, F + 1]`, in [-1, 1], in a normalised observation."""
        both = jnp.tanh(self.outputs(policy, observation))
        return both[..., : self.action_size], both[..., self.action_size :]

    def outputs(self, policy: PyTree, observation: Float[Array, "*batch F"]) -> Float[Array, "*batch d+F+1"]:
        """Of both, before tanh."""
        return jnp.asarray(self.policy.apply(policy, observation))

    def found(
        self, plan: Plan, imagine: Imagine, read: Moments, seen: Replay, key: Key[Array, ""], hyperparams: Any
    ) -> Plan:
        """A better plan for a model.

        Args:
            plan: From where.
            imagine: The model.
            read: Moments by which observations are normalised.
            seen: Steps, in whose states chains begin.
            key: For all that is drawn.
            hyperparams: `plan_learning_rate`, `plan_discount`, `target_step`, `horizon`, `max_span`.
        """
        key_sample, key_chains, key_steps = jax.random.split(key, 3)
        begin = lambda key: sample(seen, key, (self.batch_size,)).observation  # noqa: E731
        reference, optimiser = begin(key_sample), optax.adam(hyperparams.plan_learning_rate)
        worth = lambda value, x: jnp.asarray(self.value.apply(value, normalise(x, read)))[..., 0]  # noqa: E731

        def centred(target: PyTree, x: Array) -> tuple[Array, Array]:
            """The value of states, cut to the span, and the gain."""
            known = worth(target, reference)
            cut = lambda value: jnp.minimum(value, known.min() + hyperparams.max_span)  # noqa: E731
            return cut(worth(target, x)), cut(known).mean()

        def loss(params: Networks, target: PyTree, x: Array, noise: Array) -> tuple[Array, tuple[Array, Array]]:
            action, choice = self.chosen(params.policy, normalise(x, read))
            following, reward = imagine(x, action, choice, noise)
            after, gain = centred(target, following)
            after = hyperparams.plan_discount * after
            error = worth(params.value, x) - jax.lax.stop_gradient(reward + after - gain)
            tails = TAILS * jnp.square(self.outputs(params.policy, normalise(x, read)))
            return jnp.mean(jnp.square(error)) - jnp.mean(reward + after) + jnp.mean(tails), (action, choice)

        def update(carry: tuple, key: Key[Array, ""]) -> tuple[tuple, None]:
            params, target, averages, x = carry
            key_noise, key_off, key_begin, key_where = jax.random.split(key, 4)
            noise = jax.random.normal(key_noise, (self.batch_size, x.shape[-1] + 1))
            gradient, chosen = jax.grad(loss, has_aux=True)(params, target, x, noise)
            action, choice = (off(*each) for each in zip(chosen, jax.random.split(key_off), strict=True))
            following = imagine(x, action, choice, noise)[0]
            change, averages = optimiser.update(gradient, averages)
            params = optax.apply_updates(params, change)
            anew = jax.random.bernoulli(key_begin, 1 / hyperparams.horizon, (self.batch_size, 1))
            x = jnp.where(anew, begin(key_where), following)
            return (params, soft_update(params.value, target, hyperparams.target_step), averages, x), None

        params = Networks(plan.policy, plan.value)
        first = params, plan.value, optimiser.init(params), begin(key_chains)
        (params, target, _, _), _ = jax.lax.scan(update, first, jax.random.split(key_steps, self.steps))
        return Plan(params.policy, target, centred(target, reference)[1])


def off(chosen: Float[Array, "B n"], key: Key[Array, ""]) -> Float[Array, "B n"]:
    """What chains do: the first what the policy does, each further one more of what comes by chance."""
    far = jnp.linspace(0.0, 1.0, len(chosen))[:, None]
    return jnp.clip(chosen + far * jax.random.normal(key, chosen.shape), -1, 1)


def bounds(space: Any) -> tuple[Array, Array]:
    """Of what is observed, flat; none where they are not told."""
    leaves = jax.tree.leaves(space, is_leaf=lambda x: isinstance(x, spaces.Box))
    if not all(isinstance(leaf, spaces.Box) for leaf in leaves):
        return jnp.full(1, -jnp.inf), jnp.full(1, jnp.inf)
    sides = [[jnp.ravel(jnp.broadcast_to(side, leaf.shape)) for side in (leaf.low, leaf.high)] for leaf in leaves]
    low, high = (jnp.concatenate(side) for side in zip(*sides, strict=True))
    return low, high
