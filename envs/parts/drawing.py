"""Pictures of one moment: the classic control systems, a grid of cells, and observations over time."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num
from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = str

_WIDTH, _HEIGHT = 400, 300
_OVERSAMPLING = 2
"""Pillow draws hard edges; what is drawn twice as large and made smaller has soft ones."""
_INK, _FAINT, _BODY, _ACCENT = "#333333", "#bbbbbb", "#4c72b0", "#dd8452"


class Canvas:
    """A white picture with coordinates in the system's own units, `centre` in its middle and `y` upwards."""

    def __init__(self, centre: Point, width: float) -> None:
        self.image = Image.new("RGB", (_WIDTH * _OVERSAMPLING, _HEIGHT * _OVERSAMPLING), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.centre = centre
        self.scale = _WIDTH * _OVERSAMPLING / width

    def line(self, points: list[Point], thickness: float, colour: Colour) -> None:
        """A line through `points`, round at its ends."""
        self.draw.line([self._pixel(p) for p in points], colour, max(1, round(thickness * self.scale)), joint="curve")
        for end in (points[0], points[-1]):
            self.disc(end, thickness / 2, colour)

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """A filled circle."""
        x, y = self._pixel(centre)
        r = radius * self.scale
        self.draw.ellipse((x - r, y - r, x + r, y + r), colour)

    def box(self, centre: Point, width: float, height: float, colour: Colour) -> None:
        """A filled rectangle."""
        x, y = self._pixel(centre)
        w, h = width * self.scale / 2, height * self.scale / 2
        self.draw.rectangle((x - w, y - h, x + w, y + h), colour)

    def picture(self) -> Image.Image:
        """What has been drawn, in its final size."""
        return self.image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)

    def _pixel(self, point: Point) -> Point:
        x = self.image.width / 2 + (point[0] - self.centre[0]) * self.scale
        y = self.image.height / 2 - (point[1] - self.centre[1]) * self.scale
        return x, y


def cartpole(state: Any) -> Image.Image:
    """A cart with a pole of length 1 m on a track, whose ends are 2.4 m away; `theta` leans right."""
    canvas = Canvas((0.0, 0.5), 5.6)
    x, theta = float(state.x), float(state.theta)
    canvas.line([(-2.4, 0.0), (2.4, 0.0)], 0.02, _FAINT)
    canvas.box((x, 0.0), 0.5, 0.25, _INK)
    canvas.line([(x, 0.1), (x + math.sin(theta), 0.1 + math.cos(theta))], 0.09, _ACCENT)
    canvas.disc((x, 0.1), 0.04, _FAINT)
    return canvas.picture()


def pendulum(state: Any) -> Image.Image:
    """A rod of length 1 m, upright at `theta` 0 and turning left with it."""
    canvas = Canvas((0.0, 0.0), 3.2)
    theta = float(state.theta)
    canvas.line([(0.0, 0.0), (-math.sin(theta), math.cos(theta))], 0.16, _ACCENT)
    canvas.disc((0.0, 0.0), 0.05, _INK)
    return canvas.picture()


def acrobot(state: Any) -> Image.Image:
    """Two rods of length 1 m, hanging at angles 0, and the height that the tip has to reach."""
    canvas = Canvas((0.0, 0.0), 5.8)
    first, second = float(state.joint_angle1), float(state.joint_angle1) + float(state.joint_angle2)
    elbow = (math.sin(first), -math.cos(first))
    tip = (elbow[0] + math.sin(second), elbow[1] - math.cos(second))
    canvas.line([(-2.6, 1.0), (2.6, 1.0)], 0.02, _FAINT)
    canvas.line([(0.0, 0.0), elbow], 0.18, _BODY)
    canvas.line([elbow, tip], 0.18, _ACCENT)
    for joint in ((0.0, 0.0), elbow):
        canvas.disc(joint, 0.06, _INK)
    return canvas.picture()


