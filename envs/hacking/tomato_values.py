"""Exact values in the tomato gridworld: backward induction over all cells and sets of watered tomatoes.

On the host and in double precision, as a step is one of a few and tables of all pairs of states would not fit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxreward.envs.hacking.tomato import Tomato, TomatoParams

Policy = Float[np.ndarray, "#H C W A"]
"""Probabilities of actions at each step, cell and set of watered tomatoes; `#H` is 1 where they are always the same."""


class Steps(NamedTuple):
    """What may follow, of `C` cells and `W` sets of watered tomatoes, tomato `i` being bit `i`.

    Attributes:
        cell: Where an action leads, `[C, A]`.
        watered: Which set is watered then, `[C, W, A]`.
        true: What being there pays, `[C, W]`.
        proxy: What the proxy pays, `[C, W]`.
    """

    cell: Int[np.ndarray, "C A"]
    watered: Int[np.ndarray, "C W A"]
    true: Float[np.ndarray, "C W"]
    proxy: Float[np.ndarray, "C W"]


class Returns(NamedTuple):
    """What an episode pays in the mean, undiscounted."""

    true: float
    proxy: float


def steps_of(env: Tomato, params: TomatoParams) -> Steps:
    """The dynamics as tables."""
    bit = np.append(1 << np.arange(env.num_tomatoes), 0)
    kept = env.near @ bit[:-1]
    sets = np.arange(1 << env.num_tomatoes)
    there = bit[env.tomato][env.next_cell][:, None, :]
    watered = (sets[None, :, None] | there) & kept[env.next_cell][:, None, :]
    count = np.broadcast_to(np.bitwise_count(sets), (env.num_cells, len(sets)))
    true = float(params.pays) * count
    seen = np.where(env.in_bucket[:, None], float(params.bucket), count)
    return Steps(env.next_cell, watered, true, float(params.pays) * seen)


def optimal_policy(env: Tomato, params: TomatoParams, proxy: bool) -> Policy:
    """A policy of the highest return by the proxy, or by the true reward; the first of equally good actions."""
    steps = steps_of(env, params)
    value, chosen = np.zeros(steps.true.shape), []
    for _ in range(int(params.max_steps_in_episode)):
        worth = _with_slips(_following(steps, steps.proxy if proxy else steps.true, value), params)
        best = np.argmax(worth, -1)
        chosen.append(np.eye(env.num_actions)[best])
        value = np.take_along_axis(worth, best[..., None], -1)[..., 0]
    return np.stack(chosen[::-1])


def exact_returns(env: Tomato, params: TomatoParams, policy: Policy) -> Returns:
    """What a policy earns in an episode, by both rewards.

    Args:
        env: The environment.
        params: Its params.
        policy: `[H, C, W, A]`, or `[1, C, W, A]` of a policy that doesn't know the time.
    """
    steps, horizon = steps_of(env, params), int(params.max_steps_in_episode)
    values = [np.zeros(steps.true.shape) for _ in range(2)]
    for time in reversed(range(horizon)):
        here = policy[time % len(policy)]
        worth = [_following(steps, *pair) for pair in zip((steps.true, steps.proxy), values, strict=True)]
        values = [(here * _with_slips(each, params)).sum(-1) for each in worth]
    return Returns(*(float(value[env.start, 0]) for value in values))


def _following(steps: Steps, paid: Float[np.ndarray, "C W"], value: Float[np.ndarray, "C W"]) -> np.ndarray:
    """What each action is worth, `[C, W, A]`: nothing comes after all are watered."""
    going_on = np.arange(value.shape[1]) < value.shape[1] - 1
    return (paid + going_on * value)[steps.cell[:, None, :], steps.watered]


def _with_slips(worth: Float[np.ndarray, "C W A"], params: TomatoParams) -> Float[np.ndarray, "C W A"]:
    """The same of actions that are at times replaced by any."""
    slip = float(params.slip)
    return (1 - slip) * worth + slip * worth.mean(-1, keepdims=True)


def visits(env: Tomato, params: TomatoParams, policy: Policy) -> Float[np.ndarray, "C W"]:
    """How many steps of an episode lead to each cell and set, in the mean; `policy` as in `exact_returns`."""
    steps = steps_of(env, params)
    now, total = np.zeros(steps.true.shape), np.zeros(steps.true.shape)
    now[env.start, 0] = 1
    slip = float(params.slip)
    for time in range(int(params.max_steps_in_episode)):
        flow = now[..., None] * ((1 - slip) * policy[time % len(policy)] + slip / env.num_actions)
        flow[:, -1] = 0  # all are watered: the episode has ended
        now = np.zeros_like(now)
        np.add.at(now, (np.broadcast_to(steps.cell[:, None, :], flow.shape), steps.watered), flow)
        total = total + now
    return total
