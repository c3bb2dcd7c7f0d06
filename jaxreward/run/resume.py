"""Where a run begins: at nothing, at its own last checkpoint, or at members of another run."""

from __future__ import annotations

import uuid
import warnings
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from jaxreward.run.checkpoint import Restored, remove_after, restore, saved_iterations
from jaxreward.run.chunk import Program
from jaxreward.run.code import CODE
from jaxreward.run.distributed import from_leader
from jaxreward.run.folder import check_unused
from jaxreward.run.nearby import hint, sign_of
from jaxreward.run.plan import Plan, Start
from jaxreward.run.record import Counters
from jaxreward.run.store import RunError, RunFolder, provenance, to_json
from jaxreward.run.whole import check_whole

KEPT = ("reward.py", CODE, "worker.log", ".writable")
"""Files and folders that may be in a run folder before its `config.json` is."""


def previous_config(run: RunFolder, resume: bool | str, back_to: int | None = None) -> dict[str, Any] | None:
    """The `config.json` of the run that is to go on, None if there is none.

    Args:
        run: The run.
        resume: Whether it may go on; "require" if it must.
        back_to: The iteration that it is to go back to, if any.

    Raises:
        RunError: There is a run and there should not be, or the other way round; something of it is gone or damaged; or
            the folder is not empty and holds no run.
    """
    if back_to is not None and (back_to < 0 or not resume):
        raise RunError(f"a run that is resumed can go back to an iteration from 0 on (got {back_to}); no other can")
    if not run.exists():
        if resume == "require" and sign_of(run.path) is not None:
            raise RunError(f"there is no run to resume in {run.path}{hint(run.path)}")
        check_new(run)
        if resume == "require" or back_to is not None:
            raise RunError(f"there is no run to resume: {run.path} is not a run folder{hint(run.path)}")
        return None
    if not resume:
        raise RunError(
            f"{run.path} already holds a run: resume it (--resume, in Python resume=True) or choose another folder"
        )
    described = run.read_config()
    check_whole(run, described, back_to)
    return described


def check_new(run: RunFolder) -> None:
    """Refuses to begin a run in a folder that lost its run's configuration, or has something else in it.

    Raises:
        RunError: Says what is there.
    """
    left = [place.name for place in (run.checkpoints, run.metrics_folder) if place.is_dir() and any(place.iterdir())]
    check_unused(run.path, KEPT, f"a run whose {run.config_file.name}" if left else "")


def restore_run(
    run: RunFolder, plan: Plan, program: Program, sharding: NamedSharding | None, back_to: int | None = None
) -> Restored | None:
    """Where the run goes on: at its own last checkpoint, else at that of the run it starts from.

    Raises:
        RunError: The checkpoints are damaged, or the other run does not have what is to be gone on with.
    """
    own = restore(run.checkpoints, program.state, sharding, at_most=back_to)
    if own is None:
        return None if plan.start is None else _inherited(plan, plan.start, program, sharding)
    # A best state from after that goes; what was the best before is no longer there then, so the next one is.
    if from_leader(lambda: any(at > own.iteration for at in saved_iterations(run.best))):
        own.counters.pop("best", None)
    return own


def begin(
    run: RunFolder, described: dict[str, Any], previous: dict[str, Any] | None, iteration: int, block: tuple[int, ...]
) -> dict[str, Any]:
    """Writes `config.json`, and clears what a resumed run did after the checkpoint it goes on from.

    Args:
        run: The run.
        described: What was asked for, see `Plan.describe`.
        previous: See `previous_config`.
        iteration: That of the checkpoint, 0 without one.
        block: How many members, with how many seeds each, are on a device: another may mean another rounding.

    Returns:
        What it wrote.
    """
    saved = iteration in saved_iterations(run.checkpoints)
    remove_after(run.checkpoints, iteration)
    remove_after(run.best, iteration)
    run.drop_parts_after(iteration) if saved else run.drop_all_parts()
    now = {**provenance(), "runs_per_device": list(block)}
    if previous is None:
        described = {"id": uuid.uuid4().hex, **described, **now, "resumed": [], "began": iteration}
    else:
        _warn_of_changes(previous, now, unfinished=iteration < described["iterations"])
        resumed = [*previous["resumed"], {"iteration": iteration, **now}]
        described = {**previous, "iterations": described["iterations"], "resumed": resumed}
        for of_the_end in ("finished", "rested"):
            described.pop(of_the_end, None)
    run.write_config({**described, "saved": saved})
    return {**described, "saved": saved}


def _inherited(plan: Plan, start: Start, program: Program, sharding: NamedSharding | None) -> Restored:
    """The members of another run that this one goes on from."""
    parent = RunFolder(start.folder)
    described = from_leader(parent.read_config)
    _check_start(plan, start, described)
    rows = np.array(start.members)[:, None], np.array([described["seeds"].index(seed) for seed in plan.seeds])
    batch = len(described["population"]), len(described["seeds"])
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*batch, *leaf.shape[2:]), leaf.dtype), program.state)
    restored = restore(parent.checkpoints, abstract, sharding, rows)
    if restored is None or restored.iteration > plan.iterations:
        at = "no checkpoint" if restored is None else f"a checkpoint of iteration {restored.iteration} alone"
        raise RunError(f"can't go on from {start.folder} to iteration {plan.iterations}: it has {at}")
    counters = Counters.from_json(restored.counters)
    counters = counters.of(rows)
    return restored._replace(counters=counters.to_json())


def _check_start(plan: Plan, start: Start, described: dict[str, Any]) -> None:
    """What a member was given is part of the state it goes on from, so it can't be given anything else."""
    unknown = [seed for seed in plan.seeds if seed not in described["seeds"]]
    if unknown:
        raise RunError(f"{start.folder} has no seed {unknown[0]}; it has {described['seeds']}")
    count = len(described["population"])
    if len(start.members) != len(plan.population) or not set(start.members) <= set(range(count)):
        raise RunError(
            f"{len(plan.population)} members can't go on from members {list(start.members)} of {start.folder}, "
            f"which has {count}"
        )
    for member, origin in zip(to_json(plan.population), start.members, strict=True):
        if member != described["population"][origin]:
            raise RunError(f"member {origin} of {start.folder} is {described['population'][origin]}, not {member}")


def _warn_of_changes(old: dict[str, Any], new: dict[str, Any], unfinished: bool) -> None:
    versions = old["versions"]
    changed = [f"{name} {versions.get(name)} -> {now}" for name, now in new["versions"].items()
               if versions.get(name) != now]  # fmt: skip
    block, now = old.get("runs_per_device"), new["runs_per_device"]
    if unfinished and block not in (None, now):
        changed.append(f"members x seeds on a device {' x '.join(map(str, block))} -> {' x '.join(map(str, now))}")
    if changed:
        listing = ", ".join(changed)
        warnings.warn(f"resumed not quite as it began, so bits may differ: {listing}", stacklevel=5)
