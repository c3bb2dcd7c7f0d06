"""What the figures of LPG's objectives share: who learns one, on which levels, and what comes of agents that follow it.

All learners have as many environment steps, those that evolve one in the mean over the lifetimes that they draw. Agents
that follow what they learned live in levels drawn with keys of their own, which no learner met, and so do agents under
an actor-critic that is written by hand, from the same keys: a return is told as a share of the way from what newborns
earn to what the actor-critic earns in as long a life. That is
the objective `actor_critic` of `lpg`, at the step sizes that all have, in place of the papers' A2C.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import vmap
from jaxreward.agents.meta.parts.learned import LearnedConfig
from jaxreward.agents.meta.parts.objectives import actor_critic
from jaxreward.agents.registry import get_agent
from jaxreward.compilation.cache import compiler_options
from jaxreward.envs import make
from jaxreward.experiments.figures.meta._lives import Lives, Told, grown, table
from jaxreward.reproduce.parts import Computed
from jaxreward.reproduce.work import Work, of_agent, of_function
from jaxreward.results.statistics import NOTHING, Estimate, aggregate_mean, estimate
from jaxreward.run.spec import Experiment, resolve
from jaxreward.settings.values import Value

Settings = tuple[tuple[str, Value], ...]


class Size(NamedTuple):
    """How much is learned, and on what.

    Attributes:
        levels: The environment.
        runs: Objectives that each learner learns.
        steps: Environment steps to learn one in, see `steps_of`.
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
_SMALL = Size(
    TINY,
    6,
    60_000_000,
    (4, 16),
    (4, 8, 16, 32, 64),
    128,
    AGENTS,
    (("population_size", 64), ("generation_parts", 4), ("learning_rate", 0.05)),
    (("num_agents", 64), ("meta_learning_rate", 3e-3)),
)
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
    "small": _SMALL,
    "hour": _SMALL._replace(runs=8, steps=100_000_000),
    "paper": Size(
        "levels/all?observation=index",
        8,
        366_000_000_000,
        (10, 250),
        (10, 25, 50, 100, 250, 500, 1000),
        64,
        (),
        (("population_size", 1024), ("generation_parts", 8)),
        (("num_agents", 512), ("at_once", 32)),
    ),
}
"""At `smoke` nothing is learned, since each learner would have to be compiled. Steps of `paper` are what the
2,500 generations of the authors' code come to, each of 1,024 lives, in the mean over lifetimes."""


class Method(NamedTuple):
    """Who learns an objective, and what that reads of a lifetime.

    Attributes:
        agent: The learner; none for the actor-critic, which nobody learns.
        temporal: See `jaxreward.agents.meta.parts.lpg_network.lpg`; empty for the actor-critic.
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
KNOWN = {BY_HAND: Method("", "")}
"""Who shares are told by."""


def data(size: Size, methods: Mapping[str, Method]) -> dict[str, Computed]:
    """What comes of those who follow what each method learns.

    A row for each method, run (`seed`), lifetime (`horizon`) and part of it.
    """
    return {
        name: Computed(partial(followed, size, name, method), (size, method), partial(works, size, method))
        for name, method in methods.items()
    }


def works(size: Size, method: Method) -> list[Work]:
    """What it takes to learn objectives, and to follow them."""
    lives = lives_of(size, method.temporal)
    drawn = partial(newly_drawn, size, method.temporal)
    following = of_function(drawn, size.runs * size.held_out, steps=lives.steps)
    if not method.agent or not size.steps:
        return [following]
    made = learner(size, method)
    each = steps_of(made)
    return [of_agent(made.agent, made.hyperparams, size.runs, int(size.steps / each), round(each)), following]


def learner(size: Size, method: Method) -> Experiment:
    """Who learns an objective."""
    own = size.evolution if method.agent == "lpg_es" else size.gradients
    settings: dict[str, Any] = {**dict(size.agents), **dict(own), **dict(method.settings)}
    settings |= {"temporal": method.temporal, "lifetimes": size.lifetimes}
    return resolve(method.agent, size.levels + method.levels, settings=settings)


def steps_of(made: Experiment) -> float:
    """Environment steps of a learner's iteration, the mean where lifetimes are drawn for each."""
    config = get_agent(made.config["agent"]).Config(**made.config["agent_config"])
    return getattr(config, "mean_steps_per_iteration", made.steps_per_iteration)


