"""Population based training (Jaderberg et al. 2017, arXiv:1711.09846), within the compiled program.

`pbt(agent, space)` is an agent made of a population of agents that differ in their hyperparams. Every so many
iterations the worst of them copy what the best have learned (exploit) and go on with hyperparams near theirs (explore).
It is an agent like any other: `vmap` trains many populations at once, and each exploits by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

from jaxreward.agent import SUMMED, Agent, Policy, strong, vmap
from jaxreward.contract.sizes import Sized, size
from jaxreward.environment import select
from jaxreward.learning.hyperparams import CARRIED, check_carries, check_space, named_leaves, place, with_values
from jaxreward.learning.lazy import when
from jaxreward.learning.ranges import Range, check_range, draw, perturb
from jaxreward.names import check_name, path_name

Metrics = dict[str, Shaped[Array, "..."]]
Values = dict[str, Shaped[Array, " N"]]


@dataclass(frozen=True)
class Config(Sized):
    """How a population is trained.

    Attributes:
        population: Members, `N`.
        ready_iterations: Iterations from one exploitation to the next; 0 for never.
        fraction: The worst part of the population, which copies from the best part of that size; one member at least,
            unless it is 0: then only members are replaced whose numbers are not finite.
        perturb: A copied hyperparameter is multiplied or divided by this on a logarithmic range. On others it moves by
            as much as this would move the middle of a range that begins at 0.
        resample: How likely a copied hyperparameter is drawn anew instead.
        score: The metric by which members are compared, its mean since the last exploitation. By name, the default is
            `average_reward` where the environment never ends.
        maximise: Whether more of it is better.
    """

    population: int = size(16)
    ready_iterations: int = size(10, least=0)
    fraction: float = size(0.2, least=0, most=0.5)
    perturb: float = size(1.2)
    resample: float = size(0.25, least=0, most=1)
    score: str = "episode/return"
    maximise: bool = True


class Window(NamedTuple):
    """What is known of the members since the last exploitation.

    Attributes:
        iterations: How many there were.
        total: Sums of the score, of each episode or else of each iteration.
        weight: Episodes or iterations summed up.
    """

    iterations: Int[Array, ""]
    total: Float[Array, " N"]
    weight: Float[Array, " N"]


class State(NamedTuple):
    """A population.

    Attributes:
        members: Their states, leaves `[N, ...]`.
        window: Their scores since the last exploitation.
        scores: Those at the last exploitation; NaN for a member that was replaced, or has none yet.
        key: For exploitation.
    """

    members: PyTree
    window: Window
    scores: Float[Array, " N"]
    key: Key[Array, ""]


def pbt(agent: Agent, space: Mapping[str, Range], config: Config = Config()) -> Agent:
    """A population of an agent that tunes its hyperparams while it learns.

    `init` draws the population from the space; the hyperparams it is given supply all others. `policy` is the best
    member's. Metrics are means over the members, those of `episode/*` over all their episodes, and `env_steps` and
    `episode/count` are sums. Beside them are `SCORE_of_best`, for example `episode/return_of_best`: the best member's
    score at the last exploitation, before the first one its score so far; `pbt/best/NAME` and `pbt/median/NAME` of each
    searched hyperparameter; `pbt/exploited`, how many members were replaced in the iteration; and `pbt/broken`, how
    many have numbers that are not finite.

    Exploitation is the paper's truncation selection: each member of the worst part copies a random member of the best
    part, though here only if that did strictly better. A broken member, whose score or learned `params` are not
    finite, is always replaced and never copied. One that finished no episode is left alone: nothing is known of it.

    A copy takes over all of the other's state but its keys. The environments come along because they belong together
    with what else is in there: the policy's memory, the sums of the episodes under way, which the copy will be
    scored by. With the keys as well the two would draw the same actions ever after; with its own, the copy goes another
    way at once. Keys are leaves of a key type (`jax.random.key`), and uint32 pairs called `key` or `rng`.

    Args:
        agent: The agent of one member, whose `state.hyperparams` are those it was initialised with, and used at each
            step.
        space: The searched hyperparams by name; those of the environment's params may leave `env_params.` away.
        config: How.

    Raises:
        ValueError: A number is out of range; from `init`, a name is no hyperparameter or a number of another type; from
            `step`, the score is no metric.
    """
    for name, within in space.items():
        check_range(name, within)
    algorithm = PBT(agent, dict(space), config)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class PBT:
    """The steps of the algorithm."""

    agent: Agent
    space: dict[str, Range]
    config: Config

    def init(self, key: Key[Array, ""], hyperparams: PyTree) -> State:
        """Draws the population."""
        number, hyperparams = self.config.population, strong(hyperparams)
        check_space(self.space, hyperparams)
        key, key_draw, key_members = jax.random.split(key, 3)
        same = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (number, *leaf.shape)), hyperparams)
        drawn = {name: draw(self.space[name], k, number) for name, k in self._keys(key_draw).items()}
        keys = jax.random.split(key_members, number)
        members = vmap(self.agent, population=True).init(keys, with_values(same, drawn))
        check_carries(self.space, members)
        window = Window(jnp.zeros((), jnp.int32), jnp.zeros(number), jnp.zeros(number))
        return strong(State(members, window, jnp.full(number, jnp.nan), key))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration of each member, and of exploitation where it is due."""
        members, metrics = vmap(self.agent).step(state.members)
        state = state._replace(members=members, window=self.watch(state.window, metrics))
        exploited = jnp.zeros((), jnp.int32)
        if self.config.ready_iterations:
            due = state.window.iterations >= self.config.ready_iterations
            state, exploited = when(due, lambda now: self.evolve(now[0]), (state, exploited))
        return state, self.report(state, metrics) | {"pbt/exploited": exploited}

    def policy(self, state: State) -> Policy:
        """The best member's."""
        best = self.best(state)
        return self.agent.policy(jax.tree.map(lambda leaf: leaf[best], state.members))

    def watch(self, window: Window, metrics: Metrics) -> Window:
        """Adds an iteration to the window."""
        check_name("metric to score members by", self.config.score, metrics)
        weight, score = _weight(self.config.score, metrics), metrics[self.config.score]
        total = window.total + jnp.where(weight > 0, weight * score, 0)
        return Window(window.iterations + 1, total, window.weight + weight)

    def evolve(self, state: State) -> tuple[State, Int[Array, ""]]:
        """Exploits and explores; also says how many members were replaced."""
        key, key_select, key_explore = jax.random.split(state.key, 3)
        scores, broken = _scores(state.window), is_broken(state)
        source = truncation(key_select, self._sign * scores, broken, self._worst)
        replaced = source != jnp.arange(self.config.population)
        members = _copied(state.members, source)
        values = self._values(members)
        explored = {
            name: select(replaced, explore(self.space[name], k, values[name], self.config), values[name])
            for name, k in self._keys(key_explore).items()
        }
        members = with_values(members, explored, CARRIED)
        known = jnp.where(jnp.isnan(scores), state.scores, scores)
        window = jax.tree.map(jnp.zeros_like, state.window)
        return State(members, window, jnp.where(replaced | broken, jnp.nan, known), key), replaced.sum(dtype=jnp.int32)

    def report(self, state: State, metrics: Metrics) -> Metrics:
        """What is logged of the members' metrics, `[N]` each."""
        best, values = self.best(state), self._values(state.members)
        medians = {f"pbt/median/{name}": jnp.median(value) for name, value in values.items()}
        bests = {f"pbt/best/{name}": value[best] for name, value in values.items()}
        score = {f"{self.config.score}_of_best": self.standing(state)[best], "pbt/broken": is_broken(state).sum()}
        return {**pooled(metrics), **score, **bests, **medians}

    def best(self, state: State) -> Int[Array, ""]:
        """Which member is the best that is not broken."""
        standing = self._sign * self.standing(state)
        return jnp.argmax(jnp.where(is_broken(state) | jnp.isnan(standing), -jnp.inf, standing))

    def standing(self, state: State) -> Float[Array, " N"]:
        """The members' scores at the last exploitation, before the first one those so far; NaN where unknown.

        Scores of whole windows are compared: one just begun may hold a single lucky episode.
        """
        return jnp.where(jnp.isfinite(state.scores).any(), state.scores, _scores(state.window))

    def _values(self, members: PyTree) -> Values:
        """The searched hyperparams of all members."""
        leaves = named_leaves(members)
        return {name: leaves[place(name, leaves, CARRIED)] for name in self.space}

    def _keys(self, key: Key[Array, ""]) -> dict[str, Key[Array, ""]]:
        """One for each searched hyperparameter."""
        return dict(zip(self.space, jax.random.split(key, len(self.space)), strict=True))

    @property
    def _worst(self) -> int:
        """How many members exploitation may replace."""
        fraction = self.config.fraction
        return max(1, int(fraction * self.config.population)) if fraction else 0

    @property
    def _sign(self) -> int:
        return 1 if self.config.maximise else -1


