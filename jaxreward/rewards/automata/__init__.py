"""Rewards that remember what has happened in an automaton: reward machines and temporal logic.

`ltl` and `machine_reward` make rewards; the automata are tables, made on the host.
"""

from jaxreward.rewards.automata.formulas import Formula, parse
from jaxreward.rewards.automata.machine import (
    Edge,
    Machine,
    Specification,
    check_propositions,
    reward_machine,
    specification,
)
from jaxreward.rewards.automata.reward import Labels, ltl, machine_reward

__all__ = [
    "Edge",
    "Formula",
    "Labels",
    "Machine",
    "Specification",
    "check_propositions",
    "ltl",
    "machine_reward",
    "parse",
    "reward_machine",
    "specification",
]
