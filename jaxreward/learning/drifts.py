"""Drift functions: what an agent's objective takes back as its policy moves away from the one that acted.

For a ratio `r` of probabilities and an advantage `A`, an agent ascends the mean of `r A - D(r, A)`. Where `D` is
nowhere negative and has the value and the slope 0 at `r = 1`, the policies it finds improve and converge (mirror
learning, Kuba et al., ICML 2022, arXiv:2201.02373). PPO's clipping is one such function, and others were found by
evolution: LPO and DPO (Lu et al., NeurIPS 2022, arXiv:2210.05639), and TA-LPO, which knows how much of a lifetime has
passed (Jackson et al., ICLR 2024, arXiv:2402.05828).

The papers' equations are here as far as they could be read: LPO's and DPO's as in the authors' code, TA-LPO's inputs as
its equation 10 is quoted.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.learning.learned_drifts import find_learned, list_learned, read_drift
from jaxreward.learning.objective import Drift, Lifetime, Objective
from jaxreward.lookup import check_reference, is_reference, load_reference, users_code
from jaxreward.names import check_name
from jaxreward.reward import as_init

PPO = "ppo"
"""The drift that stands for clipping, see `clipped`."""
WIDTH = 128
"""Hidden units of LPO's network."""
MARGIN = 1e-4
"""How far LPO's network must be above zero to count: around `r = 1` the drift is exactly 0."""


def clipped() -> Objective:
    """PPO's, `relu((r - clip(r, 1 - epsilon, 1 + epsilon)) A)`: less it, `r A` is the lesser of it and its clipped."""
    return Objective(lambda key: (), lambda params, batch, lifetime: ppo_drift(batch))


def ppo_drift(batch: Drift) -> Float[Array, "*batch"]:
    """What clipping takes off `r A` (Schulman et al. 2017, arXiv:1707.06347, section 3, equation 7)."""
    beyond = batch.ratio - jnp.clip(batch.ratio, 1 - batch.clip, 1 + batch.clip)
    return jax.nn.relu(beyond * batch.advantage)


def none() -> Objective:
    """Nothing is taken back: `r A` alone."""
    return Objective(lambda key: (), lambda params, batch, lifetime: jnp.zeros_like(batch.ratio))


def dpo() -> Objective:
    """DPO, a closed form that was read off what LPO had learned (Lu et al. 2022, as in the authors' code).

    `relu((r - 1) A - alpha tanh((r - 1) A / alpha))` for `A >= 0`, and below
    `relu(A log r - beta tanh(A log r / beta))`; params `alpha` and `beta`.
    """

    def apply(params: PyTree, batch: Drift, lifetime: Lifetime) -> Float[Array, "*batch"]:
        del lifetime
        gained = (batch.ratio - 1) * batch.advantage
        lost = log(batch.ratio) * batch.advantage
        excess = lambda x, bound: jax.nn.relu(x - bound * jnp.tanh(x / bound))  # noqa: E731
        return jnp.where(batch.advantage >= 0, excess(gained, params["alpha"]), excess(lost, params["beta"]))

    return Objective(as_init({"alpha": 2.0, "beta": 0.6}), apply)


def lpo(*, aware: bool = False, from_ppo: bool = False) -> Objective:
    """LPO's drift, a network without biases; with `aware` that of TA-LPO.

    `f = w . tanh(W x)` sees `x = [delta, A delta]`, `delta = [log r, (log r)^2, 1 - r, (1 - r)^2]`, and TA-LPO's
    `[x, (n / N) x]` (arXiv:2402.05828, equation 10). As `x` is 0 at `r = 1` and nothing is added to it, so is `f`,
    whatever the params; and `D = relu(f - 1e-4)`.

    `W` is drawn and `w` is 0, so it says nothing at first. The authors' search begins with 0 for both: there `f` is the
    same for any params and their negatives, and a pair of antithetic candidates tells nothing.

    Args:
        aware: Whether it sees how much of the lifetime has passed.
        from_ppo: Whether it learns what to add to PPO's drift, `relu(ppo_drift + f - 1e-4)`.
    """

    def init(key: Key[Array, ""]) -> dict[str, Array]:
        inputs = 16 if aware else 8
        return {"hidden": jax.random.normal(key, (inputs, WIDTH)) / jnp.sqrt(inputs), "out": jnp.zeros(WIDTH)}

    def apply(params: PyTree, batch: Drift, lifetime: Lifetime) -> Float[Array, "*batch"]:
        x = features(batch)
        x = jnp.concatenate([x, lifetime.fraction * x], -1) if aware else x
        found = jnp.tanh(x @ params["hidden"]) @ params["out"] - MARGIN
        return jax.nn.relu(found + ppo_drift(batch) if from_ppo else found)

    return Objective(init, apply)


