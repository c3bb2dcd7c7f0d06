"""Settings of agents whose objective may ask how much of a lifetime has passed: how long that is, if nobody said."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.learning.objective import Objective, reads_lifetime


class Lived:
    """What a `Config` has whose agent follows an objective; its hyperparams have a `lifetime`, in iterations.

    Attributes:
        objective: The objective's name.
    """

    objective: str

    def followed(self) -> tuple[Objective, Any] | None:
        """The objective and a batch of its kind to trace it with; None for one that asks nothing.

        Raises:
            ValueError: There is none of that name.
        """
        raise NotImplementedError

    def asks_for_lifetime(self) -> bool:
        """Whether the objective asks how much of the lifetime has passed."""
        followed = self.followed()
        return followed is not None and reads_lifetime(*followed)

    def for_length(self, hyperparams: Any, iterations: int) -> Any:
        """The hyperparams with the length of a run for a lifetime, if the objective asks for that."""
        return dataclasses.replace(hyperparams, lifetime=float(iterations)) if self.asks_for_lifetime() else hyperparams

    def check_numbers(self, env: Environment, env_params: PyTree, hyperparams: Any) -> None:
        """Refuses an objective that asks how much of the lifetime has passed where nobody said how long that is.

        Raises:
            ValueError: It is one.
        """
        total = np.asarray(hyperparams.lifetime)
        if not (np.isfinite(total) & (total >= 1)).all() and self.asks_for_lifetime():
            raise ValueError(
                f"objective={self.objective} asks how much of the lifetime has passed: set lifetime, in iterations, to "
                "the steps of the run by those of an iteration, such as lifetime=100; `jaxreward train` and sweeps do "
                "so themselves where nothing is set"
            )