@functools.cache
def learned(size: Size, method: Method) -> PyTree:
    """Params of the objectives that a method learns, leaves `[runs, ...]`."""
    if not method.agent:
        by_hand = lives_of(size, method.temporal).follower.objective.init(jax.random.key(0))
        return jax.tree.map(lambda leaf: np.full(size.runs, leaf), by_hand)
    experiment = learner(size, method)
    agent, options = vmap(experiment.agent), compiler_options()
    keys = jax.random.split(jax.random.key(0), size.runs)
    state = jax.jit(agent.init, compiler_options=options)(keys, experiment.member(0))
    step = jax.jit(lambda state: agent.step(state)[0], donate_argnums=0, compiler_options=options)
    for _ in range(int(size.steps / steps_of(experiment))):
        state = step(state)
    return jax.device_get(state.params)


def followed(size: Size, name: str, method: Method) -> pd.DataFrame:
    """What comes of those who follow a method's objectives."""
    told = jax.device_get(program(size, method.temporal)(learned(size, method), held_out(size)))
    return table(name, lives_of(size, method.temporal).horizons, told).assign(longest=size.lifetimes[1])


def held_out(size: Size) -> Key[Array, "runs levels"]:
    """The keys of the levels, and of the lives in them; learners have other ones."""
    return jax.random.split(jax.random.key(2**31), (size.runs, size.held_out))


@functools.cache
def program(size: Size, temporal: str) -> Callable[[PyTree, Key[Array, "runs levels"]], Told]:
    """All lives under objectives that are told the same of a lifetime, see `_lives.grown`; compiled once for them."""
    return grown(lives_of(size, temporal))


def newly_drawn(size: Size, temporal: str, key: Key[Array, ""]) -> Told:
    """The lives in a level under an objective that nobody has trained."""
    key_params, key_life = jax.random.split(key)
    lives = lives_of(size, temporal)
    return lives.in_level(lives.follower.objective.init(key_params), key_life)


@functools.cache
def lives_of(size: Size, temporal: str) -> Lives:
    """Those of agents that follow an objective which is told so much of a lifetime.

    Worlds can't be made while something is traced, so all that is traced asks for what is there.
    """
    env, env_params = make(size.levels)
    config = LearnedConfig(temporal=temporal or "none", **dict(size.agents)).for_env(env, env_params)  # type: ignore[arg-type]
    objective = config.objective() if temporal else actor_critic(config.predictions)
    follower = replace(config.follower(env, env_params, "a figure"), objective=objective)
    horizons = size.horizons if temporal else (0, *size.horizons)  # newborns are the same for all
    return Lives(follower, env_params, config.judged_steps, horizons)


def scored(frame: pd.DataFrame) -> pd.DataFrame:
    """Lives that were lived, with their `share` of the way from what newborns earn to what the actor-critic earns.

    There is none where the actor-critic was not run.
    """
    known, keys = frame[frame["method"] == BY_HAND], ["seed", "horizon"]
    newborn = known[known["horizon"] == 0].groupby("seed")["earned"].first().rename("newborn")
    best = known.groupby(keys)["earned"].first().rename("by_hand")
    frame = frame[frame["horizon"] > 0].join(newborn, on="seed").join(best, on=keys)
    return frame.assign(share=(frame["earned"] - frame["newborn"]) / (frame["by_hand"] - frame["newborn"]))


def compared(frame: pd.DataFrame) -> list[str]:
    """The methods that have shares, beside the actor-critic."""
    known = scored(frame)
    known = known[known["share"].notna() & (known["method"] != BY_HAND)]
    return list(known["method"].unique())


def shares(frame: pd.DataFrame, name: str, horizons: tuple[int, ...]) -> Float[np.ndarray, " runs"]:
    """A method's shares of what an actor-critic earns, the mean over lifetimes, of each run."""
    rows = scored(frame)
    rows = rows[(rows["method"] == name) & rows["horizon"].isin(horizons) & (rows["part"] == 0)]
    return rows.groupby("seed")["share"].mean().to_numpy()


def ahead(first: str, second: str, horizons: tuple[int, ...], frame: pd.DataFrame) -> Estimate:
    """How much higher the first one's share is, run by run: both lived in the same levels; nothing without either."""
    if not {first, second} <= set(frame["method"]):
        return NOTHING
    return estimate(shares(frame, first, horizons) - shares(frame, second, horizons), aggregate_mean)
