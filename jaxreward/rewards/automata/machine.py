"""Reward machines: automata that read what holds in each step, and pay by what they have read.

Toro Icarte et al., "Using reward machines for high-level task specification and decomposition in reinforcement
learning" (ICML 2018) and "Reward machines: exploiting reward function structure in reinforcement learning" (JAIR 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxreward.names import check_name
from jaxreward.rewards.automata.formulas import ENDLESS, WAITING, Formula, negated, parse, propositions, within
from jaxreward.rewards.automata.progression import automaton, clauses, labels, progressed

SATISFIED, VIOLATED = "satisfied", "violated"
"""What the machine of a formula pays for: once it is decided."""


class Machine(NamedTuple):
    """A deterministic automaton with `U` states, `L = 2**P` labels and numbers that it pays.

    Attributes:
        propositions: Names of what it reads, `P` of them; label `sum_i 2**i [i holds]` is their set.
        following: The state after each one and each label, `[U, L]`; it begins in the first one.
        paid: Which of `pays` is earned by that, `[U, L]`; -1 for none.
        pays: Numbers by name.
        states: Names of the states.
    """

    propositions: tuple[str, ...]
    following: Int[np.ndarray, "U L"]
    paid: Int[np.ndarray, "U L"]
    pays: dict[str, float]
    states: tuple[str, ...]

    @property
    def num_states(self) -> int:
        """`U`."""
        return len(self.states)


class Edge(NamedTuple):
    """A way from one state of a reward machine to another.

    Attributes:
        source: Where it begins.
        condition: When it is gone: a formula of propositions, without temporal operators.
        target: Where it ends.
        pays: What that earns.
        name: Of the number it pays, among the reward's params; `SOURCE_TARGET` by default. Edges of one name pay the
            same number.
    """

    source: str
    condition: str
    target: str
    pays: float = 0.0
    name: str = ""


def reward_machine(*edges: Edge | tuple) -> Machine:
    """A reward machine, by its edges; it begins where the first one does, and stays, unpaid, where none is gone.

    Args:
        *edges: Each an `Edge`, or a tuple of what is in one.

    Raises:
        ValueError: There is no edge; or a condition can't be read or looks ahead; or two edges from one state can be
            gone at once, or those of one name pay different numbers.
    """
    if not edges:
        raise ValueError("a reward machine has at least one edge, ('start', 'coffee', 'end', 1.0); got none")
    for edge in edges:
        if not isinstance(edge, tuple) or not 3 <= len(edge) <= 5:
            raise ValueError(f"an edge is ('start', 'coffee', 'end', 1.0, 'name'), the last two optional; got {edge!r}")
    named = [_named(Edge(*edge)) for edge in edges]
    conditions = [_condition(edge) for edge in named]
    names = tuple(dict.fromkeys(name for condition in conditions for name in propositions(condition)))
    states = tuple(dict.fromkeys(state for edge in named for state in (edge.source, edge.target)))
    pays = _pays(named)
    alphabet = labels(names)
    following = np.repeat(np.arange(len(states))[:, None], len(alphabet), 1)
    paid, taken = np.full_like(following, -1), np.full_like(following, -1)
    for number, (edge, condition) in enumerate(zip(named, conditions, strict=True)):
        source, reads = states.index(edge.source), clauses(condition)
        for column, label in enumerate(alphabet):
            if not progressed(reads, label):
                continue
            if taken[source, column] >= 0:
                _refuse_two(named[taken[source, column]], edge, label)
            taken[source, column] = number
            following[source, column] = states.index(edge.target)
            paid[source, column] = list(pays).index(edge.name)
    return Machine(names, following, paid, pays, states)


class Specification(NamedTuple):
    """A formula and the machine that decides it.

    Attributes:
        formula: In negation normal form.
        fragment: "co-safe", what a good prefix satisfies: the machine pays 1 for it; or "safe", what a bad prefix
            violates: it pays -1.
        machine: The smallest there is.
    """

    formula: Formula
    fragment: Literal["co-safe", "safe"]
    machine: Machine


def specification(text: str) -> Specification:
    """Translates a formula of linear temporal logic that is co-safe or safe (Kupferman and Vardi 2001).

    A formula is taken to be co-safe if its negation normal form has no `G`, `R` and `W`, and safe if it has no `F` and
    `U`; with none of either it is decided after a number of steps, and taken as co-safe.

    Args:
        text: Such as `"F (coffee & X F office) "` or `"G !wet"`, see `jaxreward.rewards.automata.formulas`.

    Raises:
        ValueError: It can't be read, is neither co-safe nor safe, or is decided before anything is read.
    """
    formula = parse(text)
    endless, waiting = within(formula, ENDLESS), within(formula, WAITING)
    if endless and waiting:
        raise ValueError(
            f"{text!r} is neither co-safe nor safe: no prefix satisfies {endless} and none violates {waiting}. "
            "Expected a formula that has, once negations are pushed inwards, no G, R and W, or no F and U"
        )
    names = propositions(formula)
    following, decided = automaton(negated(formula) if endless else formula, names)
    if decided[0] or not decided.any():
        truth = decided[0] != bool(endless)
        raise ValueError(f"{text!r} is always {str(truth).lower()}, so there is nothing to earn by it")
    name, number = (VIOLATED, -1.0) if endless else (SATISFIED, 1.0)
    paid = np.where(decided[following] & ~decided[:, None], 0, -1)
    states = tuple(name if end else f"state{number}" for number, end in enumerate(decided))
    machine = Machine(names, following, paid, {name: number}, states)
    return Specification(formula, "safe" if endless else "co-safe", machine)


def check_propositions(given: Sequence[str], machine: Machine) -> None:
    """Refuses labels in which a proposition is missing that a machine reads.

    Raises:
        ValueError: One is; says which is nearest.
    """
    for name in machine.propositions:
        check_name("proposition", name, given, "The labels have no others.")


def _named(edge: Edge) -> Edge:
    return edge._replace(name=edge.name or f"{edge.source}_{edge.target}")


def _condition(edge: Edge) -> Formula:
    formula = parse(edge.condition)
    ahead = within(formula, {"X", *ENDLESS, *WAITING})
    if ahead:
        raise ValueError(
            f"the edge from {edge.source} to {edge.target} has the condition {edge.condition!r}, and {ahead} looks "
            "beyond the step; expected propositions with !, &, |, -> and <-> (for more, see `ltl`)"
        )
    return formula


def _pays(edges: Sequence[Edge]) -> dict[str, float]:
    pays: dict[str, float] = {}
    for edge in edges:
        if pays.setdefault(edge.name, float(edge.pays)) != float(edge.pays):
            raise ValueError(
                f"edges called {edge.name!r} pay {pays[edge.name]:g} and {edge.pays:g}; expected one number, or two "
                "names"
            )
    return pays


def _refuse_two(first: Edge, second: Edge, label: frozenset[str]) -> None:
    held = " and ".join(sorted(label)) or "nothing"
    raise ValueError(
        f"from {first.source}, both {first.condition!r} (to {first.target}) and {second.condition!r} (to "
        f"{second.target}) hold where {held} does; expected conditions of which at most one holds, such as "
        f"{f'({second.condition}) & !({first.condition})'!r}"
    )
