"""The host loop: compiled chunks of an agent's steps, between them metrics, checkpoints and progress.

The loop knows nothing of any algorithm. It runs an agent over seeds and, if asked, over a population of
hyperparameters, and leaves a run folder (`jaxreward.run.store`) from which an interrupted run goes on to the same bits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PyTree

from jaxreward.agent import Agent, shard, strong, vmap
from jaxreward.compilation.cache import enable_compilation_cache
from jaxreward.run.checkpoint import Checkpoints, Restored, restore, saved_iterations, state_bytes
from jaxreward.run.chunk import Chunk, Program, RunChunk
from jaxreward.run.distributed import from_leader, is_leader, largest, several
from jaxreward.run.evaluator import Evaluation, Evaluator
from jaxreward.run.folder import hold_together
from jaxreward.run.interrupt import Interrupt, end
from jaxreward.run.loggers import Curves, TensorBoard, WeightsAndBiases, import_wandb
from jaxreward.run.parting import PARTS, Parting, PartingWarning
from jaxreward.run.plan import Plan, Start, batch_sharding, check_positive, check_same, make_plan, widest_mesh
from jaxreward.run.progress import Progress
from jaxreward.run.record import (
    Counters,
    Metrics,
    describe_failures,
    described_result,
    host_metrics,
    non_finite,
    table,
    total,
)
from jaxreward.run.resume import begin, previous_config, restore_run
from jaxreward.run.stopping import Condition, parse_condition
from jaxreward.run.store import RunError, RunFolder, differences

SECONDS_BETWEEN_CHECKPOINTS = 30.0
SPARE_BYTES = 32 * 2**20
"""What a run writes besides its checkpoints, roughly."""


class NonFiniteWarning(UserWarning):
    """A run's numbers are no longer finite."""


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


class _Options(NamedTuple):
    """How a plan is carried out; see `train`."""

    checkpoint_every: int | None
    keep: int
    on_nan: str
    wandb: str | None
    progress: bool


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
    options = _Options(checkpoint_every, keep, on_nan, wandb, progress)
    _check_options(options)
    run = RunFolder(folder)
    previous = from_leader(lambda: previous_config(run, resume, back_to))
    if log_every is None and previous is not None:
        log_every = previous["log_every"]
    plan = make_plan(hyperparams, population, seeds, iterations, log_every, start)
    described = plan.describe(config)
    _check_processes_agree(described)
    if previous is not None:
        check_same(plan, described, previous, str(run.path))
    mesh = widest_mesh(plan) if mesh == "widest" or (mesh is None and several()) else mesh
    sharding = batch_sharding(mesh, plan)
    block = plan.keys.shape if sharding is None else sharding.shard_shape(plan.keys.shape)
    rests = evaluation is not None and bool(evaluation.config.stop_when)
    program = Program(_batched(agent, mesh), plan.keys, plan.hyperparams, plan.log_every, sharding, rests)
    evaluator = _evaluator(evaluation, program, plan, mesh, sharding)
    condition = _condition(evaluation, program, evaluator)
    with _disk_errors(run), _lost_processes(run), hold_together(run.path):
        from_leader(lambda: _check_untouched(run, previous))
        from_leader(lambda: _make_room(run, program, keep + (evaluator is not None)))
        restored = restore_run(run, plan, program, sharding, back_to)
        iteration = restored.iteration if restored else 0
        described = from_leader(lambda: begin(run, described, previous, iteration, block))
        with _Training(run, plan, options, described, restored, evaluator, condition) as training:
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


