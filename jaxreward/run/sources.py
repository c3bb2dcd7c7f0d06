"""The files that a user's code is made of, and modules made of such files apart from any others of their names."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import importlib.abc
import importlib.util
import sys
import threading
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

_LIBRARY = __name__.partition(".")[0]
_MAIN = "jaxreward_user_file"


class Sources(NamedTuple):
    """A user's file, with what it imports that is beside it.

    Attributes:
        root: The folder from which they are imported.
        main: The path of the file in it.
        files: What is in each, by its path.
    """

    root: Path
    main: str
    files: dict[str, bytes]


def is_library(place: str) -> bool:
    """Whether a module is this library's."""
    return place.partition(".")[0] == _LIBRARY


def is_installed(place: str) -> bool:
    """Whether a module is Python's or an installed package's, which come with their own versions."""
    if place.endswith(".py"):
        return False
    top = place.partition(".")[0]
    if top in sys.stdlib_module_names or is_library(place):
        return True
    spec = _spec(top)
    where = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    return any("site-packages" in path or "dist-packages" in path for path in where)


def find_sources(place: str) -> Sources | None:
    """The files of a module, or of a file that ends in `.py`, as they are now; None if there is none."""
    if place.endswith(".py"):
        path = Path(place).expanduser().absolute()
        return _collected(path.parent, path.name) if path.is_file() else None
    spec = _spec(place)
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        return None
    path = Path(spec.origin).absolute()
    root = path.parents[place.count(".") + (path.name == "__init__.py")]
    return _collected(root, path.relative_to(root).as_posix())


def text_of(content: bytes) -> str:
    """The text of a file of Python."""
    return importlib.util.decode_source(content)


def _collected(root: Path, main: str) -> Sources:
    """Follows the imports, those within functions too, to files below a folder; what is installed is not followed."""
    files: dict[str, bytes] = {}
    left = {main, *_packages(root, main)}
    while left:
        path = left.pop()
        files[path] = (root / path).read_bytes()
        named = _imported(files[path], module_name(path), path.endswith("__init__.py"))
        left |= {found for name in named for found in _paths(root, name)} - set(files)
    return Sources(root, main, files)


def _imported(content: bytes, module: str, is_package: bool) -> Iterator[str]:
    """The full names of all modules that a file may import; of `from a import b` both `a` and `a.b`."""
    try:
        tree = ast.parse(content)
    except SyntaxError:  # of a file whose import is tried and excused
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: len(module.split(".")) + is_package - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _paths(root: Path, name: str) -> Iterator[str]:
    """The files below a folder that importing a module reads: its own, and those of the packages that it is in."""
    if not name or is_installed(name):
        return
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        stem = "/".join(parts[:length])
        yield from (path for path in (f"{stem}.py", f"{stem}/__init__.py") if (root / path).is_file())


def _packages(root: Path, path: str) -> set[str]:
    """What is imported before a file: the packages that it is in."""
    above = [(folder / "__init__.py").as_posix() for folder in Path(path).parents if folder.name]
    return {name for name in above if (root / name).is_file()}


def module_name(path: str) -> str:
    """What a file is imported as: `a/b.py` as `a.b`, and `a/__init__.py` as `a`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a package that isn't there; a module that was not imported, such as __main__
        return None


class Modules(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Modules of files that have been read.

    While one of them is imported, also from within a function that is called later, their names stand for these files;
    at any other time for whatever else is called so in this process.

    Args:
        sources: The files. Tracebacks show them where their folder has them.
    """

    _lock = threading.RLock()

    def __init__(self, sources: Sources) -> None:
        self._texts = {module_name(path): text_of(content) for path, content in sources.files.items()}
        self._paths = {module_name(path): sources.root / path for path in sources.files}
        self._modules: dict[str, ModuleType] = {}
        self._main = module_name(sources.main)
        if is_installed(self._main):  # a file may be called like a module that it imports
            self._texts[_MAIN], self._paths[_MAIN] = self._texts.pop(self._main), self._paths.pop(self._main)
            self._main = _MAIN

    def load(self) -> ModuleType:
        """The module that the others were collected for."""
        with self._entered():
            return importlib.import_module(self._main)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname in self._paths:
            place = self._paths[fullname]
            inside = [str(place.parent)] if place.name == "__init__.py" else None
            return importlib.util.spec_from_file_location(
                fullname, place, loader=self, submodule_search_locations=inside
            )
        if any(name.startswith(f"{fullname}.") for name in self._paths):
            return ModuleSpec(fullname, None, is_package=True)
        return None

    def get_source(self, fullname: str) -> str:
        return self._texts[fullname]

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self._texts[fullname], str(self._paths[fullname]))

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self._import}
        super().exec_module(module)

    def _import(self, *arguments: Any, **keywords: Any) -> ModuleType:
        with self._entered():
            return builtins.__import__(*arguments, **keywords)

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        """Lets the names stand for these modules, and afterwards for what they did before."""
        with self._lock:
            if self in sys.meta_path:
                yield
                return
            others = self._taken_out()
            sys.modules.update(self._modules)
            sys.meta_path.insert(0, self)
            try:
                yield
            finally:
                sys.meta_path.remove(self)
                self._modules = self._taken_out()
                sys.modules.update(others)

    def _taken_out(self) -> dict[str, ModuleType]:
        tops = {name.partition(".")[0] for name in self._paths}
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in tops}


def differing(ours: Mapping[str, bytes], theirs: Mapping[str, bytes]) -> list[str]:
    """The files whose text is not the same, or which only one side has."""
    names = sorted({*ours, *theirs})
    return [name for name in names if _lines(ours.get(name)) != _lines(theirs.get(name))]


def _lines(content: bytes | None) -> list[bytes] | None:
    return None if content is None else content.splitlines()
