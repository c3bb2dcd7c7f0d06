"""A policy that is known to be safe: one that acts uniformly, or a clone of what somebody did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agents.baselines import behaviour_cloning as cloning
from jaxreward.agents.baselines.behaviour_cloning import Cloning, behaviour_cloning
from jaxreward.learning.networks import Head, head_for

Kind = Literal["uniform", "cloned"]
"""What a reference is."""
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Reference:
    """A policy that stays as it is.

    Attributes:
        head: Of its actions.
        clone: What clones it; None where actions are uniform.
    """

    head: Head
    clone: Cloning | None

    def init(self, key: Key[Array, ""], num_demonstrations: Any) -> PyTree:
        """Its params, learned here; `()` where actions are uniform."""
        if self.clone is None:
            return ()
        key_init, key_learn = jax.random.split(key)
        hyperparams = cloning.Hyperparams(num_demonstrations=num_demonstrations)
        state = self.clone.init(key_init, hyperparams)
        return self.clone.learn(state, key_learn)[0]

    def noise(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
        """What `act` needs."""
        if self.clone is None and self.head.free:
            return jax.random.uniform(key, (*shape, self.head.size), minval=-1, maxval=1)
        return self.head.noise(key, shape)

    def act(self, params: PyTree, features: Float[Array, "*batch F"], noise: Array) -> Array:
        """Raw actions."""
        if self.clone is None and self.head.free:
            return noise
        return self.head.sample(self.outputs(params, features), noise)

    def outputs(self, params: PyTree, features: Float[Array, "*batch F"]) -> Float[Array, "*batch O"]:
        """What the head makes its distribution of; of uniform actions only where they are discrete."""
        if self.clone is None:
            return jnp.zeros((*features.shape[:-1], self.head.size))
        return self.clone.outputs(params, features, cloning.Hyperparams())

    def as_actor(self, params: PyTree, actor_critic: PyTree) -> PyTree:
        """Params of an agent's network of the same layers that acts as the clone does, with the critic's own."""
        own, learned = params["params"], dict(actor_critic["params"])
        learned |= {"actor": own["Torso_0"], "actor_out": own["Dense_0"]}
        if self.head.free:
            least = 2 * jnp.log(cloning.Hyperparams().least_deviation)
            learned["free_outputs"] = 0.5 * jnp.logaddexp(2 * own["free_outputs"], least)
        return {**actor_critic, "params": learned}


def reference_for(env: Environment, env_params: PyTree, config: Any) -> Reference:
    """The reference that a config names.

    Raises:
        ValueError: If actions are to be uniform and have no bounds, or there are no demonstrations to clone, see
            `jaxreward.agents.baselines.behaviour_cloning`.
    """
    space = env.action_space(env_params)
    head = head_for(space)
    if config.reference == "uniform":
        _check_bounded(env, space)
        return Reference(head, None)
    shared = ("demonstrations", "digest", "layers", "activation", "num_envs", "num_steps", "conv", "network")
    sizes = {name: getattr(config, name) for name in shared}
    agent = behaviour_cloning(env, env_params, cloning.Config(num_updates=config.cloning_updates, **sizes))
    clone: Any = agent.init
    return Reference(head, clone.__self__)


def _check_bounded(env: Environment, space: Any) -> None:
    bounded = not isinstance(space, spaces.Box) or (np.isfinite(space.low) & np.isfinite(space.high)).all()
    if not bounded:
        raise ValueError(
            f"reference=uniform: the actions of {env.name} have no bounds, so none are uniform; set reference=cloned "
            "and demonstrations=FILE"
        )
