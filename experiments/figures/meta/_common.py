"""What the figures of LPG's objectives share: who learns one, on which levels, and what comes of agents that follow it.

All learners have as many environment steps. Agents that follow what they learned live in levels drawn with keys of
their own, which no learner met, and so do agents under an actor-critic that is written by hand, from the same keys: a
return is told as a share of the way from what newborns earn to what the actor-critic earns in as long a life. That is
the objective `actor_critic` of `lpg`, at the step sizes that all have, in place of the papers' A2C.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import vmap
from jaxreward.agents.meta import lpg
from jaxreward.agents.meta.parts.follower import Follower, Life
from jaxreward.agents.meta.parts.learned import LearnedConfig
from jaxreward.agents.meta.parts.objectives import actor_critic
from jaxreward.agents.meta.parts.worlds import worlds
from jaxreward.compilation.cache import compiler_options
from jaxreward.envs import make
from jaxreward.learning.objective import Aims, Lifetime, Objective, Targets
from jaxreward.results.statistics import NOTHING, Estimate, aggregate_mean, estimate
from jaxreward.run.spec import resolve
from jaxreward.settings.values import Value

Settings = tuple[tuple[str, Value], ...]

PARTS = 4
"""Of a life, in each of which what an update says and does is averaged."""
TOLD = {"entropy": "policy/entropy", "score": "objective/score", "update": "update/policy"}
"""What is told of a life, by its names in metrics."""


class Size(NamedTuple):
    """How much is learned, and on what.

    Attributes:
        levels: The environment.
        runs: Objectives that each learner learns.
        steps: Environment steps to learn one in.
        lifetimes: In which they learn, log-uniform from the first to the last, in updates.
        horizons: Lifetimes of those who follow, which need not be among these.
        held_out: Levels that those who follow live in, for each objective.
        agents: Settings of agents and objectives, the same for all.
        evolution: Settings of the learner that evolves one.
        gradients: Settings of the learner that follows meta-gradients.
    """

    levels: str
    runs: int
    steps: int
    lifetimes: tuple[int, int]
    horizons: tuple[int, ...]
    held_out: int
    agents: Settings
    evolution: Settings
    gradients: Settings


TINY = "levels/tiny?observation=index"
AGENTS: Settings = (("num_envs", 8), ("num_steps", 10), ("width", 16))
SIZES = {
    "smoke": Size(
        TINY,
        2,
        0,
        (2, 4),
        (4, 8),
        2,
        (("num_envs", 2), ("num_steps", 4), ("width", 4), ("judged_steps", 10)),
        (("population_size", 4),),
        (("num_agents", 2), ("num_updates", 2)),
    ),
    "small": Size(
        TINY,
        6,
        60_000_000,
        (4, 16),
        (4, 8, 16, 32, 64),
        128,
        AGENTS,
        (("population_size", 64), ("generation_parts", 4), ("learning_rate", 0.05)),
        (("num_agents", 64), ("meta_learning_rate", 3e-3)),
    ),
    "paper": Size(
        "levels/all?observation=index",
        8,
        940_000_000_000,
        (10, 250),
        (10, 25, 50, 100, 250, 500, 1000),
        64,
        (),
        (("population_size", 1024), ("generation_parts", 8)),
        (("num_agents", 512), ("at_once", 32)),
    ),
}
"""At `smoke` nothing is learned, since each learner would have to be compiled. Steps of `paper` are those of the 2,500
generations of the authors' code, each of 1,024 lives."""


class Method(NamedTuple):
    """Who learns an objective, and what that reads of a lifetime.

    Attributes:
        agent: The learner.
        temporal: See `jaxreward.agents.meta.parts.lpg_network.lpg`.
        settings: Of its own.
        levels: What is added to the environment's name where it learns.
    """

    agent: str
    temporal: str
    settings: Settings = ()
    levels: str = ""


