"""Automata against the meaning of formulas: every word of a few steps, repeated for ever, is judged by both."""

from itertools import product

import numpy as np
import pytest

from jaxreward.rewards.automata import parse, reward_machine, specification
from jaxreward.rewards.automata.formulas import negated
from jaxreward.rewards.automata.progression import labels

FORMULAS = {
    "co-safe": [
        "F a",
        "X X a",
        "a U b",
        "!b U (a & X F b)",
        "F (a & X (b U (a & b)))",
        "F a & F b",
        "(X a) U (b | F (a & b))",
        "!(G a | (b R a))",
        "a U b U (a & b)",
        "F a | X b",
        "!(a W b)",
        "(a <-> X b) & F (a -> b)",
    ],
    "safe": [
        "G !a",
        "a W b",
        "b R a",
        "G (a -> X b)",
        "G (a | X (b W a))",
        "!(F a | (b U a))",
        "G a | G b",
        "a R b R a",
    ],
}
LABELS = labels(("a", "b"))


def holds(formula, word, back):
    """Whether it holds at each place of a word that goes on from its end at a place further back: by its meaning."""
    kind, parts = formula
    last = [*range(1, len(word)), back]
    if kind in ("is", "not"):
        return np.array([(parts[0] in label) == (kind == "is") for label in word])
    if kind in ("true", "false"):
        return np.full(len(word), kind == "true")
    *left, right = [holds(part, word, back) for part in parts]
    if kind == "X":
        return right[last]
    if kind in ("and", "or"):
        return (np.logical_and if kind == "and" else np.logical_or).reduce([*left, right])
    left = left[0] if left else np.full(len(word), kind == "F")  # F g is true U g, and G g is false R g
    least = kind in ("F", "U")
    now, before = np.full(len(word), not least), None
    while before is None or (now != before).any():  # a least or a greatest fixed point
        before = now
        now = right | left & now[last] if kind in ("F", "U", "W") else right & (left | now[last])
    return now


def judged(spec, word, back):
    """Whether the automaton decides a word that is repeated for ever, and after how many steps."""
    state, machine = 0, spec.machine
    indices = [LABELS.index(label & set(machine.propositions)) for label in word]
    numbers = [sum(2**i for i, name in enumerate(machine.propositions) if name in LABELS[at]) for at in indices]
    place = 0
    for step in range(len(word) * (machine.num_states + 1)):
        number, place = numbers[place], back if place + 1 == len(word) else place + 1
        if machine.paid[state, number] >= 0:
            return step + 1
        state = machine.following[state, number]
    return None


WORDS = [(word, back) for size in (1, 2, 3) for word in product(LABELS, repeat=size) for back in range(size)]


@pytest.mark.parametrize(("fragment", "text"), [(kind, text) for kind, texts in FORMULAS.items() for text in texts])
def test_an_automaton_decides_what_a_formula_means(fragment, text):
    formula, spec = parse(text), specification(text)
    assert spec.fragment == fragment
    for word, back in WORDS:
        true = bool(holds(formula, word, back)[0])
        assert (judged(spec, word, back) is not None) == (true == (fragment == "co-safe")), (word, back)


@pytest.mark.parametrize("text", ["F (a & X (b U (a & b)))", "X X a", "G (a -> X b)", "F a & F b"])
def test_it_decides_as_soon_as_all_that_may_follow_agrees(text):
    formula, spec = parse(text), specification(text)
    wanted = spec.fragment == "co-safe"
    for word in product(LABELS, repeat=3):
        endings = [(word + end, 3 + back) for end, back in WORDS if len(end) < 3]
        sure = all(bool(holds(formula, *ending)[0]) == wanted for ending in endings)
        state = 0
        for label in word:
            number = sum(2**i for i, name in enumerate(spec.machine.propositions) if name in label)
            state = spec.machine.following[state, number]
        assert (spec.machine.states[state] in spec.machine.pays) == sure, word


def test_a_negation_is_true_where_the_formula_is_not():
    for text in [text for texts in FORMULAS.values() for text in texts]:
        formula = parse(text)
        for word, back in WORDS[::7]:
            np.testing.assert_array_equal(holds(negated(formula), word, back), ~holds(formula, word, back))


def test_automata_are_as_small_as_they_can_be():
    sizes = {"F a": 2, "G !a": 2, "a U b": 3, "F a & F b": 4, "F (a & X F b)": 3, "F (a & X F (a & X F a))": 4}
    assert {text: specification(text).machine.num_states for text in sizes} == sizes
    redundant = "(F a & F b) | (F b & F a) | F (a & F b)"
    np.testing.assert_array_equal(
        specification(redundant).machine.following, specification("F a & F b").machine.following
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("G F a", "no prefix satisfies G F a and none violates F a"),
        ("F a & !F b", "neither co-safe nor safe: no prefix satisfies G !b and none violates F a"),
        ("F (a | !a)", "always true"),
        ("X (a & !a)", "always false"),
        ("G (a | !a)", "always true"),
        ("G (a & !a)", "always false"),
        ("F (a", r"at its end, expected \)"),
        ("F a &", "at its end, expected a proposition"),
        ("a b", "before 'b', expected an operator"),
        ("a # b", "'#' is none of"),
        ("U a", "before 'U'"),
        (" & ".join(f"F p{i}" for i in range(11)), "reads at most 10 propositions"),
    ],
)
def test_what_is_no_formula_or_beyond_prefixes_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        specification(text)


def test_a_reward_machine_goes_along_the_edge_whose_condition_holds():
    machine = reward_machine(
        ("begin", "coffee", "carry"), ("carry", "office & !wet", "end", 1.0), ("carry", "wet", "begin", -0.5, "spilt")
    )
    assert machine.propositions == ("coffee", "office", "wet")
    assert machine.pays == {"begin_carry": 0.0, "carry_end": 1.0, "spilt": -0.5}
    for number, holds in enumerate(product((0, 1), repeat=3)):
        coffee, office, wet = holds[::-1]
        assert machine.following[:, number].tolist() == [coffee, 0 if wet else 2 if office else 1, 2]
        assert machine.paid[:, number].tolist() == [0 if coffee else -1, 2 if wet else 1 if office else -1, -1], holds


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ((), "at least one edge"),
        ((("a", "p", "b"), ("a", "q", "c")), "both 'p' .* and 'q' .* hold where p and q does"),
        ((("a", "X p", "b"),), "X p looks beyond the step"),
        ((("a", "p", "b", 1.0, "n"), ("b", "p", "a", 2.0, "n")), "edges called 'n' pay 1 and 2"),
        ((("a", "p &", "b"),), "is no formula"),
    ],
)
def test_a_machine_that_is_not_one_is_refused(edges, message):
    with pytest.raises(ValueError, match=message):
        reward_machine(*edges)
