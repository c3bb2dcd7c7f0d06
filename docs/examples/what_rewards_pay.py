"""Draws what rewards of the catalogue pay along one walk: docs/images/rewards_catalogue.png.

python docs/examples/what_rewards_pay.py docs/images/rewards_catalogue.png
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jaxtyping import Array

from jaxreward import Reward, Transition
from jaxreward.reward import components
from jaxreward.rewards import (
    at_most,
    constrained,
    count_bonus,
    differential_sharpe,
    environment_reward,
    gated_accumulation,
    gaussian_goal,
    kinesthetic,
    landmark_bonus,
    random_network_bonus,
    route_completion,
    terminal_sharpe,
    tiered,
)

mpl.use("Agg")
import matplotlib.pyplot as plt

STEPS, GOAL = 100, (0.8, 0.2)


def walk() -> tuple[np.ndarray, Transition]:
    """To the goal, a rest, and a way back; the reward is what the step went nearer to it, and noise."""
    t = np.linspace(0, 1, STEPS + 1)
    along = np.interp(t, [0, 0.45, 0.65, 0.8, 1], [0, 1, 1, 0.5, 0.9])
    places = np.stack([0.8 * along, 0.2 * along + 0.08 * np.sin(9 * along)], -1)
    nearer = -np.diff(np.linalg.norm(places - GOAL, axis=-1))
    paid = nearer + np.random.default_rng(0).normal(0, 0.004, STEPS)
    last = np.arange(STEPS) == STEPS - 1
    steps = Transition(places[:-1], (places[1:, 0] > 0.55) * 1.0, paid, places[1:], last, np.zeros(STEPS, bool))
    return places, jax.tree.map(jnp.asarray, steps)


def pays(reward: Reward, steps: Transition) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What each step earns, and what is told of it."""

    def run(key: Array) -> Any:
        params = reward.init(key)

        def step(memory: Any, transition: Transition) -> tuple[Any, Any]:
            memory, value = reward.step(params, memory, transition)
            return memory, (value, components(memory))

        return jax.lax.scan(step, reward.reset(params), steps)[1]

    values, parts = jax.jit(run)(jax.random.key(0))
    return np.asarray(values), {name: np.asarray(part) for name, part in parts.items()}


def cell(transition: Transition) -> Array:
    """Which of 8 x 8 cells one is in."""
    row, column = jnp.clip(jnp.floor(8 * transition.next_observation).astype(jnp.int32), 0, 7)
    return 8 * row + column


near = gaussian_goal(lambda t: t.next_observation, GOAL, 0.15)
progress = environment_reward()
limited = constrained(progress, far_out=at_most(lambda t: t.action, 0.3), every=5, learning_rate=0.1)
PANELS = {
    "gaussian_goal": near,
    "tiered": tiered(near, [0.3, 0.6, 0.9], [0.0, 0.2, 0.5, 1.0]),
    "route_completion": route_completion(lambda x: x[0] / 0.8, [lambda t: 0.5 * (t.next_observation[1] > 0.15)]),
    "kinesthetic": kinesthetic(near, lambda t: 50 * t.reward),
    "gated_accumulation": gated_accumulation(progress, lambda t: 0.01 * t.action, thresholds=[0.5]),
    "differential_sharpe": differential_sharpe(progress, 0.05),
    "terminal_sharpe": terminal_sharpe(progress, 1.0),
    "count_bonus": count_bonus(cell, 64),
    "landmark_bonus": landmark_bonus(2, 0.15),
    "random_network_bonus": random_network_bonus(2),
    "constrained": limited,
}


def main(path: str) -> None:
    """Draws the walk, and a panel for each reward."""
    places, steps = walk()
    figure, axes = plt.subplots(3, 4, figsize=(12, 6.6), layout="constrained")
    axes = axes.ravel()
    axes[0].plot(*places.T, color="#4c72b0")
    axes[0].plot(*GOAL, "*", color="#dd8452", markersize=14)
    axes[0].annotate("start", places[0], textcoords="offset points", xytext=(6, -2), fontsize=8)
    axes[0].set_title("the walk: there, a rest, back and there again", fontsize=9)
    for ax, (name, reward) in zip(axes[1:], PANELS.items(), strict=True):
        values, parts = pays(reward, steps)
        ax.plot(np.arange(1, STEPS + 1), values, color="#4c72b0", linewidth=1.2)
        if name == "constrained":
            ax.plot(np.arange(1, STEPS + 1), parts["weight/far_out"], color="#dd8452", linewidth=1.2)
            ax.legend(["paid", "weight of the constraint"], fontsize=7, frameon=False)
        ax.set_title(name, fontsize=9, family="monospace")
    for ax in axes:
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[-4:]:
        ax.set_xlabel("step", fontsize=8)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main(sys.argv[1])
