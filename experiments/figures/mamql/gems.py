"""Gems, learned from demonstrations: what agents come to be paid, by how many transitions they have seen.

Haynam et al., "Multi-Agent Inverse Q-Learning from Demonstrations", ICRA 2025 (arXiv:2503.04679), the game of gems.
Demonstrations are of a scripted player that is as good as the authors' demonstrators, and as far from the best: with
`slack=4` it is paid 14.7 an agent, they were paid 13.2. (With `slack=0` it is paid 24.8.) In a plot that comes with the
authors' code MAMQL's policies are paid about 8.6 after 1,000 transitions and 12.8 after 10,000, independent IQ-Learn's
2.4 and 7.3; cloning is in the code and not in the plot.

MAMQL is in its online form, in which the value term is taken on what its own policies do. "Offline" is the same with
demonstrated transitions in their place. Independent IQ-Learn has critics that read what others do beside what their
agent sees, are trained on demonstrations, and act on zeros in place of others' actions. In the authors' code they read
their own agent's action too, which leaves nothing to be learned to act by; that is drawn, and not claimed to be beaten.
(Cloning reads the action that it is to predict there, and is not in the plot.) Its alpha and its temperature are 1, as
MAMQL's are; the authors have 100 for both, the same criterion in other units, but act at a temperature of 1. All have
the same networks, batches and steps of Adam, of which `paper` has as many as the authors.

Different here: what agents see are features, such as their own gems' relative places, where the authors have pictures.
At `paper` a fifth of the hidden units is left out in updates, in all methods, as the authors do in their convolutions;
at `small` layers are of 64 units, and none is left out. A return is the mean over the last tenth of a run, as episodes
went, with actions sampled. The share of the demonstrator's return that counts as its level is ours.
"""

from __future__ import annotations

import functools
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from jaxreward.agent import Agent, strong
from jaxreward.agents.registry import get_agent
from jaxreward.envs import make
from jaxreward.envs.games.experts import gems_expert
from jaxreward.reproduce.claims import Claim, Scale, above
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.reproduce.work import Work, of_agent
from jaxreward.results.charts import COLORS, HEIGHT, WIDTH
from jaxreward.results.demonstrate import record
from jaxreward.results.statistics import NOTHING, Estimate, aggregate_mean, estimate, estimate_difference

TASK, SLACK = "games/gems", 4.0
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "MAMQL": ("mamql", {}),
    "MAMQL, offline": ("mamql", {"value_states": "expert"}),
    "independent IQ-Learn": ("mamql", {"value_states": "expert", "reads": "others_actions"}),
    "cloning": ("behaviour_cloning", {"activation": "elu"}),
    "reading its own action": ("mamql", {"value_states": "expert", "reads": "joint_action"}),
}
UPDATES, STEPS = 4, 8
"""Steps of Adam in an iteration, beside 64 steps of the game."""
DEMONSTRATOR = "demonstrator"
LEVEL = 0.95


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        seeds: Runs of each method with each number of transitions.
        numbers: Of transitions.
        iterations: Of each run.
        layers: Of the networks.
        batch_size: Transitions of each step of Adam.
        dropout: Which share of hidden units an update leaves out.
        methods: Which ones.
    """

    seeds: int
    numbers: tuple[int, ...]
    iterations: int
    layers: tuple[int, ...]
    batch_size: int
    dropout: float = 0.0
    methods: tuple[str, ...] = tuple(METHODS)


SIZES = {
    "smoke": Size(2, (1_000, 10_000), 30, (4,), 16, methods=("MAMQL", "cloning")),
    "small": Size(5, (1_000, 10_000, 20_000), 1_500, (64, 64), 128),
    "hour": Size(10, (1_000, 10_000, 20_000), 3_000, (64, 64), 128),
    "paper": Size(10, (1_000, 5_000, 10_000, 15_000, 20_000), 5_500, (256, 256), 256, dropout=0.2),
}


def data(scale: Scale) -> dict[str, Computed]:
    """A row for each method, number of transitions and seed; the demonstrator's are of its episodes."""
    size = SIZES[scale]
    shown = Computed(partial(demonstrated_returns, size.numbers[-1]), size.numbers[-1])
    learned = {name: Computed(partial(trained, name, size), size, partial(works, name, size)) for name in size.methods}
    return {DEMONSTRATOR: shown, **learned}


@functools.cache
def demonstrations(number: int) -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    """A file of so many transitions and some more, and its folder, which goes with this process."""
    (env, params), folder = make(TASK), tempfile.TemporaryDirectory()
    path = Path(folder.name) / "gems.npz"
    record(env, params, gems_expert(SLACK), path, number + 1_000)
    return path, folder


def demonstrated_returns(number: int) -> pd.DataFrame:
    """A row for each of the demonstrator's episodes."""
    shown = pd.DataFrame({"method": DEMONSTRATOR, "number": number, "return": returns_of(demonstrations(number)[0])})
    return shown.assign(seed=range(len(shown)))


def agent_of(name: str, size: Size) -> tuple[Agent, Any]:
    """A method, and what makes its hyperparams."""
    kind, options = METHODS[name]
    spec = get_agent(kind)
    sizes = {"layers": size.layers, "batch_size": size.batch_size, "dropout": size.dropout}
    sizes |= {"num_updates": UPDATES, "num_steps": STEPS, "demonstrations": str(demonstrations(size.numbers[-1])[0])}
    return spec.make(*make(TASK), spec.Config(**sizes, **options)), spec.Hyperparams


