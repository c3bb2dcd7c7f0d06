"""The host loop: compiled chunks of an agent's steps, between them metrics, checkpoints and progress.

The loop knows nothing of any algorithm. It runs an agent over seeds and, if asked, over a population of
hyperparameters, and leaves a run folder (`jaxreward.run.store`) from which an interrupted run goes on to the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import pandas as pd
from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxreward.agent import Agent, shard, strong, vmap
from jaxreward.compilation.cache import enable_compilation_cache
from jaxreward.run.asked import condition_of, evaluator_of
from jaxreward.run.checkpoint import restore
from jaxreward.run.chunk import Program
from jaxreward.run.distributed import from_leader, several
from jaxreward.run.evaluator import Evaluation
from jaxreward.run.folder import hold_together
from jaxreward.run.guards import check_processes_agree, check_untouched, disk_errors, lost_processes, make_room
from jaxreward.run.plan import Plan, Start, batch_sharding, check_same, make_plan, widest_mesh
from jaxreward.run.resume import begin, previous_config, restore_run
from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.training import NonFiniteWarning, Options, Training, check_options

__all__ = ["NonFiniteWarning", "Result", "Start", "load_state", "train"]


class Result(NamedTuple):
    """What a run leaves.

    Attributes:
        state: The agent's state, axes `[population, seed, ...]`; one configuration is a population of one.
        metrics: One row for each logged chunk, member and seed, see `jaxreward.run.record.table`.
        folder: The run folder.
        compile_seconds: How long compilation took.
    """

    state: PyTree
    metrics: pd.DataFrame
    folder: Path
    compile_seconds: float


def train(
    agent: Agent,
    hyperparams: PyTree,
    *,
    iterations: int,
    folder: str | os.PathLike[str],
    seeds: int | Sequence[int] = 1,
    population: Sequence[dict[str, Any]] | None = None,
    config: dict[str, Any] | None = None,
    log_every: int | None = None,
    checkpoint_every: int | None = None,
    keep: int = 3,
    resume: bool | Literal["require"] = False,
    back_to: int | None = None,
    on_nan: Literal["warn", "raise"] = "warn",
    wandb: str | None = None,
    progress: bool = True,
    mesh: Mesh | Literal["widest"] | None = None,
    start: Start | None = None,
    evaluation: Evaluation | None = None,
) -> Result:
    """Trains an agent over seeds and hyperparameters in one compiled program and keeps everything in a run folder.

    What a run computes depends, beside itself, on how many members and seeds are together on its device, to the bit:
    not on how many devices or processes there are, nor on interruptions. Blocks of another shape are compiled to other
    orders of summation (of means and gradients), so runs agree only to rounding: for PPO on CartPole two units in the
    seventh digit after one iteration, until an action falls out otherwise and the paths part. To have the same bits
    with fewer devices, keep their number; on a CPU it is that of `--xla_force_host_platform_device_count`.

    In several processes (`jaxreward.run.distributed.initialize`) all call this with the same arguments. The first alone
    writes and reads the folder. An error or an interrupt of any ends all, after a checkpoint where one is due; when one
    is killed the others end too, and the run is resumed with as many processes as one likes.

    Args:
        agent: The single agent; batching is done here.
        hyperparams: One configuration or, with `population`, a batch of them: a leading axis on every leaf.
        iterations: Steps of the agent.
        folder: The run folder.
        seeds: How many (0, 1, ...), or which. Seed s always starts from `jax.random.key(s)`, whatever is beside it.
        population: What makes each member differ, e.g. `[{"learning_rate": 1e-3}, {"learning_rate": 1e-4}]`: its
            columns in the metrics and its name in messages.
        config: Anything that describes the run, kept in `config.json` and compared on resume.
        log_every: Iterations to a row of the metrics; a hundredth of all by default.
        checkpoint_every: Logged chunks from one checkpoint to the next; by default half a minute. One is always made at
            the end.
        keep: How many checkpoints are kept.
        resume: Whether to go on with a run that the folder holds: to the same bits as if it had never stopped, and
            further if `iterations` has grown. "require" makes it an error if there is none. A folder of which something
            is gone or damaged is refused before anything is trained.
        back_to: Of a run that is resumed, the iteration to go back to: it goes on from the last checkpoint at or before
            that, and what came after is dropped; 0 begins it again.
        on_nan: Whether a run whose numbers aren't finite is only warned of, the others being independent of it, or ends
            all.
        wandb: A Weights & Biases project to log to as well.
        progress: Whether to show progress on the standard error stream.
        mesh: Devices over which the runs are spread, with an axis "population", "seed" or both, whose sizes divide
            theirs; "widest" for the most devices that can be used so, which several processes always do by default.
            Seeds and members never wait for each other, so all cores are kept busy.
        start: Another run's members to go on from, instead of nothing: `iterations` counts theirs, and the metrics here
            begin after them.
        evaluation: Whole fresh episodes from time to time, see `jaxreward.run.evaluator.evaluation_of`: metrics
            `evaluation/*`, null in rows where none was made. No bit of training depends on it, and its time is not in
            `wall_seconds`.

    Returns:
        The final state (of several processes, each holds its part), the metrics of the whole run and where they are.

    Raises:
        RunError: The arguments don't fit together or to the run in the folder, the folder is not empty and holds no
            run, another process is at work there, it can't be written (also later on, a full disk: everything up to
            then is kept), or numbers aren't finite and `on_nan="raise"`.
        KeyboardInterrupt: After Ctrl-C, once the chunk is finished and saved. SIGTERM likewise, as `SystemExit`.
    """
    enable_compilation_cache()
    options = Options(checkpoint_every, keep, on_nan, wandb, progress)
    check_options(options)
    run = RunFolder(folder)
    previous = from_leader(lambda: previous_config(run, resume, back_to))
    if log_every is None and previous is not None:
        log_every = previous["log_every"]
    plan = make_plan(hyperparams, population, seeds, iterations, log_every, start)
    described = plan.describe(config)
    check_processes_agree(described)
    if previous is not None:
        check_same(plan, described, previous, str(run.path))
    mesh = widest_mesh(plan) if mesh == "widest" or (mesh is None and several()) else mesh
    sharding = batch_sharding(mesh, plan)
    block = plan.keys.shape if sharding is None else sharding.shard_shape(plan.keys.shape)
    rests = evaluation is not None and bool(evaluation.config.stop_when)
    program = Program(_batched(agent, mesh), plan.keys, plan.hyperparams, plan.log_every, sharding, rests)
    evaluator = evaluator_of(evaluation, program, plan, mesh, sharding)
    condition = condition_of(evaluation, program, evaluator)
    with disk_errors(run), lost_processes(run), hold_together(run.path):
        from_leader(lambda: check_untouched(run, previous))
        from_leader(lambda: make_room(run, program, keep + (evaluator is not None)))
        restored = restore_run(run, plan, program, sharding, back_to)
        iteration = restored.iteration if restored else 0
        described = from_leader(lambda: begin(run, described, previous, iteration, block))
        with Training(run, plan, options, described, restored, evaluator, condition) as training:
            state = training.go(program, restored)
        training.end_if_interrupted()
        metrics = from_leader(lambda: _finish(run, described, plan, training))
        return Result(state, metrics, run.path, training.compile_seconds)


def load_state(folder: str | os.PathLike[str], agent: Agent, hyperparams: PyTree, *, best: bool = False) -> PyTree:
    """The newest state in a run folder, or the best, axes `[population, seed, ...]`.

    Args:
        folder: The run folder.
        agent: The single agent that was trained.
        hyperparams: One configuration; only its structure and shapes matter.
        best: Whether to take the state of the best evaluation.

    Raises:
        RunError: There is no run or no checkpoint, or it is of another agent; or it was never evaluated.
    """
    run = RunFolder(folder)
    described = run.read_config()
    members, seeds = len(described["population"]), len(described["seeds"])
    batch = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (members, *jnp.shape(leaf))), hyperparams)
    keys = jax.random.split(jax.random.key(0), (members, seeds))
    abstract = jax.eval_shape(_batched(agent).init, keys, strong(batch))
    restored = restore(run.best if best else run.checkpoints, abstract)
    if restored is None:
        never = "of a best evaluation: train with --evaluate-every" if best else "yet"
        raise RunError(f"{run.path} holds no checkpoint {never}")
    return restored.state


def _batched(agent: Agent, mesh: Mesh | None = None) -> Agent:
    """The agent over `[population, seed]`, spread over a mesh if there is one."""
    runs = vmap(vmap(agent), population=True)
    return runs if mesh is None else shard(runs, mesh, population=True)


def _finish(run: RunFolder, described: dict[str, Any], plan: Plan, training: Training) -> pd.DataFrame:
    """Tidies the metrics, writes that the run is finished, and reads them."""
    run.compact()
    rested = {"rested": training.rested()} if training.rested() is not None else {}
    ends = {"compile_seconds": training.compile_seconds, "finished": plan.iterations, **rested}
    run.write_config({**described, "saved": True, **ends})
    return run.metrics()
