"""What stands below the pictures of an episode: the step, what was done and earned, and a reward's parts as bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image, ImageDraw

from jaxreward.learning.walker import ENVIRONMENTS, Facts

ROW, WIDEST_NAME, LEAST_WIDTH = 14, 110, 300
"""Pixels: the height of a line, where bars begin, and the width of a picture that has some."""
MOST_PARTS, MOST_NUMBERS = 8, 4
"""Parts that have bars, and numbers of an action that are written."""
GAIN, LOSS = "#0072b2", "#d55e00"


class Caption(NamedTuple):
    """Lines, and below them a bar for each part: its name, its value, if any, and how long that is from -1 to 1."""

    lines: list[str]
    bars: Sequence[tuple[str, float | None, float]]


def captions(length: int, facts: Facts | None) -> list[Caption]:
    """What stands below each picture; the step always, so that no two are equal, which a GIF would merge.

    Args:
        length: How many pictures there are.
        facts: Of each step but the last, where there is none.
    """
    if facts is None:
        return [Caption([f"step {step}"], []) for step in range(length)]
    action, reward, parts = jax.device_get(facts)
    returns = np.cumsum(np.asarray(reward, float))
    shown = _shown(parts, np.asarray(reward, float))
    scale = {name: np.abs(values[np.isfinite(values)]).max(initial=0.0) for name, values in shown.items()}
    widest = max(scale.values(), default=0.0) or 1.0  # one scale for all: what is small looks small
    told = [
        Caption(
            [f"step {step}{_action(action, step)}", f"reward {reward[step]:.4g}  return {returns[step]:.4g}"],
            [(name, float(values[step]), float(values[step] / widest)) for name, values in shown.items()],
        )
        for step in range(len(returns))
    ]
    last = f"return {returns[-1]:.4g}" if len(returns) else ""
    nothing = [(name, None, 0.0) for name in shown]
    return [*told, *(Caption([f"step {step}, the last", last], nothing) for step in range(len(told), length))]


def captioned(picture: Image.Image, caption: Caption) -> Image.Image:
    """A picture with its caption below."""
    rows = len(caption.lines) + len(caption.bars)
    width = max(picture.width, LEAST_WIDTH) if len(caption.lines) > 1 else picture.width
    framed = Image.new("RGB", (width, picture.height + 2 + ROW * rows), "white")
    framed.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(framed)
    for row, line in enumerate(caption.lines):
        draw.text((4, picture.height + 2 + ROW * row), line, "#333333")
    for row, bar in enumerate(caption.bars, len(caption.lines)):
        _draw_bar(draw, picture.height + 2 + ROW * row, width, *bar)
    return framed


def _draw_bar(draw: ImageDraw.ImageDraw, top: int, width: int, name: str, value: float | None, share: float) -> None:
    """A part's name, its bar from the middle to the right or, of a loss, to the left, and its value."""
    draw.text((4, top), _fitting(draw, name), "#333333")
    left, right = WIDEST_NAME, width - 60
    middle = (left + right) / 2
    if math.isfinite(share):
        ends = sorted((middle, middle + share * (right - left) / 2))
        draw.rectangle((ends[0], top + 2, ends[1], top + ROW - 3), fill=GAIN if share >= 0 else LOSS)
    draw.line((middle, top, middle, top + ROW), "#888888")
    draw.text((right + 6, top), "" if value is None else f"{value:.3g}", "#333333")


def _fitting(draw: ImageDraw.ImageDraw, name: str) -> str:
    text = name.encode("latin-1", "replace").decode("latin-1")
    while draw.textlength(text) > WIDEST_NAME - 8:
        text = text[:-3] + ".."
    return text


def _shown(parts: dict[str, Any], reward: np.ndarray) -> dict[str, np.ndarray]:
    """The parts that are drawn; the environment's own reward where it is another."""
    found = {name: np.asarray(values, float) for name, values in parts.items()}
    own = found.pop(ENVIRONMENTS, reward)
    drawn = dict(list(found.items())[:MOST_PARTS])
    return drawn if np.array_equal(own, reward, equal_nan=True) else {**drawn, ENVIRONMENTS: own}


def _action(action: Any, step: int) -> str:
    """What was done, where it is a few numbers."""
    numbers = np.concatenate([np.ravel(np.asarray(leaf)[step]) for leaf in jax.tree.leaves(action)])
    if len(numbers) > MOST_NUMBERS:
        return ""
    return "  action " + " ".join(f"{number:.3g}" for number in numbers)
