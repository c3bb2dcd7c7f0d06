"""What all adapters share: other packages' code is imported where it is needed, and let be what it is."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def import_extra(module: str, extra: str, title: str) -> ModuleType:
    """A module of an optional extra.

    Args:
        module: What is imported.
        extra: What brings it: `pip install 'jaxreward[EXTRA]'`.
        title: What people call the package.

    Raises:
        ImportError: If it can't be imported; says what to install.
    """
    try:
        with lenient():
            return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{title} can't be imported ({error}): pip install 'jaxreward[{extra}]'") from error


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """Lets another package's code be what it is, on import, construction and tracing.

    What it prints and warns about itself does not reach the user, and it may promote ranks where the user forbids it.
    """
    silent = contextlib.redirect_stdout(io.StringIO())
    with warnings.catch_warnings(), silent, jax.numpy_rank_promotion("allow"):
        warnings.filterwarnings("ignore", module=r"(brax|jaxopt|mujoco|mujoco_playground)(\.|$)")
        warnings.filterwarnings("ignore", "scatter inputs have incompatible types", FutureWarning)  # Jumanji's BinPack
        yield


def strongly_typed(leaf: Any) -> Array:
    """Fixes the type: a loop whose carry starts weakly typed is compiled twice."""
    return jnp.asarray(leaf, jnp.asarray(leaf).dtype)
