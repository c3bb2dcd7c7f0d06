"""Spaces: their texts, what trials choose of them, and what is refused before anything is trained."""

import math

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from jaxreward.run.job import Setup, split
from jaxreward.search.check import check_space, defaults, describe_programs, untrainable
from jaxreward.settings.space import Choice, Given, Integer, Uniform, choice_of, ordered, stored
from jaxreward.settings.text import parse_prior, parse_space, read_space
from jaxreward.settings.values import parse_value

SETUP = Setup()
SPACE = {
    "num_epochs": Given(Integer(1, 4), "num_steps", (16,)),
    "learning_rate": Uniform(1e-5, 1e-2, log=True),
    "clip": Uniform(0.1, 0.4),
    "num_steps": Choice((16, 64)),
    "layers": Choice(((64, 64), (8,))),
    "value_clip": Choice((0.2, math.inf)),
    "env.gravity": Uniform(5.0, 15.0),
}
TEXTS = [
    "num_epochs=integer(1,4) if num_steps=16",
    "learning_rate=log(1e-5,1e-2)",
    "clip=uniform(0.1,0.4)",
    "num_steps=choice(16,64)",
    "layers=choice((64,64),(8,))",
    "value_clip=choice(0.2,inf)",
    "env.gravity = uniform(5, 15)",
]


def test_texts_are_spaces():
    assert parse_space(TEXTS) == SPACE
    assert {name: parse_prior(name, str(prior)) for name, prior in SPACE.items()} == SPACE


def test_tables_are_spaces():
    table = {
        "learning_rate": "log(1e-5,1e-2)",
        "layers": [[64, 64], [8]],
        "env": {"gravity": "uniform(5,15)"},
        "reward": ["environment", "a.py:f"],
        "reward.goal": "log_integer(1,100) if reward=a.py:f",
    }
    assert read_space(table) == {
        "learning_rate": SPACE["learning_rate"],
        "layers": SPACE["layers"],
        "env.gravity": SPACE["env.gravity"],
        "reward": Choice(("environment", "a.py:f")),
        "reward.goal": Given(Integer(1, 100, log=True), "reward", ("a.py:f",)),
    }
    with pytest.raises(ValueError, match=r"clip in the space is 0\.2; expected a list of values, or a text: uniform"):
        read_space({"clip": 0.2})


@given(st.one_of(st.floats(allow_nan=False), st.integers(), st.booleans(), st.text("ab1.-", min_size=1)))
@settings(max_examples=100, deadline=None)
def test_any_value_comes_back_from_its_text(value):
    prior = parse_prior("x", str(Choice((value, (8, 8)))))
    assert prior.values == (value, (8, 8))
    assert type(prior.values[0]) is type(value)


def test_conditions_follow_what_they_depend_on():
    assert ordered(SPACE).index("num_epochs") > ordered(SPACE).index("num_steps")
    given = {"learning_rate": 1e-3, "clip": 0.2, "layers": "(8,)", "value_clip": "inf", "env.gravity": 9.8}
    with_epochs = choice_of(SPACE, FixedTrial({**given, "num_steps": 16, "num_epochs": 3}))
    assert with_epochs == {**given, "layers": (8,), "value_clip": math.inf, "num_steps": 16, "num_epochs": 3}
    without = choice_of(SPACE, FixedTrial({**given, "num_steps": 64, "num_epochs": 3}))
    assert "num_epochs" not in without
    assert without["num_steps"] == 64


def test_what_is_stored_is_what_a_database_takes():
    assert [stored(value) for value in (1, 0.5, "a", True)] == [1, 0.5, "a", True]
    assert [stored(value) for value in ((64, 64), math.inf)] == ["(64,64)", "inf"]
    assert parse_value("(64,64)") == (64, 64)


def test_an_unbroken_chain_of_conditions():
    space = parse_space(["c=uniform(0,1) if b=2", "b=choice(1,2) if a=x", "a=choice(x,y)"])
    assert ordered(space) == ["a", "b", "c"]
    assert choice_of(space, FixedTrial({"a": "y", "b": 2, "c": 0.5})) == {"a": "y"}
    assert choice_of(space, FixedTrial({"a": "x", "b": 2, "c": 0.5})) == {"a": "x", "b": 2, "c": 0.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate", "a choice is NAME=KIND"),
        ("clip=0.2", "clip is chosen from '0.2'; expected uniform"),
        ("clip=unifrm(0,1)", r"did you mean uniform\(...\)"),
        ("clip=uniform(1)", "uniform takes two numbers"),
        ("clip=uniform(a,b)", "uniform takes two numbers"),
        ("clip=uniform(1,inf)", "uniform takes two numbers"),
    ],
)
def test_texts_that_are_no_space_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_space([text])
    with pytest.raises(ValueError, match="clip was given twice"):
        parse_space(["clip=uniform(0,1)", "clip=uniform(0,2)"])


