"""Potential-based shaping keeps the optimal policies, a bonus for states need not, and learning is faster with it.

Ng, Harada and Russell, "Policy invariance under reward transformations: theory and application to reward shaping", ICML
1999. Theorem 1 and corollary 2 are decided by exact solvers in float64 on random MDPs, where the paper has proofs. The
bonus pays for being in states what the shaping has as their potential: the same numbers, without the difference.

The learning curves are those of the paper's grid world of 10 x 10: every step costs 1, a move succeeds with probability
0.8 and is random otherwise, the potential is minus the Manhattan distance to the goal over 0.8, or half of that. What
learns is one-step Sarsa, 0.1-greedy, with a step size of 0.02. What is claimed of learning is read off the curves; the
paper's grid of 50 x 50 is left out.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from jaxreward.mdp import TabularMDP, garnet, policy_iteration, policy_value, tabular_mdp
from jaxreward.reproduce.claims import Claim, Scale, above, below, exact, within
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.reproduce.work import Work, of_function
from jaxreward.results.charts import COLORS, line
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate
from jaxreward.reward import Transition
from jaxreward.rewards.shaping import potential_shaping

DISCOUNT = 0.95
STATES, ACTIONS, BRANCHING = 20, 4, 3
SIZE, SUCCESS = 10, 0.8
GOAL = SIZE * SIZE - 1
EXPLORATION, STEP_SIZE = 0.1, 0.02
POTENTIALS = {"no shaping": 0.0, "half the potential": 0.5, "the potential": 1.0}
ROUNDING = 1e-9
"""A generous bound on the rounding of a solver in float64 at values of about 10."""


class Size(NamedTuple):
    """How much is computed."""

    mdps: int
    seeds: int
    steps: int
    trials: int


SIZES = {
    "smoke": Size(50, 4, 20_000, 20),
    "small": Size(2_000, 40, 60_000, 80),
    "hour": Size(20_000, 200, 60_000, 80),
    "paper": Size(20_000, 200, 60_000, 80),
}


class Effect(NamedTuple):
    """What another reward does to an MDP; floats.

    Attributes:
        loss: How much less the policy that is optimal for the other reward is worth than the optimal one, at most.
        value_error: How far the optimal values are from `V* - potential`, at most.
    """

    loss: Array
    value_error: Array


def data(scale: Scale) -> Computed:
    """Rows of two kinds: an MDP under each reward (`reward`, `loss`, ...), and a seed's trial (`trial`, `steps`)."""
    size = SIZES[scale]
    return Computed(partial(computed, size), size, partial(works, size))


def works(size: Size) -> tuple[Work, Work]:
    """Of both kinds."""
    learners = partial(sarsa, grid_world()[0], steps=size.steps)
    of_seeds = of_function(learners, size.seeds * len(POTENTIALS), steps=size.steps)
    return of_function(effects_on_garnet, size.mdps, double=True), of_seeds


def computed(size: Size) -> pd.DataFrame:
    """The same."""
    return pd.concat([solved(size.mdps), learned(size)], ignore_index=True)


def solved(mdps: int) -> pd.DataFrame:
    """What shaping and a bonus do to random MDPs, exactly."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), mdps)
        effects = jax.tree.map(np.asarray, jax.jit(jax.vmap(effects_on_garnet))(keys))
    tables = [pd.DataFrame({"reward": name, **effect._asdict()}) for name, effect in effects.items()]
    return pd.concat(tables, ignore_index=True)


def effects_on_garnet(key: Key[Array, ""]) -> dict[str, Effect]:
    """A random MDP and a random potential, as large as what the MDP's values differ by."""
    key_mdp, key_potential = jax.random.split(key)
    mdp = garnet(key_mdp, STATES, ACTIONS, BRANCHING)
    optimal = policy_iteration(mdp, DISCOUNT).value
    potential = jnp.std(optimal) * jax.random.normal(key_potential, (STATES,))
    others = {
        "shaping": shaping(potential, mdp.terminal, DISCOUNT),
        "bonus": jnp.broadcast_to(potential, (STATES,) * 2),
    }

    def effect(added: Float[Array, "S S"]) -> Effect:
        other = policy_iteration(mdp._replace(reward=mdp.reward + added[:, None, :]), DISCOUNT)
        loss = optimal - policy_value(mdp, other.policy, DISCOUNT)
        return Effect(jnp.max(loss), jnp.max(jnp.abs(other.value + potential - optimal)))

    return {name: effect(added) for name, added in others.items()}


