"""What a user names by `module:attribute` or `path/to/file.py:attribute`."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from importlib.abc import InspectLoader
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from jaxreward.names import check_name

_MOVED = {"jaxreward.experiments.figures.subpo_rooms": "jaxreward.experiments.figures.subpo.rooms"}
"""Modules that run folders of earlier versions name, and where they are now."""

Find: TypeAlias = Callable[[str], ModuleType | None]
_FIND: ContextVar[Find] = ContextVar("find", default=lambda place: None)


def is_reference(name: str) -> bool:
    """Whether a name is `module:attribute` or `file.py:attribute`."""
    return ":" in name


def check_reference(name: object, kind: str) -> None:
    """Refuses what can't be the name of anything, and a file of which it isn't said what in it is meant.

    Args:
        name: What was given.
        kind: What it should name, for messages: "reward".

    Raises:
        ValueError: It is one of these.
    """
    if not isinstance(name, str):
        raise ValueError(f"expected the name of {_with_article(kind)} as text, not {name!r}")
    if name.endswith(".py"):
        named = _defined(Path(name).expanduser())
        there_are = f"; there are: {', '.join(named)}" if named else ""
        raise ValueError(f"{name} is a file; say what in it is the {kind}, as {name}:NAME{there_are}")


def _with_article(kind: str) -> str:
    return f"a{'n' * kind.startswith(tuple('aeiou'))} {kind}"


def _defined(path: Path) -> list[str]:
    """What a file that can be read defines at its top and shows, without importing it."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    values = [node.targets[0] for node in body if isinstance(node, ast.Assign)]
    names = [*functions, *(value.id for value in values if isinstance(value, ast.Name))]
    return [name for name in names if not name.startswith("_")]


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
    module = _import_place(place, kind)
    if not hasattr(module, attribute):
        check_name(f"{kind} in {place} called", attribute, _own(module))
    return getattr(module, attribute)


def reference_text(reference: str, kind: str) -> str | None:
    """The text of the file that a reference leads into; None if it has none."""
    place = reference.rpartition(":")[0]
    module = _FIND.get()(place)
    if module is None and place.endswith(".py"):
        return Path(place).expanduser().read_text()
    module = module or _import_module(place, kind)
    loader = module.__spec__.loader if module.__spec__ else None
    return loader.get_source(module.__name__) if isinstance(loader, InspectLoader) else None


@contextlib.contextmanager
def importing(find: Find) -> Iterator[None]:
    """Lets modules and files that references name be found elsewhere first.

    Args:
        find: The module of a name or file; None for what it always is.
    """
    token = _FIND.set(find)
    try:
        yield
    finally:
        _FIND.reset(token)


def describe_failure(error: BaseException) -> str:
    """An exception of a user's own code as one line, with the place it came from."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError at {error.filename}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    place = ([frame for frame in frames if is_users(frame.filename)] or frames)[-1]
    message = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__} at {place.filename}:{place.lineno}: {message}"


def _import_place(place: str, kind: str) -> ModuleType:
    found = _FIND.get()(place)
    if found is not None:
        return found
    return _import_file(Path(place), kind) if place.endswith(".py") else _import_module(place, kind)


def in_users_code(error: BaseException) -> bool:
    """Whether an exception came from a user's own code, rather than from what this library says of it."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return is_users(next((path for path in reversed(files) if is_users(path) or is_library(path)), "<"))


@contextlib.contextmanager
def users_code(what: str) -> Iterator[None]:
    """Where a user's own code runs: its exceptions become one line with file and line.

    Raises:
        ValueError: With what it was, in place of any exception that the code raised.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if not in_users_code(error):
            raise
        raise ValueError(f"{what} failed: {describe_failure(error)}") from error


def is_users(path: str) -> bool:
    """Whether a source file is neither this library's nor Python's nor that of an installed package."""
    outside = "site-packages" in path or "dist-packages" in path or path.startswith(("<", sysconfig.get_path("stdlib")))
    return not outside and not is_library(path)


def is_library(path: str) -> bool:
    """Whether a source file is this library's."""
    return any(path.startswith(folder) for folder in _library())


@functools.cache
def _library() -> tuple[str, ...]:
    """The folders that hold it: an editable installation has its packages in several."""
    specs = [importlib.util.find_spec(name) for name in ("jaxreward", *(f"jaxreward.{part}" for part in _PARTS))]
    return tuple(f"{folder}{os.sep}" for spec in specs if spec for folder in spec.submodule_search_locations or ())


_PARTS = ("agents", "envs", "experiments")


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
    except (Exception, SystemExit) as error:
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
    except (Exception, SystemExit) as error:
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
