"""From names to something that trains: agent, environment and reward by name, and settings or grids of them by name.

A setting's name is that of a hyperparameter (`learning_rate`), of a number within the reward (`reward.goal`) or the
environment's params (`env.gravity`), of a field of the agent's `Config` (`num_envs`), or of how it is evaluated while
it trains (`evaluation.every`). All but the last two are traced numbers, so a grid over them is one compiled program.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.agent import Agent
from jaxreward.agents.registry import AgentSpec, agents_with, get_agent, without_episodes
from jaxreward.contract.agents import RATES, check_agent
from jaxreward.contract.environments import check_environment
from jaxreward.contract.wrappers import never_ends
from jaxreward.environment import WithRewardParams, with_reward
from jaxreward.envs.registry import make
from jaxreward.learning.evaluation import (
    EVALUATED_RATES,
    EVALUATED_RETURNS,
    EvaluationConfig,
    env_params_of,
    evaluation_names,
    evaluation_settings,
)
from jaxreward.lookup import describe_failure, in_users_code, is_reference, reference_text, users_code
from jaxreward.names import path_name
from jaxreward.reward import AgentDiscount
from jaxreward.rewards.registry import ENVIRONMENT, get_reward
from jaxreward.run.evaluator import Evaluation, evaluation_of
from jaxreward.run.stopping import parse_condition
from jaxreward.settings.values import Settings, Value, convert, product

Choices = list[dict[str, Value]]


class Experiment(NamedTuple):
    """What a command or a user asked to train, resolved and checked.

    Attributes:
        agent: The single agent, its config and unswept settings in it.
        env: The environment, with the reward that was asked for.
        env_params: Its params; a member's own may be in its hyperparams, see `member_env_params`.
        hyperparams: Of all members, leaves `[population, ...]`.
        population: What each member was given of the grid, by name; `[{}]` without a grid.
        steps_per_iteration: Environment steps that one iteration of one run takes.
        steps_note: Why it may be other steps, where it may.
        least_steps: How many a run must have, and why, where fewer are of no use.
        config: What was asked for, to be kept with the run; `resolve` makes the same of it and the population again.
        evaluation: How its runs are evaluated while they train, if they are.
    """

    agent: Agent
    env: Environment
    env_params: PyTree
    hyperparams: PyTree
    population: Choices
    steps_per_iteration: int
    config: dict[str, Any]
    steps_note: str = ""
    least_steps: tuple[int, str] = (1, "")
    evaluation: Evaluation | None = None

    def iterations(self, steps: int) -> int:
        """The iterations that take at least `steps` environment steps.

        Raises:
            ValueError: If `steps` is not positive, or they are too few.
        """
        if steps < 1:
            raise ValueError(f"steps must be positive, not {steps}")
        iterations, (least, why) = math.ceil(steps / self.steps_per_iteration), self.least_steps
        if iterations * self.steps_per_iteration < least:
            raise ValueError(f"steps={steps:,} are too few, as {why}; give at least {least:,}")
        return iterations

    def steps_told(self, steps: int) -> str:
        """How many environment steps there will be in place of `steps`, and why."""
        taken = self.iterations(steps) * self.steps_per_iteration
        whole = f" ({steps:,} rounded up to whole iterations of {self.steps_per_iteration:,})"
        return f"{taken:,} environment steps{whole if taken != steps else ''}"

    def member(self, index: int) -> PyTree:
        """The hyperparams of one member."""
        return jax.tree.map(lambda leaf: leaf[index], self.hyperparams)

    def member_env_params(self, index: int) -> PyTree:
        """The environment's params as one member has them, its discount bound where its reward follows it."""
        return env_params_of(self.member(index), self.env_params)


