"""The folder that a worker keeps its part of a study in, and the lock that keeps a second process out of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxreward.run.store import RunError, read_json, write_atomically


class StudyFolder:
    """What a worker keeps of a study.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.description = self.path / "study.json"
        self.database = self.path / "study.db"
        self.best = self.path / "best.json"

    def exists(self) -> bool:
        """Whether a study has been started in the folder."""
        return self.description.is_file()

    def generation(self, index: int) -> Path:
        """The folder of a generation's runs."""
        return self.path / "generations" / f"{index:05d}"

    def read(self) -> dict[str, Any]:
        """The content of `study.json`: `search`, `storage`, `name` and `worker`.

        Raises:
            RunError: The folder holds no study, or its description can't be read.
        """
        if not self.exists():
            raise RunError(f"{self.path} is not the folder of a study: it has no study.json")
        return read_json(self.description)

    def write(self, described: dict[str, Any]) -> None:
        """Writes `study.json`."""
        write_atomically(self.description, json.dumps(described, indent=2).encode())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second process from taking up the same trials; a lock ends with its process, however that ends.

        Raises:
            RunError: Another process has it, or the folder can't be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / ".lock").touch()
        except OSError as error:
            raise RunError(f"can't write to the study's folder {self.path}: {error.strerror or error}") from error
        with open(self.path / ".lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(
                    f"another process is at work in {self.path}; a second worker on the same study needs a folder of "
                    "its own and the same storage"
                ) from error
            yield
