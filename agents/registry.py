"""Agents by name: the built-in ones, imported when asked for, and a user's own by `module:factory`.

`pbt/NAME` is a population of any of them, which tunes its hyperparams while it learns.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import PyTree

from jaxreward.agent import Agent
from jaxreward.contract.agents import RATES, RETURNS
from jaxreward.contract.sizes import MOST, Sized
from jaxreward.contract.wrappers import never_ends
from jaxreward.learning.hyperparams import check_space
from jaxreward.learning.population import Config as PopulationConfig
from jaxreward.learning.population import pbt
from jaxreward.learning.ranges import Range
from jaxreward.lookup import check_reference, is_reference, load_reference
from jaxreward.names import check_name

_BUILT_IN = {
    "ppo": "jaxreward.agents.baselines.ppo",
    "a2c": "jaxreward.agents.baselines.a2c",
    "gradnorm": "jaxreward.agents.baselines.gradnorm",
    "q_learning": "jaxreward.agents.baselines.q_learning",
    "sarsa": "jaxreward.agents.baselines.sarsa",
    "soft_q_learning": "jaxreward.agents.baselines.soft_q_learning",
    "evolution_strategies": "jaxreward.agents.baselines.evolution_strategies",
    "behaviour_cloning": "jaxreward.agents.baselines.behaviour_cloning",
    "dqn": "jaxreward.agents.baselines.dqn",
    "recurrent_dqn": "jaxreward.agents.baselines.recurrent_dqn",
    "pqn": "jaxreward.agents.baselines.pqn",
    "barfi": "jaxreward.agents.barfi.barfi",
    "barfi_ppo": "jaxreward.agents.barfi.barfi_ppo",
    "sac": "jaxreward.agents.baselines.sac",
    "td3": "jaxreward.agents.baselines.td3",
    "reinforce": "jaxreward.agents.baselines.reinforce",
    "ippo": "jaxreward.agents.baselines.ippo",
    "grpo": "jaxreward.agents.dispatch.grpo",
    "ospo": "jaxreward.agents.dispatch.ospo",
    "mamql": "jaxreward.agents.mamql.mamql",
    "iq_learn": "jaxreward.agents.mamql.iq_learn",
    "gail": "jaxreward.agents.inverse.gail",
    "airl": "jaxreward.agents.inverse.airl",
    "sam": "jaxreward.agents.inverse.sam",
    "orpo": "jaxreward.agents.hacking.orpo",
    "redistribution": "jaxreward.agents.redistribution.redistribution",
    "lirpg": "jaxreward.agents.barfi.lirpg",
    "bipars": "jaxreward.agents.barfi.bipars",
    "novelty_search": "jaxreward.agents.quality_diversity.novelty_search",
    "taxons": "jaxreward.agents.quality_diversity.taxons",
    "aurora": "jaxreward.agents.quality_diversity.aurora",
    "random_search": "jaxreward.agents.quality_diversity.random_search",
    "map_elites": "jaxreward.agents.quality_diversity.map_elites",
    "cma_es": "jaxreward.agents.quality_diversity.cma_es",
    "cma_me": "jaxreward.agents.quality_diversity.cma_me",
    "stax": "jaxreward.agents.quality_diversity.stax",
    "serene": "jaxreward.agents.quality_diversity.serene",
    "lpo_es": "jaxreward.agents.meta.lpo_es",
    "reward_es": "jaxreward.agents.meta.reward_es",
    "lpg": "jaxreward.agents.meta.lpg",
    "lpg_meta": "jaxreward.agents.meta.lpg_meta",
    "lpg_es": "jaxreward.agents.meta.lpg_es",
    "subpo": "jaxreward.agents.subpo.subpo",
    "global_rl": "jaxreward.agents.subpo.global_rl",
    "ucrl2": "jaxreward.agents.loop.ucrl2",
    "ucrl2b": "jaxreward.agents.loop.ucrl2b",
    "ucrl3": "jaxreward.agents.loop.ucrl3",
    "kl_ucrl": "jaxreward.agents.loop.kl_ucrl",
    "psrl": "jaxreward.agents.loop.psrl",
    "imed_rl": "jaxreward.agents.loop.imed_rl",
    "optimistic_q": "jaxreward.agents.loop.optimistic_q",
    "differential_q": "jaxreward.agents.loop.differential_q",
    "rvi_q": "jaxreward.agents.loop.rvi_q",
    "fopo": "jaxreward.agents.loop.fopo",
    "lscvi_ucb": "jaxreward.agents.loop.lscvi_ucb",
    "ucrl2_vtr": "jaxreward.agents.loop.ucrl2_vtr",
    "loop": "jaxreward.agents.loop.loop",
    "apo": "jaxreward.agents.loop.apo",
    "rvi_sac": "jaxreward.agents.loop.rvi_sac",
    "loop_deep": "jaxreward.agents.loop.loop_deep",
    "loop_ensemble": "jaxreward.agents.loop.loop_ensemble",
}
"""Modules by name; each has a factory of that name, `Config` and `Hyperparams`."""
POPULATION = "pbt/"


class AgentSpec(NamedTuple):
    """What is needed to make an agent from settings.

    Attributes:
        name: What it is called.
        make: The factory, `(env, env_params, config) -> Agent`.
        Config: A dataclass of what shapes the program, all fields with defaults. Its `steps_per_iteration`, if it has
            one, is how many environment steps an iteration takes; `num_envs * num_steps` otherwise. Its
            `for_env(env, env_params)`, if it has one, gives the config with what the environment decides filled in;
            its `with_numbers(hyperparams)` gives hyperparams with the numbers that come with a choice of the config,
            its `for_length(hyperparams, iterations)` with those that follow from a run's length, where that is known;
            its `headline` names the metrics that are the agent's results, the first before all, where those are not
            returns; its `needs_episodes` is True if nothing is learned where no episode ends; its `steps_note` says
            why an iteration may take other steps than that; its `least_steps(env, env_params)` gives how many a run
            must have, and why; its `check_numbers(env, env_params, hyperparams)`, of a population's, refuses those that
            can't be right.
        Hyperparams: A pytree dataclass of traced numbers, all with defaults; its `env_params`, if it has that field,
            replaces the environment params the agent was made with.
    """

    name: str
    make: Callable[..., Agent]
    Config: type
    Hyperparams: type

    @property
    def headline(self) -> tuple[str, ...]:
        """The metrics that are the agent's results, where those are not returns."""
        return tuple(getattr(self.Config, "headline", ()))

    @property
    def needs_episodes(self) -> bool:
        """Whether it learns from whole episodes, so that nothing comes of an environment that never ends."""
        return bool(getattr(self.Config, "needs_episodes", False))

    def steps_per_iteration(self, config: Any) -> int:
        """Environment steps of one iteration.

        Raises:
            ValueError: If the config doesn't say, or they can't be counted.
        """
        if hasattr(config, "steps_per_iteration"):
            steps = int(config.steps_per_iteration)
        elif hasattr(config, "num_envs") and hasattr(config, "num_steps"):
            steps = config.num_envs * config.num_steps
        else:
            raise ValueError(
                f"{self.name}'s Config must have `steps_per_iteration`, or `num_envs` and `num_steps`, to count steps"
            )
        if not 0 < steps <= MOST:
            raise ValueError(
                f"an iteration of {self.name} has {steps:,} steps with these sizes; it must be 1 to {MOST:,}"
            )
        return steps

    def config_defaults(self) -> dict[str, Any]:
        """The fields of `Config` and their defaults."""
        return vars(self.Config())

    def hyperparam_defaults(self) -> dict[str, Any]:
        """The fields of `Hyperparams` and their defaults, without `env_params`."""
        hyperparams = self.Hyperparams()
        names = [field.name for field in dataclasses.fields(hyperparams)]
        return {name: getattr(hyperparams, name) for name in names if name != "env_params"}


