"""How much each configuration of a generation is trained: rungs, at each of which only the best go on.

Successive halving is Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016; Hyperband is Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization",
JMLR 2018.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple, TypeAlias


class Rung(NamedTuple):
    """Up to where some configurations are trained before they are compared.

    Attributes:
        members: How many configurations enter.
        steps: Environment steps of each of their runs at its end, those of earlier rungs included.
        seeds: Runs of each: seeds 0, 1, ... of which those of earlier rungs go on and others begin at nothing.
    """

    members: int
    steps: int
    seeds: int


Schedule: TypeAlias = tuple[Rung, ...]
"""The rungs in order: never more members than in the one before, never fewer steps or seeds."""


def once(members: int, steps: int, seeds: int) -> Schedule:
    """All configurations are trained to their end.

    Raises:
        ValueError: A number is not positive.
    """
    return check((Rung(members, steps, seeds),))


def successive_halving(
    members: int,
    steps: int,
    seeds: int,
    *,
    reduction: int = 3,
    min_steps: int | None = None,
    min_seeds: int | None = None,
) -> Schedule:
    """Again and again the best of `reduction` go on, to `reduction` times the steps.

    There are as many rungs as `members` and `min_steps` allow. Numbers that don't divide are rounded down.

    Args:
        members: Configurations at first.
        steps: Of each run at last.
        seeds: Of each configuration at last.
        reduction: Called eta in the papers.
        min_steps: The fewest steps before configurations are compared; a 27th of `steps` by default.
        min_seeds: The fewest seeds with which they are compared; all by default. With fewer, seeds grow as steps do.
            A seed that is added begins at nothing, in a program of its own.

    Raises:
        ValueError: A number is out of range.
    """
    min_steps = _checked(steps, seeds, reduction, min_steps, min_seeds)
    once(members, steps, seeds)
    last = min(_halvings(members, 1, reduction), _halvings(steps, min_steps, reduction))
    return _bracket(members, steps, seeds, reduction, last, min_seeds or seeds)


def hyperband(
    steps: int, seeds: int, *, reduction: int = 3, min_steps: int | None = None, min_seeds: int | None = None
) -> list[Schedule]:
    """Successive halving from several numbers of steps, as nobody knows how soon the best can be told: brackets.

    The numbers are those of the paper's table 1 (R = 81, eta = 3: 81, 27, 9, 6 and 5 configurations), in which
    `(s_max + 1) / (s + 1)` is rounded down, so that members divide evenly; its algorithm 1 rounds up, and later, to
    81, 34, 15, 8 and 5.

    Args:
        steps: Of each run at last, R in the paper.
        seeds: Of each configuration at last.
        reduction: Called eta in the paper.
        min_steps: The fewest steps before configurations are compared, the paper's unit; a 27th of `steps` by default.
        min_seeds: See `successive_halving`.

    Returns:
        The brackets, from that which stops most to that which stops none. They cost about the same.

    Raises:
        ValueError: A number is out of range.
    """
    min_steps = _checked(steps, seeds, reduction, min_steps, min_seeds)
    most = _halvings(steps, min_steps, reduction)
    members = {s: (most + 1) // (s + 1) * reduction**s for s in range(most, -1, -1)}
    return [_bracket(n, steps, seeds, reduction, s, min_seeds or seeds) for s, n in members.items()]


def cost(schedule: Schedule) -> int:
    """Environment steps that are trained in all, over all members and seeds.

    Survivors go on from where they were; a seed that is added begins at nothing.
    """
    runs = [rung.steps * rung.seeds for rung in schedule]
    return sum(
        rung.members * (after - before) for rung, before, after in zip(schedule, [0, *runs[:-1]], runs, strict=True)
    )


def check(schedule: Schedule) -> Schedule:
    """The schedule itself, if its rungs fit together.

    Raises:
        ValueError: There is no rung, a number is not positive, or members grow or steps or seeds shrink on the way.
    """
    if not schedule:
        raise ValueError("a schedule needs a rung")
    for rung in schedule:
        for name, number in rung._asdict().items():
            _check_positive(name, number)
    for before, after in itertools.pairwise(schedule):
        if after.members > before.members or after.steps < before.steps or after.seeds < before.seeds:
            raise ValueError(
                f"members may only become fewer from rung to rung, steps and seeds only more; {after} follows {before}"
            )
    return schedule


def _bracket(members: int, steps: int, seeds: int, reduction: int, last: int, min_seeds: int) -> Schedule:
    """The rungs 0 to `last`; members are divided going up, steps and seeds going down."""
    return tuple(
        Rung(
            members // reduction**i, steps // reduction ** (last - i), max(min_seeds, seeds // reduction ** (last - i))
        )
        for i in range(last + 1)
    )


def _halvings(number: int, least: int, reduction: int) -> int:
    """How often a number can be divided before it is less than another; in integers, where logarithms would round."""
    return next(times for times in itertools.count() if number // reduction ** (times + 1) < least)


def _checked(steps: int, seeds: int, reduction: int, min_steps: int | None, min_seeds: int | None) -> int:
    """The fewest steps, decided."""
    once(1, steps, seeds)
    if isinstance(reduction, bool) or not isinstance(reduction, int) or reduction < 2:
        raise ValueError(f"reduction must be an integer of 2 or more, not {reduction!r}")
    for name, least, most in (("min_steps", min_steps, steps), ("min_seeds", min_seeds, seeds)):
        if least is not None:
            _check_positive(name, least)
            if least > most:
                raise ValueError(f"{name} must be at most {name.removeprefix('min_')}={most}, not {least}")
    return max(1, steps // 27) if min_steps is None else min_steps


def _check_positive(name: str, number: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} must be a positive integer, not {number!r}")
