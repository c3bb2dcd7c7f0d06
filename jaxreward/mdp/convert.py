"""From a small environment to its tabular MDP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Key, PyTree

from jaxreward.contract.wrappers import as_environment
from jaxreward.mdp.environment import Outcomes
from jaxreward.mdp.tabular import TabularMDP, tabular_mdp

PROBES = 16
"""How many keys are tried before an environment is taken to be deterministic."""


class _Table(NamedTuple):
    """Outcomes of every state and action: the arrays of `Outcomes` as `[S, A, K]`, states by number (-1: unlisted)."""

    probability: np.ndarray
    target: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray


def without_clock(state: PyTree) -> PyTree:
    """An environment state with any field called `time` set to zero: time limits truncate, they are not dynamics."""

    def stop(path: tuple, leaf: Array) -> Array:
        return jnp.zeros_like(leaf) if path and getattr(path[-1], "name", None) == "time" else leaf

    return jax.tree_util.tree_map_with_path(stop, state)


def to_tabular(
    env: Environment,
    params: PyTree,
    states: PyTree,
    *,
    keys: Key[Array, " K"] | None = None,
    identity: Callable[[PyTree], PyTree] = without_clock,
) -> TabularMDP:
    """The tabular MDP of an environment whose states are listed; on the host, stepping every state and action at once.

    What it is worth depends on where chance comes from:

    * An environment with `step_outcomes(state, action, params) -> Outcomes` and `reset_outcomes(params) ->
      (probability [K], states)` lists its own chances: exact.
    * A deterministic environment: exact. That it is deterministic is concluded from 16 keys.
    * Otherwise give `keys`. Each counts `1 / K`: exact if they go through the noise evenly, else a Monte Carlo
      estimate.

    A state is terminal if every possible way into it ends the episode. A way that ends the episode elsewhere, or in a
    state that is not listed, leads to one more, terminal state, added last if needed. A transition with several
    rewards gets their mean.

    Args:
        env: With a discrete action space.
        params: Its params; a time limit in them is not part of the MDP.
        states: All states from which the episode goes on, leaves `[S, ...]`; terminal ones may be left out.
        keys: Keys to average over, of a stochastic environment.
        identity: What tells states apart, a pytree of arrays; by default everything but the clock.

    Raises:
        ValueError: If states are listed twice, a step or reset leads to an unlisted state, or an environment without
            listed outcomes turns out stochastic and no keys are given, or a wrapper overrides `step` or `reset`.
    """
    if as_environment(env) is not env:
        raise ValueError(
            f"{env.name} has a wrapper that overrides `step` or `reset`; list the states of what is inside"
        )
    number = _numbering(jax.vmap(identity)(states))
    table = _step_table(env, params, states, keys, identity, number)
    start = _start(env, params, keys, identity, number)
    return _assemble(table, start)


def _numbering(identities: PyTree) -> Callable[[PyTree], np.ndarray]:
    """A function from identities with any leading axes to state numbers, -1 for unlisted ones."""
    known = {row.tobytes(): i for i, row in enumerate(_rows(identities, 1))}
    size = len(jax.tree.leaves(identities)[0])
    if len(known) < size:
        raise ValueError(f"states lists {size} states, of which only {len(known)} differ; list each once")

    def number(others: PyTree) -> np.ndarray:
        batch = jax.tree.leaves(others)[0].shape[: jax.tree.leaves(others)[0].ndim - _event_rank(identities)]
        found = [known.get(row.tobytes(), -1) for row in _rows(others, len(batch))]
        return np.array(found).reshape(batch)

    return number


def _event_rank(identities: PyTree) -> int:
    return jax.tree.leaves(identities)[0].ndim - 1


def _rows(tree: PyTree, batch_rank: int) -> np.ndarray:
    """One row of numbers an element of the leading axes."""
    leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
    count = int(np.prod(leaves[0].shape[:batch_rank]))
    # Adding zero makes -0.0 and 0.0 the same bytes.
    return np.concatenate([x.reshape(count, -1) for x in leaves], axis=1) + 0.0


def _lists_outcomes(env: Environment) -> bool:
    # Asked of the type: a wrapper that passes attribute access on has other states than what it wraps.
    return hasattr(type(env), "step_outcomes") and hasattr(type(env), "reset_outcomes")


def _step_table(
    env: Any,
    params: PyTree,
    states: PyTree,
    keys: Key[Array, " K"] | None,
    identity: Callable[[PyTree], PyTree],
    number: Callable[[PyTree], np.ndarray],
) -> _Table:
    sampled = _sampled_outcomes(env, keys)
    outcomes = env.step_outcomes if _lists_outcomes(env) else sampled

    def identified(state: PyTree, action: Array) -> Outcomes:
        cases = outcomes(state, action, params)
        return cases._replace(state=jax.vmap(identity)(cases.state))

    over_actions = jax.vmap(identified, in_axes=(None, 0))
    cases = jax.jit(jax.vmap(over_actions, in_axes=(0, None)))(states, jnp.arange(env.num_actions))
    table = _Table(
        np.asarray(cases.probability), number(cases.state), np.asarray(cases.reward), np.asarray(cases.terminated)
    )
    if keys is None and outcomes is sampled:
        _check_deterministic(table)
    return table


def _sampled_outcomes(env: Environment, keys: Key[Array, " K"] | None) -> Callable[..., Outcomes]:
    keys = _probes() if keys is None else keys

    def outcomes(state: PyTree, action: Array, params: PyTree) -> Outcomes:
        _, following, reward, terminated, _ = jax.vmap(env.step_env, in_axes=(0, None, None, None))(
            keys, state, action, params
        )
        return Outcomes(jnp.full(len(keys), 1 / len(keys)), following, reward, terminated)

    return outcomes


def _probes() -> Key[Array, " K"]:
    return jax.random.split(jax.random.key(0), PROBES)


def _check_deterministic(table: _Table) -> None:
    same = np.ones(table.target.shape[:2], bool)
    for array in (table.target, table.reward, table.terminated):
        same &= np.all(array == array[..., :1], axis=-1)
    if not same.all():
        state, action = np.argwhere(~same)[0]
        raise ValueError(
            f"action {action} in state {state} has more than one outcome; give the environment `step_outcomes` and "
            "`reset_outcomes` for its exact MDP, or `keys` for an estimate"
        )


def _start(
    env: Any,
    params: PyTree,
    keys: Key[Array, " K"] | None,
    identity: Callable[[PyTree], PyTree],
    number: Callable[[PyTree], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and numbers of first states."""
    if _lists_outcomes(env):
        probability, states = env.reset_outcomes(params)
    else:
        drawn = _probes() if keys is None else keys
        states = jax.vmap(env.reset_env, in_axes=(0, None))(drawn, params)[1]
        probability = jnp.full(len(drawn), 1 / len(drawn))
    first = number(jax.vmap(identity)(states))
    if keys is None and not _lists_outcomes(env) and np.any(first != first[0]):
        raise ValueError(
            "episodes start in more than one state; give `keys` to estimate how often, or `reset_outcomes`"
        )
    if np.any(first[np.asarray(probability) > 0] < 0):
        raise ValueError("an episode starts in a state that is not among `states`; list every state")
    return np.asarray(probability), first


