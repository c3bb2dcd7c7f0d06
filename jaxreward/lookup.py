"""What a user names by `module:attribute` or `path/to/file.py:attribute`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxreward.names import check_name

_MOVED = {"jaxreward.experiments.figures.subpo_rooms": "jaxreward.experiments.figures.subpo.rooms"}
"""Modules that run folders of earlier versions name, and where they are now."""


def is_reference(name: str) -> bool:
    """Whether a name is `module:attribute` or `file.py:attribute`."""
    return ":" in name


def load_reference(reference: str, kind: str) -> Any:
    """The object a reference names; its module or file is imported.

    Args:
        reference: `module:attribute`, importable from the current folder, or `path/to/file.py:attribute`.
        kind: What it should be, for messages: "reward".

    Raises:
        ValueError: There is no such file, module or attribute (says which is nearest), or importing it fails.
    """
    place, _, attribute = reference.rpartition(":")
    if not place or not attribute:
        raise ValueError(f"{kind} {reference!r} is not `module:attribute` or `path/to/file.py:attribute`")
    module = _import_file(Path(place), kind) if place.endswith(".py") else _import_module(place, kind)
    if not hasattr(module, attribute):
        check_name(f"{kind} in {place} called", attribute, _own(module))
    return getattr(module, attribute)


def describe_failure(error: BaseException) -> str:
    """An exception of a user's own code as one line, with the place it came from."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError at {error.filename}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename and not frame.filename.startswith("<")]
    place = (own or frames)[-1]
    message = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__} at {place.filename}:{place.lineno}: {message}"


def _import_file(path: Path, kind: str) -> ModuleType:
    path = path.expanduser()
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        check_name(f"{kind} file", str(path), (str(found) for found in folder.glob("*.py")))
    _append_to_path(str(path.parent.absolute()))
    name = f"jaxreward_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a path that ends in .py has a loader"
    assert spec.loader is not None, "as above"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} can't be imported: {describe_failure(error)}") from error
    return module


def _import_module(name: str, kind: str) -> ModuleType:
    _append_to_path(os.getcwd())
    try:
        return importlib.import_module(_MOVED.get(name, name))
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(
                f"no module {error.name!r} for the {kind}; expected `module:attribute`, where `import module` works "
                "from the current folder, or `path/to/file.py:attribute`"
            ) from error
        raise ValueError(f"module {name!r} can't be imported: {describe_failure(error)}") from error
    except Exception as error:
        raise ValueError(f"module {name!r} can't be imported: {describe_failure(error)}") from error


def _append_to_path(folder: str) -> None:
    """An installed command's path has neither the current folder nor the file's."""
    if folder not in sys.path:
        sys.path.append(folder)


def _own(module: ModuleType) -> list[str]:
    """What a module defines itself and shows."""
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    own = lambda value: not hasattr(value, "__qualname__") or value.__module__ == module.__name__  # noqa: E731
    return [name for name, value in public.items() if not isinstance(value, ModuleType) and own(value)]