def list_agents() -> list[str]:
    """The names of the built-in agents."""
    return [*_BUILT_IN, *(POPULATION + name for name in _BUILT_IN)]


def without_episodes() -> list[str]:
    """The built-in agents that need no episode to end; imports all of them."""
    return [name for name in list_agents() if not get_agent(name).needs_episodes]


def agents_with(setting: str) -> list[str]:
    """The built-in agents that have a setting, without their populations; imports all of them."""
    specs = map(get_agent, _BUILT_IN)
    return [spec.name for spec in specs if setting in {**spec.config_defaults(), **spec.hyperparam_defaults()}]


def get_agent(name: str) -> AgentSpec:
    """The agent called `name`.

    Args:
        name: A built-in name, `module:attribute` or `path/to/file.py:attribute`; the attribute is an `AgentSpec`, or a
            factory `(env, env_params, config)` whose module has `Config` and `Hyperparams`. Or `pbt/` and one of these:
            its `Config` has the fields of `jaxreward.learning.population.Config` too, and `space`, what is searched as
            in `jaxreward.settings.text`: `("learning_rate=log(1e-5,1e-2)", "clip=uniform(0.1,0.4)")`, or both in one
            text with a semicolon between. (A file in a folder of that name is `./pbt/file.py:attribute`.)

    Raises:
        ValueError: If there is no such agent; says which is nearest.
    """
    check_reference(name, "agent")
    if name.startswith(POPULATION):
        return _population_of(get_agent(name.removeprefix(POPULATION)))
    if is_reference(name):
        return _users_agent(name)
    check_name("agent", name, list_agents(), "Your own agent is `module:factory`.")
    module = importlib.import_module(_BUILT_IN[name])
    return AgentSpec(name, getattr(module, name), module.Config, module.Hyperparams)


def _users_agent(name: str) -> AgentSpec:
    found = load_reference(name, "agent")
    if isinstance(found, AgentSpec):
        return found
    scope = getattr(found, "__globals__", {})
    missing = [part for part in ("Config", "Hyperparams") if part not in scope]
    if not callable(found) or missing:
        raise ValueError(
            f"{name} is not an agent: expected an AgentSpec, or a factory whose module has Config and Hyperparams"
            + (f" (no {' and no '.join(missing)} there)" if missing else "")
        )
    return AgentSpec(name, found, scope["Config"], scope["Hyperparams"])


