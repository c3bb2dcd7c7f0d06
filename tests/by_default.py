"""Which of many alike cases run by default; the rest are run by name, with `-m slow`, as are the longer studies."""

from collections.abc import Iterable

import pytest


def by_default(cases: Iterable, *kept: object) -> list:
    """All cases, of which those that are not kept are marked slow.

    Raises:
        ValueError: If one that is to be kept is not among them.
    """
    cases = list(cases)
    if missing := [case for case in kept if case not in cases]:
        raise ValueError(f"no case {missing[0]!r}; the cases are {cases}")
    return [case if case in kept else _by_name(case) for case in cases]


def _by_name(case: object) -> object:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