def works(name: str, size: Size) -> tuple[Work, ...]:
    """What a method takes."""
    agent, numbers = agent_of(name, size)
    hyperparams = jax.vmap(lambda shown: strong(numbers(num_demonstrations=shown)))(jnp.asarray(size.numbers, float))
    return (of_agent(agent, hyperparams, size.seeds, size.iterations, 8 * STEPS),)


def trained(name: str, size: Size) -> pd.DataFrame:
    """What a method's runs come to, with all seeds and numbers of transitions in one program."""
    agent, numbers = agent_of(name, size)
    of_seeds = jax.vmap(partial(final, agent, numbers, size.iterations), (0, None))
    run = jax.jit(jax.vmap(of_seeds, (None, 0)))
    keys = jax.vmap(jax.random.key)(jnp.arange(size.seeds))
    returns = np.asarray(run(keys, jnp.asarray(size.numbers, float)))
    index = pd.MultiIndex.from_product([[name], size.numbers, range(size.seeds)], names=["method", "number", "seed"])
    return pd.DataFrame({"return": returns.ravel()}, index).reset_index()


def final(
    agent: Agent, numbers: Any, iterations: int, key: Key[Array, ""], shown: Float[Array, ""]
) -> Float[Array, ""]:
    """The mean return of an agent in the episodes of the last tenth of a run that learns from so many transitions."""
    start = agent.init(key, numbers(num_demonstrations=shown))
    told = jax.lax.scan(lambda state, _: agent.step(state), start, length=iterations)[1]
    count, mean = (told[f"episode/{name}"][-(iterations // 10) :] for name in ("count", "return"))
    return jnp.where(count > 0, count * mean, 0).sum() / count.sum()


def returns_of(path: Path) -> Float[np.ndarray, " E"]:
    """The demonstrator's, of whole episodes, a mean over agents."""
    with np.load(path) as file:
        paid, ends = file["reward"].mean(-1), np.flatnonzero(file["terminated"] | file["truncated"])
    sums = np.concatenate([[0.0], np.cumsum(paid, dtype=float)])[ends + 1]
    return np.diff(sums, prepend=0.0)[:-1]  # the last episode may have been cut by the recording


def scores(frame: pd.DataFrame, method: str, number: int) -> Float[np.ndarray, " seeds"]:
    """A method's returns with so many transitions, by seed."""
    rows = frame[(frame["method"] == method) & (frame["number"] == number)]
    return rows.sort_values("seed")["return"].to_numpy()


def share(method: str, number: int, frame: pd.DataFrame) -> Estimate:
    """A method's return as a share of the demonstrator's."""
    if not len(scores(frame, method, number)):
        return NOTHING
    return estimate(scores(frame, method, number) / demonstrated(frame), aggregate_mean)


def lead(method: str, other: str, number: int, frame: pd.DataFrame) -> Estimate:
    """By how much a method's return is greater than another one's."""
    first, second = (scores(frame, name, number) for name in (method, other))
    if not len(first) or not len(second):
        return NOTHING
    return estimate_difference(first, second, aggregate_mean, paired=True)


def demonstrated(frame: pd.DataFrame) -> float:
    """The demonstrator's mean return."""
    return float(frame[frame["method"] == DEMONSTRATOR]["return"].mean())


def plot(frame: pd.DataFrame) -> Figure:
    """Returns against the number of transitions, with intervals, and the demonstrator's."""
    figure = Figure(figsize=(1.6 * WIDTH, 1.2 * HEIGHT), layout="constrained")
    axis = figure.subplots()
    numbers = sorted(frame[frame["method"] != DEMONSTRATOR]["number"].unique())
    there = [method for method in METHODS if method in set(frame["method"])]
    for method, color in zip(there, COLORS, strict=False):
        found = [estimate(scores(frame, method, number), aggregate_mean) for number in numbers]
        value, low, high = (np.array([float(each[part]) for each in found]) for part in range(3))
        axis.plot(numbers, value, marker="o", markersize=3, color=color, label=method)
        axis.fill_between(numbers, low, high, color=color, alpha=0.2, linewidth=0)
    axis.axhline(demonstrated(frame), color="#222222", linestyle="--", linewidth=1, label=DEMONSTRATOR)
    axis.set(xlabel="demonstrated transitions", ylabel="return of an agent", ylim=(0, None))
    axis.legend(frameon=False)
    return figure


def claims() -> tuple[Claim, ...]:
    """What the abstract says, reward and sample efficiency, in numbers that are ours but for the transitions."""
    level = "MAMQL is at its demonstrator's level with 20,000 transitions: its share of that return"
    found = [Claim(level, partial(share, "MAMQL", 20_000), above(LEVEL), takes=("MAMQL", DEMONSTRATOR))]
    for number in (1_000, 10_000):
        for other in ("independent IQ-Learn", "cloning"):
            text = f"MAMQL is ahead of {other} with {number:,} transitions: its lead"
            found.append(Claim(text, partial(lead, "MAMQL", other, number), above(0)))
    return tuple(claim._replace(least="small") for claim in found)


figure = PaperFigure(
    title="Gems: what is learned from how many demonstrations",
    source="Haynam et al. 2025, arXiv:2503.04679, the game of gems",
    data=data,
    plot=plot,
    claims=claims(),
)
