"""Pictures of environments in closed form, drawn within compiled programs: what an autoencoder sees."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

BLACK, RED, BLUE = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def painted(
    image: Float[Array, "H W 3"], opacity: Float[Array, "H W"] | Bool[Array, "H W"], colour: tuple[float, float, float]
) -> Float[Array, "H W 3"]:
    """The image with a colour laid over it, as thickly as `opacity` says: 0 not at all, 1 hides what is below."""
    cover = opacity.astype(float)[..., None]
    return image + cover * (np.broadcast_to(np.array(colour, np.float32), image.shape) - image)


def to_point(points: Float[Array, "*batch 2"], centre: Float[Array, "2"]) -> Float[Array, "*batch"]:
    """How far each point is from one of them."""
    return jnp.linalg.norm(points - jnp.broadcast_to(centre, points.shape), axis=-1)


def to_segments(
    points: Float[Array, "*batch 2"], starts: Float[ArrayLike, "n 2"], ends: Float[ArrayLike, "n 2"]
) -> Float[Array, "*batch n 2"]:
    """From each point the way to the nearest point of each line segment; its length is the distance."""
    lead = (None,) * (points.ndim - 1)
    along = (jnp.asarray(ends) - jnp.asarray(starts))[lead]
    relative = jnp.asarray(starts)[lead] - points[..., None, :]
    share = jnp.clip(-(relative * along).sum(-1) / jnp.square(along).sum(-1), 0, 1)
    return relative + share[..., None] * along


def to_nearest_segment(
    points: Float[Array, "*batch 2"], starts: Float[Array, "n 2"], ends: Float[Array, "n 2"]
) -> Float[Array, "*batch"]:
    """How far each point is from the nearest of some line segments.

    One segment after the other, by plain numbers: on a CPU forty times as fast as a table of all pairs.
    """
    x, y = points[..., 0], points[..., 1]

    def nearer(
        least: Float[Array, "*batch"], segment: tuple[Float[Array, "2"], Float[Array, "2"]]
    ) -> tuple[Float[Array, "*batch"], None]:
        start, (across, up) = segment[0], segment[1] - segment[0]
        to_x, to_y = x - start[0], y - start[1]
        share = jnp.clip((to_x * across + to_y * up) / (across**2 + up**2), 0, 1)
        return jnp.minimum(least, jnp.square(to_x - share * across) + jnp.square(to_y - share * up)), None

    return jnp.sqrt(jax.lax.scan(nearer, jnp.full_like(x, jnp.inf), (starts, ends))[0])


def pixel_centres(size: int) -> Float[Array, "size size 2"]:
    """Where the pixels of a square picture are, `x` to the right and `y` downwards, in pixels from its corner."""
    return jnp.stack(jnp.meshgrid(jnp.arange(size) + 0.5, jnp.arange(size) + 0.5, indexing="xy"), -1)


def soft(distance: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """How opaque a pixel is whose centre is so many pixels from a shape, negative inside: an edge a pixel wide."""
    return jnp.clip(0.5 - distance, 0, 1)
