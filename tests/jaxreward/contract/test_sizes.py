"""Every size of every config has its range, and a config that is out of it can't be made."""

import dataclasses
import math
from dataclasses import dataclass

import pytest

from jaxreward.agents.registry import get_agent, list_agents
from jaxreward.contract.sizes import MOST, Sized, limits_of, size
from jaxreward.run.spec import resolve

FIELDS = [
    (agent, field)
    for agent in list_agents()
    for field in dataclasses.fields(get_agent(agent).Config)
    if isinstance(field.default, int | float | tuple) and not isinstance(field.default, bool) and field.name != "space"
]


@dataclass(frozen=True)
class Config(Sized):
    width: int = size(4)
    share: float = size(0.5, least=0, most=1)
    layers: tuple[int, ...] = size((8,))
    place: float = size(0.0, least=-math.inf)


def test_every_number_of_every_config_has_a_range_that_holds_its_default():
    assert {agent for agent, _ in FIELDS} == set(list_agents())
    for agent, field in FIELDS:
        limits = limits_of(field)
        assert limits is not None, f"{agent}: {field.name}"
        values = field.default if isinstance(field.default, tuple) else (field.default,)
        assert all(map(limits.hold, values)), f"{agent}: {field.name}"


def test_every_config_refuses_what_is_out_of_range_and_takes_the_least():
    for agent, field in FIELDS:
        limits, several = limits_of(field), isinstance(field.default, tuple)
        make = lambda value: get_agent(agent).Config(**{field.name: (value,) if several else value})  # noqa: E731
        wrong = [math.nan, math.inf, "4", None, True, *([limits.least - 1] if math.isfinite(limits.least) else [])]
        for value in (*wrong, *([] if math.isinf(limits.most) else [limits.most + 1])):
            with pytest.raises(ValueError, match=field.name):
                make(value)
        if isinstance(field.default, int):
            assert getattr(make(int(limits.least)), field.name) == limits.least


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 0}, "width must be at least 1; got 0"),
        ({"width": 2.5}, "width must be an integer; got 2.5"),
        ({"width": 10**12}, f"width must be at least 1; got {10**12} \\(no more than {MOST}\\)"),
        ({"share": 1.5}, "share must be at least 0 and at most 1; got 1.5"),
        ({"layers": (8, 0)}, "each of layers must be at least 1; got 0"),
        ({"layers": 8}, "layers must be a tuple of integers, such as \\(8,\\); got 8"),
        ({"place": math.inf}, "place must be a finite number; got inf"),
    ],
)
def test_a_message_says_what_was_given_and_what_may_be(given, message):
    with pytest.raises(ValueError, match=message):
        Config(**given)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **given)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_envs": 0},
        {"num_epochs": -1},
        {"num_envs": 1e12},
        {"layers": (0,)},
        {"num_envs": 2**20, "num_steps": 2**20},
        {"num_envs": 4, "num_steps": 5, "num_minibatches": 20},
        {"num_envs": 1, "num_steps": 1, "num_minibatches": 1},
    ],
)
@pytest.mark.parametrize("agent", ["ppo", "barfi_ppo", "pbt/ppo"])
def test_names_lead_to_the_same_check(agent, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        resolve(agent, "barfi/gridworld", settings=settings)
