"""Distributions of small worlds by name, `levels/NAME`: what meta-learning trains on, and any agent may be tried on.

`levels/all?seed=3` is one level of a distribution, that of the seed; `env.sample_params(key)` draws another, with
`levels/all?number=16` one of those of the first 16 seeds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
from gymnax.environments.environment import Environment

from jaxreward.envs.levels.chain import DelayedChain
from jaxreward.envs.levels.distributions import HANDMADE, MODES, sample_level
from jaxreward.envs.levels.grid_world import GridWorld


def levels(
    mode: str, *, seed: int = 0, observation: str = "", random_objects: bool = False, number: int = 0
) -> GridWorld:
    """The world of a mode's levels.

    Args:
        mode: See `jaxreward.envs.levels.distributions.sample_level`.
        seed: Of the level that is played unless another is said.
        observation: What is seen, see `GridWorld`; by default all of the state, "planes" where objects are placed
            anew and "one_hot" elsewhere.
        random_objects: Whether objects are placed anew, which the sets `rand_...` always do.
        number: How many levels are drawn from, those of the first seeds; 0 for no end of them.

    Raises:
        ValueError: If there is no such mode or observation, or the number is negative.
    """
    if number < 0:
        raise ValueError(f"number={number}; expected that of the levels to draw from, 1 or more, or 0 for no end")
    draw = functools.partial(sample_level, mode=mode)
    random_objects = random_objects or (mode in HANDMADE and HANDMADE[mode].random_objects)
    longest = MODES[mode].steps[1] if mode in MODES else HANDMADE[mode].steps
    observation = observation or ("planes" if random_objects else "one_hot")
    world = GridWorld(draw, seed, observation, random_objects, longest, f"levels/{mode}")
    if number:
        world.sample_params = lambda key: draw(jax.random.key(jax.random.randint(key, (), 0, number)))
    return world


TASKS: dict[str, Callable[..., Environment]] = {
    **{mode: functools.partial(levels, mode) for mode in (*MODES, *HANDMADE)},
    "chain": DelayedChain,
    "chain_long": functools.partial(DelayedChain, longest=50),
    "chain_noisy": functools.partial(DelayedChain, noise=1.0),
    "chain_distracting": functools.partial(DelayedChain, distraction=True),
}
