"""Automata of formulas that a finite prefix decides, by formula progression.

A state is what is left to hold. That is a combination of parts of the formula, of which there are finitely many, so
the automaton is finite; it is made as small as it can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Int

from jaxreward.rewards.automata.formulas import Formula

MOST_STATES = 4096
"""Of an automaton before it is made small."""
MOST_ENTRIES = 2**17
"""States times sets of propositions."""
MOST_PROPOSITIONS = 10
"""An automaton has a column for each set of them."""

Clause: TypeAlias = frozenset[Formula]
Clauses: TypeAlias = frozenset[Clause]
"""A formula as the alternatives of what is all to hold; none is false, one of nothing is true."""
_TRUE: Clauses = frozenset({frozenset()})
_FALSE: Clauses = frozenset()


def clauses(formula: Formula) -> Clauses:
    """A formula as alternatives of parts that are no conjunctions or disjunctions."""
    if formula.kind == "and":
        return _all([clauses(part) for part in formula.parts])
    if formula.kind == "or":
        return _any([clauses(part) for part in formula.parts])
    return {"true": _TRUE, "false": _FALSE}.get(formula.kind, frozenset({frozenset({formula})}))


def progressed(state: Clauses, holds: frozenset[str]) -> Clauses:
    """What is left to hold from the next step on, once it is seen which propositions hold in this one.

    Formula progression (Bacchus and Kabanza 1998, 2000).
    """
    return _any([_all([_after(part, holds) for part in clause]) for clause in state])


def _after(formula: Formula, holds: frozenset[str]) -> Clauses:
    kind, parts = formula
    if kind in ("is", "not"):
        return _TRUE if (parts[0] in holds) == (kind == "is") else _FALSE
    if kind in ("true", "false"):
        return clauses(formula)
    if kind == "X":
        return clauses(parts[0])
    again = frozenset({frozenset({formula})})
    *first, last = [_after(part, holds) for part in parts]
    if kind == "F":
        return _any([last, again])
    if kind == "G":
        return _all([last, again])
    if kind in ("U", "W"):
        return _any([last, _all([*first, again])])
    if kind == "R":
        return _all([last, _any([*first, again])])
    return _all([*first, last]) if kind == "and" else _any([*first, last])


def _any(alternatives: list[Clauses]) -> Clauses:
    """The alternatives of all, without those that another is part of."""
    found = frozenset().union(*alternatives)
    return frozenset(clause for clause in found if not any(other < clause for other in found))


def _all(conditions: list[Clauses]) -> Clauses:
    found = _TRUE
    for condition in conditions:
        found = _any([frozenset(one | other for one in found for other in condition)])
    return found


def automaton(formula: Formula, names: Sequence[str]) -> tuple[Int[np.ndarray, "U L"], Bool[np.ndarray, " U"]]:
    """The smallest deterministic automaton that says when a prefix is good: all that may follow satisfies the formula.

    Args:
        formula: A co-safe one: without `G`, `R` and `W`.
        names: Of its propositions, in the order of the labels' bits.

    Returns:
        The state that follows each one, by number of the label (see `labels`), the first one being the start; and which
        states are good: once in one, always.

    Raises:
        ValueError: It is too large.
    """
    alphabet = labels(names)
    states, number = [clauses(formula)], {clauses(formula): 0}
    rows: list[list[int]] = []
    while len(rows) < len(states):
        row = [progressed(states[len(rows)], label) for label in alphabet]
        for state in row:
            if state not in number:
                number[state] = len(states)
                states.append(state)
        rows.append([number[state] for state in row])
        if len(states) > MOST_STATES or len(states) * len(alphabet) > MOST_ENTRIES:
            raise ValueError(
                f"the automaton of {formula} has more than {len(states) - 1} states of {len(alphabet)} labels each; "
                f"expected {MOST_STATES} or fewer, and {MOST_ENTRIES:,} in all: a smaller formula"
            )
    following = np.array(rows)
    return _smallest(following, _inevitable(following, np.array([state == _TRUE for state in states])))


def labels(names: Sequence[str]) -> list[frozenset[str]]:
    """All sets of propositions; that of number `sum_i 2**i [i holds]` is at this place.

    Raises:
        ValueError: There are too many.
    """
    if len(names) > MOST_PROPOSITIONS:
        raise ValueError(
            f"an automaton reads at most {MOST_PROPOSITIONS} propositions, a column for each set of them; these are "
            f"{len(names)}: {', '.join(names)}"
        )
    subsets = chain.from_iterable(combinations(range(len(names)), size) for size in range(len(names) + 1))
    return [frozenset(names[i] for i in subset) for subset in sorted(subsets, key=lambda s: sum(2**i for i in s))]


def _inevitable(following: Int[np.ndarray, "U L"], true: Bool[np.ndarray, " U"]) -> Bool[np.ndarray, " U"]:
    """The states from which every word leads to a true one."""
    avoid, last = ~true, None
    while last is None or (avoid != last).any():
        last, avoid = avoid, avoid & avoid[following].any(1)
    return ~avoid


def _smallest(
    following: Int[np.ndarray, "U L"], good: Bool[np.ndarray, " U"]
) -> tuple[Int[np.ndarray, "U L"], Bool[np.ndarray, " U"]]:
    """The same automaton with states that no word tells apart made one (Moore 1956), in the order they are met."""
    kinds = good.astype(int)
    while True:
        finer = np.unique(np.column_stack([kinds, kinds[following]]), axis=0, return_inverse=True)[1].reshape(-1)
        if finer.max() == kinds.max():
            break
        kinds = finer
    order, met = [kinds[0]], {kinds[0]: 0}
    member = {kind: np.flatnonzero(kinds == kind)[0] for kind in np.unique(kinds)}
    for kind in order:  # grows while it is read
        for other in kinds[following[member[kind]]]:
            if other not in met:
                met[other] = len(order)
                order.append(other)
    rows = [[met[kinds[state]] for state in following[member[kind]]] for kind in order]
    return np.array(rows), good[[member[kind] for kind in order]]
