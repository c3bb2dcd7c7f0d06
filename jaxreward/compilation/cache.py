"""How training programs are compiled: quickly, and once per machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

FOLDER = "jax_compilation_cache_dir"
"""JAX's own option."""


def compiler_options() -> dict[str, str | bool] | None:
    """Options for `jax.stages.Lowered.compile` on the default device.

    On a CPU, LLVM optimises at level 1 in place of 3: a PPO program compiles in two thirds of the time and runs as fast
    (measured on CartPole and on brax's ant), because its matrix products are library calls either way. So it is with
    jax 0.11.2: on CartPole it compiles in 0.7 of the CPU time for one seed and 0.4 for sixteen, and runs in the same.
    A level that `XLA_FLAGS` names stays.
    """
    named = "--xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", "")
    return {"xla_backend_optimization_level": "1"} if jax.default_backend() == "cpu" and not named else None


def enable_compilation_cache() -> None:
    """Keeps compiled programs on disk, so that the same one compiles once per machine.

    The folder is `$JAXREWARD_CACHE` or `jaxreward` in the user's cache directory. Nothing happens if a folder has been
    chosen with JAX's own option, or `$JAXREWARD_CACHE` is empty.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxreward"
    folder = os.environ.get("JAXREWARD_CACHE", str(default))
    if not folder or jax.config.values[FOLDER]:
        return
    jax.config.update(FOLDER, folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@contextlib.contextmanager
def compiled_anew() -> Iterator[None]:
    """Has programs compiled that are on disk, too: what that takes can then be measured. They are kept as any are."""
    kept = jax.config.values[FOLDER]
    if not kept:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        _keep_in(folder)
        try:
            yield
        finally:
            _keep_in(kept)
            if "://" not in kept:  # a folder, and no bucket
                _copy(Path(folder), Path(kept))


def _keep_in(folder: str) -> None:
    jax.config.update(FOLDER, folder)
    reset_cache()  # JAX asks but once where it is


def _copy(folder: Path, other: Path) -> None:
    """Puts files into another folder, whole: another process may be reading there."""
    other.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        beside = other / f"{path.name}.{os.getpid()}"
        shutil.copyfile(path, beside)
        beside.replace(other / path.name)