def resolve(
    agent: str = "ppo",
    env: str = "CartPole-v1",
    reward: str = ENVIRONMENT,
    settings: Settings | None = None,
    members: Sequence[Mapping[str, Value]] | None = None,
    *,
    steps: int = 0,
    iterations: int = 0,
) -> Experiment:
    """Makes what is to be trained of names and settings, and refuses what does not fit before anything compiles.

    Args:
        agent: See `jaxreward.agents.registry.get_agent`.
        env: See `jaxreward.envs.make`.
        reward: See `jaxreward.rewards.registry.get_reward`.
        settings: By name a value, or a list of values: a grid, the product of all lists in the order given.
        members: In place of a grid, what each member has that the others needn't: traced numbers by name.
        steps: Environment steps of each run, if it is known how many there will be: an agent whose objective asks for
            its `lifetime` has those for one where nothing else is set.
        iterations: The same in iterations.

    Raises:
        ValueError: If a name does not exist (says which is nearest), a value is of the wrong type, or things do not
            fit together.
    """
    if not isinstance(settings or {}, Mapping):
        raise ValueError(f"settings are values by name, such as {{'learning_rate': 1e-3}}, not {settings!r}")
    spec = get_agent(agent)
    single, choices = _choices(dict(settings or {}), members)
    varied = list(dict.fromkeys(name for choice in choices for name in choice))
    config, traced = _split_config(spec, single)
    evaluation, traced = _split_evaluation(traced)
    _refuse_shapes(spec, choices)
    environment, env_params = _environment(env, reward, traced, varied)
    if spec.needs_episodes and never_ends(environment):
        raise ValueError(
            f"{agent} learns from whole episodes, and {env} never ends; agents that need none are "
            f"{', '.join(without_episodes())}"
        )
    config = config.for_env(environment, env_params) if hasattr(config, "for_env") else config
    length = iterations or math.ceil(steps / spec.steps_per_iteration(config))
    hyperparams = _hyperparams(spec, config, environment, env_params, [*traced, *varied], length)
    population = [_converted(choice, hyperparams) for choice in choices]
    hyperparams = _with_values(hyperparams, _converted(traced, hyperparams))
    env_params = getattr(hyperparams, "env_params", env_params)
    if not any(name.partition(".")[0] in ("reward", "env") for name in varied):
        hyperparams = _without(hyperparams, "env_params")
    agent_made = _make_agent(spec, environment, env_params, config, hyperparams)
    batched = _batched(hyperparams, population)
    if hasattr(config, "check_numbers"):
        config.check_numbers(environment, env_params, batched)
    return Experiment(
        agent=agent_made,
        env=environment,
        env_params=env_params,
        hyperparams=batched,
        population=population,
        steps_per_iteration=spec.steps_per_iteration(config),
        config=_description([agent, env, reward], single, config, evaluation, headline(spec, environment, evaluation)),
        evaluation=evaluation_of(agent_made, environment, env_params, evaluation) if _is_on(evaluation) else None,
        steps_note=getattr(config, "steps_note", ""),
        least_steps=config.least_steps(environment, env_params) if hasattr(config, "least_steps") else (1, ""),
    )


def static_names(agent: str, env: str, names: Iterable[str]) -> set[str]:
    """Those of the names that shape a program: of the agent's config, the evaluation, and the environment's factory.

    Raises:
        ValueError: The agent or the environment does not exist.
    """
    names = set(names)
    shaping = names & {*get_agent(agent).config_defaults(), *evaluation_names()}
    of_env = {name for name in names if name.startswith("env.")}
    return shaping | (of_env - _env_numbers(make(env)[1]) if of_env else set())


def headline(spec: AgentSpec, env: Environment, evaluation: EvaluationConfig) -> tuple[str, ...]:
    """The metrics that runs are judged by before returns: the agent's, evaluations, and rates where nothing ends."""
    endless = never_ends(env)
    evaluated = (EVALUATED_RATES if endless else EVALUATED_RETURNS)[::-1] if evaluation.every else ()
    return tuple(dict.fromkeys([*spec.headline, *evaluated, *(RATES[::-1] if endless else ())]))


def setting_names(hyperparams: PyTree) -> dict[str, Any]:
    """All traced numbers that can be set and swept, by name, with the leaf each stands for.

    Discounts that follow the agent's are none of them.
    """
    pairs = jax.tree_util.tree_leaves_with_path(hyperparams, is_leaf=_is_discount)
    return {_public_name(path, hyperparams): leaf for path, leaf in pairs if not _is_discount(leaf)}


def _choices(settings: dict[str, Any], members: Sequence[Mapping[str, Value]] | None) -> tuple[dict[str, Any], Choices]:
    """Settings of one value, and what each member was given."""
    grid = {name: value for name, value in settings.items() if isinstance(value, list)}
    single = {name: value for name, value in settings.items() if name not in grid}
    if members is None:
        return single, product(grid)
    if grid or not members:
        raise ValueError("give either lists of values in the settings or members, at least one, not both")
    return single, [dict(member) for member in members]


