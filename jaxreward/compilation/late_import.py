"""Keeps an import that takes a second from being made where nothing of it is used."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Late(ModuleType):
    """Stands for a module until something of it is asked for, and is then that."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__file__ = spec, spec.origin  # what is read of all modules by those who look through them

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = importlib.import_module(self.__name__)
        self.__dict__.update(vars(module))
        return getattr(module, name)


def import_late(name: str) -> None:
    """Lets a module that others import at their top be run when something of it is asked for first.

    gymnax imports seaborn to draw one of its environments, and seaborn all of scipy's statistics.

    Args:
        name: Of a module that is in no package; nothing happens if it is there already, or is not installed.
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is not None:
        sys.modules[name] = Late(spec)
