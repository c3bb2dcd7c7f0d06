"""What is asked for beside training: evaluations, and a condition by which runs rest."""

from __future__ import annotations

from jax.sharding import Mesh, NamedSharding

from jaxreward.run.chunk import Program
from jaxreward.run.evaluator import Evaluation, Evaluator
from jaxreward.run.plan import Plan
from jaxreward.run.stopping import Condition, parse_condition
from jaxreward.run.store import RunError


def evaluator_of(
    evaluation: Evaluation | None, program: Program, plan: Plan, mesh: Mesh | None, sharding: NamedSharding | None
) -> Evaluator | None:
    """What evaluates the runs of a plan, if anything is to."""
    if evaluation is None or not evaluation.config.every:
        return None
    return Evaluator(evaluation, program.state, plan.keys, plan.hyperparams, mesh, sharding)


def condition_of(evaluation: Evaluation | None, program: Program, evaluator: Evaluator | None) -> Condition | None:
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
