"""What formalisms can state is found to be stated: programmes and certificates say no only where there is a reason."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.objectives import expresses
from jaxreward.objectives.certificates import (
    Jump,
    _visit_slopes,
    has_level_sets_of_a_return,
    has_more_than_two_sure_levels,
    is_lexicographic,
    jumps,
)
from jaxreward.objectives.expresses import _occupancies
from jaxreward.objectives.separations import drawn
from jaxreward.objectives.tasks import PAIRS, SURE_CHANCES, TWICE, _labels, both_chances, by_chance, in_a_row, tasks
from jaxreward.rewards.automata import reward_machine


@pytest.fixture(autouse=True, scope="module")
def double():
    """Everything in double precision."""
    with jax.enable_x64(True):
        yield


def asked(task, formalism, policies=None, **options):
    """Whether a formalism orders a task's policies."""
    task = tasks()[task]
    policies = task.policies if policies is None else policies
    ranks = np.array([float(task.worth(policy)) for policy in policies]).round(9)
    return expresses(task.mdp, policies, ranks, formalism, **options)


ALL_ABOVE_RM = ("RM", "FTR", "INMR", "IMORL", "OMORL", "FOMR", "FTLR", "GOMORL", "OMO", "TLO", "FPR", "PO")


@pytest.mark.parametrize(
    ("task", "formalisms"),
    [
        ("same action twice", ("LTL", *ALL_ABOVE_RM)),
        ("three values", ALL_ABOVE_RM),
        ("entropy", ("RRL", "OMORL", "FPR")),
        ("target return", ("ONMR", "OMORL", "FPR")),
        ("three prizes", ("MR", "RM", "FTR", "RRL", "ONMR")),
        ("share of time", ("LAR", "OMORL", "FPR")),
        ("unseen", ("FPR", "PO")),
    ],
)
def test_what_can_be_stated_is(task, formalisms):
    assert {name: asked(task, name).answer for name in formalisms} == dict.fromkeys(formalisms, True)


def test_the_numbers_that_are_found_order_policies_and_the_margin_is_exact():
    found = asked("three prizes", "FTR")
    values = tasks()["three prizes"].policies[:, 0] @ found.numbers
    np.testing.assert_allclose(np.diff(np.unique(values.round(6))).min(), found.margin, atol=1e-5)
    # the second prize is to be half of the third, and (0.5, 0.25, 0.25) an eighth of the way from -1 to 1 below it
    np.testing.assert_allclose(found.margin, 0.25, rtol=1e-6)


def test_policies_that_are_near_each_other_are_told_apart_and_margins_have_no_end():
    near = np.array([[[1 - p, p], [0.5, 0.5], [0.5, 0.5]] for p in (0.0, 1e-7, 0.5)])
    assert expresses(in_a_row(3), near, [0, 1, 2], "FPR").answer
    apart = by_chance(np.array([0, 1]), np.array([0, 0]), np.array(0))
    found = expresses(tasks()["share of time"].mdp, apart[:, :2], [0, 1], "MR", discount=0.99)
    assert found.margin > 1
    with pytest.raises(ValueError, match="a finite rank for each of 3 policies"):
        expresses(in_a_row(3), near, [0, np.nan, 2], "FPR")


def test_four_policies_need_a_machine_and_no_function_of_a_return_is_refused_by_them():
    """XOR of the deterministic policies alone: two decisions add up in MR, and RRL, and the value of LAR is one."""
    corners = by_chance(np.array([0.0, 0, 1, 1]), np.array([0.0, 1, 0, 1]), np.array(0.0))
    can = {name: asked("same action twice", name, corners).answer for name in ("MR", "LAR", "RRL", "LTL", "RM", "ONMR")}
    assert can == {"MR": False, "LAR": False, "RRL": False, "LTL": True, "RM": True, "ONMR": True}
    machine = reward_machine(("0", "one", "1"), ("0", "!one", "2"))
    options = {"machine": machine, "labels": _labels("same action twice")}
    assert asked("same action twice", "RM", corners, **options).answer
    blind = reward_machine(("0", "one", "1"), ("0", "!one", "1"))
    assert not asked("same action twice", "RM", corners, **{**options, "machine": blind}).answer