class _Training:
    """A run under way: its counters, and where what it does is written."""

    def __init__(
        self,
        run: RunFolder,
        plan: Plan,
        options: _Options,
        described: dict[str, Any],
        restored: Restored | None,
        evaluator: Evaluator | None,
        condition: Condition | None,
    ) -> None:
        self._run, self._plan, self._options, self._described = run, plan, options, described
        self._evaluator, self._condition = evaluator, condition
        shape = len(plan.population), len(plan.seeds)
        self._counters = Counters.from_json(restored.counters) if restored else Counters.zero(*shape)
        self._saved, self._chunks_since, self._saved_at = self._counters.iteration, 0, time.monotonic()
        self._signal, self.compile_seconds, self._parting = 0, 0.0, Parting()

    def __enter__(self) -> _Training:
        plan = self._plan
        with contextlib.ExitStack() as stack:
            self._checkpoints = Checkpoints(self._run.checkpoints, self._options.keep)
            stack.callback(self._checkpoints.close)
            if self._evaluator:
                self._run.best.mkdir(exist_ok=True)
                self._best = Checkpoints(self._run.best, keep=1)
                stack.callback(self._best.close)
            self._loggers = self._open_loggers() if is_leader() else []
            for logger in self._loggers:
                stack.callback(logger.close)
            progress = Progress(plan.iterations, self._counters.iteration, self._options.progress and is_leader())
            self._progress = stack.enter_context(progress)
            self._interrupt = stack.enter_context(Interrupt(self._progress))
            self._close = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._close.close()

    def go(self, program: Program, restored: Restored | None) -> PyTree:
        """Trains to the end, or to the signal that interrupts it, and saves."""
        if restored and (self._saved == self._plan.iterations or self._all_rest()):
            return restored.state
        self._progress.compiling()
        with self._interrupt.at_once():
            chunk, seconds = program.compile()
            state, init_seconds = (restored.state, 0.0) if restored else program.init()
            seconds += self._evaluator.compile() if self._evaluator else 0.0
        self.compile_seconds = seconds + init_seconds
        self._progress.compiled(self.compile_seconds)
        state = self._loop(chunk, state)
        if self.rested() is not None:
            self._progress.say(
                f"{self._condition}: all runs rest, nothing is left to train after iteration {self.rested()}"
            )
        self._save(state)
        self._checkpoints.wait()
        if self._evaluator:
            self._best.wait()
        return state

    def end_if_interrupted(self) -> None:
        """Ends the process as the signal would have, with how to go on."""
        if not self._signal:
            return
        message = f"stopped at iteration {self._counters.iteration}; resume the run in {self._run.path} to go on"
        self._progress.say(message)
        raise end(self._signal, message)

    def _open_loggers(self) -> list[TensorBoard | WeightsAndBiases]:
        curves = Curves(self._plan.population, self._plan.seeds)
        board = TensorBoard(self._run.tensorboard, curves, int(self._counters.env_steps.mean()))
        if not self._options.wandb:
            return [board]
        return [board, WeightsAndBiases(self._options.wandb, self._run.path, curves, self._described)]

    def rested(self) -> int | None:
        """The iteration after which nothing was left to train, where that was before the end."""
        early = self._all_rest() and self._counters.iteration < self._plan.iterations
        return self._counters.iteration if early else None

    def _all_rest(self) -> bool:
        return self._condition is not None and bool((self._counters.resting | self._counters.failed).all())

    def _loop(self, chunk: RunChunk, state: PyTree) -> PyTree:
        counters, plan = self._counters, self._plan
        mark = time.perf_counter()
        while counters.iteration < plan.iterations and not self._signal and not self._all_rest():
            # Chunks end at multiples of their length: a run that was extended logs where a longer one would have.
            left = plan.log_every - counters.iteration % plan.log_every
            iterations = min(left, plan.iterations - counters.iteration)
            state, done = chunk(state, iterations, counters.resting)
            done = jax.device_get(done)
            seconds = time.perf_counter() - mark
            evaluated = self._evaluated(state, done, iterations)
            mark = time.perf_counter()
            problem = self._record(done, evaluated, iterations, seconds)
            if evaluated and counters.better(evaluated):
                self._best.save(counters.iteration, state, counters.to_json())
            self._after(state, problem)
            self._tell_parting(counters.iteration - iterations)
        return state

    def _evaluated(self, state: PyTree, chunk: Chunk, iterations: int) -> Metrics:
        """What whole episodes came to after a chunk, if it is time for them, or the last one."""
        before, evaluator = self._counters.iteration, self._evaluator
        if evaluator is None:
            return {}
        after = before + iterations
        due = evaluator.config.due(before, after, self._plan.iterations) or self._ends_with(host_metrics(chunk))
        return evaluator(state, after) if due else {}

    def _ends_with(self, metrics: Metrics) -> bool:
        """Whether what a chunk showed of training lets all runs rest."""
        condition, counters = self._condition, self._counters
        if condition is None or condition.metric not in metrics:
            return False
        return bool((counters.resting | counters.failed | condition.holds(metrics)).all())

    def _record(self, chunk: Chunk, evaluated: Metrics, iterations: int, seconds: float) -> str | None:
        """Counts a chunk and writes its metrics; says which runs are newly found not to be finite."""
        counters, metrics, steps = self._counters, host_metrics(chunk) | evaluated, total(chunk, "env_steps")
        broken = non_finite(metrics, np.asarray(chunk.learned_is_finite))
        broken = {name: where & ~counters.resting for name, where in broken.items()}
        news = {name: where & ~counters.failed for name, where in broken.items()}
        steps = np.where(counters.resting, 0, steps)
        counters.iteration += iterations
        counters.wall_seconds += seconds
        counters.env_steps += steps
        counters.failed |= np.logical_or.reduce(list(broken.values()))
        population, seeds = self._plan.population, self._plan.seeds
        if self._options.checkpoint_every:
            self._checkpoints.wait()  # no more rows than these may be lost if this process is killed
        metrics |= {name: np.full(steps.shape, np.nan) for name in self._not_evaluated(evaluated)}
        metrics = counters.as_before(metrics)
        if self._condition is not None:
            counters.rest(self._condition.holds(metrics) & ~counters.failed, metrics)
        self._parting.see(metrics, counters.resting)
        from_leader(lambda: self._write(metrics))
        self._progress.update(counters.iteration, int(steps.sum()) / seconds, described_result(metrics))
        return describe_failures(news, population, seeds, counters.iteration)

    def _not_evaluated(self, evaluated: Metrics) -> list[str]:
        """The columns of evaluations that have nothing in this row."""
        return [] if evaluated or self._evaluator is None else self._evaluator.names

    def _write(self, metrics: Metrics) -> None:
        counters, plan, described = self._counters, self._plan, self._described
        if not described["saved"] and saved_iterations(self._run.checkpoints):
            described["saved"] = True  # from now on a folder without checkpoints has lost them
            self._run.write_config(described)
        self._run.write_part(counters.iteration, table(counters, metrics, plan.population, plan.seeds))
        for logger in self._loggers:
            logger.log(metrics, counters.iteration, int(counters.env_steps.mean()))

    def _after(self, state: PyTree, problem: str | None) -> None:
        """Acts on what a chunk showed, and saves when it is time."""
        self._chunks_since += 1
        if problem and self._options.on_nan == "raise":
            self._save(state)
            self._checkpoints.wait()
            raise RunError(f"{problem}\nwhat was done is saved in {self._run.path}")
        if problem and is_leader():
            left = "no run is left whose numbers are" if self._counters.failed.all() else "the other runs go on"
            warnings.warn(f"{problem}\n{left}", NonFiniteWarning, stacklevel=5)
        self._signal, due = largest([self._interrupt.received, self._checkpoint_is_due()])
        if due:
            self._save(state)

    def _tell_parting(self, before: int) -> None:
        """Warns, at each tenth of a run, where the reward that is trained on and the true one part."""
        now, whole = self._counters.iteration, self._plan.iterations
        news = self._parting.news(now) if PARTS * now // whole > PARTS * before // whole else None
        if news and is_leader():
            warnings.warn(news, PartingWarning, stacklevel=5)

    def _checkpoint_is_due(self) -> bool:
        if self._options.checkpoint_every:
            return self._chunks_since >= self._options.checkpoint_every
        return time.monotonic() - self._saved_at >= SECONDS_BETWEEN_CHECKPOINTS

    def _save(self, state: PyTree) -> None:
        if self._saved == self._counters.iteration:
            return
        self._checkpoints.save(self._counters.iteration, state, self._counters.to_json())
        self._saved, self._chunks_since, self._saved_at = self._counters.iteration, 0, time.monotonic()


