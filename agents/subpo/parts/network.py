"""Policies that read the whole history, at the price of those that read the last observation.

The first hidden layer is linear in the history, so what it makes of the past is a running sum: one more term a step,
and a cumulative sum over an episode, in place of a matrix product with the whole history at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreward.learning.networks import Torso, dense


class Past(NamedTuple):
    """What a network keeps of an episode so far.

    Attributes:
        actor: What the policy's first layer makes of it, `[..., H]`.
        critic: What the value's makes of it, `[..., H]`.
        time: Steps so far, one number for a whole batch.
        visited: Which places were visited, `[..., S]`; `[..., 0]` where that isn't needed.
    """

    actor: Float[Array, "*batch H"]
    critic: Float[Array, "*batch H"]
    time: Int[Array, ""]
    visited: Bool[Array, "*batch S"]


class HistoryTorso(nn.Module):
    """Hidden layers that read an observation and all before it, see `HistoryActorCritic`."""

    layers: Sequence[int]
    activation: Callable[[Array], Array]
    kind: str
    slots: int
    features: int

    def setup(self) -> None:
        inputs = self.features + 1 if self.kind == "padded" else 1
        scale = nn.initializers.orthogonal(math.sqrt(2))
        self.past = self.param("past", scale, (self.slots, inputs, self.layers[0]))
        self.present = dense(self.layers[0], math.sqrt(2))
        self.torso = Torso(self.layers[1:], self.activation)

    def addend(
        self, features: Float[Array, "*batch F"], slot: Int[Array, "..."], new: Bool[Array, "*batch"]
    ) -> Float[Array, "*batch H"]:
        """What an observation adds to the past."""
        if self.kind == "visited":
            return jnp.where(new[..., None], self.past[slot, 0], 0.0)
        # A slot that is used says so, which tells an observation of zeros from an unused slot.
        return jnp.concatenate([features, jnp.ones_like(features[..., :1])], -1) @ self.past[slot]

    def __call__(self, features: Float[Array, "*batch F"], past: Float[Array, "*batch H"]) -> Float[Array, "*batch H"]:
        """The last hidden layer, from the present and the past."""
        return self.torso(self.activation(self.present(features) + past))


class HistoryActorCritic(nn.Module):
    """Outputs of a policy and a value that depend on all observations of an episode.

    Equal to multilayer perceptrons whose input is the last observation joined with, for `kind`

    * `"padded"`: all observations in their order, each in a slot of its own with a 1 behind it, zeros in those to come;
    * `"visited"`: which places were visited, `{0, 1}^S`, in any order.

    Attributes:
        outputs: Number of outputs of the policy that depend on the history, a head's `size`.
        free: Number of further outputs that do not, a head's `free`.
        layers: Widths of the hidden layers, one at least.
        activation: Between them.
        kind: What stands for the past.
        slots: The most steps of an episode (padded), or how many places there are (visited).
        features: Size of an observation.
    """

    outputs: int
    free: int
    layers: Sequence[int]
    activation: Callable[[Array], Array]
    kind: str
    slots: int
    features: int

    def setup(self) -> None:
        shape = (self.layers, self.activation, self.kind, self.slots, self.features)
        self.actor, self.critic = HistoryTorso(*shape), HistoryTorso(*shape)
        self.actor_out = dense(self.outputs, 0.01)
        self.critic_out = dense(1, 1.0)
        if self.free:
            self.free_outputs = self.param("free_outputs", nn.initializers.zeros, (self.free,))

    def initial_carry(self, *batch: int) -> Past:
        """The past at the start of an episode."""
        sums = jnp.zeros((*batch, self.layers[0]))
        places = self.slots if self.kind == "visited" else 0
        return Past(sums, sums, jnp.zeros((), jnp.int32), jnp.zeros((*batch, places), bool))

    def __call__(
        self, past: Past, features: Float[Array, "*batch F"], place: Int[Array, "*batch"]
    ) -> tuple[Past, Float[Array, "*batch O"], Float[Array, "*batch"]]:
        """One step: `(past, features, place) -> (past, outputs of the policy, value)`."""
        visited, new = past.visited, jnp.ones(features.shape[:-1], bool)
        if self.kind == "visited":
            new = ~jnp.take_along_axis(visited, place[..., None], -1)[..., 0]
            visited = visited | jax.nn.one_hot(place, self.slots, dtype=bool)
        slot = past.time if self.kind == "padded" else place
        actor = past.actor + self.actor.addend(features, slot, new)
        critic = past.critic + self.critic.addend(features, slot, new)
        past = Past(actor, critic, past.time + 1, visited)
        return past, *self._outputs(self.actor(features, actor), self.critic(features, critic))

    def sequence(
        self, features: Float[Array, "T N F"], place: Int[Array, "T N"]
    ) -> tuple[Float[Array, "T N O"], Float[Array, "T N"]]:
        """All steps of `N` episodes at once, from their start: outputs of the policy and values."""
        slot = jnp.arange(len(features)) if self.kind == "padded" else place
        new = first_visits(place) if self.kind == "visited" else jnp.ones(features.shape[:-1], bool)
        actor = jnp.cumsum(self.actor.addend(features, slot, new), 0)
        critic = jnp.cumsum(self.critic.addend(features, slot, new), 0)
        return self._outputs(self.actor(features, actor), self.critic(features, critic))

    def _outputs(self, actor: Array, critic: Array) -> tuple[Array, Array]:
        outputs = self.actor_out(actor)
        if self.free:
            free = jnp.broadcast_to(self.free_outputs, (*outputs.shape[:-1], self.free))
            outputs = jnp.concatenate([outputs, free], -1)
        return outputs, self.critic_out(critic)[..., 0]


def first_visits(place: Int[Array, "T N"]) -> Bool[Array, "T N"]:
    """Whether each episode is at a place for the first time."""
    time = jnp.arange(len(place))
    earlier = (time[None] < time[:, None])[..., None]
    return ~((place[:, None] == place[None]) & earlier).any(1)
