"""What somebody did, in a file: observations and actions, to be learned from.

The file is one of NumPy's, `numpy.savez(file, observation=..., action=...)`, a row for each step, episodes one after
the other; `terminated`, `truncated` and `reward` may be there too, and `env`, the name of the environment. Of a game
(see `jaxreward.contract.games`) a row has what all agents saw, did and were paid, with a leading axis of agents. It is
checked against an environment before anything compiles.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Bool, Float, PyTree, Shaped

from jaxreward.contract.games import num_agents

NEEDED, OPTIONAL = ("observation", "action"), ("terminated", "truncated", "reward")
SLACK = 1e-4
"""By which share of a bound's distance from zero, or of 1, an action may be beyond it, for rounding."""


class Demonstrations(NamedTuple):
    """`N` steps in their order, on the host.

    Attributes:
        observation: What was seen; of a game by all agents, `[N, n, ...]`.
        action: What was done, as the environment takes it; of a game by all agents, `[N, n, ...]`.
        terminated: Where an episode ended; None if the file doesn't say.
        truncated: Where one was cut, or the recording was; None likewise.
        reward: What each step paid; of a game to each agent, `[N, n]`, or a scalar that all were paid; None likewise.
    """

    observation: Shaped[np.ndarray, "N ..."]
    action: Shaped[np.ndarray, "N ..."]
    terminated: Bool[np.ndarray, " N"] | None = None
    truncated: Bool[np.ndarray, " N"] | None = None
    reward: Float[np.ndarray, "N ..."] | None = None


def read_demonstrations(path: str | os.PathLike[str], env: Environment, env_params: PyTree) -> Demonstrations:
    """The demonstrations in a file, in the environment's types.

    Args:
        path: The file.
        env: The environment they are of, with a `Discrete` or a `Box` action space; it may be a game.
        env_params: Its params.

    Raises:
        TypeError: If the action space is another one.
        ValueError: If there is no such file, it is none of NumPy's, is of another environment or lacks an array,
            numbers of steps, of agents or shapes disagree, a number is not finite, or an action is none of the
            environment's.
    """
    shown, arrays = observation_of(env, env_params), _load(path)
    _check_env(path, arrays.pop("env", None), env.name)
    _check_steps(path, arrays)
    agents, told = _agents(env)
    observation = _of_shape(path, "observation", arrays["observation"], shown.shape, told)
    action = _actions(path, arrays["action"], env.action_space(env_params), agents, told)
    ends = {name: _of_steps(path, name, arrays[name]).astype(bool) for name in OPTIONAL[:2] if name in arrays}
    reward = _of_steps(path, "reward", arrays["reward"], agents) if "reward" in arrays else None
    return Demonstrations(observation.astype(shown.dtype), action, **ends, reward=reward)


class Transitions(NamedTuple):
    """Steps with what followed each, leaves `[M, ...]`: those of a file in their order and on the host, or a batch.

    Attributes:
        observation: What was seen; of a game by all agents, as all here.
        action: What was done.
        next_observation: What followed; means nothing where the episode terminated.
        terminated: Whether it did.
    """

    observation: PyTree
    action: PyTree
    next_observation: PyTree
    terminated: PyTree


def transitions_of(given: Demonstrations) -> Transitions:
    """Steps with what followed; those behind which an episode, or the recording, was cut are left out.

    What followed them is in no file.

    Raises:
        ValueError: If it is not known where episodes end, or nothing is left.
    """
    if given.terminated is None and given.truncated is None:
        raise ValueError(
            "demonstrations say neither `terminated` nor `truncated`, so what followed a step is not known: add where "
            "episodes ended"
        )
    nowhere = np.zeros(len(given.action), bool)
    terminated, truncated = (nowhere if ends is None else ends for ends in (given.terminated, given.truncated))
    known = terminated | ~(truncated | (np.arange(len(nowhere)) == len(nowhere) - 1))
    if not known.any():
        raise ValueError(f"of {len(known)} demonstrated steps each is the last before a cut, so none has what followed")
    following = np.roll(given.observation, -1, 0)
    return Transitions(*(leaf[known] for leaf in (given.observation, given.action, following, terminated)))


