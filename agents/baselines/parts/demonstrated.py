"""Demonstrations as a network reads and a head takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, PyTree, Shaped

from jaxreward.contract.sizes import Sized
from jaxreward.learning.demonstrations import Demonstrations, digest_of
from jaxreward.learning.networks import Head
from jaxreward.learning.normaliser import Moments


@dataclass(frozen=True)
class Config(Sized):
    """Where demonstrations come from.

    Attributes:
        demonstrations: The file, see `jaxreward.learning.demonstrations`.
        digest: Of what is in the file, filled in when a run begins: it doesn't go on with anything else.
    """

    demonstrations: str = ""
    digest: str = ""

    def for_env(self, env: Environment, env_params: PyTree) -> Self:
        """The config with the digest of the demonstrations, and what configs that it is joined with add."""
        others = getattr(super(), "for_env", None)
        config = others(env, env_params) if others else self
        return replace(config, digest=self.digest or digest_of(self.demonstrations))


def check_file(config: Config, agent: str) -> None:
    """Refuses to learn from no file, or from another one than a run began with.

    Raises:
        ValueError: There is none, or its digest is another one.
    """
    if not config.demonstrations:
        raise ValueError(
            f"{agent} learns from a file: set demonstrations=FILE, such as `jaxreward demonstrate RUN --out FILE` "
            "makes of a run"
        )
    if config.digest not in ("", digest_of(config.demonstrations)):
        raise ValueError(
            f"{config.demonstrations} is another file than it was (its digest is "
            f"{digest_of(config.demonstrations) or 'none, there is no such file'}, not {config.digest})"
        )


class Data(NamedTuple):
    """What is learned from: features and raw actions, as a head has them, of `N` steps, and of each agent of a game."""

    features: Float[Array, "N *n F"]
    action: Array


def data_of(given: Demonstrations, head: Head, agents: tuple[int, ...] = ()) -> Data:
    """Demonstrations as a network reads and a head takes them; the features are raw."""
    return Data(jnp.asarray(features_of(given.observation, agents), float), raw_action(jnp.asarray(given.action), head))


def features_of(observation: Shaped[np.ndarray, "N ..."], agents: tuple[int, ...] = ()) -> Shaped[np.ndarray, "N *n F"]:
    """What was seen as a vector for each step, or for each agent in it."""
    return observation.reshape(len(observation), *agents, -1)


def raw_action(action: Array, head: Head) -> Array:
    """What a head would have made the actions of, `[*batch, ...]`, those at a bound its nearest."""
    if not head.free:
        return action
    middle, high = head.to_env(jnp.zeros(head.size)), head.to_env(jnp.ones(head.size))
    batch = action.shape[: action.ndim - middle.ndim]
    expand = lambda x: x.reshape((1,) * len(batch) + x.shape)  # noqa: E731
    return ((action - expand(middle)) / expand(high - middle)).reshape(*batch, -1)


def moments_of(given: Demonstrations, agents: tuple[int, ...] = ()) -> Moments:
    """The moments of what was seen, each agent's by itself."""
    seen = features_of(given.observation, agents).astype(float)
    return Moments(jnp.asarray(len(seen), float), jnp.asarray(seen.mean(0), float), jnp.asarray(seen.var(0), float))


def first_steps(num_demonstrations: Float[Array, ""] | float, there: int) -> Int[Array, ""]:
    """How many steps of a file are learned from: the first so many, one at least, all if there are fewer."""
    return jnp.clip(num_demonstrations, 1, there).astype(jnp.int32)
