"""Which Python `make` installs into, among stand-ins that answer as Pythons of other versions would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "find-python"
TOOLS = ("sh", "seq", "sort", "awk", "head", "tail", "cut")


class Machine:
    """A PATH with no Python on it but stand-ins, and a pyenv with others."""

    def __init__(self, place):
        self.bin, self.pyenv = place / "bin", place / "pyenv"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))

    def add(self, path, minor, what=None):
        """A stand-in; `what` is why it can't be used."""
        path.parent.mkdir(parents=True, exist_ok=True)
        answer = f"{0 if what else minor}\\t{path}\\tPython 3.{minor}.0{what or ''}\\n"
        path.write_text(f"#!/bin/sh\nprintf '{answer}'\n")
        path.chmod(0o755)
        return str(path)

    def on_path(self, name, minor, what=None):
        return self.add(self.bin / name, minor, what)

    def in_pyenv(self, minor, what=None):
        return self.add(self.pyenv / "versions" / f"3.{minor}.0" / "bin" / "python", minor, what)

    def find(self, *arguments):
        """Where the Python is, and what was said."""
        environment = {"PATH": str(self.bin), "PYENV_ROOT": str(self.pyenv)}
        done = subprocess.run([SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == bool(done.stdout)
        return done.stdout.strip(), done.stderr.strip()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_the_newest_and_the_oldest_of_the_tested_are_found_on_the_path_and_in_pyenv(machine):
    oldest, newest = machine.on_path("python3", 11), machine.in_pyenv(13)
    machine.on_path("python3.12", 12)
    machine.on_path("python3.15", 15)
    machine.in_pyenv(9, ", too old")
    assert machine.find("newest") == (newest, "")
    assert machine.find("oldest") == (oldest, "")


def test_a_shim_that_does_not_run_is_no_python(machine):
    shim = Path(machine.on_path("python3.14", 14))
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.14: command not found' >&2; exit 127\n")
    there = machine.on_path("python3.12", 12)
    assert machine.find("newest") == (there, "")


def test_later_than_tested_is_taken_with_a_word_where_there_is_no_other(machine):
    machine.on_path("python3.16", 16)
    nearest = machine.on_path("python3.15", 15)
    assert machine.find("newest") == (nearest, "Python 3.15 is untested; 3.11 to 3.14 are known to work")


def test_an_oldest_that_is_not_the_oldest_accepted_is_told(machine):
    there = machine.on_path("python3", 12)
    said = "Python 3.11, the oldest that is accepted, is not here; 3.12 is the oldest that is"
    assert machine.find("oldest") == (there, said)


def test_where_none_will_do_it_is_said_what_there_is(machine):
    old = machine.on_path("python3", 9, ", too old")
    where, said = machine.find("newest")
    assert where == ""
    assert said.splitlines() == [
        "Python 3.11 to 3.14 is needed; none is here; name one: make PYTHON=/path/to/python",
        f"  {old} is Python 3.9.0, too old",
    ]


def test_the_one_that_is_named_is_taken_or_refused(machine):
    machine.on_path("python3.13", 13)
    assert machine.find("newest", machine.in_pyenv(12))[0].endswith("3.12.0/bin/python")
    where, said = machine.find("newest", machine.in_pyenv(9, ", too old"))
    assert where == ""
    assert "3.9.0/bin/python will not do; name one" in said


def test_a_real_python_answers(machine):
    environment = os.environ | {"PATH": str(machine.bin)}
    done = subprocess.run(
        [SCRIPT, "newest", sys.executable], env=environment, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).samefile(sys.executable)
