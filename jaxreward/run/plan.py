"""What a run is to train: its hyperparameters, seeds and length, checked before anything compiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key, PyTree

from jaxreward.agent import strong, with_auto_axes
from jaxreward.contract.sizes import MOST_SEEDS
from jaxreward.names import path_name
from jaxreward.run.record import COLUMNS
from jaxreward.run.store import RunError, differences, named_values, to_json

AXES = ("population", "seed")
"""The leading axes of a state, and those of a mesh it is spread over."""
POINTS = 100
"""How many times a run logs unless told otherwise."""


class Start(NamedTuple):
    """Another run that a run goes on from: some of its members, for the same seeds.

    Attributes:
        folder: Its folder.
        members: Which of its members each member goes on from.
    """

    folder: Path
    members: tuple[int, ...]


class Plan(NamedTuple):
    """What is to be trained, checked.

    Attributes:
        hyperparams: With a leading axis `[population]`.
        population: The named overrides of each member; `[{}]` for one configuration.
        seeds: One run of each member for each of them.
        iterations: How many steps of the agent each run takes.
        log_every: Iterations in a chunk.
        start: The run it goes on from, if it doesn't begin at nothing.
    """

    hyperparams: PyTree
    population: list[dict[str, Any]]
    seeds: list[int]
    iterations: int
    log_every: int
    start: Start | None = None

    @property
    def keys(self) -> Key[Array, "population seed"]:
        """The key each run starts from: `jax.random.key(seed)`."""
        keys = jax.vmap(jax.random.key)(np.array(self.seeds, np.int32))
        return jnp.broadcast_to(keys, (len(self.population), len(self.seeds)))

    def describe(self, config: dict[str, Any] | None) -> dict[str, Any]:
        """The plan as `config.json` has it, beside the user's own description."""
        return {
            "config": to_json(config or {}),
            "hyperparams": named_values(self.hyperparams),
            "population": to_json(self.population),
            "seeds": self.seeds,
            "iterations": self.iterations,
            "log_every": self.log_every,
            "start": to_json(self.start and {"folder": str(self.start.folder), "members": self.start.members}),
        }


def make_plan(
    hyperparams: PyTree,
    population: Sequence[dict[str, Any]] | None,
    seeds: int | Sequence[int],
    iterations: int,
    log_every: int | None,
    start: Start | None = None,
) -> Plan:
    """Checks what `jaxreward.run.train.train` was given.

    Raises:
        RunError: A number is out of range, or the hyperparameters don't fit the population.
    """
    check_positive("iterations", iterations)
    length = max(1, iterations // POINTS) if log_every is None else log_every
    check_positive("log_every", length)
    listed = _listed(seeds)
    _check_numbers(hyperparams)
    if population is None:
        hyperparams, population = jax.tree.map(lambda leaf: strong(leaf)[None], hyperparams), [{}]
    _check_population(hyperparams, population)
    return Plan(strong(hyperparams), [dict(member) for member in population], listed, iterations, length, start)


def check_same(plan: Plan, described: dict[str, Any], previous: dict[str, Any], where: str) -> None:
    """Checks that a run is resumed with the configuration it began with; it may grow longer.

    Raises:
        RunError: It differs; the message lists what was and what is asked for.
    """
    changes = differences(previous, described)
    if plan.iterations < previous["iterations"]:
        changes.append(f"iterations: {previous['iterations']} -> {plan.iterations} (may only grow)")
    if changes:
        more = f"\n  and {len(changes) - 10} more" if len(changes) > 10 else ""
        listing = "\n  ".join(changes[:10])
        raise RunError(f"can't resume {where} with another configuration (there -> asked for):\n  {listing}{more}")


def widest_mesh(plan: Plan) -> Mesh | None:
    """The most devices, as many of each process, whose numbers along two axes divide population and seeds.

    Of meshes of the same size the one with the most devices along the seeds is taken; of one device, none.

    Raises:
        RunError: There are several processes, and no such mesh has devices of all.
    """
    members, seeds, processes = len(plan.population), len(plan.seeds), jax.process_count()
    shapes = [(x, y) for x in _divisors(members) for y in _divisors(seeds) if x * y % processes == 0]
    fitting = [(x, y) for x, y in shapes if x * y <= jax.local_device_count() * processes]
    if not fitting:
        raise RunError(
            f"{members} members x {seeds} seeds can't be spread evenly over {processes} processes of "
            f"{jax.local_device_count()} devices; make the number of members or of seeds a multiple of {processes}"
        )
    shape = max(fitting, key=lambda shape: (shape[0] * shape[1], shape[1]))
    number = shape[0] * shape[1]
    by_process = (jax.local_devices(index)[: number // processes] for index in range(processes))
    return Mesh(np.array(list(by_process)).reshape(shape), AXES) if number > 1 else None


def batch_sharding(mesh: Mesh | None, plan: Plan) -> NamedSharding | None:
    """How the leading axes of a state lie on a mesh.

    Raises:
        RunError: The mesh has an axis that is not "population" or "seed" or does not divide it, or it lacks the devices
            of a process.
    """
    if mesh is None:
        return None
    sizes = dict(zip(AXES, (len(plan.population), len(plan.seeds)), strict=True))
    if any(sizes.get(name, 1) % number or name not in sizes for name, number in mesh.shape.items()):
        raise RunError(f"the mesh {dict(mesh.shape)} must have axes of {list(AXES)} that divide {sizes}")
    present = {device.process_index for device in mesh.devices.flat}
    if len(present) < jax.process_count():
        raise RunError(f"the mesh has devices of {len(present)} of the {jax.process_count()} processes; it needs all")
    return NamedSharding(with_auto_axes(mesh), PartitionSpec(*(name if name in mesh.shape else None for name in AXES)))


def check_positive(name: str, value: int) -> None:
    """Checks that a setting is a positive integer.

    Raises:
        RunError: It isn't.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RunError(f"{name} must be a positive integer, not {value!r}")


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _listed(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, str) or not isinstance(seeds, int | Iterable):
        raise RunError(f"seeds must be their number or a list of them, such as 8 or [0, 1], not {seeds!r}")
    if isinstance(seeds, int) and seeds > MOST_SEEDS:
        raise RunError(f"there can be {MOST_SEEDS:,} seeds at most, not {seeds:,}")
    listed = list(range(seeds)) if isinstance(seeds, int) else [int(seed) for seed in seeds]
    if not listed or len(set(listed)) < len(listed) or min(listed) < 0 or max(listed) >= 2**31:
        raise RunError(f"seeds must be their number or different integers from 0 to 2**31 - 1, not {seeds}")
    return listed


def _check_numbers(hyperparams: PyTree) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(hyperparams):
        try:
            jnp.asarray(leaf)
        except TypeError as error:
            name = path_name(path)
            raise RunError(f"the hyperparameter {name} must be a number or an array of them, not {leaf!r}") from error


def _check_population(hyperparams: PyTree, population: Sequence[dict[str, Any]]) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(hyperparams)
    wrong = {path_name(path): jnp.shape(leaf) for path, leaf in leaves if jnp.shape(leaf)[:1] != (len(population),)}
    if not population or wrong:
        raise RunError(
            f"the population names {len(population)} members, so every hyperparameter must have a leading axis of that "
            f"size; these have the shapes {wrong}"
        )
    taken = sorted({key for member in population for key in member} & set(COLUMNS))
    if taken:
        raise RunError(f"members can't be told apart by {taken}: the metrics have columns of that name")
