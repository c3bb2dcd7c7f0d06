"""What a program costs, measured on a small part of it before all of it is run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import PyTree

from jaxreward.agent import Agent, vmap
from jaxreward.compilation.flops import flops
from jaxreward.run.chunk import Program
from jaxreward.run.plan import Plan

SAMPLE = 8
"""Runs that are measured, at most; a program of so many has shown what one of it takes beyond its state."""


class Measured(NamedTuple):
    """What a run costs beside others, as far as a few of them tell.

    Attributes:
        seconds: Of an iteration. Many runs at once take less each, on a GPU far less; so this is a bound.
        bytes: Memory while it trains.
        compile_seconds: Of the program of these few; that of all takes about as long.
    """

    seconds: float
    bytes: float
    compile_seconds: float


def sampled(members: int, seeds: int) -> tuple[int, int]:
    """How many members and seeds are measured."""
    some = min(members, SAMPLE)
    return some, min(seeds, max(1, SAMPLE // some))


def cost_of(agent: Agent, plan: Plan, at_least: float = 0.0) -> Measured:
    """Compiles a program and trains it for a few iterations.

    Args:
        agent: The single agent.
        plan: Runs that are few enough.
        at_least: Seconds to train it for, see `timed`.
    """
    batched, (members, seeds) = vmap(vmap(agent), population=True), plan.keys.shape
    program = Program(batched, plan.keys, plan.hyperparams, plan.log_every)
    chunk, seconds = program.compile()
    state, init_seconds = program.init()

    def advance(state: PyTree, number: int) -> PyTree:
        for done in range(0, number, plan.log_every):
            state = chunk(state, min(plan.log_every, number - done))[0]
        return state

    each = timed(advance, state, plan.iterations, at_least)
    runs = members * seeds
    return Measured(each / runs, program.bytes / runs, seconds + init_seconds)


def operations_of(agent: Agent, plan: Plan) -> float:
    """Operations of an iteration of one run, see `jaxreward.compilation.flops`."""
    batched = vmap(vmap(agent), population=True)
    return flops(batched.step, jax.eval_shape(batched.init, plan.keys, plan.hyperparams)) / plan.keys.size


def timed(advance: Callable[[PyTree, int], PyTree], state: PyTree, most: int, at_least: float) -> float:
    """Seconds of an iteration, by the last of ever longer series of them.

    What comes first is seldom what comes later: buffers fill, warm-ups end.

    Args:
        advance: Takes a state so many iterations on.
        state: The first.
        most: Iterations of the longest series.
        at_least: How many seconds the last one takes, if there are so many iterations.
    """
    state = jax.block_until_ready(advance(state, 1))
    number = 1
    while True:
        began = time.perf_counter()
        state = jax.block_until_ready(advance(state, number))
        took = time.perf_counter() - began
        if took >= at_least or number >= most:
            return took / number
        number = min(2 * number, most)
