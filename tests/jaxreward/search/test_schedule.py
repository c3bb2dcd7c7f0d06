"""Schedules: the published numbers of Hyperband, what a schedule costs, and what holds of every one."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreward.search.schedule import Rung, check, cost, hyperband, once, successive_halving

TABLE_1 = [
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    [(27, 3), (9, 9), (3, 27), (1, 81)],
    [(9, 9), (3, 27), (1, 81)],
    [(6, 27), (2, 81)],
    [(5, 81)],
]
"""Li et al. 2018, table 1: `n_i` and `r_i` for R = 81 and eta = 3, from s = 4 to s = 0."""


def test_hyperband_has_the_published_numbers():
    brackets = hyperband(81, 2, min_steps=1)
    assert [[(rung.members, rung.steps) for rung in bracket] for bracket in brackets] == TABLE_1
    assert {rung.seeds for bracket in brackets for rung in bracket} == {2}


def test_a_bracket_of_hyperband_is_successive_halving():
    assert successive_halving(81, 81, 1, min_steps=1) == hyperband(81, 1, min_steps=1)[0]
    assert successive_halving(6, 81, 1, min_steps=27) == hyperband(81, 1, min_steps=1)[3]


def test_halving_of_numbers_that_do_not_divide():
    assert successive_halving(64, 10_000, 1) == (
        Rung(64, 370, 1),
        Rung(21, 1_111, 1),
        Rung(7, 3_333, 1),
        Rung(2, 10_000, 1),
    )
    assert successive_halving(4, 1000, 1, reduction=2, min_steps=300) == (Rung(4, 500, 1), Rung(2, 1000, 1))


def test_few_seeds_at_first_and_all_at_the_end():
    rungs = successive_halving(27, 270, 9, min_steps=10, min_seeds=2)
    assert [rung.seeds for rung in rungs] == [2, 2, 3, 9]
    assert successive_halving(2, 100, 5, min_seeds=1) == once(2, 100, 5)


def test_powers_are_told_exactly():
    """log(243) / log(3) is 4.999... in floating point."""
    assert len(hyperband(243, 1, min_steps=1)) == 6
    assert len(successive_halving(1000, 1000, 1, reduction=10, min_steps=1)) == 4


def test_cost_counts_what_is_trained_and_not_what_is_inherited():
    assert cost(once(4, 100, 3)) == 4 * 100 * 3
    assert cost((Rung(9, 10, 2), Rung(3, 30, 2))) == 9 * 10 * 2 + 3 * 20 * 2
    # Two seeds go on for 20 steps, one begins at nothing.
    assert cost((Rung(9, 10, 2), Rung(3, 30, 3))) == 9 * 10 * 2 + 3 * (20 * 2 + 30)
    # s = 4 of table 1, by hand: 81 * 1, 27 * 2, 9 * 6, 3 * 18, 1 * 54.
    assert cost(hyperband(81, 1, min_steps=1)[0]) == 81 + 54 + 54 + 54 + 54


numbers = {"steps": st.integers(1, 10**9), "seeds": st.integers(1, 40), "reduction": st.integers(2, 6)}


@st.composite
def arguments(draw):
    chosen = {name: draw(strategy) for name, strategy in numbers.items()}
    chosen["min_steps"] = draw(st.none() | st.integers(max(1, chosen["steps"] // 10_000), chosen["steps"]))
    chosen["min_seeds"] = draw(st.none() | st.integers(1, chosen["seeds"]))
    return chosen


def count(schedule):
    """Steps of the schedule, one run and rung at a time."""
    done, total = {}, 0
    for rung in schedule:
        for run in itertools.product(range(rung.members), range(rung.seeds)):
            total += rung.steps - done.get(run, 0)
            done[run] = rung.steps
    return total


@settings(max_examples=100, deadline=None)
@given(arguments(), st.integers(1, 200))
def test_what_holds_of_every_successive_halving(chosen, members):
    schedule = successive_halving(members, **chosen)
    reduction, first, last = chosen["reduction"], schedule[0], schedule[-1]
    assert check(schedule) is schedule
    assert (first.members, last.steps, last.seeds) == (members, chosen["steps"], chosen["seeds"])
    assert first.steps >= (chosen["min_steps"] or max(1, chosen["steps"] // 27))
    assert first.seeds >= (chosen["min_seeds"] or chosen["seeds"])
    for before, after in itertools.pairwise(schedule):
        assert after.members == before.members // reduction
        assert before.steps == after.steps // reduction
    # Another rung would have no member or too few steps.
    allowed = chosen["min_steps"] or max(1, chosen["steps"] // 27)
    assert last.members < reduction or first.steps // reduction < allowed
    assert cost(schedule) == count(schedule) <= cost(once(members, chosen["steps"], chosen["seeds"]))


@settings(max_examples=100, deadline=None)
@given(arguments())
def test_what_holds_of_every_bracket(chosen):
    brackets = hyperband(**chosen)
    budget = len(brackets) * chosen["steps"] * chosen["seeds"]
    assert [len(bracket) for bracket in brackets] == list(range(len(brackets), 0, -1))
    for bracket in brackets:
        check(bracket)
        last = bracket[-1]
        assert (last.steps, last.seeds) == (chosen["steps"], chosen["seeds"])
        assert bracket[0].members == last.members * chosen["reduction"] ** (len(bracket) - 1)
        if chosen["min_seeds"] is None:
            assert cost(bracket) <= budget


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: once(0, 10, 1), "members must be a positive integer, not 0"),
        (lambda: once(1, 1e5, 1), "steps must be a positive integer, not 100000.0"),
        (lambda: hyperband(10, 0), "seeds must be a positive integer, not 0"),
        (lambda: successive_halving(9, 10, 1, reduction=1), "reduction must be an integer of 2 or more, not 1"),
        (lambda: successive_halving(9, 10, 1, min_steps=11), "min_steps must be at most steps=10, not 11"),
        (lambda: hyperband(10, 2, min_seeds=3), "min_seeds must be at most seeds=2, not 3"),
        (lambda: check(()), "needs a rung"),
        (lambda: check((Rung(2, 10, 1), Rung(3, 20, 1))), "members may only become fewer"),
        (lambda: check((Rung(2, 10, 1), Rung(1, 5, 1))), "only more"),
        (lambda: check((Rung(2, 10, 2), Rung(1, 10, 1))), "only more"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
