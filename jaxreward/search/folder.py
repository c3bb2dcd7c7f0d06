"""The folder that a worker keeps its part of a study in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL

from jaxreward.run.folder import check_unused
from jaxreward.run.nearby import hint
from jaxreward.run.store import RunError, absolute, read_json, write_atomically


class StudyFolder:
    """What a worker keeps of a study.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = absolute(path)
        self.description = self.path / "study.json"
        self.database = self.path / "study.db"
        self.best = self.path / "best.json"

    def database_url(self) -> str:
        """The database as SQLAlchemy names it; in a URL some characters of a folder's name mean something."""
        plain, quoted = str(self.database), quote(str(self.database))
        if plain == quoted:
            return f"sqlite:///{plain}"
        return URL.create("sqlite", database=f"file:{quoted}", query={"uri": "true"}).render_as_string()

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
            raise RunError(f"{self.path} is not the folder of a study: it has no study.json{hint(self.path)}")
        return read_json(self.description, {"search": dict, "name": str, "worker": str})

    def write(self, described: dict[str, Any]) -> None:
        """Writes `study.json`."""
        write_atomically(self.description, json.dumps(described, indent=2).encode())

    def check_new(self) -> None:
        """Refuses to begin a study in a folder that lost its description, or has something else in it.

        Raises:
            RunError: Says what is there.
        """
        left = any((self.path / "generations").glob("*/*"))
        database = [f"study.db{end}" for end in ("", "-journal", "-wal", "-shm")]
        check_unused(self.path, database, "a study whose study.json" if left else "")
