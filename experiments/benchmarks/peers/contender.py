"""One contender's process: compiles its program, then runs it each time it is told to.

Started as `python contender.py SPEC`, SPEC being JSON of `settings.spec`. It imports nothing of jaxreward, since
peers run in an environment of their own, some with a jax of years ago. The program file it loads has a function
`build(spec) -> (train, finish)`.
`train(key)` is one whole training run, jit-able and vmappable (by the program's `batch`, if it has one), compiled with
the program's `compiler_options()` if it has any. `finish(output)`, where output has a leading axis of seeds, gives one
of

* `returns` and `episodes`, `[seeds, iterations]`: of the episodes that ended in each iteration, the sum of their
  returns and their number;
* `evaluation`, `[seeds]`: the mean return of fresh episodes;
* `found`, a dict of `[seeds]`: whatever the benchmark compares, passed on as it is;
* nothing.

On stdout goes one JSON line when it has compiled, then one for each line `{"run": n}` on stdin, n the seed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
import numpy as np


def main() -> None:
    """Serves the spec given on the command line until stdin closes."""
    spec = json.loads(sys.argv[1], object_hook=lambda fields: SimpleNamespace(**fields))
    answer = claim_stdout()
    program = _load(spec.program)
    train, finish = program.build(spec)
    options: dict[str, Any] = getattr(program, "compiler_options", dict)()
    batch = getattr(program, "batch", jax.vmap)
    compiled, seconds = _compile(train if spec.seeds == 1 else batch(train), _keys(spec.seeds, 0), options)
    answer({**seconds, "device": jax.devices()[0].device_kind, "jax": version("jax")})
    for line in sys.stdin:
        output, seconds = _timed(compiled, _keys(spec.seeds, json.loads(line)["run"]))
        output = jax.tree_util.tree_map(lambda x: x[None], output) if spec.seeds == 1 else output
        answer({**seconds, **summarise(finish(output))})


def claim_stdout() -> Callable[[dict[str, Any]], None]:
    """Keeps stdout for the answers; what libraries print goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return lambda message: print(json.dumps(message), file=out, flush=True)


def _load(path: str) -> ModuleType:
    module_spec = importlib.util.spec_from_file_location("program", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


def _keys(seeds: int, run: int) -> jax.Array:
    """Raw keys, which every version of every contender takes: `[2]` for one seed, else `[seeds, 2]`."""
    key = jax.random.PRNGKey(run)
    return jax.block_until_ready(key if seeds == 1 else jax.random.split(key, seeds))


def _compile(train: Callable, keys: jax.Array, options: dict[str, Any]) -> tuple[Callable, dict[str, float]]:
    start = time.perf_counter()
    lowered = jax.jit(train).lower(keys)
    traced = time.perf_counter()
    compiled = lowered.compile(options or None)
    return compiled, {"trace_s": traced - start, "compile_s": time.perf_counter() - traced}


def _timed(compiled: Callable, keys: jax.Array) -> tuple[Any, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    output = jax.block_until_ready(compiled(keys))
    seconds = {"run_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux tells it in KiB
    return output, {**seconds, "load": os.getloadavg()[0], "peak_gb": peak}


def summarise(report: dict[str, Any]) -> dict[str, Any]:
    """Final return, and the return of each seed in each tenth of training where the program recorded it."""
    if "evaluation" in report:
        return {"final_return": float(np.mean(report["evaluation"]))}
    if "found" in report:
        return {"found": {name: np.asarray(each).tolist() for name, each in report["found"].items()}}
    if "episodes" not in report:
        return {}
    curve = tenths(np.asarray(report["returns"]), np.asarray(report["episodes"]))
    return {"final_return": float(np.nanmean(curve[:, -1])), "tenths": curve.tolist()}


def tenths(returns: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    """Mean return of the episodes that ended within each tenth of training.

    Args:
        returns: Sum of the returns of the episodes that ended in each iteration, `[seeds, iterations]`.
        episodes: How many those were, `[seeds, iterations]`.

    Returns:
        `[seeds, 10]`; NaN where no episode ended.
    """
    split = lambda x: np.stack([part.sum(axis=1) for part in np.array_split(x, 10, axis=1)], axis=1)  # noqa: E731
    total, count = split(returns.astype(np.float64)), split(episodes.astype(np.float64))
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


if __name__ == "__main__":
    main()
