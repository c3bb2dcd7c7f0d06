"""Target objectives by name: an actor-critic's, written by hand; those that were learned, from a file; a user's own."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxreward.agents.meta.parts.lpg_network import lpg
from jaxreward.learning.estimators import gae
from jaxreward.learning.learned_drifts import filled, find_learned, list_learned, read_described
from jaxreward.learning.objective import Aims, Lifetime, Objective, Targets
from jaxreward.lookup import check_reference, is_reference, load_reference, users_code
from jaxreward.names import check_name
from jaxreward.reward import as_init

ACTOR_CRITIC = "actor_critic"
LEARNERS = ("lpg_meta", "lpg_es")
"""The agents whose params are LPG's."""


def actor_critic(predictions: int = 8) -> Objective:
    """An actor-critic as a target function, to compare learned ones with.

    A prediction stands for the value `V(s) = z . y(s)`, `z` evenly spaced from `-scale` to `scale`. The score is the
    advantage (generalised, see `jaxreward.learning.estimators.gae`), its mean taken away and divided by its standard
    deviation, less `entropy log pi`, whose mean is the slope of an entropy bonus. The prediction asked for is `y`
    weighed by `exp(z A)`: the slope of `KL(y || y_hat)` is then exactly that of `-A V`, where `A` is a constant, and
    the value moves towards `V + A`.

    Its params are `gae_lambda`, `entropy` and `scale`.

    Args:
        predictions: Length of a prediction.
    """
    spaced = np.linspace(-1.0, 1.0, predictions)

    def apply(params: PyTree, batch: Targets, lifetime: Lifetime) -> Aims:
        del lifetime
        worth = params["scale"] * jnp.asarray(spaced, batch.reward.dtype)
        value, next_value = batch.prediction @ worth, batch.next_prediction @ worth
        ends = batch.terminated, batch.truncated
        advantage = gae(batch.reward, value, next_value, *ends, batch.discount, params["gae_lambda"])
        score = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        tilt = advantage[..., None] * jnp.broadcast_to(worth, batch.prediction.shape)
        aim = jax.nn.softmax(jnp.log(batch.prediction) + tilt)
        likely = jnp.maximum(batch.probability, jnp.finfo(batch.probability.dtype).tiny)
        return Aims(score - params["entropy"] * jnp.log(likely), aim)

    return Objective(as_init({"gae_lambda": 0.95, "entropy": 0.01, "scale": 1.0}), apply)


def get_targets(name: str, predictions: int) -> Objective:
    """The target objective called `name`.

    Args:
        name: "actor_critic"; one that comes with the package, such as "ta_lpg_small"; a run's folder, or a file that
            `jaxreward export` wrote of one, of `lpg_meta` or `lpg_es`, see `jaxreward.learning.learned_drifts`; or
            `module:attribute`, `path/to/file.py:attribute`, an `Objective` or a function without arguments that
            returns one.
        predictions: Length of a prediction, `m`.

    Raises:
        ValueError: If there is no such objective or file, or it is of another length of predictions.
    """
    path = find_learned(name)
    if path is not None:
        return read_targets(path, predictions)
    check_reference(name, "objective")
    if not is_reference(name):
        hint = "One that was learned is a run's folder, or a file; your own is `path/to/file.py:function`."
        check_name("target objective", name, [ACTOR_CRITIC, *list_learned(*LEARNERS)], hint)
        return actor_critic(predictions)
    with users_code(f"objective {name}"):
        found = load_reference(name, "objective")
        made = found() if callable(found) and not isinstance(found, Objective) else found
        if not isinstance(made, Objective):
            raise ValueError(
                f"{name} is a {type(made).__name__}; expected an Objective, or a function that returns one"
            )
        _check(name, made, predictions)
    return made


def read_targets(path: Path, predictions: int) -> Objective:
    """LPG's objective in a file, whose params are those that were learned.

    Args:
        path: The file.
        predictions: Length of a prediction that is expected.

    Raises:
        ValueError: There is no such file, it is of another kind of run, or of another length of predictions.
    """
    described, arrays = read_described(path)
    if described.get("agent") not in LEARNERS:
        raise ValueError(
            f"{path} holds no target objective: it was exported of a run of {described.get('agent')}, not of "
            f"{' or '.join(LEARNERS)}"
        )
    shape = [described["agent_config"][name] for name in ("predictions", "width", "temporal", "with_discount")]
    if shape[0] != predictions:
        raise ValueError(f"{path} has predictions of length {shape[0]}, not {predictions}: set predictions={shape[0]}")
    objective = lpg(*shape)
    like = jax.eval_shape(objective.init, jax.random.key(0))
    params = filled(path, described["agent"], like, arrays)
    return Objective(lambda key: jax.tree.map(jnp.asarray, params), objective.apply)


def _check(name: str, objective: Objective, predictions: int) -> None:
    """Refuses an objective whose result is no aims of each step."""
    steps, flags = jnp.ones((3, 2)), jnp.zeros((3, 2), bool)
    even = jnp.full((3, 2, predictions), 1 / predictions)
    batch = Targets(steps, flags, flags, steps, even, even, 0.99)
    life = Lifetime(jnp.zeros((), jnp.int32), jnp.ones(()))
    params = jax.eval_shape(objective.init, jax.random.key(0))
    found = jax.eval_shape(lambda params: objective.apply(params, batch, life), params)
    shapes = tuple(leaf.shape for leaf in jax.tree.leaves(found))
    if not isinstance(found, Aims) or shapes != ((3, 2), (3, 2, predictions)):
        raise ValueError(
            f"{name} gives {found} for 3 steps of 2 environments; expected Aims of a score [3, 2] and a prediction "
            f"[3, 2, {predictions}]"
        )