def _check_options(options: _Options) -> None:
    check_positive("keep", options.keep)
    if options.checkpoint_every is not None:
        check_positive("checkpoint_every", options.checkpoint_every)
    if options.on_nan not in ("warn", "raise"):
        raise RunError(f'on_nan must be "warn" or "raise", not {options.on_nan!r}')
    if options.wandb:
        import_wandb()


def _check_processes_agree(described: dict[str, Any]) -> None:
    leaders = from_leader(lambda: described)
    changes = differences(leaders, described)
    if largest([bool(changes) or leaders["iterations"] != described["iterations"]])[0]:
        raise RunError(
            "the processes were not asked to train the same; start all with the same arguments. "
            f"Process {jax.process_index()} differs from the first in: {changes or 'nothing, another does'}"
        )


def _evaluator(
    evaluation: Evaluation | None, program: Program, plan: Plan, mesh: Mesh | None, sharding: NamedSharding | None
) -> Evaluator | None:
    """What evaluates the runs of a plan, if anything is to."""
    if evaluation is None or not evaluation.config.every:
        return None
    return Evaluator(evaluation, program.state, plan.keys, plan.hyperparams, mesh, sharding)


def _condition(evaluation: Evaluation | None, program: Program, evaluator: Evaluator | None) -> Condition | None:
    """When a run of a plan may rest, if ever.

    Raises:
        RunError: The condition is none, or of a metric that there is not.
    """
    if evaluation is None or not evaluation.config.stop_when:
        return None
    try:
        condition = parse_condition(evaluation.config.stop_when)
        condition.check([*program.metrics, *(evaluator.names if evaluator else [])])
    except ValueError as error:
        raise RunError(f"stop_when: {error}") from error
    return condition


