"""Formulas of linear temporal logic, read from text, with negations pushed inwards to propositions.

`X` next, `F` eventually, `G` always, `U` until, `R` release, `W` weak until; `!`, `&`, `|`, `->`, `<->`, `true`,
`false` and names of propositions. `U`, `R` and `W` bind tighter than `&`, and to the right.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(r"\s*(?:(<->|->|[()!&|])|([A-Za-z_][A-Za-z0-9_]*))")
_UNARY = ("X", "F", "G")
_BINARY = ("U", "R", "W")
_WORDS = {*_UNARY, *_BINARY, "true", "false"}
_DUAL = {"and": "or", "or": "and", "X": "X", "F": "G", "G": "F", "U": "R", "R": "U", "true": "false", "false": "true"}
ENDLESS = {"G", "R", "W"}
"""What no finite prefix can satisfy."""
WAITING = {"F", "U"}
"""What no finite prefix can violate."""


class Formula(NamedTuple):
    """A formula in negation normal form.

    Attributes:
        kind: "true", "false", "is" and "not" of a proposition, "and", "or", "X", "F", "G", "U", "R" or "W".
        parts: What it is made of, formulas, or the name of the proposition.
    """

    kind: str
    parts: tuple = ()

    def __str__(self) -> str:
        if self.kind in ("is", "not"):
            return f"{'!' * (self.kind == 'not')}{self.parts[0]}"
        if self.kind in ("true", "false"):
            return self.kind
        if len(self.parts) == 1:
            return f"{self.kind} {self.parts[0]}"
        return f"({f' {_SIGN.get(self.kind, self.kind)} '.join(map(str, self.parts))})"


_SIGN = {"and": "&", "or": "|"}
TRUE, FALSE = Formula("true"), Formula("false")


def parse(text: str) -> Formula:
    """Reads a formula.

    Raises:
        ValueError: If it can't be read; says where.
    """
    reader = _Reader(text, _tokens(text))
    formula = reader.equivalence()
    if reader.tokens:
        reader.fail("an operator or the end")
    return formula


def negated(formula: Formula) -> Formula:
    """The formula's negation, in negation normal form."""
    kind, parts = formula
    if kind in ("is", "not"):
        return Formula("not" if kind == "is" else "is", parts)
    if kind == "W":  # !(f W g) = !g U (!f & !g)
        first, second = map(negated, parts)
        return Formula("U", (second, Formula("and", (first, second))))
    return Formula(_DUAL[kind], tuple(map(negated, parts)))


def propositions(formula: Formula) -> tuple[str, ...]:
    """The names in a formula, in the order in which they are met."""
    if formula.kind in ("is", "not"):
        return formula.parts
    return tuple(dict.fromkeys(name for part in formula.parts for name in propositions(part)))


def within(formula: Formula, kinds: set[str]) -> Formula | None:
    """The first part that is of one of these kinds."""
    if formula.kind in kinds:
        return formula
    parts = () if formula.kind in ("is", "not") else formula.parts
    return next((found for part in parts if (found := within(part, kinds))), None)


def _tokens(text: str) -> list[str]:
    found, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if not match:
            raise ValueError(
                f"{text!r} is no formula: {text[place:].strip()[0]!r} is none of ! & | -> <-> ( ) or a name"
            )
        found.append(match[1] or match[2])
        place = match.end()
    return found


class _Reader:
    """Reads from the front of a list of tokens, one function for each strength of binding."""

    def __init__(self, text: str, tokens: list[str]) -> None:
        self.text, self.tokens = text, tokens

    def equivalence(self) -> Formula:
        left = self.implication()
        while self.take("<->"):
            right = self.implication()
            both, neither = _both(left, right), _both(negated(left), negated(right))
            left = Formula("or", (both, neither))
        return left

    def implication(self) -> Formula:
        left = self.joined("|")
        return Formula("or", (negated(left), self.implication())) if self.take("->") else left

    def joined(self, sign: str) -> Formula:
        inner = (lambda: self.joined("&")) if sign == "|" else self.until
        parts = [inner()]
        while self.take(sign):
            parts.append(inner())
        return parts[0] if len(parts) == 1 else Formula("or" if sign == "|" else "and", tuple(parts))

    def until(self) -> Formula:
        left = self.unary()
        operator = next((kind for kind in _BINARY if self.take(kind)), None)
        return Formula(operator, (left, self.until())) if operator else left

    def unary(self) -> Formula:
        if self.take("!"):
            return negated(self.unary())
        operator = next((kind for kind in _UNARY if self.take(kind)), None)
        return Formula(operator, (self.unary(),)) if operator else self.smallest()

    def smallest(self) -> Formula:
        if self.take("("):
            inner = self.equivalence()
            if not self.take(")"):
                self.fail(")")
            return inner
        for word in ("true", "false"):
            if self.take(word):
                return Formula(word)
        if not self.tokens or not re.match(r"[A-Za-z_]", self.tokens[0]) or self.tokens[0] in _WORDS:
            self.fail("a proposition, a unary operator or (")
        return Formula("is", (self.tokens.pop(0),))

    def take(self, token: str) -> bool:
        there = bool(self.tokens) and self.tokens[0] == token
        if there:
            self.tokens.pop(0)
        return there

    def fail(self, expected: str) -> None:
        found = f"before {self.tokens[0]!r}" if self.tokens else "at its end"
        raise ValueError(f"{self.text!r} is no formula: {found}, expected {expected}")


def _both(left: Formula, right: Formula) -> Formula:
    return Formula("and", (left, right))
