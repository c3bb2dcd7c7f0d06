"""LPG's objective: a recurrent network that reads a rollout backwards and says where policy and predictions are to go.

Oh et al., Discovering Reinforcement Learning Algorithms, NeurIPS 2020 (arXiv:2007.08794), as restated by GROOVE
(Jackson et al., NeurIPS 2023, arXiv:2310.02782, section 2.2); with the lifetime among its inputs it is TA-LPG (Jackson
et al., ICLR 2024, arXiv:2402.05828, equation 9).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.learning.objective import Aims, Lifetime, Objective, Targets
from jaxreward.names import check_name

EMBEDDING = 16
"""Hidden units of what makes a number of a prediction."""
TEMPORAL = {"none": 0, "normalised": 2, "raw": 2, "left": 1, "fraction": 1}
"""What is told of the lifetime, and how many numbers that is."""


def lpg(predictions: int = 8, width: int = 256, temporal: str = "normalised", with_discount: bool = True) -> Objective:
    """LPG's target function, whose batch is `Targets` and whose result is `Aims`.

    At each step it reads the reward, whether the episode ended, the discount, the action's probability, and a number
    made of `y(s)` and of `y(s')`, the latter 0 where the episode ended. What it has read later it keeps in a GRU, empty
    behind an episode's end. With all params 0 it leaves the policy as it is and asks for even predictions.

    The authors' code of GROOVE has no discount among the inputs, and takes its score with the opposite sign.

    Args:
        predictions: Length of a prediction, `m`; 8 in that code.
        width: Units of the GRU, which stands for the paper's LSTM, as in that code.
        temporal: What is read of the lifetime `N` at update `n`: "none" (LPG); "normalised", `n / N` and `log N`, as
            in TA-LPG's paper; "raw", `n` and `N`, as in its code; "left", `N - n`; "fraction", `n / N`.
        with_discount: Whether the discount is read.

    Raises:
        ValueError: If there is no such reading of the lifetime.
    """
    check_name("temporal input", temporal, TEMPORAL)

    def init(key: Key[Array, ""]) -> dict[str, PyTree]:
        return initial_params(key, 5 + with_discount + TEMPORAL[temporal], predictions, width)

    def apply(params: PyTree, batch: Targets, lifetime: Lifetime) -> Aims:
        hidden = backwards(params["gru"], inputs(params["embedding"], batch, lifetime, temporal, with_discount), batch)
        hidden = jax.nn.relu(hidden)
        score = hidden @ params["score"]["weight"] + params["score"]["bias"]
        return Aims(score, jax.nn.softmax(_linear(params["prediction"], hidden)))

    return Objective(init, apply)


def initial_params(key: Key[Array, ""], num_inputs: int, predictions: int, width: int) -> dict[str, PyTree]:
    """Weights of variance `1 / inputs`, those between hidden units orthogonal in each gate; biases are zero."""
    keys = jax.random.split(key, 6)
    lecun, orthogonal = jax.nn.initializers.lecun_normal(), jax.nn.initializers.orthogonal()
    dense = lambda k, rows, columns: {"weight": lecun(k, (rows, columns)), "bias": jnp.zeros(columns)}  # noqa: E731
    recurrent = jax.vmap(lambda k: orthogonal(k, (width, width)))(jax.random.split(keys[3], 3))
    return {
        "embedding": {
            "hidden": dense(keys[0], predictions, EMBEDDING),
            "out": {"weight": lecun(keys[1], (EMBEDDING, 1))[:, 0], "bias": jnp.zeros(())},
        },
        "gru": {
            "input": dense(keys[2], num_inputs, 3 * width),
            "hidden": {"weight": jnp.concatenate(list(recurrent), 1), "bias": jnp.zeros(width)},
        },
        "score": {"weight": lecun(keys[4], (width, 1))[:, 0], "bias": jnp.zeros(())},
        "prediction": dense(keys[5], width, predictions),
    }


def inputs(
    embedding: PyTree, batch: Targets, lifetime: Lifetime, temporal: str, with_discount: bool
) -> Float[Array, "T *batch F"]:
    """What the GRU reads of each step."""
    done = jnp.asarray(batch.done, batch.reward.dtype)
    now, later = embedded(embedding, batch.prediction), embedded(embedding, batch.next_prediction)
    same = [jnp.asarray(batch.discount, float)] * with_discount + clocks(lifetime, temporal)
    of_steps = [batch.reward, done, batch.probability, now, (1 - done) * later]
    return jnp.stack([*of_steps, *(jnp.full_like(batch.reward, number) for number in same)], -1)


def embedded(params: PyTree, prediction: Float[Array, "*batch m"]) -> Float[Array, "*batch"]:
    """A number made of a prediction."""
    return jax.nn.relu(_linear(params["hidden"], prediction)) @ params["out"]["weight"] + params["out"]["bias"]


def clocks(lifetime: Lifetime, temporal: str) -> list[Float[Array, ""]]:
    """The numbers that tell of the lifetime, see `lpg`."""
    step, total = (lambda: jnp.asarray(lifetime.step, float)), (lambda: jnp.asarray(lifetime.total, float))
    told: dict[str, Callable[[], list[Array]]] = {
        "none": lambda: [],
        "normalised": lambda: [lifetime.fraction, jnp.log(total())],
        "raw": lambda: [step(), total()],
        "left": lambda: [total() - step()],
        "fraction": lambda: [lifetime.fraction],
    }
    return told[temporal]()


def backwards(params: PyTree, x: Float[Array, "T *batch F"], batch: Targets) -> Float[Array, "T *batch H"]:
    """What a GRU (Cho et al. 2014, arXiv:1406.1078) has read from each step on, to the end of its episode.

    What it makes of the inputs does not depend on what it has read: one product before the loop.
    """
    width = params["hidden"]["bias"].shape[0]
    goes_on = 1 - jnp.asarray(batch.done, x.dtype)

    def step(later: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        of_input, goes_on = now
        later = goes_on[..., None] * later
        reset, update, new = jnp.split(of_input, 3, -1)
        of_reset, of_update, of_new = jnp.split(later @ params["hidden"]["weight"], 3, -1)
        update = jax.nn.sigmoid(update + of_update)
        candidate = jnp.tanh(new + jax.nn.sigmoid(reset + of_reset) * (of_new + _wide(params["hidden"]["bias"], later)))
        hidden = (1 - update) * candidate + update * later
        return hidden, hidden

    empty = jnp.zeros((*x.shape[1:-1], width), x.dtype)
    return jax.lax.scan(step, empty, (_linear(params["input"], x), goes_on), reverse=True)[1]


def _linear(params: PyTree, x: Float[Array, "*batch I"]) -> Float[Array, "*batch O"]:
    made = x @ params["weight"]
    return made + _wide(params["bias"], made)


def _wide(bias: Float[Array, " O"], like: Float[Array, "*batch O"]) -> Float[Array, "*batch O"]:
    return jnp.broadcast_to(bias, like.shape)