def _batched(agent: Agent, mesh: Mesh | None = None) -> Agent:
    """The agent over `[population, seed]`, spread over a mesh if there is one."""
    runs = vmap(vmap(agent), population=True)
    return runs if mesh is None else shard(runs, mesh, population=True)


def _check_untouched(run: RunFolder, previous: dict[str, Any] | None) -> None:
    """Refuses to go on from what another process has changed since it was read, before the folder was held."""
    now = run.read_config() if run.exists() else None
    if now != previous:
        raise RunError(f"another process was at work in {run.path} just now; start again")


def _make_room(run: RunFolder, program: Program, keep: int) -> None:
    """Makes the folder and checks that what will be written fits."""
    run.create()
    checkpoint = state_bytes(program.state)
    needed = SPARE_BYTES + checkpoint * max(keep + 1 - len(saved_iterations(run.checkpoints)), 1)
    free = shutil.disk_usage(run.path).free
    if free < needed:
        raise RunError(
            f"{run.path} has {free / 1e6:.0f} MB left, but the run needs about {needed / 1e6:.0f} MB: a checkpoint is "
            f"{checkpoint / 1e6:.1f} MB and {keep} are kept. Free some space, choose another folder or keep fewer"
        )


def _finish(run: RunFolder, described: dict[str, Any], plan: Plan, training: _Training) -> pd.DataFrame:
    """Tidies the metrics, writes that the run is finished, and reads them."""
    run.compact()
    rested = {"rested": training.rested()} if training.rested() is not None else {}
    ends = {"compile_seconds": training.compile_seconds, "finished": plan.iterations, **rested}
    run.write_config({**described, "saved": True, **ends})
    return run.metrics()


@contextlib.contextmanager
def _disk_errors(run: RunFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        saved = saved_iterations(run.checkpoints)
        last = f"the last checkpoint is of iteration {saved[-1]}" if saved else "there is no checkpoint yet"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        where = run.path if full or error.filename is None else error.filename
        raise RunError(
            f"can't write to {where}: {error.strerror or error}. What was written before is kept; {last}. "
            f"{'Make space' if full else 'See to that'}, then resume the run"
        ) from error


@contextlib.contextmanager
def _lost_processes(run: RunFolder) -> Iterator[None]:
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not several():
            raise
        reason = str(error).splitlines()[0]
        raise RunError(
            f"this process can't go on, most likely because another has ended: {reason}. Start all of them again to "
            f"resume the run in {run.path}"
        ) from error