def shaping(potential: Float[Array, " S"], terminal: Array, discount: float) -> Float[Array, "S S"]:
    """The library's shaping reward of every pair of states."""
    reward = potential_shaping(lambda state: potential[state], discount)
    params = reward.init(jax.random.key(0))

    def of_pair(state: Array, next_state: Array) -> Array:
        nothing = jnp.zeros(())
        transition = Transition(state, nothing, nothing, next_state, terminal[next_state], nothing > 0)
        return reward.step(params, (), transition)[1]

    states = jnp.arange(len(potential))
    return jax.vmap(lambda s: jax.vmap(lambda t: of_pair(s, t))(states))(states)


def learned(size: Size) -> pd.DataFrame:
    """How many steps Sarsa takes to the goal in each trial: columns `seed`, `learner`, `trial`, `steps`."""
    mdp, potential = grid_world()
    weights = jnp.asarray(list(POTENTIALS.values()))
    rewards = jax.vmap(lambda w: mdp.reward + shaping(w * potential, mdp.terminal, 1.0)[:, None, :])(weights)
    seeds = jax.vmap(jax.random.key)(jnp.arange(size.seeds))
    run = lambda reward, key: sarsa(mdp._replace(reward=reward), key, size.steps)  # noqa: E731
    arrived = np.asarray(jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))(rewards, seeds))
    tables = [
        pd.DataFrame({"seed": seed, "learner": learner, "steps": trial_lengths(arrived[i, seed], size.trials)})
        for i, learner in enumerate(POTENTIALS)
        for seed in range(size.seeds)
    ]
    return pd.concat(tables, ignore_index=True).assign(trial=lambda f: f.groupby(["seed", "learner"]).cumcount() + 1)


def grid_world() -> tuple[TabularMDP, Float[Array, " S"]]:
    """The grid, from one corner to the opposite one, and its potential."""
    row, column = np.divmod(np.arange(SIZE * SIZE), SIZE)
    inside = lambda place: np.clip(place, 0, SIZE - 1)  # noqa: E731
    moves = [inside(row + down) * SIZE + inside(column + right) for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0))]
    intended = np.stack([np.eye(SIZE * SIZE)[following] for following in moves], axis=1)
    transition = SUCCESS * intended + (1 - SUCCESS) * intended.mean(1, keepdims=True)
    start, terminal = np.eye(SIZE * SIZE)[0], np.arange(SIZE * SIZE) == GOAL
    distance = (SIZE - 1 - row) + (SIZE - 1 - column)
    return tabular_mdp(transition, -np.ones(SIZE * SIZE), start, terminal), jnp.asarray(-distance / SUCCESS)


def sarsa(mdp: TabularMDP, key: Key[Array, ""], steps: int) -> Array:
    """Undiscounted one-step Sarsa from zeros (Sutton and Barto 2018, section 6.4); at which steps a trial ended."""
    log_transition, start = jnp.log(mdp.transition), jnp.argmax(mdp.start)

    def choose(q: Array, state: Array, key: Key[Array, ""]) -> Array:
        """One of the best actions, at times any: without chance among equals the first trial is no random walk."""
        key_whether, key_which = jax.random.split(key)
        any_action = jax.random.bernoulli(key_whether, EXPLORATION)
        lottery = jax.random.uniform(key_which, (mdp.num_actions,))
        return jnp.argmax(jnp.where(any_action | (q[state] == jnp.max(q[state])), lottery, -1.0))

    def step(carry: tuple[Array, Array, Array], key: Key[Array, ""]) -> tuple[tuple[Array, Array, Array], Array]:
        q, state, action = carry
        key_state, key_action = jax.random.split(key)
        following = jax.random.categorical(key_state, log_transition[state, action])
        ended = mdp.terminal[following]
        after = jnp.where(ended, start, following)
        next_action = choose(q, after, key_action)
        target = mdp.reward[state, action, following] + jnp.where(ended, 0.0, q[following, next_action])
        q = q.at[state, action].add(STEP_SIZE * (target - q[state, action]))
        return (q, after, next_action), ended

    q = jnp.zeros(mdp.reward.shape[:2])
    return jax.lax.scan(step, (q, start, jnp.int32(0)), jax.random.split(key, steps))[1]


