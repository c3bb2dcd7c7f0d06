"""Where an import may go: down the list of rooms and never up, and not back and forth between two.

`agents`, `envs` and `experiments` install below `jaxreward`; they count as rooms of it.
"""

import ast
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    {"experiments"},
    {"cli"},
    {"report"},
    {"search", "reproduce"},
    {"results"},
    {"sweep"},
    {"run"},
    # Above: the host. Below: the library.
    {"agents"},
    {"envs"},
    {"distances", "objectives"},
    {"rewards", "mdp", "quality_diversity"},
    {"learning"},
    {"agent"},
    {"environment"},
    {"observed"},
    {"reward"},
    {"contract"},
    {"lookup", "settings"},
    {"names", "compilation"},
]
FLOOR = {room: floor for floor, rooms in enumerate(reversed(FLOORS)) for room in rooms}
HOST = FLOOR["run"]


@cache
def sources() -> dict[str, Path]:
    """Every module by its name."""
    folders = [("jaxreward", ROOT / "jaxreward")]
    folders += [(f"jaxreward.{room}", ROOT / room) for room in ("agents", "envs", "experiments")]
    return {
        ".".join([package, *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__"): path
        for package, folder in folders
        for path in sorted(folder.rglob("*.py"))
    }


def imports(text: str) -> set[str]:
    """The modules of ours that a file takes something from, those that it imports late or for types alone included."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name in sources() and name != "jaxreward"}


def room(module: str) -> str:
    return module.split(".")[1]


@cache
def arrows() -> list[tuple[str, str]]:
    """Which module imports which of another room. `jaxreward` itself shows what is below it, and is no room."""
    found = [(name, other) for name, path in sources().items() for other in imports(path.read_text())]
    return [(name, other) for name, other in found if name != "jaxreward" and room(name) != room(other)]


def wrong(found: list[tuple[str, str]]) -> list[str]:
    """The imports that go up, or sideways."""
    return [f"{name} imports {other}" for name, other in found if FLOOR[room(other)] >= FLOOR[room(name)]]


def test_every_room_has_its_floor():
    assert {room(name) for name in sources() if name != "jaxreward"} == set(FLOOR)


def test_no_import_goes_up():
    assert wrong(arrows()) == []


def test_the_library_does_not_know_the_host():
    assert [pair for pair in arrows() if FLOOR[room(pair[0])] < HOST <= FLOOR[room(pair[1])]] == []


@pytest.mark.parametrize(
    "pair",
    [
        ("jaxreward.learning.lazy", "jaxreward.run.chunk"),
        ("jaxreward.search.study", "jaxreward.reproduce.figure"),
        ("jaxreward.reward", "jaxreward.agent"),
    ],
)
def test_a_wrong_import_is_named(pair):
    assert wrong([pair]) == [f"{pair[0]} imports {pair[1]}"]


def test_late_imports_and_those_for_types_are_seen():
    text = "if True:\n    from jaxreward.run import job\ndef f():\n    import jaxreward.agent\n"
    assert imports(text) == {"jaxreward.run", "jaxreward.run.job", "jaxreward.agent"}


@pytest.mark.parametrize("part", ["agents", "envs", "experiments.figures", "experiments.benchmarks"])
def test_no_two_families_import_each_other(part):
    inside = f"jaxreward.{part}."
    between = defaultdict(set)
    for name, path in sources().items():
        for other in imports(path.read_text()):
            if name.startswith(inside) and other.startswith(inside):
                between[name.removeprefix(inside).split(".")[0]].add(other.removeprefix(inside).split(".")[0])
    assert [(a, b) for a, others in list(between.items()) for b in others if a < b and a in between[b]] == []


def test_an_algorithm_at_a_familys_root_has_a_name_on_the_command_line():
    from jaxreward.agents.registry import get_agent, list_agents

    named = {get_agent(name).make.__module__ for name in list_agents() if "/" not in name}
    at_roots = {name for name, path in sources().items() if path.parts[-3] == "agents" and path.name != "__init__.py"}
    assert at_roots == named


def test_every_folder_is_installed():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(packages) == sorted(name for name, path in sources().items() if path.name == "__init__.py")
