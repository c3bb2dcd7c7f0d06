"""Networks and action heads shared by agents.

`ActorCritic` is one network for a policy and a value, memoryless or recurrent. A `Head` turns its outputs into a
distribution over an action space, and noise drawn ahead into an action.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.environment import select
from jaxreward.learning.reading import PLAIN, Reading

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": nn.tanh,
    "relu": nn.relu,
    "silu": nn.silu,
    "gelu": nn.gelu,
    "elu": nn.elu,
}


def dense(features: int, scale: float) -> nn.Dense:
    """A linear layer with orthogonal weights of the given scale and zero bias, in the precision of all else."""
    return nn.Dense(features, kernel_init=nn.initializers.orthogonal(scale), param_dtype=jnp.result_type(float))


def lecun(features: int) -> nn.Dense:
    """A linear layer with weights of variance `1 / inputs` (LeCun et al. 1998, "Efficient backprop") and zero bias."""
    return nn.Dense(features, param_dtype=jnp.result_type(float))


class Torso(nn.Module):
    """Hidden layers, `[..., F] -> [..., layers[-1]]`.

    Attributes:
        layers: Their widths.
        activation: Behind each.
        layer_norm: Whether each is normalised before that (Ba et al. 2016, arXiv:1607.06450).
        orthogonal: Whether weights start orthogonal, as `dense` has them, or as `lecun` has them.
        dropout: Which share of units is left out at random (Srivastava et al. 2014), where a key "dropout" is given.
        reading: What comes before them.
    """

    layers: Sequence[int]
    activation: Callable[[Array], Array]
    layer_norm: bool = False
    orthogonal: bool = True
    dropout: float = 0.0
    reading: Reading = PLAIN

    @nn.compact
    def __call__(self, x: Float[Array, "*batch F"]) -> Float[Array, "*batch H"]:
        x = self.reading(x, self.activation)
        for features in self.layers:
            x = (dense(features, math.sqrt(2)) if self.orthogonal else lecun(features))(x)
            x = nn.LayerNorm(param_dtype=jnp.result_type(float))(x) if self.layer_norm else x
            x = self.activation(x)
            x = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))(x)
        return x


def flatten(observation: PyTree, batch_axes: int = 1) -> Float[Array, "*batch F"]:
    """An observation as one float vector, its leaves raveled behind `batch_axes` axes and joined."""
    leaves = [jnp.reshape(x, (*jnp.shape(x)[:batch_axes], -1)) for x in jax.tree.leaves(observation)]
    return jnp.concatenate([jnp.asarray(x, float) for x in leaves], -1)


def for_agents(network: type[nn.Module], agents: tuple[int, ...], axis: int = -2) -> Any:
    """A kind of network that each agent of a game has one of, `[*batch, n, F] -> [*batch, n, O]`, params `[n, ...]`.

    Args:
        network: The kind of network.
        agents: `(n,)`, or `()` for the network as it is.
        axis: Where what it reads has its axis of agents, from behind.
    """
    if not agents:
        return network
    return nn.vmap(
        network, {"params": 0}, {"params": True, "dropout": True}, in_axes=axis, out_axes=-2, axis_size=agents[0]
    )


class ActorCritic(nn.Module):
    """Outputs of a policy and a value, each with a torso of its own, after an optional shared GRU.

    Attributes:
        outputs: Number of outputs of the policy that depend on the observation, a head's `size`.
        free: Number of further outputs that do not, a head's `free`; they start at zero.
        layers: Widths of the hidden layers.
        activation: Between them.
        memory: Units of the GRU that reads the observations first; 0 for a memoryless network.
        reading: What comes before the hidden layers of each, or before the GRU.
        values: How many values, `[*batch, values]`, one for each of several rewards; 0 for one without that axis.
    """

    outputs: int
    free: int = 0
    layers: Sequence[int] = (64, 64)
    activation: Callable[[Array], Array] = nn.tanh
    memory: int = 0
    reading: Reading = PLAIN
    values: int = 0

    def setup(self) -> None:
        behind = PLAIN if self.memory else self.reading
        self.actor = Torso(self.layers, self.activation, reading=behind)
        self.critic = Torso(self.layers, self.activation, reading=behind)
        self.actor_out = dense(self.outputs, 0.01)
        self.critic_out = dense(self.values or 1, 1.0)
        if self.free:
            self.free_outputs = self.param("free_outputs", nn.initializers.zeros, (self.free,))
        if self.memory:
            self.reader = Torso((), self.activation, reading=self.reading)
            self.embed = dense(self.memory, math.sqrt(2))
            self.cell = nn.GRUCell(self.memory, param_dtype=jnp.result_type(float))

    def initial_carry(self, *batch: int) -> PyTree:
        """The memory at the start of an episode, zeros `[*batch, memory]`; `()` when memoryless."""
        return jnp.zeros((*batch, self.memory)) if self.memory else ()

    def __call__(
        self, carry: PyTree, features: Float[Array, "*batch F"]
    ) -> tuple[PyTree, Float[Array, "*batch O"], Float[Array, "*batch"]]:
        """One step: `(carry, features) -> (carry, outputs of the policy, value)`."""
        if self.memory:
            carry, features = self.cell(carry, self.activation(self.embed(self.reader(features))))
        outputs = self.actor_out(self.actor(features))
        if self.free:
            free = jnp.broadcast_to(self.free_outputs, (*outputs.shape[:-1], self.free))
            outputs = jnp.concatenate([outputs, free], -1)
        value = self.critic_out(self.critic(features))
        return carry, outputs, value if self.values else value[..., 0]


def unroll(
    apply: Callable[..., tuple],
    params: PyTree,
    carry: PyTree,
    features: Float[Array, "T N F"],
    start: Bool[Array, "T N"],
) -> tuple[PyTree, Float[Array, "T N O"], Float[Array, "T N"]]:
    """Applies an `ActorCritic` along time, its memory zeroed where an episode starts.

    Args:
        apply: The network's `apply`.
        params: Its params.
        carry: Its memory before the first step, leaves `[N, ...]`; `()` if it has none, and then no loop is run.
        features: What it reads.
        start: Whether a step is the first of an episode.

    Returns:
        The memory after each step, leaves `[T, N, ...]`, the outputs and the values.
    """
    if not jax.tree.leaves(carry):
        return apply(params, carry, features)

    def step(carry: PyTree, x: tuple) -> tuple[PyTree, tuple]:
        features, start = x
        carry = select(start, jax.tree.map(jnp.zeros_like, carry), carry)
        carry, outputs, value = apply(params, carry, features)
        return carry, (carry, outputs, value)

    return jax.lax.scan(step, carry, (features, start))[1]


class Head(NamedTuple):
    """Between a network's outputs and an action space.

    Attributes:
        size: How many outputs a policy needs that depend on the observation.
        free: How many more that do not.
        noise: `(key, batch shape) -> noise` for a batch of actions, drawn ahead of a time loop.
        distribution: `(outputs) -> distrax.Distribution` over raw actions.
        sample: `(outputs, noise) -> raw action`, distributed as `distribution(outputs)`.
        to_env: `(raw action) -> action` in the space.
    """

    size: int
    free: int
    noise: Callable[[Key[Array, ""], tuple[int, ...]], Array]
    distribution: Callable[[Array], distrax.Distribution]
    sample: Callable[[Array, Array], Array]
    to_env: Callable[[Array], Array]


def head_for(space: Any) -> Head:
    """The head for a gymnax action space: categorical for `Discrete`, a diagonal Gaussian for `Box`.

    Raises:
        TypeError: For any other space.
    """
    if isinstance(space, spaces.Discrete):
        return categorical_head(space.n)
    if isinstance(space, spaces.Box):
        return gaussian_head(space)
    raise TypeError(f"no policy head for the action space {space}; supported are Discrete and Box")


def categorical_head(num_actions: int) -> Head:
    """A softmax over `num_actions`; samples by inverting its distribution function, at one random number an action."""

    def sample(logits: Array, noise: Array) -> Array:
        reached = jnp.cumsum(jax.nn.softmax(logits), -1)[..., :-1]
        return (noise[..., None] >= reached).sum(-1, dtype=jnp.int32)

    return Head(
        size=num_actions,
        free=0,
        noise=jax.random.uniform,
        distribution=lambda logits: distrax.Categorical(logits=logits),
        sample=sample,
        to_env=lambda action: action,
    )


def gaussian_head(space: spaces.Box) -> Head:
    """A diagonal Gaussian over actions scaled to [-1, 1]; its log standard deviations do not depend on the observation.

    Where the space is bounded, a raw action of -1 or 1 is its lower or upper bound, and what lies beyond is clipped.
    """
    size = math.prod(space.shape)
    low, high = (np.broadcast_to(np.asarray(bound, np.float32), space.shape) for bound in (space.low, space.high))
    bounded = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(bounded, low, -1), np.where(bounded, high, 1)
    middle, radius = low / 2 + high / 2, high / 2 - low / 2

    def distribution(outputs: Array) -> distrax.Distribution:
        mean, log_std = jnp.split(outputs, 2, -1)
        return distrax.MultivariateNormalDiag(mean, jnp.exp(log_std))

    def sample(outputs: Array, noise: Array) -> Array:
        mean, log_std = jnp.split(outputs, 2, -1)
        return mean + jnp.exp(log_std) * noise

    def to_env(action: Array) -> Array:
        batch = action.shape[:-1]
        action = action.reshape(*batch, *space.shape)
        expand = lambda x: x.reshape((1,) * len(batch) + x.shape)  # noqa: E731
        return expand(middle) + expand(radius) * jnp.where(expand(bounded), jnp.clip(action, -1, 1), action)

    return Head(
        size=size,
        free=size,
        noise=lambda key, batch: jax.random.normal(key, (*batch, size)),
        distribution=distribution,
        sample=sample,
        to_env=to_env,
    )