def trial_lengths(arrived: np.ndarray, trials: int) -> np.ndarray:
    """Steps of the first trials, `[trials]`; NaN for those not finished."""
    ends = np.flatnonzero(arrived)[:trials] + 1
    return np.pad(np.diff(ends, prepend=0).astype(float), (0, trials - len(ends)), constant_values=np.nan)


def largest(reward: str, column: str, frame: pd.DataFrame) -> Estimate:
    """The largest over all MDPs, without uncertainty for these."""
    return exact(frame.loc[frame["reward"] == reward, column].max())


def changed(reward: str, frame: pd.DataFrame) -> Estimate:
    """The share of MDPs in which the policy that is optimal for the other reward isn't optimal."""
    return estimate(frame.loc[frame["reward"] == reward, "loss"].to_numpy() > ROUNDING, aggregate_mean)


def relative_steps(learner: str, frame: pd.DataFrame) -> Estimate:
    """Steps taken in all trials, as a multiple of those without shaping."""
    total = frame.pivot_table(index="seed", columns="learner", values="steps", aggfunc=lambda x: x.sum(skipna=False))
    return estimate((total[learner] / total["no shaping"]).to_numpy(), aggregate_mean)


def plot(frame: pd.DataFrame) -> Figure:
    """Left, what other rewards cost in random MDPs; right, steps to the goal while learning."""
    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    rewards = frame.dropna(subset="reward").groupby("reward", sort=False)["loss"]
    losses = [np.maximum(loss, 1e-16) for _, loss in rewards]
    left.hist(losses, np.geomspace(1e-16, 1e3, 39), color=COLORS[:2], label=[f"{name}" for name, _ in rewards])
    left.axvline(ROUNDING, color="#888888", linewidth=0.8, linestyle="--", label="above: not rounding")
    left.set(
        xscale="log", xlabel="loss of the policy optimal for the changed reward (0 at 1e-16)", ylabel="random MDPs"
    )
    left.legend(frameon=False)
    trials = frame.dropna(subset="learner").rename(columns={"trial": "env_steps"})
    for learner, color in zip(POTENTIALS, COLORS, strict=False):
        line(right, curve(trials[trials["learner"] == learner], "steps"), learner, color)
    right.set(yscale="log", xlabel="trial", ylabel="steps to the goal")
    right.legend(frameon=False)
    right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (left.xaxis, right.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    return figure


figure = PaperFigure(
    title="Potential-based shaping of rewards",
    source="Ng, Harada and Russell 1999, theorem 1, corollary 2 and figure 1 (grid world of 10 x 10)",
    data=data,
    plot=plot,
    claims=(
        Claim(
            "A policy that is optimal with the shaping is optimal without it: largest loss over random MDPs",
            partial(largest, "shaping", "loss"),
            within(-ROUNDING, ROUNDING),
            paper="0 (proved)",
        ),
        Claim(
            "The shaping takes the potential from the optimal values: largest difference from V* - potential",
            partial(largest, "shaping", "value_error"),
            within(-ROUNDING, ROUNDING),
            paper="0 (proved)",
        ),
        Claim(
            "A bonus that is no such difference can change the optimal policy: share of random MDPs where it does",
            partial(changed, "bonus"),
            above(0),
            paper="> 0 (proved)",
        ),
        Claim(
            "Sarsa learns faster with the potential: steps as a multiple of those without",
            partial(relative_steps, "the potential"),
            below(1),
            paper="< 1 (figure)",
        ),
        Claim(
            "Sarsa learns faster with half of it, too: steps as a multiple of those without",
            partial(relative_steps, "half the potential"),
            below(1),
            paper="< 1 (figure)",
        ),
    ),
)
