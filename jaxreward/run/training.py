"""A run under way: chunk after chunk is trained, recorded, and saved when it is time."""

from __future__ import annotations

import contextlib
import time
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxreward.run.checkpoint import Checkpoints, Restored, saved_iterations
from jaxreward.run.chunk import Chunk, Program, RunChunk
from jaxreward.run.distributed import from_leader, is_leader, largest
from jaxreward.run.evaluator import Evaluator
from jaxreward.run.interrupt import Interrupt, end
from jaxreward.run.loggers import Curves, TensorBoard, WeightsAndBiases, import_wandb
from jaxreward.run.parting import PARTS, Parting, PartingWarning
from jaxreward.run.plan import Plan, check_positive
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
from jaxreward.run.stopping import Condition
from jaxreward.run.store import RunError, RunFolder

SECONDS_BETWEEN_CHECKPOINTS = 30.0


class NonFiniteWarning(UserWarning):
    """A run's numbers are no longer finite."""


class Options(NamedTuple):
    """How a plan is carried out; see `jaxreward.run.train.train`."""

    checkpoint_every: int | None
    keep: int
    on_nan: str
    wandb: str | None
    progress: bool


def check_options(options: Options) -> None:
    """Refuses what can't be carried out.

    Raises:
        RunError: An option is none, or Weights & Biases is asked for and not installed.
    """
    check_positive("keep", options.keep)
    if options.checkpoint_every is not None:
        check_positive("checkpoint_every", options.checkpoint_every)
    if options.on_nan not in ("warn", "raise"):
        raise RunError(f'on_nan must be "warn" or "raise", not {options.on_nan!r}')
    if options.wandb:
        import_wandb()


class Training:
    """A run under way: its counters, and where what it does is written."""

    def __init__(
        self,
        run: RunFolder,
        plan: Plan,
        options: Options,
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

    def __enter__(self) -> Training:
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
