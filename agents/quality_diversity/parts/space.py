"""Where behaviours are compared: in a space that is given, or in one that is learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.agents.quality_diversity.parts.evaluation import Outcome, Watch
from jaxreward.contract.sizes import Sized, size
from jaxreward.names import check_name
from jaxreward.quality_diversity import log_signature, signature

Behaviour = Literal["final", "samples", "signature", "log_signature", "time_signature", "time_log_signature"]


@dataclass(frozen=True)
class BehaviourConfig(Sized):
    """What of `info["descriptor"]` is compared.

    Attributes:
        behaviour: "final", where the episode ended; "samples", where it was at several steps; "signature" or
            "log_signature" of the path from the first step's end on, with `time_` as a further dimension.
        samples: At how many steps.
        depth: Of signatures.
    """

    behaviour: Behaviour = "final"
    samples: int = size(5)
    depth: int = size(2)


class Space(NamedTuple):
    """A space of behaviours.

    Attributes:
        watch: What has to be kept of steps; None for nothing.
        steps: Of which steps, given how many an episode has.
        init: `(key) -> params`; `()` where nothing is learned.
        place: `(params, outcomes, env_params) -> (behaviour [n, b], surprise [n])`.
        learn: `(params, key, outcomes, exists [n], env_params) -> params`, from those outcomes that exist; None where
            nothing is learned.
    """

    watch: Watch | None
    steps: Callable[[int], tuple[int, ...]]
    init: Callable[[Key[Array, ""]], PyTree]
    place: Callable[[PyTree, Outcome, PyTree], tuple[Float[Array, "n b"], Float[Array, " n"]]]
    learn: Callable[[PyTree, Key[Array, ""], Outcome, Bool[Array, " n"], PyTree], PyTree] | None = None


def sampled_steps(num_steps: int, samples: int) -> tuple[int, ...]:
    """The steps at which an episode is looked at: evenly spread, without the start and with the end.

    As in the authors' code of STAX (arXiv:2111.01919): all but the first of `samples + 1` evenly spaced ones, rounded
    up.

    Raises:
        ValueError: If there are not as many steps.
    """
    most = max(num_steps - 1, 1)
    if not 1 <= samples <= most:
        raise ValueError(f"an episode of {num_steps} steps can be looked at 1 to {most} times; got {samples}")
    return tuple(math.ceil(i * (num_steps - 1) / samples) for i in range(1, samples + 1))


def given_space(config: BehaviourConfig = BehaviourConfig()) -> Space:
    """A space made from `info["descriptor"]`.

    Raises:
        ValueError: If there is no such behaviour, or a number is not positive.
    """
    behaviour, samples, depth = config.behaviour, config.samples, config.depth
    check_name("behaviour", behaviour, get_args(Behaviour))
    if samples < 1 or depth < 1:
        raise ValueError(f"samples and depth must be at least 1; got samples={samples} and depth={depth}")
    if behaviour == "final":
        return Space(None, lambda _: (), lambda _: (), lambda _, outcome, __: _known(outcome.descriptor))
    if behaviour == "samples":
        steps, describe = lambda num_steps: sampled_steps(num_steps, samples), lambda path: path.ravel()
    else:
        steps, describe = lambda num_steps: tuple(range(num_steps)), _path_descriptor(behaviour, depth)
    place = lambda _, outcome, __: _known(jax.vmap(describe)(outcome.record))  # noqa: E731
    return Space(lambda _, info: info["descriptor"], steps, lambda _: (), place)


def _known(behaviour: Float[Array, "n b"]) -> tuple[Float[Array, "n b"], Float[Array, " n"]]:
    """Behaviours that are given never surprise."""
    return behaviour, jnp.zeros(behaviour.shape[0])


def _path_descriptor(behaviour: Behaviour, depth: int) -> Callable[[Float[Array, "T d"]], Float[Array, " b"]]:
    of = log_signature if behaviour.endswith("log_signature") else signature
    return lambda path: of(path, depth, time=behaviour.startswith("time_"))