def digest_of(path: str | os.PathLike[str]) -> str:
    """What tells a file's content from another's; nothing if there is no such file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12] if Path(path).is_file() else ""


def observation_of(env: Environment, env_params: PyTree) -> jax.ShapeDtypeStruct:
    """The shape and type of an observation.

    Raises:
        ValueError: If it is not one array.
    """
    shown = jax.eval_shape(lambda: env.reset_env(jax.random.key(0), env_params)[0])
    if not isinstance(shown, jax.ShapeDtypeStruct):
        raise ValueError(
            f"demonstrations have one array for what is observed, and {env.name} shows a {type(shown).__name__} of "
            f"{len(jax.tree.leaves(shown))}"
        )
    return shown


def _load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    if not Path(path).is_file():
        raise ValueError(
            f"there is no file of demonstrations {os.fspath(path)!r} (looked for from {Path.cwd()}); "
            "`jaxreward demonstrate RUN --out FILE` makes one of a run"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*NEEDED, *OPTIONAL, "env") if name in file}
            there = sorted(file)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is no file of arrays, as numpy.savez writes it: {error}") from error
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise ValueError(f"{path} has no array {missing[0]!r}; it has {', '.join(there) or 'none'}")
    return arrays


def _agents(env: Environment) -> tuple[tuple[int, ...], str]:
    """The axis of agents, if there is one, and what the environment is called in an error."""
    agents = num_agents(env)
    return ((), env.name) if agents is None else ((agents,), f"{env.name}, a game of {agents} agents,")


def _check_env(path: Any, named: np.ndarray | None, env: str) -> None:
    """They are of the environment that the file names, if it names one."""
    if named is not None and str(named) != env:
        raise ValueError(
            f"{path} has demonstrations of {named}, not of {env}; if they are to be learned from here all the same, "
            "write the file without its array 'env'"
        )


def _check_steps(path: Any, arrays: dict[str, np.ndarray]) -> None:
    """All arrays are of as many steps, and of one at least."""
    steps = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(steps.values())) > 1:
        told = ", ".join(f"{name} {number}" for name, number in steps.items())
        raise ValueError(f"{path}: its arrays are of different numbers of steps: {told}")
    if not steps["observation"]:
        raise ValueError(f"{path} has no steps: observation has shape {arrays['observation'].shape}")


def _of_shape(path: Any, name: str, array: np.ndarray, shape: tuple[int, ...], env: str) -> np.ndarray:
    if array.shape[1:] != shape:
        raise ValueError(f"{path}: each {name} has shape {array.shape[1:]}; those of {env} have {shape}")
    return _finite(path, name, array)


def _of_steps(path: Any, name: str, array: np.ndarray, agents: tuple[int, ...] = ()) -> np.ndarray:
    """One number a step, or one for each agent."""
    if array.shape[1:] not in ((), agents):
        each = f", or one for each of {agents[0]} agents, {(*array.shape[:1], *agents)}" if agents else ""
        raise ValueError(f"{path}: {name} has shape {array.shape}; expected one number a step, {array.shape[:1]}{each}")
    return _finite(path, name, array)


def _finite(path: Any, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path}: {name} is of type {array.dtype}; expected numbers")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise ValueError(f"{path}: {name}{bad[0].tolist()} is {array[tuple(bad[0])]}; expected a finite number")
    return array


def _actions(path: Any, action: np.ndarray, space: Any, agents: tuple[int, ...], env: str) -> np.ndarray:
    """Actions of the space, of a game joint ones: the space is that of one agent."""
    if isinstance(space, spaces.Discrete):
        return _discrete(path, _of_shape(path, "action", action, agents, env), int(space.n), env)
    if not isinstance(space, spaces.Box):
        raise TypeError(f"demonstrated actions are of a Discrete or a Box; the action space of {env} is {space}")
    shape = (*agents, *space.shape)
    action = _of_shape(path, "action", action, shape, env)
    low, high = (np.broadcast_to(np.asarray(bound, float), shape) for bound in (space.low, space.high))
    beyond = (action < low - SLACK * np.maximum(1, abs(low))) | (action > high + SLACK * np.maximum(1, abs(high)))
    if beyond.any():
        where = np.argwhere(beyond)[0]
        own = tuple(where[1:])
        raise ValueError(
            f"{path}: action{where.tolist()} is {action[tuple(where)]:g}; those of {env} are from {low[own]:g} to "
            f"{high[own]:g}"
        )
    return np.clip(action, low, high).astype(space.dtype)


def _discrete(path: Any, action: np.ndarray, number: int, env: str) -> np.ndarray:
    wrong = np.argwhere((action != np.round(action)) | (action < 0) | (action >= number))
    if len(wrong):
        raise ValueError(
            f"{path}: action{wrong[0].tolist()} is {action[tuple(wrong[0])]}; those of {env} are whole numbers from "
            f"0 to {number - 1}"
        )
    return action.astype(np.int32)