def test_a_space_that_fits_is_taken():
    check_space(SPACE, SETUP)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["learning_rte=log(1e-5,1e-2)"], "no setting 'learning_rte'; did you mean 'learning_rate'"),
        (["clip=uniform(1,0)"], "is empty: the lower bound comes first"),
        (["clip=log(0,1)"], "must have positive bounds"),
        (["num_steps=uniform(16,64)"], r"num_steps must be an integer.*integer\(LOW,HIGH\) or choice"),
        (["num_steps=integer(1.5,3)"], "must have integers as bounds"),
        (["num_steps=choice(16,a)"], "num_steps must be an integer, not 'a'"),
        (["layers=choice((64,64),(8.5,))"], "layers must be an integer, not 8.5"),
        (["num_envs=choice(4,8)"], "num_envs is both set to 4 and searched"),
        (["clip=choice()"], "no values to choose from"),
        (["clip=choice(1,1.0)"], "has a value twice"),
        (["clip=uniform(0,1) if num_step=16", "num_steps=choice(16,64)"], "num_step, which isn't searched; did you"),
        (["clip=uniform(0,1) if num_steps=32", "num_steps=choice(16,64)"], "num_steps=32, which never comes up"),
        (["clip=uniform(0,1) if discount=0.9", "discount=uniform(0,1)"], "discount, which is any number"),
        (["clip=uniform(0,1) if discount=1", "discount=integer(0,1) if clip=1"], "in a circle: clip, discount"),
        (["env=uniform(0,1)"], "env is a name; expected choice"),
        (["env=choice(CartPole-v1,CartPole-v2)"], "no environment 'CartPole-v2'; did you mean 'CartPole-v1'"),
        (["reward.goal=uniform(0,1)"], "no setting 'reward.goal'. This reward has no params"),
        (["env=choice(CartPole-v1,Acrobot-v1)", "env.gravity=uniform(1,2)"], "env.gravity=.* with env=Acrobot-v1: no"),
        ([], "the space is empty"),
    ],
)
def test_spaces_that_do_not_fit_are_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        check_space(parse_space(texts), Setup(settings={"num_envs": 4}))


def test_a_condition_makes_a_name_of_one_environment_fit():
    texts = ["env=choice(CartPole-v1,Acrobot-v1)", "env.gravity=uniform(1,2) if env=CartPole-v1"]
    check_space(parse_space(texts), SETUP)


def test_values_that_fit_beside_some_others_fit():
    texts = ["num_envs=choice(3,4)", "num_minibatches=choice(3,4)"]
    check_space(parse_space(texts), Setup(settings={"num_steps": 2}))
    choices = {7: {"num_envs": 3, "num_minibatches": 3}, 9: {"num_envs": 4, "num_minibatches": 3}, 11: {"clip": 0.1}}
    wrong = untrainable(Setup(settings={"num_steps": 2, "num_envs": 3, "num_minibatches": 3}), choices)
    assert list(wrong) == [9]
    assert "num_minibatches=3 does not divide num_envs * num_steps=8" in wrong[9]
    with pytest.raises(ValueError, match=r"num_minibatches=choice\(3,5\): .*does not divide"):
        check_space(
            parse_space(["num_envs=choice(3,4)", "num_minibatches=choice(3,5)"]), Setup(settings={"num_steps": 2})
        )


def test_programs_are_counted_by_what_shapes_them():
    assert describe_programs(parse_space(["clip=uniform(0,1)", "env.gravity=uniform(1,2)"]), SETUP, 16) is None
    static = parse_space(["clip=uniform(0,1)", "num_steps=choice(16,64)"])
    told = "num_steps shapes the program: each of its 2 values compiles anew, up to 2 programs in a generation"
    assert describe_programs(static, SETUP, 16) == told
    both = parse_space(["num_envs=integer(1,100)", "num_steps=choice(16,64)"])
    assert describe_programs(both, SETUP, 16).endswith(
        "their 100 x 2 values compiles anew, up to 16 programs in a generation"
    )
    choices = [choice_of(static, FixedTrial({"clip": x, "num_steps": n})) for x in (0.1, 0.2) for n in (16, 64)]
    assert len(split(SETUP, choices)) == 2


def test_the_defaults_are_a_choice_where_the_space_holds_them():
    assert defaults(SPACE, SETUP) == {
        "learning_rate": 3e-4,
        "clip": 0.2,
        "num_steps": 64,
        "layers": (64, 64),
        "value_clip": 0.2,
        "env.gravity": 9.8,
    }
    assert defaults(parse_space(["learning_rate=log(1e-2,1e-1)"]), SETUP) is None
    assert defaults(parse_space(["env=choice(CartPole-v1,Acrobot-v1)"]), SETUP) == {"env": "CartPole-v1"}
    assert defaults(parse_space(["clip=uniform(0,1)"]), Setup(settings={"clip": 0.7})) == {"clip": 0.7}


def test_optuna_has_the_same_distributions():
    assert SPACE["learning_rate"].distribution() == optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)
    assert Integer(1, 8, log=True).distribution() == optuna.distributions.IntDistribution(1, 8, log=True)
    assert SPACE["layers"].distribution() == optuna.distributions.CategoricalDistribution(("(64,64)", "(8,)"))
