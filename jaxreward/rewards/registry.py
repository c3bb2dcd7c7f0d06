"""Rewards by name: the built-in ones, and a user's own by `module:attribute` or `path/to/file.py:attribute`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from jaxreward.lookup import check_reference, describe_failure, is_reference, load_reference
from jaxreward.names import check_name
from jaxreward.reward import Reward, environment_reward, markov
from jaxreward.rewards.algebra import clip
from jaxreward.rewards.auxiliary_potential import auxiliary_potential
from jaxreward.rewards.beside import auxiliary, proxy
from jaxreward.rewards.sets.function import modular
from jaxreward.rewards.sharpe import differential_sharpe, terminal_sharpe
from jaxreward.rewards.transforms import normalise, sparsify

ENVIRONMENT = "environment"
"""The name of the environment's own reward."""

_BUILT_IN: dict[str, tuple[Callable[[], Reward], str]] = {
    ENVIRONMENT: (environment_reward, "the environment's own"),
    "clipped": (lambda: clip(environment_reward(), -1.0, 1.0), "the environment's, within [-1, 1]"),
    "normalised": (lambda: normalise(environment_reward()), "the environment's, by the deviation of its returns"),
    "auxiliary": (auxiliary, "the environment's own plus its auxiliary one, times scale"),
    "auxiliary_potential": (
        lambda: auxiliary_potential(truncated="zero"),
        "the environment's own, shaped by its auxiliary one as a potential; for returns that end with the episode",
    ),
    "auxiliary_potential_kept": (
        auxiliary_potential,
        "the same for agents that bootstrap where an episode was cut",
    ),
    "auxiliary_potential_action": (
        lambda: auxiliary_potential(of="action"),
        "the same with the potential of the step itself, which for REINFORCE is biased",
    ),
    "differential_sharpe": (
        lambda: differential_sharpe(environment_reward()),
        "how the environment's moves the Sharpe ratio of its moving average",
    ),
    "modular": (modular, "between a set function's gains (share=0) and what each place alone is worth (share=1)"),
    "proxy": (proxy, "the proxy that the environment shows, its own being the true one: `hacking/...`"),
    "terminal_sharpe": (
        lambda: terminal_sharpe(environment_reward()),
        "an episode's Sharpe ratio of the environment's, of 252 steps a year",
    ),
    "sparse": (lambda: sparsify(environment_reward()), "the environment's, paid where the episode ends"),
}


def list_rewards() -> dict[str, str]:
    """The built-in rewards and what each one is."""
    return {name: description for name, (_, description) in _BUILT_IN.items()}


def get_reward(name: str) -> Reward:
    """The reward called `name`.

    Args:
        name: A built-in name (see `list_rewards`), `module:attribute` or `path/to/file.py:attribute`. The attribute is
            a `Reward`, a function of a transition, a function `(params, transition)` with its params beside it as
            `function.params = {"goal": 1.0}`, or a function without arguments that returns a `Reward`.

    Raises:
        ValueError: If there is no such reward, file or attribute, or it is something else; says which is nearest.
    """
    check_reference(name, "reward")
    if is_reference(name):
        return _lift(name, load_reference(name, "reward"))
    hint = "Your own reward is `path/to/file.py:function`."
    check_name("reward", name, _BUILT_IN, hint)
    return _BUILT_IN[name][0]()


def _lift(name: str, found: Any) -> Reward:
    """Makes a `Reward` of whatever stands behind a user's name."""
    if isinstance(found, Reward):
        return found
    if not callable(found) or inspect.isclass(found):
        raise ValueError(
            f"{name} is a {type(found).__name__}; expected a Reward, a function of a transition, or a function that "
            "returns a Reward"
        )
    arity = _arity(found)
    if arity == 0:
        return _made_by(name, found)
    if arity > 2:
        raise ValueError(
            f"{name} takes {arity} arguments; expected fn(transition), "
            "fn(params, transition) with fn.params = {...}, or fn() that returns a Reward"
        )
    if arity == 2 and not hasattr(found, "params"):
        short = name.rpartition(":")[2]
        raise ValueError(
            f"{name} takes params but has none: add `{short}.params = {{...}}` below it, "
            f"or make it `{short} = markov(fn, {{...}})`"
        )
    return markov(found, getattr(found, "params", ()))


def _made_by(name: str, factory: Callable[[], Any]) -> Reward:
    try:
        made = factory()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name}() failed: {describe_failure(error)}") from error
    if not isinstance(made, Reward):
        raise ValueError(f"{name}() returned a {type(made).__name__}; expected a Reward")
    return made


def _arity(fn: Callable) -> int:
    parameters = inspect.signature(fn).parameters.values()
    required = [
        p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    return len(required)
