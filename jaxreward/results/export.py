"""A trained policy for machines that have no jaxreward: its numbers as safetensors, and a program that JAX alone runs.

```python
from pathlib import Path
import jax

policy = jax.export.deserialize(bytearray(Path("exported/policy.jax").read_bytes()))
action, memory = policy.call(observations, memory, seed)
```
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree
from safetensors.numpy import save_file

from jaxreward.learning.learned_drifts import METADATA
from jaxreward.learning.normaliser import Moments
from jaxreward.names import path_name
from jaxreward.results.load import Trained, load
from jaxreward.run.store import to_json

PLATFORMS = ("cpu", "cuda", "tpu")
PARAMS, POLICY, SAMPLED, DESCRIPTION = "params.safetensors", "policy.jax", "sampled_policy.jax", "policy.json"


def export(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    member: int | None = None,
    seed: int | None = None,
    best: bool = False,
) -> Path:
    """Writes what was trained in a folder in forms that other programs read.

    `params.safetensors` has the learned numbers by their path, where an agent calls them `params`, the mean and
    variance by which observations are normalised where they are, and the run's configuration as JSON in its metadata,
    so that an evolved objective can be used by that file; `policy.jax` a program `(observations [B, ...], memory, seed)
    -> (actions [B, ...], memory)` of the most likely actions, `sampled_policy.jax` of sampled ones, for any `B`, on
    CPUs, NVIDIA GPUs and TPUs; `policy.json` says what they are of and which memory an episode starts with. What is
    there under these names is replaced.

    Args:
        folder: The run folder, or that of a sweep.
        out: Where to; `exported` in the folder by default.
        member: See `jaxreward.load`.
        seed: See `jaxreward.load`.
        best: See `jaxreward.load`.

    Returns:
        The folder with the files.

    Raises:
        RunError: See `jaxreward.load`.
        ValueError: See `jaxreward.load`.
    """
    trained = load(folder, member=member, seed=seed, best=best)
    place = Path(out) if out is not None else Path(folder) / "exported"
    place.mkdir(parents=True, exist_ok=True)
    numbers = learned(trained.state)
    (place / PARAMS).unlink(missing_ok=True)
    if numbers:
        save_file(numbers, place / PARAMS, {METADATA: json.dumps(to_json(trained.config))})
    for name, act in ((POLICY, trained.policy.mode), (SAMPLED, trained.policy.act)):
        (place / name).write_bytes(_program(act, trained))
    (place / DESCRIPTION).write_text(json.dumps(_description(trained, numbers), indent=2) + "\n")
    return place


def learned(state: PyTree) -> dict[str, np.ndarray]:
    """What an agent calls `params`, and the moments that it normalises observations by, by their path."""
    params, seen = getattr(state, "params", ()), getattr(state, "seen", None)
    moments = {"observations": seen._asdict()} if isinstance(seen, Moments) else {}
    return named_arrays(params) | named_arrays(moments)


def named_arrays(tree: PyTree) -> dict[str, np.ndarray]:
    """The arrays of a pytree by their path."""
    return {path_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _program(act: Any, trained: Trained) -> bytes:
    """A policy's function as a program of its own."""
    (batch,) = jax.export.symbolic_shape("batch")

    def call(observation: PyTree, memory: PyTree, seed: Int[Array, ""]) -> tuple[PyTree, PyTree]:
        size = jax.tree.leaves(observation)[0].shape[0]

        def one(number: Int[Array, ""], memory: PyTree, observation: PyTree) -> tuple[PyTree, PyTree]:
            key: Key[Array, ""] = jax.random.fold_in(jax.random.key(seed), number)
            memory, action = act(memory, observation, key)
            return action, memory

        return jax.vmap(one)(jnp.arange(size), memory, observation)

    batched = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct((batch, *x.shape), x.dtype), tree)  # noqa: E731
    memory = jax.eval_shape(trained.policy.reset)
    arguments = batched(trained.observation), batched(memory), jax.ShapeDtypeStruct((), jnp.int32)
    return bytes(jax.export.export(jax.jit(call), platforms=PLATFORMS)(*arguments).serialize())


def _description(trained: Trained, numbers: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the files are of."""
    shown = lambda x: f"{x.dtype}{list(x.shape)}"  # noqa: E731
    config = trained.config
    return {
        **{name: config[name] for name in ("agent", "env", "reward", "settings") if name in config},
        "member": trained.member,
        "overrides": to_json(trained.overrides),
        "seed": trained.seed,
        "params": {name: shown(x) for name, x in numbers.items()},
        "observation": [shown(x) for x in jax.tree.leaves(trained.observation)],
        "memory_at_start": [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(trained.policy.reset())],
        "call": "jax.export.deserialize(bytearray(bytes of policy.jax)).call(observations, memory, seed)",
        "jax": jax.__version__,
    }
