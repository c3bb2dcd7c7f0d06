"""navix's grid worlds under gymnax's protocol: MiniGrid, rewritten in JAX.

Pignatelli et al., "NAVIX: Scaling MiniGrid Environments with JAX", 2024, arXiv:2407.19396. An optional extra,
`pip install 'jaxreward[navix]'` (Python 3.12 and later), imported when the first environment is made.
"""

from __future__ import annotations

import sys
from types import ModuleType

import jax.numpy as jnp
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.envs.adapters.foreign import import_extra, lenient
from jaxreward.envs.adapters.worlds import WorldEnv, check_limit
from jaxreward.names import check_name

OBSERVATIONS = (
    "categorical",
    "categorical_first_person",
    "rgb",
    "rgb_first_person",
    "symbolic",
    "symbolic_first_person",
)
"""What may be seen: the whole grid or what is before the agent, as one number a cell, as three, or as a picture."""


class NavixEnv(WorldEnv):
    """One of navix's environments, with its rewards and ends.

    navix resets by itself in the step after an end; that is switched off here. `state.inner` is navix's `State`, and
    steps are counted beside it.
    """

    def __init__(self, name: str, max_steps_in_episode: int | None = None, observation: str | None = None) -> None:
        """Makes one.

        Args:
            name: One of `navix_names()`, such as "Navix-Empty-5x5-v0".
            max_steps_in_episode: The time limit; navix's own unless given.
            observation: One of `OBSERVATIONS`; the environment's own unless given, for most the whole grid as
                `[height, width, 3]`: what a cell holds, its colour and its state.

        Raises:
            ImportError: If navix is not installed.
            ValueError: If there is no such environment or observation, or the limit is not positive.
        """
        check_name("navix environment", name, navix_names(), "`navix_names()` lists them.")
        check_limit(max_steps_in_episode)
        given = {} if max_steps_in_episode is None else {"max_steps": max_steps_in_episode}
        if observation is not None:
            check_name("navix observation", observation, OBSERVATIONS)
            given["observation_fn"] = getattr(_navix().observations, observation)
        with lenient():
            self.world = _navix().make(name, disable_autoreset=True, **given)
        seen = self.world.observation_space
        # Walls are -1 where a cell is one number, below what navix declares.
        lowest = -1 if jnp.issubdtype(seen.dtype, jnp.signedinteger) else int(seen.minimum)
        shown = spaces.Box(lowest, int(seen.maximum), seen.shape, seen.dtype)
        super().__init__(f"navix/{name}", len(self.world.action_set), shown, self.world.max_steps)

    def begin(self, key: Key[Array, ""]) -> tuple[Int[Array, "*shape"], PyTree]:
        start = self.world.reset(key)
        return start.observation, start.state

    def advance(
        self, key: Key[Array, ""], inner: PyTree, action: Int[Array, ""]
    ) -> tuple[Int[Array, "*shape"], PyTree, Float[Array, ""], Bool[Array, ""]]:
        timestep, start = _navix().environments.Timestep, jnp.int32(0)
        # Its time is read for its own time limit alone, which is never reached so, and for a penalty that is 0.
        now = timestep(t=start, observation=(), action=action, reward=0.0, step_type=start, state=inner)
        after = self.world.step(now, action)
        return after.observation, after.state, after.reward, after.is_termination()


def navix_names() -> list[str]:
    """The environments there are, without their prefix.

    Raises:
        ImportError: If navix is not installed.
    """
    return sorted(_navix().registry())


def _navix() -> ModuleType:
    if sys.version_info < (3, 12):
        raise ImportError(
            f"navix needs Python 3.12 or later, and this is {'.'.join(map(str, sys.version_info[:2]))}: there it is "
            "pip install 'jaxreward[navix]'"
        )
    return import_extra("navix", "navix", "navix")