def truncation(
    key: Key[Array, ""], scores: Float[Array, " N"], broken: Bool[Array, " N"], number: int
) -> Int[Array, " N"]:
    """Truncation selection: the `number` worst copy from the `number` best, and broken members from these too.

    Of `K` members that are known and not broken, at most half are worst; equal ones rank by their order.

    Args:
        key: For the choice among the best.
        scores: More is better; NaN if unknown.
        broken: Which must be replaced and can't be copied.
        number: How many; 0 to replace none but the broken, by the best.

    Returns:
        Whom each member copies: itself if it stays.
    """
    itself = jnp.arange(scores.shape[0])
    known = jnp.isfinite(scores) & ~broken
    order = jnp.argsort(jnp.where(known, -scores, jnp.inf))
    rank = jnp.argsort(order)
    count = known.sum()
    worst = jnp.minimum(number, count // 2)
    source = order[jax.random.randint(key, itself.shape, 0, jnp.maximum(worst, 1))]
    loses = known & (rank >= count - worst) & (scores[source] > scores)
    return jnp.where((loses | broken) & (count > 0), source, itself)


def explore(within: Range, key: Key[Array, ""], values: Shaped[Array, " N"], config: Config) -> Shaped[Array, " N"]:
    """Moves values up or down by equal chances, or draws them anew."""
    key_direction, key_anew, key_draw = jax.random.split(key, 3)
    number = values.shape[0]
    moved = perturb(within, values, jax.random.rademacher(key_direction, (number,), float), config.perturb)
    anew = jax.random.bernoulli(key_anew, config.resample, (number,))
    return jnp.where(anew, draw(within, key_draw, number), moved).astype(values.dtype)


def is_broken(state: State) -> Bool[Array, " N"]:
    """Which members have a score or learned `params` that are not finite numbers."""
    members, number = state.members, state.scores.shape[0]
    learned = members.get("params", ()) if isinstance(members, dict) else getattr(members, "params", ())
    leaves = [leaf for leaf in jax.tree.leaves(learned) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    finite = [jnp.isfinite(leaf).reshape(number, -1).all(1) for leaf in (state.window.total, *leaves)]
    return ~jnp.stack(finite).all(0)


def pooled(metrics: Metrics) -> Metrics:
    """What many runs log together, each metric `[N]`: counts summed, means over episodes, and over runs of all else."""
    summed = {name: metrics[name].sum() for name in SUMMED if name in metrics}
    means = {name: _mean(m, _weight(name, metrics)) for name, m in metrics.items() if name not in SUMMED}
    return {**summed, **means}


def _scores(window: Window) -> Float[Array, " N"]:
    return jnp.where(window.weight > 0, window.total / jnp.maximum(window.weight, 1), jnp.nan)


def _weight(name: str, metrics: Metrics) -> Float[Array, " N"]:
    """What each member's value of a metric counts: its episodes, or the iteration."""
    if not name.startswith("episode/"):
        return jnp.ones(metrics[name].shape)
    check_name("metric", "episode/count", metrics)
    return metrics["episode/count"].astype(float)


def _mean(values: Shaped[Array, " N"], weight: Float[Array, " N"]) -> Float[Array, ""]:
    """The weighted mean over members whose value is finite; NaN without any."""
    counts = (weight > 0) & jnp.isfinite(values)
    return jnp.where(counts, weight * values, 0).sum() / jnp.where(counts, weight, 0).sum()


def _copied(members: PyTree, source: Int[Array, " N"]) -> PyTree:
    """What each member has after copying: all but its keys."""

    def copy(path: tuple, leaf: Array) -> Array:
        return leaf if _is_key(path, leaf) else leaf[source]

    return jax.tree_util.tree_map_with_path(copy, members)


def _is_key(path: tuple, leaf: Array) -> bool:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return True
    name = path_name(path[-1:]).lower()
    return leaf.dtype == jnp.uint32 and leaf.shape[-1:] == (2,) and ("key" in name or "rng" in name)