METHODS = {
    "LPG, evolved": Method("lpg_es", "none"),
    "TA-LPG, evolved": Method("lpg_es", "normalised"),
    "LPG, meta-gradients": Method("lpg_meta", "none"),
    "TA-LPG, meta-gradients": Method("lpg_meta", "normalised"),
}
LPG_ES, TA_LPG_ES, LPG_META, TA_LPG_META = METHODS
EVOLVED = {name: METHODS[name] for name in (LPG_ES, TA_LPG_ES)}
BY_HAND = "actor-critic"


def scored(size: Size, methods: Mapping[str, Method]) -> pd.DataFrame:
    """What comes of those who follow what each method learned, with their `share` of what an actor-critic earns.

    A row for each method, run (`seed`), lifetime (`horizon`) and part of it.
    """
    frame = followed(size, tuple(methods.items()))
    known, keys = frame[frame["method"] == BY_HAND], ["seed", "horizon"]
    newborn = known[known["horizon"] == 0].groupby("seed")["earned"].first().rename("newborn")
    best = known.groupby(keys)["earned"].first().rename("by_hand")
    frame = frame[frame["horizon"] > 0].join(newborn, on="seed").join(best, on=keys)
    return frame.assign(share=(frame["earned"] - frame["newborn"]) / (frame["by_hand"] - frame["newborn"]))