@functools.cache
def _population_of(member: AgentSpec) -> AgentSpec:
    """The agent whose members are this one."""
    fields = [*dataclasses.fields(member.Config), *dataclasses.fields(PopulationConfig)]
    twice = {field.name for field in dataclasses.fields(member.Config)} & {*_names(PopulationConfig), "space"}
    if twice:
        raise ValueError(f"there can be no population of {member.name}: its Config has {', '.join(sorted(twice))} too")

    def steps_per_iteration(config: Any) -> int:
        return config.population * member.steps_per_iteration(_part(member.Config, config))

    def make(env: Any, env_params: PyTree, config: Any) -> Agent:
        space = _ranges(config.space)
        _check_score(space, config.score, never_ends(env))
        inside = any(name.partition(".")[0] in ("reward", "env") for name in space)
        complete = lambda h: _with_env_params(h, env_params) if inside else h  # noqa: E731
        check_space(space, complete(member.Hyperparams()))
        agent = pbt(member.make(env, env_params, _part(member.Config, config)), space, _part(PopulationConfig, config))
        return agent._replace(init=lambda key, hyperparams: agent.init(key, complete(hyperparams)))

    def for_env(config: Any, env: Any, env_params: PyTree) -> Any:
        inside = _part(member.Config, config)
        inside = inside.for_env(env, env_params) if hasattr(inside, "for_env") else inside
        unsaid = never_ends(env) and config.score == PopulationConfig.score
        return dataclasses.replace(config, **vars(inside), score=RATES[0] if unsaid else config.score)

    namespace: dict[str, Any] = {"steps_per_iteration": property(steps_per_iteration), "for_env": for_env}
    namespace |= {"headline": member.headline, "needs_episodes": member.needs_episodes}
    if hasattr(member.Config, "steps_note"):
        namespace |= {"steps_note": property(lambda config: _part(member.Config, config).steps_note)}
    for name in ("with_numbers", "for_length", "check_numbers"):
        if hasattr(member.Config, name):
            namespace[name] = _of_member(member.Config, name)
    config = dataclasses.make_dataclass(
        "Config",
        [(field.name, field.type, _same(field)) for field in fields]
        + [("space", tuple[str, ...], dataclasses.field(default=("learning_rate=log(1e-5,1e-2)",)))],
        bases=(Sized,),
        frozen=True,
        namespace=namespace,
    )
    return AgentSpec(POPULATION + member.name, make, config, member.Hyperparams)


def _of_member(kind: type, name: str) -> Callable[..., Any]:
    """A method of a member's config, for that of a population."""
    return lambda config, *given: getattr(_part(kind, config), name)(*given)


def _same(field: dataclasses.Field) -> Any:
    """A field as another one: its default, and its range if it says one."""
    return dataclasses.field(default=field.default, default_factory=field.default_factory, metadata=field.metadata)


def _names(config: type) -> list[str]:
    return [field.name for field in dataclasses.fields(config)]


def _part(kind: type, config: Any) -> Any:
    """The fields of a config that another one has."""
    return kind(**{name: getattr(config, name) for name in _names(kind)})


def _ranges(texts: tuple[str, ...]) -> dict[str, Range]:
    """The ranges that texts stand for."""
    from jaxreward.settings.space import Integer, Uniform  # Optuna takes seconds to import
    from jaxreward.settings.text import parse_space

    ranges = {}
    for name, prior in parse_space(part for text in texts for part in text.split(";") if part.strip()).items():
        if not isinstance(prior, Uniform | Integer):
            raise ValueError(
                f"{name}={prior} can't be searched by a population: it moves numbers within a range, so each is "
                "uniform, log, integer or log_integer(LOW,HIGH), without conditions; `jaxreward search` has others"
            )
        ranges[name] = Range(prior.low, prior.high, prior.log, isinstance(prior, Integer))
    return ranges


def _check_score(space: dict[str, Range], score: str, endless: bool) -> None:
    """Refuses to compare members by returns of different rewards, or of episodes that never end."""
    rewards = [name for name in space if name.partition(".")[0] == "reward"]
    own = RATES[1] if endless else RETURNS[1]
    if rewards and score in (RETURNS[0], RATES[0]):
        raise ValueError(
            f"{rewards[0]} changes the reward, so {score} can't tell which member is better: set another score, such "
            f"as score={own}"
        )
    if endless and score.startswith("episode/"):
        raise ValueError(f"no episode ends here, so there is no {score}: set another score, such as score={RATES[0]}")


def _with_env_params(hyperparams: Any, env_params: PyTree) -> Any:
    """Hyperparams that have the environment's params, where some of these are searched."""
    missing = getattr(hyperparams, "env_params", env_params) is None
    return dataclasses.replace(hyperparams, env_params=env_params) if missing else hyperparams
