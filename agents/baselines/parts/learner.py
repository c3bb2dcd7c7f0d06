"""A policy that learns from whole episodes: what BARFI and the methods it is compared with have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.agent import Policy
from jaxreward.environment import select, world
from jaxreward.envs.barfi.tasks import FEATURES
from jaxreward.learning.episodes import Episodes, play
from jaxreward.learning.estimators import discounted_returns
from jaxreward.learning.networks import Head, flatten, head_for
from jaxreward.lookup import is_reference, load_reference
from jaxreward.names import check_name

Scalar = Float[Array, ""] | float
Metrics = dict[str, Float[Array, ""]]
Features = Callable[[PyTree], Float[Array, " F"]]
Average = Literal["padded", "valid"]
Optimiser = Literal["rmsprop", "adam"]

AUXILIARY = "reward/auxiliary"
"""Where environments show their auxiliary reward, in `info`."""

STD = 0.1
"""Of continuous actions, in half widths of their range."""


def uniform(key: Key[Array, ""], shape: tuple[int, ...], bound: float) -> Array:
    """Uniform within `bound` of zero."""
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


class Linear(nn.Module):
    """A linear layer whose weights and bias are drawn within `1 / sqrt(inputs)` of zero, the authors' default."""

    outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "F *batch"]) -> Float[Array, "O *batch"]:
        bound = 1 / math.sqrt(len(x))
        kernel = self.param("kernel", lambda key: uniform(key, (len(x), self.outputs), bound))
        bias = self.param("bias", lambda key: uniform(key, (self.outputs,), bound))
        return jnp.tensordot(kernel, x, (0, 0)) + bias.reshape(-1, *[1] * (x.ndim - 1))


class Network(nn.Module):
    """Linear layers with rectified linear units between, `[F, *batch] -> [outputs, *batch]`.

    The batch is last: few outputs of many steps are a few long rows then, which a CPU takes second derivatives of 30
    times faster than of many short ones.
    """

    outputs: int
    layers: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: Float[Array, "F *batch"]) -> Float[Array, "O *batch"]:
        for width in self.layers:
            x = nn.relu(Linear(width)(x))
        return Linear(self.outputs)(x)


