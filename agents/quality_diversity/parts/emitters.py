"""Emitters: small populations that climb a reward from where exploration met it.

SERENE (Paolo et al., Sparse Reward Exploration via Novelty Search and Emitters, GECCO 2021, arXiv:2102.03140). The
rules are those of the authors' code: what improves, what is stored, what stops. All functions here are of one emitter;
`vmap` steps several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agents.quality_diversity.parts.cma import CMA, CMAState
from jaxreward.agents.quality_diversity.parts.evaluation import EvaluationConfig
from jaxreward.agents.quality_diversity.parts.genotypes import Genotypes, join, mutate, take
from jaxreward.quality_diversity import Reservoir, empty_reservoir, offer

Kind = Literal["fitness", "novelty", "cma_es"]
EDGE = 20
"""How many rows at either end of the window are compared to see whether an emitter has stagnated."""
LATEST = 3
"""Over how many rows of rewards, the first and the last, improvement is measured."""


class Emitter(NamedTuple):
    """An emitter; of several, each leaf has a leading axis.

    Attributes:
        members: Its population of `M`.
        memory: What its strategy remembers.
        rows: The members' rewards after each of the last `W` steps, in a ring.
        steps: How many steps were taken since the first members were tried.
        first: The mean of the first rows.
        improvement: By how much the mean of the last rows is higher, 0 if it isn't.
        best: The highest reward it has stored; minus infinity if none.
        ancestor: Its row in the archive of rewards.
        spread: The standard deviation of its mutations.
        most_novel: The novelty of the most novel member so far, at first that of the ancestor.
        is_ancestor: Whether that still is the ancestor.
        novel: A sample of the members that were more novel than any before.
    """

    members: Genotypes
    memory: PyTree
    rows: Float[Array, "W M"]
    steps: Int[Array, ""]
    first: Float[Array, ""]
    improvement: Float[Array, ""]
    best: Float[Array, ""]
    ancestor: Int[Array, ""]
    spread: Float[Array, ""]
    most_novel: Float[Array, ""]
    is_ancestor: Bool[Array, ""]
    novel: Reservoir


class Strategy(NamedTuple):
    """How an emitter climbs.

    Attributes:
        members: How many are kept, `M`.
        brood: How many are tried in a step, `B`.
        by_novelty: Whether it climbs novelty instead of reward.
        start: `(key, genome [D], spread) -> (memory, genomes [M, D])`.
        open: `(memory, members) -> memory`, once the first members were tried.
        propose: `(key, memory, genomes [M, D], spread) -> (memory, genomes [B, D])`.
        choose: `(memory, members, brood, score [M + B]) -> (memory, members)`.
        is_spent: `(memory) -> bool`, whether it stops by a rule of its own.
    """

    members: int
    brood: int
    by_novelty: bool
    start: Callable[[Key[Array, ""], Array, Array], tuple[PyTree, Array]]
    open: Callable[[PyTree, Genotypes], PyTree]
    propose: Callable[[Key[Array, ""], PyTree, Array, Array], tuple[PyTree, Array]]
    choose: Callable[[PyTree, Genotypes, Genotypes, Array], tuple[PyTree, Genotypes]]
    is_spent: Callable[[PyTree], Array]


def strategy_of(kind: Kind, members: int, children: int, genes: int, config: EvaluationConfig) -> Strategy:
    """How emitters climb.

    Args:
        kind: "fitness" and "novelty": the best of members and their mutated children stay. "cma_es": CMA-ES from the
            ancestor with its spread (CMA-NS, with which the paper compares); each emitter then holds two matrices
            `[D, D]`, so that many takes much memory.
        members: How many are kept.
        children: How many each has.
        genes: How many genes there are.
        config: Their limits.
    """
    return (
        _cma_es(members, genes, config) if kind == "cma_es" else _elitist(members, children, kind == "novelty", config)
    )


def _elitist(members: int, children: int, by_novelty: bool, config: EvaluationConfig) -> Strategy:
    def start(key: Key[Array, ""], genome: Array, spread: Array) -> tuple[PyTree, Array]:
        return (), mutate(key, jnp.broadcast_to(genome, (members, genome.size)), spread, config)

    keep, never = lambda memory, _: memory, lambda _: jnp.zeros((), bool)

    def propose(key: Key[Array, ""], memory: PyTree, genomes: Array, spread: Array) -> tuple[PyTree, Array]:
        return memory, mutate(key, jnp.repeat(genomes, children, axis=0), spread, config)

    def choose(memory: PyTree, old: Genotypes, brood: Genotypes, score: Array) -> tuple[PyTree, Genotypes]:
        return memory, take(join(old, brood), jnp.argsort(-score)[:members])

    return Strategy(members, members * children, by_novelty, start, keep, propose, choose, never)


def _cma_es(members: int, genes: int, config: EvaluationConfig) -> Strategy:
    strategy = CMA(genes, members, config.genome_low, config.genome_high)

    def start(key: Key[Array, ""], genome: Array, spread: Array) -> tuple[PyTree, Array]:
        memory = strategy.init(genome, spread)
        return memory, strategy.ask(memory, key)

    def open_(memory: CMAState, members: Genotypes) -> PyTree:
        return strategy.tell(memory, members.genome, members.outcome.reward)

    def propose(key: Key[Array, ""], memory: CMAState, genomes: Array, spread: Array) -> tuple[PyTree, Array]:
        return memory, strategy.ask(memory, key)

    def choose(memory: CMAState, old: Genotypes, brood: Genotypes, score: Array) -> tuple[PyTree, Genotypes]:
        return open_(memory, brood), brood

    return Strategy(members, members, False, start, open_, propose, choose, strategy.should_stop)


def window_of(genes: int, members: int) -> int:
    """Over how many steps an emitter has to get better, `W`: `int(20 D / M + 120)`."""
    return int(20 * genes / members + 120)


def new_emitter(
    members: Genotypes, memory: PyTree, ancestor: Int[Array, ""], spread: Float[Array, ""], window: int, kept: int
) -> Emitter:
    """An emitter whose first members were tried.

    Args:
        members: These, `M` of them.
        memory: What the strategy remembers.
        ancestor: The row it starts from.
        spread: The standard deviation of its mutations.
        window: `W`, of at least `2 EDGE`.
        kept: How many of its novel members are handed over when it stops.
    """
    zero, rewards = jnp.zeros(()), members.outcome.reward
    rows = jnp.zeros((window, rewards.size)).at[0].set(rewards)
    sample = empty_reservoir(take(members, 0), kept)
    count, lowest = jnp.zeros((), jnp.int32), jnp.asarray(-jnp.inf)
    true = jnp.ones((), bool)
    return Emitter(members, memory, rows, count, zero, zero, lowest, ancestor, spread, zero, true, sample)


def advance(strategy: Strategy, emitter: Emitter, memory: PyTree, brood: Genotypes, score: Array) -> Emitter:
    """The emitter after a step in which it tried a brood.

    Args:
        emitter: Before.
        strategy: How it climbs.
        memory: What the strategy remembers.
        brood: Those it tried.
        score: Of members and brood, what it climbs.
    """
    memory, members = strategy.choose(memory, emitter.members, brood, score)
    steps = emitter.steps + 1
    rows = emitter.rows.at[steps % len(emitter.rows)].set(members.outcome.reward)
    first = jnp.where(steps == LATEST - 1, rows[:LATEST].mean(), emitter.first)
    return emitter._replace(members=members, memory=memory, rows=rows, steps=steps, first=first)


def measured(emitter: Emitter) -> Emitter:
    """The emitter with its improvement: from its first rows to its last."""
    last = _rows(emitter, LATEST, LATEST)
    return emitter._replace(improvement=jnp.maximum(last.mean() - emitter.first, 0.0))


def finds(emitter: Emitter) -> tuple[Emitter, Bool[Array, " M"]]:
    """Which members are to be stored: those better than all it has stored, at first the best one if it earned."""
    rewards = emitter.members.outcome.reward
    is_best = jnp.arange(rewards.size) == jnp.argmax(rewards)
    found = jnp.where(jnp.isneginf(emitter.best), is_best & (rewards > 0), rewards > emitter.best)
    return emitter._replace(best=jnp.where(found, rewards, emitter.best).max()), found


def note_novelty(emitter: Emitter, key: Key[Array, ""], novelty: Float[Array, " M"]) -> Emitter:
    """Offers members that are more novel than any before to its sample."""
    above = novelty > emitter.most_novel
    return emitter._replace(
        novel=offer(emitter.novel, key, emitter.members, above),
        most_novel=jnp.maximum(emitter.most_novel, novelty.max()),
        is_ancestor=emitter.is_ancestor & ~above.any(),
    )


def has_stagnated(emitter: Emitter) -> Bool[Array, ""]:
    """Whether it stops: after more than `W` steps, when over the last `W` the median or the maximum has not risen."""
    window = len(emitter.rows)
    before, after = _rows(emitter, window, EDGE), _rows(emitter, EDGE, EDGE)
    stuck = (jnp.median(before) >= jnp.median(after)) | (before.max() >= after.max())
    return (emitter.steps > window) & stuck


def _rows(emitter: Emitter, back: int, number: int) -> Float[Array, "number M"]:
    """Rows from `back` before the end of the ring on."""
    return emitter.rows[(emitter.steps + 1 - back + jnp.arange(number)) % len(emitter.rows)]