def features(batch: Drift) -> Float[Array, "*batch 8"]:
    """What LPO's network sees, all of it 0 where the ratio is 1."""
    by_log, by_ratio = log(batch.ratio), 1 - batch.ratio
    delta = jnp.stack([by_log, jnp.square(by_log), by_ratio, jnp.square(by_ratio)], -1)
    return jnp.concatenate([delta, batch.advantage[..., None] * delta], -1)


def log(ratio: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """The logarithm; a ratio that was rounded to 0 is the least number above."""
    return jnp.log(jnp.maximum(ratio, jnp.finfo(ratio.dtype).tiny))


_BUILT_IN: dict[str, tuple[Callable[[], Objective], str]] = {
    PPO: (clipped, "PPO's clipping"),
    "dpo": (dpo, "discovered policy optimisation, a closed form"),
    "lpo": (lpo, "learned policy optimisation, a network"),
    "lpo_from_ppo": (lambda: lpo(from_ppo=True), "the same, added to PPO's clipping"),
    "ta_lpo": (lambda: lpo(aware=True), "LPO's network, which knows how much of the lifetime has passed"),
    "ta_lpo_from_ppo": (lambda: lpo(aware=True, from_ppo=True), "the same, added to PPO's clipping"),
    "none": (none, "nothing is taken back"),
}


def list_drifts() -> dict[str, str]:
    """The drifts that have a name and what each one is."""
    built_in = {name: description for name, (_, description) in _BUILT_IN.items()}
    return built_in | list_learned("lpo_es")


def get_drift(name: str) -> Objective:
    """The drift called `name`.

    Args:
        name: One that `list_drifts` has; a file or a run's folder, see `jaxreward.learning.learned_drifts`;
            `module:attribute` or `path/to/file.py:attribute`. The attribute is an `Objective`, a function
            `(params, ratio, advantage, lifetime) -> D`, its params beside it as `function.params = {"strength": 1.0}`
            if it has any, or a function without arguments that returns an `Objective`.

    Raises:
        ValueError: If there is no such drift, file or attribute, or it is something else; says which is nearest.
    """
    check_reference(name, "objective")
    if not is_reference(name):
        learned = None if name in _BUILT_IN else find_learned(name)
        if learned is not None:
            return read_drift(learned, get_drift)
        check_name("objective", name, list_drifts(), "Your own objective is `path/to/file.py:function`.")
        return _BUILT_IN[name][0]()
    with users_code(f"objective {name}"):
        objective = _lift(name, load_reference(name, "objective"))
        _check(name, objective)
    return objective


def _lift(name: str, found: Any) -> Objective:
    """Makes an `Objective` of whatever stands behind a user's name."""
    arity = _arity(found) if callable(found) else None
    if arity == 4:
        call = lambda params, batch, lifetime: found(params, batch.ratio, batch.advantage, lifetime)  # noqa: E731
        return Objective(as_init(getattr(found, "params", ())), call)
    made = found() if arity == 0 else found
    if not isinstance(made, Objective):
        what = f"takes {arity} arguments" if arity else f"is a {type(made).__name__}"
        raise ValueError(
            f"{name} {what}; expected an Objective, a function (params, ratio, advantage, lifetime), or a function "
            "without arguments that returns an Objective"
        )
    return made


def _arity(fn: Callable) -> int:
    return sum(parameter.default is parameter.empty for parameter in inspect.signature(fn).parameters.values())


def _check(name: str, objective: Objective) -> None:
    """Refuses an objective whose result is no drift of each step."""

    def drift() -> Any:
        life = Lifetime(jnp.zeros((), jnp.int32), jnp.ones(()))
        return objective.apply(objective.init(jax.random.key(0)), Drift(jnp.ones(3), jnp.ones(3)), life)

    found = jax.eval_shape(drift)
    leaves = jax.tree.leaves(found)
    if len(leaves) != 1 or leaves[0].shape != (3,) or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        shapes = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves)
        raise ValueError(f"{name} gives {shapes or 'nothing'} for 3 steps; expected a float for each, float32[3]")