@dataclass(frozen=True)
class Learner:
    """A policy, linear in features of the observation or with some layers between, and its episodes.

    A softmax over discrete actions. Continuous ones are Gaussian with a mean of `2 sigmoid(.) - 1` and a standard
    deviation of 0.1, both on a scale where their range is -1 to 1, as in the authors' code.

    Attributes:
        env: What is played.
        features: Of one observation.
        head: Between outputs and actions.
        network: From features to outputs.
        num_envs: Episodes at a time, `N`.
        num_steps: The most steps of one, `T`.
        average: Over which steps scores are averaged: "padded", all `T`, as in the authors' code, or "valid", those
            that belong to an episode.
    """

    env: Environment
    features: Features
    head: Head
    network: Network
    num_envs: int
    num_steps: int
    average: Average = "padded"

    def init(self, key: Key[Array, ""], env_params: PyTree) -> PyTree:
        """Draws params."""
        return self.network.init(key, jnp.zeros(self.num_features(env_params)))

    def num_features(self, env_params: PyTree) -> int:
        """The size of what the policy sees."""
        observation = jax.eval_shape(lambda: self.env.reset_env(jax.random.key(0), env_params)[0])
        return jax.eval_shape(self.features, observation).shape[0]

    def outputs(self, params: PyTree, features: Float[Array, "*batch F"]) -> Float[Array, "*batch O"]:
        """What the head makes a distribution of."""
        return jnp.moveaxis(self.columns(params, jnp.moveaxis(features, -1, 0)), 0, -1)

    def columns(self, params: PyTree, features: Float[Array, "F *batch"]) -> Float[Array, "O *batch"]:
        """The same with the batch last."""
        made: Any = self.network.apply(params, features)
        if not self.head.free:
            return made
        return jnp.concatenate([2 * jax.nn.sigmoid(made) - 1, jnp.full_like(made, math.log(STD))])

    def distribution(self, params: PyTree, features: Float[Array, "*batch F"]) -> distrax.Distribution:
        """Of raw actions."""
        return self.head.distribution(self.outputs(params, features))

    def read(self, observation: PyTree, batch_axes: int) -> Float[Array, "*batch F"]:
        """Features of observations behind some batch axes."""
        features = self.features
        for _ in range(batch_axes):
            features = jax.vmap(features)
        return features(observation)

    def play(
        self, params: PyTree, env_params: PyTree, ended: tuple[PyTree, ...], key: Key[Array, ""]
    ) -> tuple[tuple[PyTree, ...], Episodes, Metrics]:
        """`N` episodes, see `jaxreward.learning.episodes.play`; their extras are the raw actions."""
        key_noise, key_envs = jax.random.split(key)
        noise = self.head.noise(key_noise, (self.num_steps, self.num_envs))

        def act(carry: PyTree, observation: PyTree, noise: Array) -> tuple[PyTree, Array, Array]:
            action = self.head.sample(self.outputs(params, self.read(observation, 1)), noise)
            return carry, self.head.to_env(action), action

        ended, episodes, metrics = play(self.env, env_params, act, (), noise, ended, self.num_envs, key_envs)
        steps = jnp.asarray(self.num_envs * self.num_steps, jnp.int32)
        return ended, without_rest(episodes), {"env_steps": steps, **metrics}

    def surrogate(
        self,
        params: PyTree,
        features: Float[Array, "T N F"],
        action: Array,
        weight: Float[Array, "T N"],
        valid: Bool[Array, "T N"],
        entropy_coefficient: Scalar = 0.0,
    ) -> Float[Array, ""]:
        """The mean of `weight * log pi(a | s)`, whose gradient is the policy's, with an entropy bonus.

        The bonus is the mean over the steps that belong to an episode, whatever scores are averaged over.
        """
        log_prob, entropy = self.scores(params, features, action)
        total = jnp.where(valid, log_prob * weight, 0.0).sum()
        count = jnp.maximum(valid.sum(), 1)
        mean = total / (valid.size if self.average == "padded" else count)
        return mean + entropy_coefficient * jnp.where(valid, entropy, 0.0).sum() / count

    def scores(
        self, params: PyTree, features: Float[Array, "*batch F"], action: Array
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """Log-probabilities of raw actions, and the policy's entropy."""
        outputs = self.columns(params, jnp.moveaxis(features, -1, 0))
        if self.head.free:
            distribution = self.head.distribution(jnp.moveaxis(outputs, 0, -1))
            return distribution.log_prob(action), distribution.entropy()
        log_probs = jax.nn.log_softmax(outputs, 0)
        chosen = jnp.arange(len(outputs)).reshape(-1, *[1] * action.ndim) == action[None]
        return jnp.where(chosen, log_probs, 0.0).sum(0), -(jnp.exp(log_probs) * log_probs).sum(0)

    def policy(self, params: PyTree) -> Policy:
        """The policy learned so far; its mode is the most likely action."""

        def act(carry: PyTree, observation: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
            outputs = self.outputs(params, self.features(observation))
            return carry, self.head.to_env(self.head.sample(outputs, self.head.noise(key, ())))

        def mode(carry: PyTree, observation: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
            return carry, self.head.to_env(self.distribution(params, self.features(observation)).mode())

        return Policy(lambda: (), act, mode)


def make_learner(
    env: Environment,
    env_params: PyTree,
    features: str,
    layers: tuple[int, ...],
    num_envs: int,
    num_steps: int,
    average: Average = "padded",
) -> Learner:
    """A learner for an environment.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space.
        env_params: Its params.
        features: See `features_of`.
        layers: Widths of the layers between features and outputs.
        num_envs: See `Learner`.
        num_steps: See `Learner`.
        average: See `Learner`.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If an option is unknown, or an episode can be longer than `num_steps`.
    """
    check_name("average", average, get_args(Average))
    limit = getattr(world(env, env_params)[1], "max_steps_in_episode", num_steps)
    if int(limit) > num_steps:
        raise ValueError(
            f"an episode of {env.name} has up to {limit} steps, num_steps={num_steps}: set num_steps={limit}, or "
            f"make the environment with max_steps_in_episode={num_steps}"
        )
    head = head_for(env.action_space(env_params))
    return Learner(env, features_of(env, features), head, Network(head.size, layers), num_envs, num_steps, average)


def features_of(env: Environment, name: str) -> Features:
    """What a policy sees of an observation.

    Args:
        env: The environment.
        name: "auto", the features of the environment's own (`env.features`) or else "none"; "none", the observation as
            a vector; one of `jaxreward.envs.barfi.tasks.FEATURES`; or your own as `module:function`.

    Raises:
        ValueError: If there is no such function.
    """
    if is_reference(name):
        return load_reference(name, "features")
    check_name("features", name, ["auto", "none", *FEATURES], "Your own are `module:function`.")
    plain = lambda observation: flatten(observation, 0)  # noqa: E731
    if name == "auto":
        return getattr(env, "features", plain)
    return FEATURES.get(name, plain)


def shows_auxiliary(env: Environment, env_params: PyTree) -> bool:
    """Whether the environment shows an auxiliary reward, found without computing anything."""

    def step_once(key: Key[Array, ""]) -> dict[str, Array]:
        _, state = env.reset_env(key, env_params)
        return env.step_env(key, state, env.action_space(env_params).sample(key), env_params)[4]

    return AUXILIARY in jax.eval_shape(step_once, jax.random.key(0))


def without_rest(episodes: Episodes) -> Episodes:
    """Episodes with their first step behind their ends, where it is still paid nothing.

    What may be there, NaN, has derivatives that masks keep. Zeros would not do: a reward need not have derivatives
    there, but it has at the steps there were.
    """
    first = lambda x: select(episodes.valid, x, jnp.broadcast_to(x[:1], x.shape))  # noqa: E731
    steps, extras = (jax.tree.map(first, part) for part in (episodes.steps, episodes.extras))
    return Episodes(steps._replace(reward=episodes.steps.reward), extras, episodes.valid)


def returns_to_go(rewards: Float[Array, "T N"], discount: Scalar) -> Float[Array, "T N"]:
    """`G_t = sum_{j >= t} discount^(j - t) r_j`, of rewards that are zero behind an episode's end."""
    return discounted_returns(rewards, jnp.zeros_like(rewards, bool), discount)


def ascent(
    optimiser: Optimiser, learning_rate: Scalar, max_grad_norm: Scalar = math.inf
) -> optax.GradientTransformation:
    """Steps uphill, by RMSprop or Adam with PyTorch's defaults, which the authors use.

    Args:
        optimiser: Which one.
        learning_rate: Its step size.
        max_grad_norm: Gradients are scaled down to this global norm; infinity to not scale them.

    Raises:
        ValueError: If there is no such optimiser.
    """
    check_name("optimiser", optimiser, get_args(Optimiser))
    scales = {
        # The square root of zero has no derivative, which unrolling asks for.
        "rmsprop": lambda: optax.scale_by_rms(decay=0.99, eps=1e-16, eps_in_sqrt=True),
        "adam": lambda: optax.scale_by_adam(eps=0.0, eps_root=1e-16),
    }
    limit = jnp.minimum(max_grad_norm, 1e20)  # at infinity the branch not taken has no derivative either
    return optax.chain(
        optax.clip_by_global_norm(limit), scales[optimiser](), optax.scale_by_learning_rate(-learning_rate)
    )
