"""What is imported late is there as soon as it is asked for, and not before."""

import subprocess
import sys

import pytest

from jaxreward.compilation.late_import import import_late

NAME = "imported_late"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that says when it runs; gone from `sys.modules` at the end."""
    (tmp_path / f"{NAME}.py").write_text("print('it runs')\nnumber = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield NAME
    sys.modules.pop(NAME, None)


def test_a_module_runs_when_something_of_it_is_asked_for(module, capsys):
    import_late(module)
    first = __import__(module)
    assert (first.__name__, first.__file__.endswith(f"{NAME}.py"), capsys.readouterr().out) == (NAME, True, "")
    assert first.number == 3
    second = __import__(module)
    assert (second.number, first.number, capsys.readouterr().out) == (3, 3, "it runs\n")
    assert second is not first
    with pytest.raises(AttributeError, match="nothing"):
        first.nothing


def test_what_is_there_or_is_not_installed_is_left_alone(module):
    there = __import__(module)
    import_late(module)
    assert sys.modules[module] is there
    import_late("there_is_no_such_module")
    assert "there_is_no_such_module" not in sys.modules


def test_training_does_not_import_what_only_drawings_need():
    code = "import sys, jaxreward.run.train; print('seaborn.relational' in sys.modules, 'scipy.stats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
