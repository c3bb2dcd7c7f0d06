"""The user's code that a run keeps, and goes on with: rewards, agents, environments, and what they import beside them.

```
reward.py                       the reward's file, to be read
code/references.json            what is kept below it, by the name that it was given by
code/reward/my_reward.py        the files of each
```

What is installed is not kept: `config.json` has versions.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxreward.lookup import describe_failure, importing
from jaxreward.run.sources import Modules, Sources, differing, find_sources, is_installed, is_library
from jaxreward.run.store import RunFolder, flatten, read_json, write_atomically
from jaxreward.run.trust import digest, remember, require_trust

CODE = "code"


def keep_code(run: RunFolder, places: Mapping[str, str]) -> None:
    """Copies a user's code into the folder of a new run, and writes down that it is this user's.

    Args:
        run: The run.
        places: By the file or module what is in it: "reward".
    """
    kept: dict[str, Any] = {}
    remember_code(places)
    for place, kind in places.items():
        sources = _own_sources(place)
        if sources is None:
            continue
        for name, content in sources.files.items():
            path = run.path / CODE / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        kept[place] = {"folder": kind, "main": sources.main, "from": str(sources.root)}
    if kept:
        write_atomically(run.path / CODE / "references.json", json.dumps(kept, indent=2).encode())


def remember_code(places: Mapping[str, str]) -> None:
    """Writes down that code is this user's that a run on another machine will keep."""
    for place in (place for place in places if not is_library(place)):
        sources = _own_sources(place)
        remember(digest(place, sources.files if sources else {}))


@contextlib.contextmanager
def code_of(*runs: RunFolder) -> Iterator[None]:
    """Lets references stand for what runs have kept of them; for what they always do where no run names them.

    Args:
        runs: Run folders, those that are not there yet passed over; the first that names a reference is taken.
    """
    takers = [_Kept(run) for run in runs if run.exists()]
    with importing(lambda place: next((module for taker in takers if (module := taker(place))), None)):
        yield


def changed_code(run: RunFolder) -> list[str]:
    """The user's files that are not any more what the run has kept; those that are gone are none of them."""
    kept = _Kept(run)
    return [f"{kind}: {name}" for place, kind in kept.named().items() for name in kept.changed(place)]


class _Kept:
    """The user's code of one run."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        index = run.path / CODE / "references.json"
        self._index = read_json(index) if index.is_file() else {}
        self._config = run.read_config()["config"]
        self._modules: dict[str, ModuleType] = {}

    def __call__(self, place: str) -> ModuleType | None:
        """The module of a place; None if it is to be imported as ever, being installed, or not the run's but asked for.

        Raises:
            RunError: It is not trusted.
            ValueError: It can't be imported.
        """
        if place not in self.named() or is_library(place):
            return None
        if place not in self._modules:
            sources = self.sources(place)
            require_trust(digest(place, sources.files if sources else {}), self._question(place, sources))
            if sources is None:
                return None
            self._tell_if_changed(place)
            self._modules[place] = _loaded(sources)
        return self._modules[place]

    def named(self) -> dict[str, str]:
        """The files and modules that the run's configuration names, and what each has."""
        return places_of(self._config)

    def sources(self, place: str) -> Sources | None:
        """What the run has kept; of a run that kept less, what there is now, its reward as it was."""
        if place in self._index:
            entry = self._index[place]
            root = self._run.path / CODE / entry["folder"]
            files = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.py"))}
            return Sources(root, entry["main"], files)
        now, reward = _own_sources(place), self._run.path / "reward.py"
        if self.named()[place] != "reward" or not reward.is_file():
            return now
        if now is None:
            return Sources(self._run.path, "reward.py", {"reward.py": reward.read_bytes()})
        return now._replace(files={**now.files, now.main: reward.read_bytes()})

    def changed(self, place: str) -> list[str]:
        """The files of a place that are there and not as the run has them."""
        kept, now = self.sources(place), self._now(place)
        return [] if kept is None or now is None or is_library(place) else differing(kept.files, now.files)

    def _now(self, place: str) -> Sources | None:
        """Where the code was taken from, as it is now, wherever the current folder is."""
        entry = self._index.get(place)
        if entry and place.endswith(".py"):
            return find_sources(str(Path(entry["from"]) / entry["main"]))
        return _own_sources(place)

    def _tell_if_changed(self, place: str) -> None:
        changed = self.changed(place)
        if changed:
            warnings.warn(
                f"the {self.named()[place]} {place} has changed since the run began ({', '.join(changed)}); what is "
                f"used is the run's own copy in {self._run.path}",
                stacklevel=2,
            )

    def _question(self, place: str, sources: Sources | None) -> str:
        where = [str(sources.root / name) for name in sources.files] if sources else [f"the installed {place}"]
        return (
            f"the run in {self._run.path} was not begun here by you, and using it runs the code of its "
            f"{self.named()[place]}: {', '.join(where)}"
        )


def _loaded(sources: Sources) -> ModuleType:
    try:
        return Modules(sources).load()
    except (Exception, SystemExit) as error:  # whatever a user's file may raise
        raise ValueError(f"{sources.root / sources.main} can't be imported: {describe_failure(error)}") from error


def places_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The files and modules of a user's that names and settings refer to, and what each has.

    Args:
        config: As in `config.json`: `agent`, `env`, `reward` and `settings`.
    """
    agent, env = str(config.get("agent", "")), str(config.get("env", ""))
    while agent.startswith("pbt/"):
        agent = agent.removeprefix("pbt/")
    named = {"agent": agent, "environment": env.partition("?")[0], "reward": config.get("reward", "")}
    texts = {**flatten(config.get("settings", {})), **named}
    places = {kind: text.rpartition(":")[0] for kind, text in texts.items() if isinstance(text, str)}
    return {place: kind for kind, place in places.items() if _is_place(place)}


def _is_place(text: str) -> bool:
    return text.endswith(".py") or text.replace(".", "").isidentifier()


def _own_sources(place: str) -> Sources | None:
    return None if is_installed(place) else find_sources(place)