def _split_config(spec: AgentSpec, settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The agent's config, and the settings that are not part of it."""
    defaults = spec.config_defaults()
    values = {name: convert(name, value, defaults[name]) for name, value in settings.items() if name in defaults}
    return spec.Config(**values), {name: value for name, value in settings.items() if name not in values}


def _split_evaluation(settings: dict[str, Any]) -> tuple[EvaluationConfig, dict[str, Any]]:
    """How a run is evaluated, and the settings that are not of that.

    Raises:
        ValueError: A setting is not there or can't be that, or is of evaluations that are never made.
    """
    defaults, given = vars(EvaluationConfig()), evaluation_settings(settings)
    unknown = [name for name in given if name not in defaults]
    if unknown:
        raise ValueError(_unknown(EvaluationConfig.namespace + unknown[0], evaluation_names()))
    try:
        config = EvaluationConfig(**{name: convert(name, value, defaults[name]) for name, value in given.items()})
    except ValueError as error:
        raise ValueError(f"{EvaluationConfig.namespace}{error}") from error
    if config.stop_when:
        parse_condition(config.stop_when)
    unused = [name for name in given if name not in ("every", "stop_when")]
    if unused and not config.every:
        raise ValueError(
            f"{EvaluationConfig.namespace}{unused[0]} is said of evaluations that are never made: "
            f"set {EvaluationConfig.namespace}every too, the iterations from one to the next"
        )
    return config, {name: value for name, value in settings.items() if not name.startswith(EvaluationConfig.namespace)}


def _is_on(evaluation: EvaluationConfig) -> bool:
    return bool(evaluation.every or evaluation.stop_when)


def _refuse_shapes(spec: AgentSpec, choices: Choices) -> None:
    """One program has one shape; `jaxreward.run.job.split` makes several."""
    static = {*spec.config_defaults(), *evaluation_names()}
    shaping = sorted({name for choice in choices for name in choice} & static)
    if shaping:
        raise ValueError(
            f"{shaping[0]} shapes the program, so each of its values is a program of its own: `jaxreward sweep` makes "
            "them, `jaxreward train` and `resolve` make one"
        )


def _environment(name: str, reward: str, settings: dict[str, Any], varied: Sequence[str]) -> tuple[Environment, PyTree]:
    """The environment with its reward, and its params; takes from `settings` what only the factory understands."""
    env, params = make(name)
    if is_reference(name):
        with users_code(f"environment {name}"):
            check_environment(env, params)
    numbers = _env_numbers(params)
    unknown = [n for n in varied if n.startswith("env.") and n not in numbers]
    if unknown:
        raise ValueError(_unknown(unknown[0], sorted(numbers)))
    options = [n for n in settings if n.startswith("env.") and n not in numbers]
    if options:
        env, params = make(name, **{option.removeprefix("env."): settings.pop(option) for option in options})
    return rewarded(env, params, reward)


def _env_numbers(params: PyTree) -> set[str]:
    return {f"env.{path_name(path)}" for path, _ in jax.tree_util.tree_leaves_with_path(params)}


def rewarded(env: Environment, params: PyTree, name: str) -> tuple[Environment, PyTree]:
    """An environment with the reward called `name`, and its params.

    Raises:
        ValueError: If there is no such reward, or it does not fit the environment.
    """
    if name in (ENVIRONMENT, "env"):
        return env, params
    reward = get_reward(name)
    try:
        return with_reward(env, reward), WithRewardParams(params, reward.init(jax.random.key(0)))
    except ValueError as error:
        raise ValueError(f"reward {name}: {error}") from error
    except jax.errors.ConcretizationTypeError as error:
        raise ValueError(
            f"reward {name} branches on a number that is known only when the program runs "
            f"({describe_failure(error)}); use jnp.where(condition, a, b) instead of if"
        ) from error
    except (Exception, SystemExit) as error:  # whatever a user's function may raise
        raise ValueError(f"reward {name} failed: {describe_failure(error)}") from error


def _hyperparams(
    spec: AgentSpec, config: Any, env: Environment, env_params: PyTree, settings: Sequence[str], length: int
) -> PyTree:
    """The agent's default hyperparams with all environment params in them; refuses settings that are not there.

    Where it is known how many iterations there will be, so that `length` is not 0, they are those for a run of so many.
    """
    hyperparams = spec.Hyperparams()
    if hasattr(config, "with_numbers"):
        hyperparams = config.with_numbers(hyperparams)
    if hasattr(hyperparams, "env_params"):
        hyperparams = dataclasses.replace(hyperparams, env_params=env_params)
    names = setting_names(hyperparams)
    for name in settings:
        if name not in names:
            raise ValueError(_unknown(name, [*names, *spec.config_defaults(), *evaluation_names()], spec.name))
        if jnp.ndim(names[name]):
            raise ValueError(f"{name} is an array of shape {jnp.shape(names[name])}; only single numbers can be set")
    if not any(name.startswith("objective.") for name in settings):
        hyperparams = _without(hyperparams, "objective")
    return config.for_length(hyperparams, length) if length > 0 and hasattr(config, "for_length") else hyperparams


def _converted(settings: Mapping[str, Any], hyperparams: PyTree) -> dict[str, Any]:
    leaves = setting_names(hyperparams)
    return {name: convert(name, value, leaves[name]) for name, value in settings.items()}


def _with_values(hyperparams: PyTree, values: Mapping[str, Any]) -> PyTree:
    def replace(path: tuple, leaf: Any) -> Any:
        name = _public_name(path, hyperparams)
        return jnp.asarray(values[name], jnp.result_type(leaf)) if name in values else leaf

    return jax.tree_util.tree_map_with_path(replace, hyperparams)


def _batched(hyperparams: PyTree, population: Choices) -> PyTree:
    """All leaves with a leading axis of members: what they were given, or the same for all."""

    def batch(path: tuple, leaf: Any) -> Any:
        name, kind = _public_name(path, hyperparams), jnp.result_type(leaf)
        if any(name in member for member in population):
            return jnp.asarray([member.get(name, leaf) for member in population], kind)
        return jnp.broadcast_to(jnp.asarray(leaf, kind), (len(population), *jnp.shape(leaf)))

    return jax.tree_util.tree_map_with_path(batch, hyperparams)


def _without(hyperparams: PyTree, part: str) -> PyTree:
    """Params that no member changes are constants of the program, which XLA can fold."""
    return dataclasses.replace(hyperparams, **{part: None}) if hasattr(hyperparams, part) else hyperparams


def _make_agent(spec: AgentSpec, env: Environment, env_params: PyTree, config: Any, hyperparams: PyTree) -> Agent:
    """The agent; of a user's own it is seen that it can be trained, judged and evaluated."""
    with users_code(f"agent {spec.name}"):
        try:
            agent = spec.make(env, env_params, config)
        except TypeError as error:
            if in_users_code(error):
                raise
            raise ValueError(f"{spec.name} can't train on this environment: {error}") from error
        if is_reference(spec.name):
            check_agent(spec.name, agent, hyperparams, env, env_params)
        return agent


def _public_name(path: tuple, hyperparams: PyTree) -> str:
    """What a user calls a leaf: `reward.*` and `env.*` for what is in `env_params`, its own path otherwise."""
    name = path_name(path)
    inside = name.removeprefix("env_params.")
    if inside == name:
        return name
    wrapped = isinstance(getattr(hyperparams, "env_params", None), WithRewardParams)
    return inside if wrapped else f"env.{inside}"


def _is_discount(node: Any) -> bool:
    return isinstance(node, AgentDiscount)


def _unknown(name: str, choices: list[str], agent: str = "") -> str:
    """What is said of a setting that is not there; of an agent's, which agents have it."""
    others = agents_with(name) if agent else []
    near = difflib.get_close_matches(name, choices, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    if others:
        hint = f"; agents that have it: {', '.join(others)}."
    rewards = any(choice.startswith("reward") for choice in choices)
    note = "" if rewards or not name.startswith("reward") else " This reward has no params."
    owner = f"{agent} has " if others else ""
    return f"{owner}no setting {name!r}{hint}{note} There are: {', '.join(choices) or 'none'}."


def _description(
    names: Sequence[str], settings: Settings, config: Any, evaluation: EvaluationConfig, judged: Sequence[str]
) -> dict[str, Any]:
    """What `config.json` keeps of an experiment, beside its population."""
    named = {**dict(zip(("agent", "env", "reward"), names, strict=True)), "settings": settings}
    if judged:
        named["headline"] = list(judged)
    source = reward_source(names[-1])
    digest = {} if source is None else {"reward_digest": hashlib.sha256(source.encode()).hexdigest()[:12]}
    evaluated = {"evaluation": vars(evaluation)} if _is_on(evaluation) else {}
    return {**named, **digest, **evaluated, "agent_config": vars(config)}


def reward_source(name: str) -> str | None:
    """The text of the file that a user's own reward is in; None for a built-in one."""
    return reference_text(name, "reward") if is_reference(name) else None