def _assemble(table: _Table, start: tuple[np.ndarray, np.ndarray]) -> TabularMDP:
    """Sums the outcomes of each state and action by next state."""
    probability, target, reward, terminated = table
    num_states, num_actions, _ = target.shape
    possible = probability > 0
    _check_listed(target, possible & ~terminated)
    terminal = np.zeros(num_states + 1, bool)
    terminal[target[possible & terminated]] = True
    terminal[target[possible & ~terminated]] = False
    terminal[start[1][start[0] > 0]] = False
    terminal[-1] = True
    # An end that is in no terminal state is in the added one, whose number is that of the unlisted: the last.
    target = np.where(terminated & ~terminal[target], -1, target)

    index = *np.indices(target.shape)[:2], target
    shape = num_states + 1, num_actions, num_states + 1
    transition = _scatter(index, probability, shape)
    # Where nothing is possible the rewards listed count the same, so that impossible transitions keep theirs.
    weight = np.where((transition[index] > 0), probability, 1)
    share = weight / _scatter(index, weight, shape)[index]
    rewards = _scatter(index, share * reward, shape)
    first = _scatter((start[1],), start[0], (num_states + 1,))
    used = num_states + bool(np.any(target[possible] == -1))
    return tabular_mdp(transition[:used, :, :used], rewards[:used, :, :used], first[:used], terminal[:used])


def _scatter(index: tuple[np.ndarray, ...], values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape, values.dtype)
    np.add.at(out, index, values)
    return out


def _check_listed(target: np.ndarray, going_on: np.ndarray) -> None:
    lost = np.argwhere(going_on & (target < 0))
    if len(lost):
        state, action, _ = lost[0]
        raise ValueError(
            f"action {action} in state {state} leads to a state that is not among `states`; list every state"
        )
