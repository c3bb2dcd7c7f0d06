"""Networks whose hidden layers have a spectral norm of 1 (Miyato et al. 2018, arXiv:1802.05957)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.mdp.bellman import EXACT


def spectral_norm(
    kernel: Float[Array, "*n I O"], vector: Float[Array, "*n O"], steps: int = 1
) -> tuple[Float[Array, "*n"], Float[Array, "*n O"]]:
    """The largest singular value by power iteration, and the vector to go on from (algorithm 1).

    Its derivative in the kernel is that at the singular vectors, which are taken for constants.

    Args:
        kernel: Weights.
        vector: Near the right singular vector, of any length but 0.
        steps: How many there are.
    """
    constant = jax.lax.stop_gradient(kernel)
    through = lambda vector: _unit(jnp.einsum("...io,...o->...i", constant, vector, precision=EXACT))  # noqa: E731

    def step(_: int, vector: Float[Array, "*n O"]) -> Float[Array, "*n O"]:
        return _unit(jnp.einsum("...io,...i->...o", constant, through(vector), precision=EXACT))

    vector = jax.lax.stop_gradient(jax.lax.fori_loop(0, steps, step, vector))
    return jnp.einsum("...i,...io,...o->...", through(vector), kernel, vector, precision=EXACT), vector


def hidden_kernels(params: PyTree) -> dict[str, Array]:
    """The weights of hidden layers among params, by path; those of the last layer are not among them."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    named = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    return {name: leaf for name, leaf in named.items() if "Torso" in name and name.endswith("['kernel']")}


def first_vectors(key: Key[Array, ""], params: PyTree) -> dict[str, Array]:
    """A vector for each hidden layer, to begin power iterations from."""
    kernels = hidden_kernels(params)
    keys = jax.random.split(key, max(1, len(kernels)))
    draw = lambda key, kernel: _unit(jax.random.normal(key, (*kernel.shape[:-2], kernel.shape[-1]), kernel.dtype))  # noqa: E731
    return {name: draw(key, kernel) for key, (name, kernel) in zip(keys, kernels.items(), strict=False)}


def spectrally_normalised(params: PyTree, vectors: dict[str, Array]) -> tuple[PyTree, dict[str, Array]]:
    """Params whose hidden layers have spectral norm 1, by a step of power iteration, and the vectors after it."""
    if not vectors:
        return params, vectors
    kernels = hidden_kernels(params)
    norms = {name: spectral_norm(kernels[name], vector) for name, vector in vectors.items()}

    def divided(path: tuple, leaf: Array) -> Array:
        name = jax.tree_util.keystr(path)
        return leaf / norms[name][0][..., None, None] if name in norms else leaf

    return jax.tree_util.tree_map_with_path(divided, params), {name: vector for name, (_, vector) in norms.items()}


def _unit(vector: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
    return vector / (jnp.linalg.norm(vector, axis=-1, keepdims=True) + 1e-12)
