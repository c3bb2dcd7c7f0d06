"""What agents see of gems on a grid, and a picture of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreward.envs.parts.painting import painted, pixel_centres, soft, to_point

AGENT_COLOURS = ((0.86, 0.24, 0.22), (0.20, 0.40, 0.75))
"""Of each agent and what is its own."""
PURPLE = (0.58, 0.28, 0.68)


def planes(agents: Int[Array, "2 2"], gems: Int[Array, "9 2"], size: int) -> Float[Array, "5 size size"]:
    """Where agent 0, agent 1, the gems of each and the purple ones are, a plane of zeros and ones for each."""
    plane = jnp.concatenate([jnp.arange(2), jnp.repeat(jnp.arange(2, 5), 3)])
    places = jnp.concatenate([agents, gems])
    return jnp.zeros((5, size, size)).at[plane, places[:, 0], places[:, 1]].set(1.0)


def features(agents: Int[Array, "2 2"], gems: Int[Array, "9 2"], size: int) -> Float[Array, "2 42"]:
    """What each agent sees from where it stands; ways are divided by half the grid.

    The ways to its own gems (6) and to the purple ones (6), the nearest first; to its partner (2); from its partner to
    the purple ones in the same order (6) and to the partner's own, the nearest first (6); the signs of the first two
    (12); whether it and its partner stand on a purple one (2); its own row and column, from 0 to 1 (2).
    """
    own, purple = gems[:6].reshape(2, 3, 2), gems[6:]
    return jax.vmap(_seen, (0, 0, 0, 0, None, None))(agents, agents[::-1], own, own[::-1], purple, size)


def _seen(
    here: Int[Array, "2"],
    partner: Int[Array, "2"],
    own: Int[Array, "3 2"],
    partners: Int[Array, "3 2"],
    purple: Int[Array, "3 2"],
    size: int,
) -> Float[Array, "42"]:
    to_own, to_purple = _nearest_first(own - here[None]), _nearest_first(purple - here[None])
    way = partner - here
    from_partner = to_purple - way[None]
    ways = [to_own, to_purple, way, from_partner, _nearest_first(partners - partner[None])]
    signs = jnp.sign(jnp.concatenate([to_own, to_purple])).reshape(-1)
    on_purple = jnp.stack([_any_zero(to_purple), _any_zero(from_partner)])
    half = (size - 1) / 2
    parts = [*(each.reshape(-1) / half for each in ways), signs, on_purple, here / (2 * half)]
    return jnp.concatenate([jnp.asarray(part, float) for part in parts])


def _nearest_first(ways: Int[Array, "3 2"]) -> Int[Array, "3 2"]:
    """Ways by the number of moves they take; of equal ones the first stays first."""
    return ways[jnp.argsort(jnp.abs(ways).sum(-1))]


def _any_zero(ways: Int[Array, "3 2"]) -> Array:
    return (ways == 0).all(-1).any()


def picture(agents: Int[Array, "2 2"], gems: Int[Array, "n 2"], cells: int, size: int) -> Float[Array, "size size 3"]:
    """The grid from above: agents as squares, gems as discs in thirds of the agents' colours and purple.

    Args:
        agents: Row and column of each; rows go to the right, as in the authors' picture.
        gems: The same of agent 0's, of as many of agent 1's and of as many purple ones.
        cells: A side of the grid, in cells.
        size: Of the picture, in pixels.
    """
    points = pixel_centres(size) * (cells / size)
    image = jnp.full((size, size, 3), 1.0)
    lines = jnp.abs(points - jnp.round(points)).min(-1) < 0.5 * cells / size
    image = painted(image, 0.15 * lines, (0.0, 0.0, 0.0))
    for number, agent in enumerate(agents):
        off = jnp.abs(points - (agent + 0.5)[None, None]).max(-1) - 0.45
        image = painted(image, 0.7 * soft(off * size / cells), AGENT_COLOURS[number])
    for number, gem in enumerate(gems):
        colour = (*AGENT_COLOURS, PURPLE)[3 * number // len(gems)]
        image = painted(image, soft((to_point(points, gem + 0.5) - 0.3) * size / cells), colour)
    return image