@functools.cache
def learned(size: Size, method: Method) -> PyTree:
    """Params of the objectives that a method learns, leaves `[runs, ...]`."""
    own = size.evolution if method.agent == "lpg_es" else size.gradients
    settings: dict[str, Any] = {**dict(size.agents), **dict(own), **dict(method.settings)}
    settings |= {"temporal": method.temporal, "lifetimes": size.lifetimes}
    experiment = resolve(method.agent, size.levels + method.levels, settings=settings)
    agent, options = vmap(experiment.agent), compiler_options()
    keys = jax.random.split(jax.random.key(0), size.runs)
    state = jax.jit(agent.init, compiler_options=options)(keys, experiment.member(0))
    step = jax.jit(lambda state: agent.step(state)[0], donate_argnums=0, compiler_options=options)
    for _ in range(size.steps // experiment.steps_per_iteration):
        state = step(state)
    return jax.device_get(state.params)


@functools.cache
def followed(size: Size, methods: tuple[tuple[str, Method], ...]) -> pd.DataFrame:
    """What comes of those who follow each method's objectives, and the actor-critic, of whom some are newborn.

    One program: how agents live is compiled once, and not for each objective.
    """
    env, env_params = make(size.levels)
    config = LearnedConfig(**dict(size.agents)).for_env(env, env_params)  # type: ignore[arg-type]
    by_hand = actor_critic(config.predictions)
    params = {name: learned(size, method) for name, method in methods}
    params[BY_HAND] = jax.tree.map(lambda leaf: np.full(size.runs, leaf), by_hand.init(jax.random.key(0)))
    objectives = [replace(config, temporal=method.temporal).objective() for _, method in methods]
    lives = replace(config.follower(env, env_params, "a figure"), objective=one_of([*objectives, by_hand]))
    grown = jax.jit(courses(lives, config.judged_steps, env_params), compiler_options=compiler_options())
    horizons = (0, *size.horizons)
    told = grown(list(params.values()), jnp.asarray(horizons, jnp.int32), held_out(size))
    return table(list(params), horizons, jax.device_get(told))


def held_out(size: Size) -> Key[Array, "runs levels"]:
    """The keys of the levels, and of the lives in them; learners have other ones."""
    return jax.random.split(jax.random.key(2**31), (size.runs, size.held_out))


def one_of(objectives: list[Objective]) -> Objective:
    """The one of some objectives whose number is the first of its params; the second are those of all."""

    def apply(params: tuple[Int[Array, ""], list[PyTree]], batch: Targets, lifetime: Lifetime) -> Aims:
        number, each = params
        choices = [functools.partial(one.apply, own) for one, own in zip(objectives, each, strict=True)]
        return jax.lax.switch(number, choices, batch, lifetime)

    return Objective(lambda key: (jnp.zeros((), jnp.int32), [one.init(key) for one in objectives]), apply)


def courses(lives: Follower, judged_steps: int, env_params: PyTree) -> Callable[..., dict[str, Array]]:
    """All lives, of each objective's params, of horizons and of keys: means over levels, `[H, M, runs, ...]`."""

    def one(params: PyTree, total: Int[Array, ""], key: Key[Array, ""]) -> dict[str, Array]:
        key_world, key_life, key_course, key_judged = jax.random.split(key, 4)
        world = worlds(lives.env)(key_world, env_params)
        life, told = course(lives, lives.init(key_life, world), total, params, world, key_course)
        judged = lives.evaluate(life.params.policy, world, judged_steps, lives.num_envs, key_judged)
        return {"earned": judged["episode/return"], **told}

    def of_method(
        params: list[PyTree], keys: Key[Array, "runs levels"], asked: tuple[Int[Array, ""], Int[Array, ""]]
    ) -> dict[str, Array]:
        number, total = asked
        of_level = jax.vmap(lambda own, key: one((number, own), total, key), (None, 0))
        return jax.tree.map(lambda leaf: leaf.mean(1), jax.vmap(of_level)(params, keys))

    def all_of_them(
        params: list[PyTree], totals: Int[Array, " H"], keys: Key[Array, "runs levels"]
    ) -> dict[str, Array]:
        numbers = jnp.arange(len(params))
        asked = jnp.tile(numbers, len(totals)), jnp.repeat(totals, len(params))
        told = jax.lax.map(functools.partial(of_method, params, keys), asked)
        return jax.tree.map(lambda leaf: leaf.reshape(len(totals), len(params), *leaf.shape[1:]), told)

    return all_of_them


def course(
    lives: Follower, life: Life, total: Int[Array, ""], params: PyTree, world: PyTree, key: Key[Array, ""]
) -> tuple[Life, dict[str, Float[Array, " parts"]]]:
    """A life from its beginning, and what is told of it, a mean over each part; nothing where it has no updates."""
    rates = lpg.Hyperparams()

    def update(now: tuple[Life, Array, Array, dict[str, Array]]) -> tuple[Life, Array, Array, dict[str, Array]]:
        life, step, count, told = now
        place = PARTS * step // total
        life, _, said = lives.update(life, Lifetime(step, total), params, world, rates, jax.random.fold_in(key, step))
        told = {name: sums.at[place].add(said[TOLD[name]]) for name, sums in told.items()}
        return life, step + 1, count.at[place].add(1.0), told

    zeros = jnp.zeros(PARTS)
    first = life, jnp.zeros((), jnp.int32), zeros, dict.fromkeys(TOLD, zeros)
    life, _, count, told = jax.lax.while_loop(lambda now: now[1] < total, update, first)
    return life, {name: jnp.where(count > 0, sums / jnp.maximum(count, 1), jnp.nan) for name, sums in told.items()}


def table(names: list[str], horizons: tuple[int, ...], told: dict[str, np.ndarray]) -> pd.DataFrame:
    """A row for each lifetime, method, run and part, of numbers `[H, M, runs]` or `[H, M, runs, parts]`."""
    shape = told["entropy"].shape
    places = pd.MultiIndex.from_product(
        [horizons, names, range(shape[2]), range(PARTS)], names=["horizon", "method", "seed", "part"]
    )
    earned = np.broadcast_to(told["earned"][..., None], shape)
    return places.to_frame(index=False).assign(**{name: x.ravel() for name, x in {**told, "earned": earned}.items()})


def shares(frame: pd.DataFrame, name: str, horizons: tuple[int, ...]) -> Float[np.ndarray, " runs"]:
    """A method's shares of what an actor-critic earns, the mean over lifetimes, of each run."""
    rows = frame[(frame["method"] == name) & frame["horizon"].isin(horizons) & (frame["part"] == 0)]
    return rows.groupby("seed")["share"].mean().to_numpy()


def ahead(first: str, second: str, horizons: tuple[int, ...], frame: pd.DataFrame) -> Estimate:
    """How much higher the first one's share is, run by run: both lived in the same levels; nothing without either."""
    if not {first, second} <= set(frame["method"]):
        return NOTHING
    return estimate(shares(frame, first, horizons) - shares(frame, second, horizons), aggregate_mean)
