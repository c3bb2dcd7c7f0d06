"""Objectives that were learned and kept: numbers in a file of safetensors, which says what they are of.

`jaxreward export RUN` writes such a file of a run of `lpo_es`, `lpg_es` or `lpg_meta`, with the run's configuration in
its metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxreward.learning.objective import Objective
from jaxreward.names import path_name

SUFFIX = ".safetensors"
EXPORTED = Path("exported") / f"params{SUFFIX}"
"""Where `jaxreward export` puts it in a run's folder."""
METADATA = "jaxreward"
"""The entry of a file's metadata that has the run's configuration, as JSON."""


def list_learned(*agents: str) -> dict[str, str]:
    """Those that come with the package and were learned by some agents, any if none is named, and what each one is."""
    found = {path.stem: read_described(path)[0] for path in sorted(_folder().glob(f"*{SUFFIX}"))}
    return {name: _told(run) for name, run in found.items() if not agents or run["agent"] in agents}


def _told(run: dict[str, Any]) -> str:
    config = run["agent_config"]
    what = config["objective"] if "objective" in config else f"LPG's network (temporal={config['temporal']})"
    return f"{what}, learned on {run['env']}"


def find_learned(name: str) -> Path | None:
    """The file that a name, a path or a run's folder stands for; None if it looks like none of them."""
    given = Path(name).expanduser()
    if name in list_learned():
        return _folder() / f"{name}{SUFFIX}"
    if given.is_dir():
        return given / EXPORTED
    return given if given.suffix == SUFFIX else None


def digest_of(name: str) -> str:
    """What tells one content of a file from another; nothing where the name stands for no file."""
    path = find_learned(name)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path and path.is_file() else ""


def read_drift(path: Path, get_drift: Callable[[str], Objective]) -> Objective:
    """The drift in a file, whose params are those that were evolved.

    Args:
        path: The file.
        get_drift: The drift of a name, which the file says it is of.

    Raises:
        ValueError: There is no such file, it is no drift's, or it is of another architecture than its name has today.
    """
    described, arrays = read_described(path)
    name = described.get("agent_config", {}).get("objective")
    if name is None or described.get("agent") != "lpo_es":
        raise ValueError(
            f"{path} holds no objective: it was exported of a run of {described.get('agent')}, not of lpo_es"
        )
    drift = get_drift(name)
    params = filled(path, name, jax.eval_shape(drift.init, jax.random.key(0)), arrays)
    return Objective(lambda key: jax.tree.map(jnp.asarray, params), drift.apply)


def read_described(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The configuration and the arrays of an objective's file.

    Raises:
        ValueError: There is no such file, or it does not say what it is of.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        hint = f"; `jaxreward export {path.parent.parent}` writes it" if path.match(str(EXPORTED)) else ""
        raise ValueError(f"there is no file {path} of an objective{hint}")
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no file of safetensors: {error}") from error
    if METADATA not in metadata:
        raise ValueError(f"{path} does not say what it is of; `jaxreward export` of this version writes files that do")
    return json.loads(metadata[METADATA]), arrays


def filled(path: Path, name: str, like: PyTree, arrays: dict[str, np.ndarray]) -> PyTree:
    """Params of such shapes, with the numbers of a file.

    Raises:
        ValueError: They have other shapes, or are not finite.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    expected = {path_name(place): leaf.shape for place, leaf in leaves}
    there = {place: array.shape for place, array in arrays.items()}
    if there != expected:
        raise ValueError(f"{path} is of another architecture than {name}, which has {expected}: it has {there}")
    values = [arrays[place] for place in expected]
    if not all(np.isfinite(value).all() for value in values):
        raise ValueError(f"{path} has numbers that are not finite")
    return jax.tree.unflatten(structure, values)


def _folder() -> Path:
    return Path(str(files("jaxreward.learning"))) / "learned"
