"""Updates of our MAMQL in the game of gems, from transitions that are drawn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxreward.agents.mamql import mamql
from jaxreward.compilation.cache import compiler_options as compiler_options
from jaxreward.envs import make

SHOWN = 1_000
"""Transitions that are demonstrated; the fewer, the less memory pictures take."""
KEPT = 20
"""Iterations whose transitions are kept."""


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`; `spec.view` says what agents see."""
    env, params = make(f"games/gems?observation={spec.view}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.npz"
        np.savez(path, **drawn(env.observation_space(params).shape))
        network = f"{__file__}:Pictures" if spec.view == "planes" else ""
        config = mamql.Config(
            demonstrations=str(path), network=network, layers=tuple(spec.layers), batch_size=spec.batch_size,
            num_updates=1, num_envs=2, num_steps=spec.steps, capacity=KEPT * 2 * spec.steps,
        )  # fmt: skip
        agent = mamql.mamql(env, params, config)

    def train(key: jax.Array) -> dict[str, jax.Array]:
        state = agent.init(jax.random.wrap_key_data(key), mamql.Hyperparams())
        return jax.lax.scan(lambda state, _: agent.step(state), state, length=spec.iterations)[1]

    return train, lambda metrics: {}


def drawn(shape: tuple[int, ...]) -> dict[str, Any]:
    """What is demonstrated: as much as a file of play has, at random."""
    draw = np.random.default_rng(0)
    seen = (draw.random((SHOWN, 2, *shape)) < 0.02).astype(np.float32)
    ends = np.arange(SHOWN) % 23 == 22
    return {"observation": seen, "action": draw.integers(0, 5, (SHOWN, 2)), "terminated": ends}


class Pictures(nn.Module):
    """What the authors' critics have before their hidden layers, on their pictures, `[B, 5, 15, 15]`.

    Convolutions of 64 channels, of windows of 5 and of 3, of whose units a fifth is left out in updates. They are
    products of matrices, as in `jaxreward.learning.reading.Convolution`.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "B C H W"]) -> Float[Array, "B D"]:
        x = jnp.moveaxis(x, 1, -1)
        for window in (5, 3):
            height, width = (side - window + 1 for side in x.shape[1:3])
            seen = [x[:, i : i + height, j : j + width] for i in range(window) for j in range(window)]
            x = nn.relu(nn.Dense(64)(jnp.concatenate(seen, -1)))
            x = nn.Dropout(0.2, deterministic=not self.has_rng("dropout"))(x)
        return x.reshape(len(x), -1)
