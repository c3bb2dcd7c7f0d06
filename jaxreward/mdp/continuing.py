"""Named MDPs without an end from the literature on average reward, whose best gains are known."""

from __future__ import annotations

import itertools
import math

import jax
import numpy as np
from numpy.random import RandomState

from jaxreward.mdp.tabular import TabularMDP, tabular_mdp

ARM_PROBABILITIES = (1.0, 0.15, 0.1, 0.05, 0.03, 0.01)
ARM_REWARDS = (50.0, 133.0, 300.0, 800.0, 1660.0, 6000.0)
"""Of `six_arms`: how likely each arm leads to its room, and what each step there pays before it is scaled."""


def six_arms(dtype: jax.typing.DTypeLike | None = None) -> TabularMDP:
    """A hub with six rooms around it: the better one pays, the harder it is to enter (Strehl and Littman 2008).

    Rewards are divided by 6000. Action `a` in the hub, state 0, leads to room `a + 1` with `ARM_PROBABILITIES[a]`. In
    room `a + 1` action `a` stays and pays `ARM_REWARDS[a]`, any other leads back; but in room 1 all stay and pay, and
    only action 4 leads back. Communicating, with many multichain policies: gain 1, bias span and diameter 101.
    """
    transition = np.zeros((7, 6, 7))
    for arm, probability in enumerate(ARM_PROBABILITIES):
        transition[0, arm, [0, arm + 1]] = 1 - probability, probability
        transition[arm + 1, :, 0] = 1
        staying = [0, 1, 2, 3, 5] if arm == 0 else [arm]
        transition[arm + 1, staying] = np.eye(7)[arm + 1]
    pay = np.asarray([0.0, *ARM_REWARDS])[:, None] / max(ARM_REWARDS)
    reward = np.eye(7)[:, None, :] * pay[:, None, :]
    return tabular_mdp(transition, np.broadcast_to(reward, transition.shape), np.eye(7)[0], dtype=dtype)


def two_choice(dtype: jax.typing.DTypeLike | None = None) -> TabularMDP:
    """A choice in state 0 between two loops of five steps: left pays 1 at once, right 2 at its end (Naik).

    Deterministic, so every policy is periodic. Right is best: gain 0.4. Elsewhere than in state 0 both actions lead on.
    """
    after = np.array([[1, 5], [2, 2], [3, 3], [4, 4], [0, 0], [6, 6], [7, 7], [8, 8], [0, 0]])
    reward = np.zeros((9, 2))
    reward[0, 0], reward[8] = 1.0, 2.0
    return tabular_mdp(np.eye(9)[after], reward, np.eye(9)[0], dtype=dtype)


def random_mdp(
    seed: int = 0, num_states: int = 6, num_actions: int = 2, dtype: jax.typing.DTypeLike | None = None
) -> TabularMDP:
    """A dense random MDP: rewards of 0, 0.1, ... 1, rows uniform and then normalised (Wei et al. 2020, section 6).

    Rewards are one less the costs of that paper. NumPy's older generator draws the same numbers as the authors' program
    seeded alike. It starts in state 0.
    """
    random = RandomState(seed)
    costs = random.randint(11, size=(num_states, num_actions)) / 10
    rows = random.random_sample((num_actions, num_states, num_states)).transpose(1, 0, 2)
    transition = rows / rows.sum(axis=-1, keepdims=True)
    return tabular_mdp(transition, 1 - costs, np.eye(num_states)[0], dtype=dtype)


def hard_two_state(
    dimension: int = 8, diameter: float = 5.0, horizon: float = 1000.0, dtype: jax.typing.DTypeLike | None = None
) -> TabularMDP:
    """The instance behind the lower bound for linear mixture MDPs (Wu, Zhou and Gu 2022, section 5; Chae et al. 2024).

    Action `a` is one of `{-1, 1}^(d - 1)`, all -1 first and all 1 last. It leads from state 0 to state 1 with
    probability `1/D + <a, theta>`, and back with `1/D`; state 1 pays 1. All entries of `theta` are equal and add up to
    `Delta = sqrt(2 log(2) / 5) / 45 * d / sqrt(D T)`, so the last action is best, and the gain is
    `(1/D + Delta) / (2/D + Delta)`. Mind how close that is to what any policy gets.

    Args:
        dimension: `d`, from 2 to 13.
        diameter: `D`.
        horizon: `T`, the steps for which it is hard.
        dtype: Of the numbers.

    Raises:
        ValueError: A number is out of its range, or the probabilities are.
    """
    if dimension not in range(2, 14):
        raise ValueError(f"dimension={dimension!r}; expected a whole number from 2 to 13, with 2^(d - 1) actions")
    delta = math.sqrt(2 * math.log(2) / 5) / 45 * dimension / math.sqrt(diameter * horizon)
    leave = 1 / diameter
    if not delta <= leave <= 1 - delta:
        raise ValueError(
            f"diameter={diameter}, horizon={horizon}: 1/D = {leave:.3g} is no probability with Delta = {delta:.3g} "
            "added or taken away; a longer horizon makes Delta smaller, a smaller diameter 1/D larger"
        )
    signs = np.array(list(itertools.product((-1, 1), repeat=dimension - 1)))
    up = leave + delta * signs.mean(axis=1)
    transition = np.stack([np.stack([1 - up, up], -1), np.tile([leave, 1 - leave], (len(up), 1))])
    return tabular_mdp(transition, np.array([0.0, 1.0]), np.array([1.0, 0.0]), dtype=dtype)