def test_level_sets_of_returns_are_found_where_there_are_such():
    target, twice = tasks()["target return"], tasks()["same action twice"]
    policies = jnp.asarray(drawn(target, 1, 12))
    assert has_level_sets_of_a_return(target.mdp, target.worth, policies, 0.9)
    assert not has_level_sets_of_a_return(target.mdp, lambda policy: policy[0, 1] + policy[1, 1] ** 2, policies, 0.9)
    assert has_level_sets_of_a_return(twice.mdp, lambda policy: jnp.exp(policy[1, 0] - 3 * policy[0, 0]), policies, 0.9)
    with jax.enable_x64(False):  # nor is anything proved by the rounding of whoever asks in single precision
        assert has_level_sets_of_a_return(target.mdp, target.worth, policies, 0.9)


def test_the_slope_of_visits_is_that_of_the_solver():
    chain = tasks()["same and goal"]
    logits = np.random.default_rng(0).normal(size=(4, 2))
    soft = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)  # noqa: E731
    found = _visit_slopes(chain.mdp, soft(logits), 0.9)
    steps = 1e-5 * np.eye(8).reshape(8, 4, 2)
    policies = soft(np.concatenate([logits + steps, logits - steps]))
    visits = np.asarray(_occupancies(chain.mdp, policies, 0.9))
    np.testing.assert_allclose(found, ((visits[:8] - visits[8:]) / 2e-5).T, atol=1e-8)


def test_certificates_do_not_see_what_is_not_there():
    smooth = lambda policy: policy[0, 1]  # noqa: E731
    goal = tasks()["same and goal"]
    assert jumps(goal.worth, goal.jump)
    assert not jumps(smooth, goal.jump)  # constant along both, and the same
    assert not jumps(lambda policy: policy[2, 1], goal.jump)  # not constant
    far = Jump(goal.jump.first, 1 - goal.jump.second)
    assert not jumps(goal.worth, far)  # they don't come together
    chain = tasks()["share of time"]
    assert has_more_than_two_sure_levels(chain.mdp, chain.worth, jnp.asarray(SURE_CHANCES))
    assert not has_more_than_two_sure_levels(chain.mdp, smooth, jnp.asarray(SURE_CHANCES))
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        has_more_than_two_sure_levels(chain.mdp, smooth, jnp.asarray(chain.policies))
    first, second = (lambda policy, i=i: both_chances(policy)[i] for i in range(2))
    assert is_lexicographic(first, second, jnp.asarray(PAIRS))
    assert not is_lexicographic(first, first, jnp.asarray(PAIRS))
    assert not is_lexicographic(second, first, jnp.asarray(PAIRS))


@pytest.mark.parametrize(
    ("formalism", "options", "message"),
    [
        ("RMS", {}, "no formalism 'RMS'; did you mean 'RM'"),
        ("MR", {"discount": 1.0}, r"a discount within \(0, 1\), got 1.0"),
        ("LTL", {}, "may come back to state"),
        (
            "RM",
            {"machine": reward_machine(("a", "lost", "b")), "labels": {"last": np.ones(2, bool)}},
            "no proposition 'lost'",
        ),
        ("MR", {"labels": {}}, "a machine and labels are of RM, and MR reads none"),
        ("MR", {"policies": np.full((1, 2, 2), 0.7)}, "some don't sum up to 1"),
        ("MR", {"policies": np.full((1, 5, 2), 0.5)}, r"policies have shape \(1, 5, 2\); expected \[N, 2, 2\]"),
    ],
)
def test_what_can_not_be_asked_is_refused(formalism, options, message):
    with pytest.raises(ValueError, match=message):
        asked("share of time", formalism, **options)


def test_two_decisions_are_those_of_a_grid():
    assert TWICE.shape == (16, 3, 2)
    np.testing.assert_allclose(TWICE.sum(-1), 1)
