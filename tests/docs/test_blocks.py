"""Every block of code in the README and in docs/ runs.

The blocks of a page run in their order in a folder of the page's own, Python in one namespace, `jaxreward` within this
process. Of `make` it is seen that there is such a target, of a benchmark that it takes such options. An included file
is written there first. Comments before a block say how it differs from what a reader would run:

    <!-- file: my_reward.py -->              the block is this file (Python is run as well)
    <!-- with train: --steps 512 -->         added to every `jaxreward train` of the block; one comment for each command
    <!-- replace: steps=200_000 -> steps=512 -->
    <!-- traced: it is slow to compile -->   `jaxreward train` resolves the command and traces an iteration of it
    <!-- not run: it needs two machines -->

The blocks of pages that take over ten seconds are only read each time, and run by name, with `-m slow`.
"""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import jax
import pytest
import tyro

from jaxreward.cli import main
from jaxreward.cli.train import Train, _job
from tests.by_default import by_default

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if not {"_build", "api"} & set(page.parts)]
LONG = {
    *(f"agents/{family}.md" for family in ("baselines", "inverse", "lpg", "mamql", "quality_diversity", "subpo")),
    *("games.md", "distances.md", "never_ending.md", "results.md", "sweeps.md", "notebooks/a_sweep_in_sql.md"),
}
"""Pages of which the blocks take over ten seconds."""
LONG_PAGES = [page for page in PAGES if str(page.relative_to(ROOT)).removeprefix("docs/") in LONG]
BLOCK = re.compile(
    r"(?P<marks>(?:^[ ]*<!--.*?-->\n)*)^(?P<fence>```+)(?P<kind>[^\n]*)\n(?P<text>.*?)^(?P=fence)$", re.M | re.S
)
MARK = re.compile(r"<!-- (.*?): (.+?) -->")
PLAIN = {"", "text", "bibtex"}
"""Blocks that show something and can't be run."""


class Block(NamedTuple):
    """A block of code: its language, what the comments before it say, its text and where that begins."""

    language: str
    marks: list[tuple[str, str]]
    text: str
    line: int

    def mark(self, name: str) -> str | None:
        return next((value for known, value in self.marks if known == name), None)


def blocks(page: Path) -> list[Block]:
    text, found = page.read_text(), []
    for match in BLOCK.finditer(text):
        kind, line = match["kind"].strip(), text[: match.start("text")].count("\n")
        marks = MARK.findall(match["marks"])
        if kind.startswith("{literalinclude}"):
            file = page.parent / kind.split()[1]
            found.append(Block("", [("file", file.name)], file.read_text(), line))
        elif kind.startswith("{code-cell}"):
            cell = "".join(row for row in match["text"].splitlines(True) if not row.startswith((":tags:", "%")))
            found.append(Block("python", marks, cell, line))
        elif not kind.startswith("{"):
            found.append(Block(kind, marks, match["text"], line))
    return found


def replaced(block: Block) -> str:
    text = block.text
    for name, value in block.marks:
        if name == "replace":
            old, _, new = value.partition(" -> ")
            assert old in text, f"{old} is not in the block: mend the comment"
            text = text.replace(old, new)
    return text


def commands(text: str) -> list[list[str]]:
    lines = text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def run_command(words: list[str], block: Block) -> None:
    program, *arguments = words
    if program == "make":
        subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, check=True, capture_output=True)
    elif program == "jaxreward" and block.mark("traced"):
        trace(tyro.cli(Train, args=arguments[1:]))
    elif program == "jaxreward":
        more = shlex.split(block.mark(f"with {arguments[0]}") or "")
        assert main([*arguments, *more]) == 0
    elif arguments[:1] == ["-m"]:
        tyro.cli(importlib.import_module(arguments[1]).Options, args=arguments[2:])
    else:
        raise AssertionError(f"{program} can't be run by this test: say why not in a comment, <!-- not run: WHY -->")


def trace(command: Train) -> None:
    """Makes what would be trained, and finds the shapes of an iteration."""
    experiment = _job(command).experiment()
    state = jax.eval_shape(lambda key: experiment.agent.init(key, experiment.member(0)), jax.random.key(0))
    _, metrics = jax.eval_shape(experiment.agent.step, state)
    assert all(metric.shape == () for metric in metrics.values())


def run_block(block: Block, page: Path, scope: ModuleType) -> None:
    text = replaced(block)
    if file := block.mark("file"):
        Path(file).write_text(text)
    if block.language == "python":
        exec(compile("\n" * block.line + text, str(page), "exec"), vars(scope))
    elif block.language == "sh":
        for words in commands(text):
            run_command(words, block)
    elif not file:
        assert block.language in PLAIN, f"no way to run {block.language!r}; give it a comment, <!-- file: NAME -->"


@pytest.fixture
def scope(tmp_path, monkeypatch):
    """A module for a page's Python, in a folder of its own from which its files can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before, module = set(sys.modules), ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    yield module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "page",
    by_default(PAGES, *(page for page in PAGES if page not in LONG_PAGES)),
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_blocks_of_a_page_run(page, scope, monkeypatch):
    if page.name != "README.md":  # what is drawn at the end of a run takes longer than such a run
        monkeypatch.setattr("jaxreward.cli.train.finish", lambda *_: 0)
        monkeypatch.setattr("jaxreward.cli.sweep.finish", lambda *_: 0)
    for block in blocks(page):
        if block.mark("not run") is None:
            run_block(block, page, scope)


@pytest.mark.parametrize("page", LONG_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_long_pages_can_be_read(page, monkeypatch):
    """Commands have the options that they are given, and Python is Python."""
    monkeypatch.setattr("jaxreward.cli._run", lambda _: 0)
    for block in blocks(page):
        text = replaced(block)
        if block.language == "python":
            compile(text, str(page), "exec")
        elif block.language == "sh" and block.mark("not run") is None:
            for words in commands(text):
                run_command(words, block._replace(marks=[mark for mark in block.marks if mark[0] != "traced"]))


def test_long_pages_are_pages():
    assert len(LONG_PAGES) == len(LONG)


def test_every_fence_is_a_block():
    for page in PAGES:
        fences = re.findall(r"^```+", page.read_text(), re.M)
        assert len(fences) == 2 * len(BLOCK.findall(page.read_text())), page


def test_comments_cut_a_block_down(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- with train: --steps 2 -->\n<!-- replace: A -> B -->\n```sh\njaxreward train \\\n  A  # why\nmake A\n```\n"
    )
    (block,) = blocks(page)
    assert commands(replaced(block)) == [["jaxreward", "train", "B"], ["make", "B"]]
    assert block.mark("with train") == "--steps 2"
    assert block.line == 3


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (Block("sh", [], "pip install x\n", 0), "pip can't be run"),
        (Block("sh", [("replace", "b -> c")], "make test\n", 0), "mend the comment"),
        (Block("toml", [], "a = 1\n", 0), "no way to run 'toml'"),
    ],
)
def test_what_can_not_be_run_has_to_say_so(block, message, scope):
    with pytest.raises(AssertionError, match=message):
        run_block(block, Path("page.md"), scope)


def test_make_docs_without_the_extra_says_what_to_install(tmp_path):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    run = subprocess.run(["make", "-f", str(ROOT / "Makefile"), "docs"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 2
    assert "pip install -c constraints.txt -e '.[docs]'" in run.stderr
