"""The instances that the authors of SubPO released, read without running anything that a pickle may hold.

They are `env_0.pkl` to `env_9.pkl` in the folders `GP`, `steiner_covering` and `entropy` below `environments` of
github.com/manish-pra/non-additive-RL: densities and items as dictionaries, covariances as torch's tensors.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

COUNT = 10


def read_densities(folder: str, cells: int) -> Float[np.ndarray, "10 S"]:
    """The weight of each cell.

    Raises:
        ValueError: The folder lacks one of the files, or one holds something else.
    """
    return np.stack([_density(*found, cells) for found in _read(folder)])


def read_items(folder: str, cells: int, kinds: int) -> Int[np.ndarray, "10 S"]:
    """The kind of item on each cell, -1 where there is none, kinds in the order of the file.

    Raises:
        ValueError: The folder lacks one of the files, or one holds something else.
    """
    return np.stack([_items(*found, cells, kinds) for found in _read(folder)])


def read_covariances(folder: str, cells: int) -> Float[np.ndarray, "10 S S"]:
    """The covariances of all cells.

    Raises:
        ValueError: The folder lacks one of the files, or one holds something else.
    """
    return np.stack([_covariances(*found, cells) for found in _read(folder)])


def _density(path: Path, found: Any, cells: int) -> Float[np.ndarray, " S"]:
    numbers = isinstance(found, dict) and all(isinstance(weight, float | int) for weight in found.values())
    if not numbers or set(found) != set(range(cells)):
        raise ValueError(f"{path} is to hold the weights of {cells} cells by their numbers; got {_describe(found)}")
    return np.array([found[cell] for cell in range(cells)], float)


def _items(path: Path, found: Any, cells: int, kinds: int) -> Int[np.ndarray, " S"]:
    sets = list(found.values()) if isinstance(found, dict) else []
    placed = [cell for each in sets for cell in (each if isinstance(each, set) else [None])]
    if len(sets) != kinds or len(set(placed)) < len(placed) or not set(placed) <= set(range(cells)):
        what = f"a set of cells, 0 to {cells - 1}, for each of {kinds} kinds of items, no cell in two of them"
        raise ValueError(f"{path} is to hold {what}; got {_describe(found)}")
    layout = np.full(cells, -1)
    for kind, own in enumerate(sets):
        layout[sorted(own)] = kind
    return layout


def _covariances(path: Path, found: Any, cells: int) -> Float[np.ndarray, "S S"]:
    if not isinstance(found, np.ndarray) or found.shape != (cells, cells):
        raise ValueError(f"{path} is to hold the covariances of {cells} cells; got {_describe(found)}")
    return found


def _describe(found: Any) -> str:
    size = f" of shape {found.shape}" if isinstance(found, np.ndarray) else ""
    return f"{type(found).__name__}{size or (f' of {len(found)}' if hasattr(found, '__len__') else '')}"


def _read(folder: str) -> list[tuple[Path, Any]]:
    """What each file holds, beside its path."""
    paths = [Path(folder).expanduser() / f"env_{number}.pkl" for number in range(COUNT)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {missing[0]}: give a folder with env_0.pkl to env_{COUNT - 1}.pkl")
    return [(path, _load(path)) for path in paths]


def _load(path: Path) -> Any:
    try:
        return _Data(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(f"{path} holds no instance: {error}") from error


class _Data(pickle.Unpickler):
    """Reads numbers, texts and containers, and what a tensor is made of; refuses to look up anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _TENSOR:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no part of one")
        return _TENSOR[module, name]

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _storage(stored: bytes) -> Float[np.ndarray, " n"]:
    """The numbers in torch's older format: five pickles, the fourth with their type, their count, themselves."""
    file = io.BytesIO(stored)
    kind = [_Data(file).load() for _ in range(5)][3]
    if kind[1] is not np.float32:
        raise ValueError("it is to hold numbers of 32 bits")
    count = int.from_bytes(file.read(8), "little")
    return np.frombuffer(stored, "<f4", count, file.tell())


def _tensor(storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> np.ndarray:
    size = int(np.prod(shape))
    if strides != tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))):
        raise ValueError("it is to hold a tensor in the order of its rows")
    return storage[offset : offset + size].reshape(shape)


_TENSOR = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch", "FloatStorage"): np.float32,
    ("collections", "OrderedDict"): OrderedDict,
}
