"""How the documentation is built: `make docs`."""

from __future__ import annotations

import importlib
import importlib.util
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

project, author, copyright = "jaxreward", "The jaxreward authors", "The jaxreward authors"
version = release = PYPROJECT["project"]["version"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"jaxreward {version}"
html_static_path: list[str] = []

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True

# A word in single backticks is a link where there is something of that name, and code elsewhere.
default_role = "py:obj"
napoleon_use_ivar = True
napoleon_attr_annotations = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 100
# A short name in an annotation may be that of several classes; it is code then, and no link.
suppress_warnings = ["ref.python"]

LEFT_OUT = ("jaxreward.experiments",)
logger = logging.getLogger(__name__)


def write_reference(app: Sphinx) -> None:
    """A page for each package, which shows the docstrings of its modules."""
    folder = Path(app.srcdir) / "reference" / "api"
    folder.mkdir(exist_ok=True)
    places = PYPROJECT["tool"]["setuptools"]["package-dir"]
    wanted = [name for name in PYPROJECT["tool"]["setuptools"]["packages"] if not name.startswith(LEFT_OUT)]
    for package in wanted:
        root = max((known for known in places if f"{package}.".startswith(f"{known}.")), key=len)
        place = ROOT / places[root] / package.removeprefix(root).replace(".", "/").lstrip("/")
        modules = [f"{package}.{file.stem}" for file in sorted(place.glob("[!_]*.py"))]
        page = f"# {package}\n\n" + "\n".join(_automodule(module) for module in [package, *modules])
        path = folder / f"{package}.md"
        if not path.exists() or path.read_text() != page:  # an unchanged page is not read again
            path.write_text(page)
    for stale in set(folder.glob("*.md")) - {folder / f"{package}.md" for package in wanted}:
        stale.unlink()


def _automodule(module: str) -> str:
    heading = "" if module.count(".") == 0 else f"## {module}\n\n"
    options = "".join(f"   :{option}:\n" for option in ("members", "undoc-members", "ignore-module-all"))
    return f"{heading}```{{eval-rst}}\n.. automodule:: {module}\n{options}```\n"


def leave_out(app: Sphinx, kind: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Fields of named tuples are described by their class."""
    return True if type(member).__name__ == "_tuplegetter" else None


def as_rst(app: Sphinx, kind: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Blocks of code between rows of backticks, as docstrings have them, are indented blocks."""
    inside = False
    for number, line in enumerate(lines):
        if line.startswith("```"):
            inside = not inside
            lines[number] = f".. code-block:: {line.strip('`') or 'text'}" if inside else ""
        elif inside:
            lines[number] = f"   {line}"
    starts = [number for number, line in enumerate(lines) if line.startswith(".. code-block::")]
    for number in reversed(starts):
        lines[number : number + 1] = ["", lines[number], ""]


def find_own(app: Sphinx, env: Any, node: nodes.Element, content: nodes.Node) -> nodes.Node | None:
    """Links a name of ours to where it is described, or says that there is no such name any longer."""
    target = str(node.get("reftarget", ""))
    if not target.startswith("jaxreward."):
        return None
    try:
        found = _load(target)
    except (ImportError, AttributeError):
        logger.warning("there is no %s", target, location=node, type="jaxreward")
        return None
    home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    python = env.domains.python_domain
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", home, node, content) if home != target else None


def _load(name: str) -> Any:
    """What a dotted name stands for."""
    parts = name.split(".")
    module = next(".".join(parts[:i]) for i in range(len(parts), 0, -1) if _is_module(".".join(parts[:i])))
    found = importlib.import_module(module)
    for part in parts[module.count(".") + 1 :]:
        found = getattr(found, part)
    return found


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # what is before the last dot is no package
        return False


def setup(app: Sphinx) -> None:
    """Connects the above."""
    if "myst_nb" not in app.extensions:
        raise ExtensionError("myst_nb is needed: pip install '.[docs]'")
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("autodoc-process-docstring", as_rst, priority=900)
    app.connect("missing-reference", find_own)