def mountain_car(state: Any) -> Image.Image:
    """A car in the valley `y = 0.45 sin(3 x) + 0.55`, with the goal at `x = 0.5`."""
    canvas = Canvas((-0.3, 0.55), 2.0)
    hill = [(float(x), _hill(float(x))) for x in np.linspace(-1.2, 0.6, 100)]
    goal, x = 0.5, float(state.position)
    canvas.line(hill, 0.01, _INK)
    canvas.line([(goal, _hill(goal)), (goal, _hill(goal) + 0.2)], 0.01, _FAINT)
    canvas.disc((goal, _hill(goal) + 0.2), 0.03, _BODY)
    canvas.disc((x, _hill(x) + 0.04), 0.04, _ACCENT)
    return canvas.picture()


def _hill(x: float) -> float:
    return 0.45 * math.sin(3 * x) + 0.55


CLASSIC_CONTROL: dict[str, Callable[[Any], Image.Image]] = {
    "CartPole-v1": cartpole,
    "Pendulum-v1": pendulum,
    "Acrobot-v1": acrobot,
    "MountainCar-v0": mountain_car,
    "MountainCarContinuous-v0": mountain_car,
}
"""What draws a state, by the environment's name."""

_PALETTE = np.array(
    [
        (76, 114, 176),
        (221, 132, 82),
        (85, 168, 104),
        (196, 78, 82),
        (129, 114, 179),
        (147, 120, 96),
        (218, 139, 195),
        (204, 185, 116),
        (100, 181, 205),
        (240, 240, 240),
    ],
    np.uint8,
)


def grid(observation: Num[np.ndarray, "rows columns *channels"]) -> Image.Image:
    """Cells on black: one channel in shades of grey, several in a colour each, the last one present on top."""
    cells = _shades(observation) if observation.ndim == 2 else _coloured(observation != 0)
    rows, columns = cells.shape[:2]
    size = max(1, 320 // max(rows, columns))
    picture = Image.fromarray(cells).resize((columns * size, rows * size), Image.Resampling.NEAREST)
    return _ruled(picture, size) if size >= 8 else picture


def _ruled(picture: Image.Image, size: int) -> Image.Image:
    """Parts the cells, so that they can be counted."""
    draw = ImageDraw.Draw(picture)
    for x in range(size, picture.width, size):
        draw.line([(x, 0), (x, picture.height)], _INK, 1)
    for y in range(size, picture.height, size):
        draw.line([(0, y), (picture.width, y)], _INK, 1)
    return picture


def _shades(values: Num[np.ndarray, "rows columns"]) -> np.ndarray:
    grey = np.clip(values * 255.0, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _coloured(present: Bool[np.ndarray, "rows columns channels"]) -> np.ndarray:
    cells = np.zeros((*present.shape[:2], 3), np.uint8)
    for channel in range(present.shape[-1]):
        cells[present[..., channel]] = _PALETTE[channel % len(_PALETTE)]
    return cells


def traces(observations: Float[np.ndarray, "T features"]) -> Iterator[Image.Image]:
    """Each feature over time, drawn once, with a cursor that moves on by a step a picture."""
    chart, cursors, (top, bottom) = _chart(observations)
    for x in cursors:
        picture = chart.copy()
        ImageDraw.Draw(picture).line([(x, top), (x, bottom)], _INK, 1)
        yield picture


def _chart(observations: Float[np.ndarray, "T features"]) -> tuple[Image.Image, np.ndarray, tuple[float, float]]:
    """The chart, the horizontal pixel of each step, and the vertical ones between which it lies."""
    from matplotlib.figure import Figure  # a figure of its own needs neither a display nor pyplot's global state

    figure = Figure(figsize=(4.8, 3.2), dpi=100, layout="constrained")
    axes = figure.subplots()
    lines = axes.plot(observations, linewidth=1)
    axes.set(xlabel="step", ylabel="observation", xlim=(0, max(1, len(observations) - 1)))
    if len(lines) <= 8:
        names = [str(feature) for feature in range(len(lines))]
        figure.legend(lines, names, fontsize="small", ncols=len(lines), loc="outside upper right")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    chart = Image.open(file).convert("RGB")
    steps = np.stack([np.arange(len(observations)), np.zeros(len(observations))], axis=-1)
    box = axes.get_window_extent()
    return chart, axes.transData.transform(steps)[:, 0], (chart.height - box.y1, chart.height - box.y0)
