"""When a run is as good as was asked for, so that it may rest."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from jaxreward.names import check_name

_COMPARED: dict[str, Callable] = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_FORM = re.compile(r"\s*([^\s<>=]+)\s*(>=|<=|>|<)\s*([^\s<>=]+)\s*")


class Condition(NamedTuple):
    """A comparison of a metric with a number.

    Attributes:
        metric: Its name.
        sign: One of `>=`, `<=`, `>` and `<`.
        number: What it is compared with.
    """

    metric: str
    sign: str
    number: float

    def __str__(self) -> str:
        return f"{self.metric}{self.sign}{self.number:g}"

    def holds(
        self, metrics: Mapping[str, Shaped[np.ndarray, "population seed"]]
    ) -> Bool[np.ndarray, "population seed"]:
        """For which runs it does; for none where a row has no such number."""
        return _COMPARED[self.sign](metrics[self.metric], self.number)

    def check(self, names: list[str]) -> None:
        """Refuses a metric that rows do not have.

        Raises:
            ValueError: Says which is nearest.
        """
        check_name("metric to stop by", self.metric, names)


def parse_condition(text: str) -> Condition:
    """A condition such as `evaluation/env_return>=475`.

    Raises:
        ValueError: It is not of that form.
    """
    found = _FORM.fullmatch(text)
    try:
        metric, sign, number = found.groups() if found else ("", "", "")
        condition = Condition(metric, sign, float(number))
    except ValueError:
        condition = None
    if condition is None or np.isnan(condition.number):
        raise ValueError(f"a condition is METRIC>=NUMBER, or <=, > or <, such as episode/return>=475; got {text!r}")
    return condition
