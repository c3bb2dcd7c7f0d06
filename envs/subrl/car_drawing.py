"""Pictures of the car on its track."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from PIL import Image

from jaxreward.envs.parts.drawing import Canvas, Point
from jaxreward.envs.subrl.car import Motion
from jaxreward.envs.subrl.track import Track, to_plane

_RADIUS = 0.08
"""Of the dot that is the car, in m: larger than the car, which would hardly be seen."""


def laps(track: Track, motions: Motion) -> Iterator[Image.Image]:
    """The track from above, the path so far and the car at its end, a picture a step.

    Args:
        track: The track.
        motions: Of the car, leaves `[T]`.
    """
    s, d, mu = (np.asarray(x, float) for x in motions[:3])
    path, heading = to_plane(track, s, d)
    borders = _borders(track)
    for step in range(len(path)):
        canvas = _canvas(np.concatenate(borders))
        for border in borders:
            canvas.line(_points(border), 0.03, "#333333")
        canvas.line([_points(border)[0] for border in borders], 0.03, "#bbbbbb")
        canvas.line(_points(path[: step + 1]), 0.03, "#4c72b0")
        ahead = heading[step] + mu[step]
        nose = path[step] + 2 * _RADIUS * np.array([np.cos(ahead), np.sin(ahead)])
        car, tip = _points(np.stack([path[step], nose]))
        canvas.line([car, tip], _RADIUS, "#dd8452")
        canvas.disc(car, _RADIUS, "#dd8452")
        yield canvas.picture()


def _borders(track: Track) -> list[Float[np.ndarray, "n+1 2"]]:
    """The left and the right border in the plane, closed to a lap."""
    s = np.arange(len(track.curvature)) * float(track.spacing)
    sides = (to_plane(track, s, np.asarray(side, float))[0] for side in (track.upper, track.lower))
    return [np.concatenate([side, side[:1]]) for side in sides]


def _canvas(shown: Float[np.ndarray, "n 2"]) -> Canvas:
    """A canvas of 4 : 3 that all the given points are on."""
    low, high = shown.min(axis=0), shown.max(axis=0)
    x, y = (low + high) / 2
    width, height = high - low
    return Canvas((float(x), float(y)), 1.05 * max(float(width), float(height) * 4 / 3))


def _points(positions: Float[np.ndarray, "n 2"]) -> list[Point]:
    return [(float(x), float(y)) for x, y in positions]
