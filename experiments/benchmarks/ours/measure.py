"""One program of agents, compiled and trained for a while, in a process of its own, whose memory is then its alone.

Started as `python measure.py SPEC`, SPEC being JSON: `agent`, `env` and `settings` as `jaxreward.run.spec.resolve` has
them, the numbers of `seeds` and `trials`, the environment `steps` of each run, and for how many `seconds` at least they
are measured. On stdout goes one JSON line, see `measured`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import optuna

from jaxreward.experiments.benchmarks.peers.contender import claim_stdout
from jaxreward.experiments.benchmarks.search import SPACE
from jaxreward.lookup import describe_failure
from jaxreward.run.cost import cost_of, operations_of
from jaxreward.run.plan import make_plan
from jaxreward.run.spec import resolve
from jaxreward.search.samplers import make_sampler
from jaxreward.settings.space import Uniform, choice_of
from jaxreward.settings.values import Value

CHUNK = 64
"""Iterations between two looks from the host, at most."""


def main() -> None:
    """Measures the spec given on the command line."""
    answer = claim_stdout()
    try:
        answer(measured(json.loads(sys.argv[1])))
    except Exception as error:  # told in one line; the others go on
        sys.exit(describe_failure(error))


def measured(spec: dict[str, Any]) -> dict[str, Any]:
    """What a program costs.

    Returns:
        Of all its runs together: environment steps a second, those of each run, bytes that XLA plans, bytes that the
        device had in use at most (None where it does not say), operations a second, and seconds of compilation.
    """
    members = drawn(spec["trials"]) if spec["trials"] else [{}]
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in spec["settings"].items()}
    experiment = resolve(spec["agent"], spec["env"], settings=settings, members=members, steps=spec["steps"])
    iterations = experiment.iterations(spec["steps"])
    plan = make_plan(experiment.hyperparams, experiment.population, spec["seeds"], iterations, CHUNK)
    cost, device = cost_of(experiment.agent, plan, spec["seconds"]), jax.local_devices()[0]
    return {
        "steps_per_second": experiment.steps_per_iteration / cost.seconds,
        "steps": iterations * experiment.steps_per_iteration,
        "planned_bytes": cost.bytes * len(members) * spec["seeds"],
        "peak_bytes": (device.memory_stats() or {}).get("peak_bytes_in_use"),
        "flops_per_second": operations_of(experiment.agent, plan) / cost.seconds,
        "compile_s": cost.compile_seconds,
        "device": device.device_kind,
        "jax": jax.__version__,
    }


def drawn(number: int) -> list[dict[str, Value]]:
    """Configurations of a random search, by the sampler of `jaxreward search`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {name: Uniform(low, high, log) for name, (_, low, high, log) in SPACE.items()}
    study = optuna.create_study(sampler=make_sampler("random", 0, number, {}))
    return [choice_of(space, study.ask()) for _ in range(number)]


if __name__ == "__main__":
    main()
