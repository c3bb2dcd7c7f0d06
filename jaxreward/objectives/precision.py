"""Tables in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxreward.mdp import TabularMDP


def in_double(mdp: TabularMDP) -> TabularMDP:
    """The MDP in double precision, its probabilities summing to 1 again; on the host."""
    transition, reward, start = (np.asarray(x, float) for x in (mdp.transition, mdp.reward, mdp.start))
    tables: Any = transition / transition.sum(-1, keepdims=True), reward, start / start.sum(), np.asarray(mdp.terminal)
    return TabularMDP(*tables)
