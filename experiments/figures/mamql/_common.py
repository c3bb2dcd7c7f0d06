"""What the figures of MAMQL share: who learns from demonstrations, how well, what they say it was for, and how drawn.

All methods have the same networks, batches and steps of Adam, and are tuned alike: each is trained with every learning
rate of `Size.rates` from the middle number of transitions, and the one with the highest mean return is kept, of MA-AIRL
for policies and discriminators both; seeds that no rate was tried with are then drawn and decide claims. All of them,
with all numbers of transitions, are one program.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.registry import get_agent
from jaxreward.envs import make
from jaxreward.experiments.figures.mamql._recovered import sampled_starc
from jaxreward.reproduce.parts import Computed
from jaxreward.reproduce.work import Work, of_agent
from jaxreward.results.demonstrate import record

DEMONSTRATOR = "demonstrator"
UPDATES, STEPS = 4, 8
"""Steps of Adam in an iteration, and of each environment."""
LONGER = 8
"""How many times as many steps of the game MA-AIRL has, which learns from the newest alone."""
TUNED_WITH, FIRST_FRESH_SEED = 2, 1_000
"""Seeds that each learning rate is tried with, and from where on seeds are that none was tried with."""


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        seeds: Runs of each method with each number of transitions.
        numbers: Of transitions.
        iterations: Of each run, a multiple of `parts`.
        layers: Of the networks.
        batch_size: Transitions of each step of Adam.
        dropout: Which share of hidden units an update leaves out.
        methods: Which ones.
        rates: Learning rates that each method is tuned in.
        parts: Of a run, over each of which returns are told.
        measures: Whether recovered rewards are measured.
    """

    seeds: int
    numbers: tuple[int, ...]
    iterations: int
    layers: tuple[int, ...]
    batch_size: int
    dropout: float = 0.0
    methods: tuple[str, ...] = ()
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    parts: int = 10
    measures: bool = True

    @property
    def middle(self) -> int:
        """The number of transitions that learning rates are chosen with."""
        return self.numbers[len(self.numbers) // 2]


Starc = Callable[[Agent, PyTree], Float[np.ndarray, " seeds"]]
"""The STARC distances of each run's recovered reward from the true one."""


class Game(NamedTuple):
    """What is played, and by whom.

    Attributes:
        task: Its name.
        player: Who demonstrates.
        starc: The STARC distances of each run's recovered reward on the states of the game, listed; None where they
            can't be: then of samples.
    """

    task: str
    player: Policy
    starc: Starc | None = None


class Method(NamedTuple):
    """Somebody who learns: an agent, how it differs from others of its kind, and what its learning rates are called."""

    agent: str
    options: dict[str, Any]
    rates: tuple[str, ...] = ("learning_rate",)

    def config(self, size: Size, path: Path) -> dict[str, Any]:
        """Its settings."""
        common: dict[str, Any] = {"demonstrations": str(path), "layers": size.layers, **self.options}
        if self.agent != "airl":
            own = {"num_updates": UPDATES, "num_steps": STEPS, "batch_size": size.batch_size, "dropout": size.dropout}
            return common | {"num_envs": 8, **own}
        judge: dict[str, Any] = {"layers": size.layers, "updates": UPDATES, "batch": size.batch_size}
        own = {f"discriminator_{name}": value for name, value in judge.items()}
        return common | {"num_envs": 8, "num_steps": LONGER * STEPS, "num_minibatches": 4, **own}


METHODS: dict[str, Method] = {
    "MAMQL": Method("mamql", {}),
    "MAMQL, offline": Method("mamql", {"value_states": "expert"}),
    "independent IQ-Learn": Method("mamql", {"value_states": "expert", "reads": "others_actions"}),
    "cloning": Method("behaviour_cloning", {"activation": "elu"}),
    "MA-AIRL": Method("airl", {"state_only": False}, ("learning_rate", "discriminator_learning_rate")),
    "reading its own action": Method("mamql", {"value_states": "expert", "reads": "joint_action"}),
}


def data(game: Game, size: Size) -> dict[str, Computed]:
    """Rows for each method, number of transitions, seed and part of a run; the demonstrator's are of its episodes.

    Columns are `updates`, until the end of the part, `return` over it, `rate`, and of rewards recovered with the
    largest number, beside the last part, `starc`.
    """
    most = size.numbers[-1]
    learned = {
        name: Computed(partial(trained, name, game, size), size, partial(works, name, game, size))
        for name in size.methods or METHODS
    }
    return {DEMONSTRATOR: Computed(partial(demonstrated, game, most), most), **learned}


@functools.cache
def demonstrations(game: Game, number: int) -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    """A file of so many transitions and some more, and its folder, which goes with this process."""
    (env, params), folder = make(game.task), tempfile.TemporaryDirectory()
    path = Path(folder.name) / "shown.npz"
    record(env, params, game.player, path, number + 1_000)
    return path, folder


def demonstrated(game: Game, number: int) -> pd.DataFrame:
    """A row for each of the demonstrator's episodes."""
    shown = pd.DataFrame(
        {"method": DEMONSTRATOR, "number": number, "return": returns_of(demonstrations(game, number)[0])}
    )
    return shown.assign(seed=range(len(shown)), updates=0)


class Learner(NamedTuple):
    """A method that is ready to learn: its agent, what makes its numbers, and how many steps an iteration takes."""

    agent: Agent
    numbers: Callable[..., PyTree]
    steps: int


def learner(name: str, game: Game, size: Size) -> Learner:
    """A method in a game."""
    method = METHODS[name]
    spec = get_agent(method.agent)
    config = spec.Config(**method.config(size, demonstrations(game, size.numbers[-1])[0]))
    numbers = lambda learning_rate, **more: spec.Hyperparams(**more, **dict.fromkeys(method.rates, learning_rate))  # noqa: E731
    return Learner(spec.make(*make(game.task), config), numbers, spec.steps_per_iteration(config))


def works(name: str, game: Game, size: Size) -> list[Work]:
    """What a method takes: the runs that choose its learning rate, if it is chosen, and those that are told."""
    agent, numbers, steps = learner(name, game, size)

    def of(shown: Sequence[int], rates: Sequence[float], seeds: int) -> Work:
        each = jax.vmap(lambda shown, rate: strong(numbers(num_demonstrations=shown, learning_rate=rate)))
        hyperparams = each(jnp.asarray(shown, float), jnp.asarray(rates))
        return of_agent(agent, hyperparams, seeds, size.iterations, steps)

    told = of(size.numbers, size.rates[:1] * len(size.numbers), size.seeds)
    chosen = of([size.middle] * len(size.rates), size.rates, TUNED_WITH)
    return [chosen, told] if len(size.rates) > 1 else [told]


def trained(name: str, game: Game, size: Size) -> pd.DataFrame:
    """What a method's runs come to, with the learning rate that suited it best."""
    agent, numbers, _ = learner(name, game, size)
    train = jax.jit(jax.vmap(partial(run, agent, numbers, size)))
    rate = tuned(train, size)
    index = pd.MultiIndex.from_product([size.numbers, range(size.seeds)], names=["number", "seed"])
    runs = index.to_frame(index=False).assign(method=name, rate=rate)
    keys = jax.vmap(jax.random.key)(jnp.asarray(runs["seed"] + FIRST_FRESH_SEED))
    returns, states = train(keys, jnp.asarray(runs["number"], float), jnp.asarray(runs["rate"]))
    updates = np.arange(1, size.parts + 1) * (size.iterations // size.parts) * UPDATES
    parts = [
        runs.assign(updates=update, **{"return": told})
        for update, told in zip(updates, np.asarray(returns).T, strict=True)
    ]
    if size.measures and agent.reward is not None:
        parts[-1] = with_recovered(parts[-1], agent, states, game.starc or partial(sampled_starc, game))
    return pd.concat(parts, ignore_index=True)


def with_recovered(runs: pd.DataFrame, agent: Agent, states: PyTree, starc: Starc) -> pd.DataFrame:
    """Runs, and how far the rewards in their last states are from the true one, of those with the largest number."""
    last = runs["number"] == runs["number"].max()
    runs = runs.assign(starc=np.nan)
    runs.loc[last, "starc"] = starc(agent, jax.tree.map(lambda leaf: leaf[np.asarray(last)], states))
    return runs


def tuned(train: Callable[..., tuple], size: Size) -> float:
    """The learning rate with the highest mean return, from the middle number of transitions."""
    if len(size.rates) == 1:
        return size.rates[0]
    rates = np.repeat(size.rates, TUNED_WITH)
    keys = jax.vmap(jax.random.key)(jnp.tile(jnp.arange(TUNED_WITH), len(size.rates)))
    middle = jnp.full(len(rates), float(size.middle))
    last = np.asarray(train(keys, middle, jnp.asarray(rates))[0])[:, -1]
    return size.rates[int(np.nanargmax(last.reshape(-1, TUNED_WITH).mean(-1)))]


def run(
    agent: Agent,
    numbers: Callable[..., PyTree],
    size: Size,
    key: Key[Array, ""],
    shown: Float[Array, ""],
    rate: Float[Array, ""],
) -> tuple[Float[Array, " parts"], PyTree]:
    """The mean returns of the episodes of each part of a run that learns from so many transitions, and its end."""
    start = agent.init(key, numbers(num_demonstrations=shown, learning_rate=rate))
    state, told = jax.lax.scan(lambda state, _: agent.step(state), start, length=size.iterations)
    count, mean = (told[f"episode/{name}"].reshape(size.parts, -1) for name in ("count", "return"))
    return jnp.where(count > 0, count * mean, 0).sum(-1) / count.sum(-1), state


def returns_of(path: Path) -> Float[np.ndarray, " E"]:
    """The demonstrator's, of whole episodes, a mean over agents."""
    with np.load(path) as file:
        paid, ends = file["reward"].mean(-1), np.flatnonzero(file["terminated"] | file["truncated"])
    sums = np.concatenate([[0.0], np.cumsum(paid, dtype=float)])[ends + 1]
    return np.diff(sums, prepend=0.0)[:-1]  # the last episode may have been cut by the recording
