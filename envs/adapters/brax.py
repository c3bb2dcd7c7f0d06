"""brax's physics environments under gymnax's protocol: ant, halfcheetah, hopper, humanoid, walker2d and others.

Freeman et al., Brax: a differentiable physics engine for large scale rigid body simulation, NeurIPS Datasets 2021.
brax itself is imported when the first environment is made.
"""

from __future__ import annotations

import functools
import inspect
from types import ModuleType
from typing import Any

from jaxreward.envs.adapters.foreign import lenient
from jaxreward.envs.adapters.physics import PhysicsEnv, building
from jaxreward.names import check_name

BACKENDS = ("generalized", "mjx", "positional", "spring")
"""brax's physics engines, from the most exact two to the fastest."""

_BROKEN = {"swimmer": "its fluid forces (brax 0.14.2) call jnp.clip(a_min=...), an argument that JAX has removed"}


class BraxEnv(PhysicsEnv):
    """One of brax's environments; see `PhysicsEnv` for what ends an episode and what is in `info`.

    The metrics in `info` are brax's, which differ by environment: `x_position`, `x_velocity`, `reward_forward`, ...
    The state holds brax's in `state.sim`, its physics in `state.sim.pipeline_state`.
    """

    def __init__(
        self,
        name: str,
        backend: str = "spring",
        max_steps_in_episode: int = 1000,
        action_repeat: int = 1,
        observation_key: str = "state",
        **kwargs: Any,
    ) -> None:
        """Makes a brax environment.

        Args:
            name: One of `brax_names()`, such as "ant".
            backend: One of `BACKENDS`. "spring" is the fastest and the least exact. brax's published results differ
                by backend, and so do rewards.
            max_steps_in_episode: The default time limit, in control steps.
            action_repeat: How often an action is applied.
            observation_key: The entry that the agent sees where the environment shows a dictionary.
            **kwargs: Arguments of brax's class for this environment, such as `healthy_reward` or `n_frames`.

        Raises:
            ValueError: If there is no such environment, backend or argument; says which is nearest.
        """
        if name in _BROKEN:
            raise ValueError(f"brax environment {name!r} does not run: {_BROKEN[name]}. Choose among {brax_names()}")
        check_name("brax environment", name, brax_names())
        check_name("brax backend", backend, BACKENDS)
        for argument in kwargs:
            check_name(f"argument of brax environment {name!r} called", argument, _arguments(name))
        with building():
            simulator = _brax_envs().get_environment(name, backend=backend, **kwargs)
        self.backend = backend
        super().__init__(f"brax/{name}", simulator, max_steps_in_episode, action_repeat, observation_key)


def brax_names() -> list[str]:
    """The names of brax's environments, those a user has registered with brax included."""
    return sorted(set(_brax_envs()._envs) - set(_BROKEN))


def _arguments(name: str) -> set[str]:
    """What brax's class for this environment takes, beside the backend: its own arguments and its base class's."""
    envs = _brax_envs()
    own = inspect.signature(envs._envs[name]).parameters
    base = inspect.signature(envs.PipelineEnv).parameters
    return {*own, *base} - {"backend", "kwargs", "sys"}


@functools.cache
def _brax_envs() -> ModuleType:
    with lenient():
        import brax.envs
    return brax.envs
