"""Folders that are not what was meant: what they are, what is in them, which is called alike."""

import pytest

from jaxreward.cli import main
from jaxreward.run.nearby import hint, sign_of


@pytest.fixture
def place(tmp_path):
    for name, sign in (("walker", "config.json"), ("grid", "sweep.json"), ("study", "study.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / sign).write_text("{}")
    return tmp_path


def test_a_folder_shows_whose_it_is(place):
    assert [sign_of(place / name) for name in ("walker", "grid", "study", "none")] == [
        "config.json",
        "sweep.json",
        "study.json",
        None,
    ]


def test_a_command_can_be_pasted_whatever_the_folder_is_called(place):
    named = (place / "grid").rename(place / "my grid")
    assert f"--folder '{named}'` goes on with" in hint(named)


def test_the_hint_is_what_is_nearest(place):
    assert hint(place / "wakler") == f"; did you mean {place}/walker?"
    assert hint(place / "grid") == (
        f"; it is that of a sweep, which `jaxreward sweep --resume --folder {place}/grid` goes on with"
    )
    assert hint(place / "xyz").startswith(f"; the newest there is {place}/")
    assert hint(place).startswith("; there is ")
    assert hint(place).endswith(" and 2 more")
    (place / "walker" / "empty").mkdir()
    assert hint(place / "walker" / "empty") == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --resume --folder {0}/grid", "it is that of a sweep, which `jaxreward sweep --resume"),
        ("sweep --resume --folder {0}/study", "it is that of a search, which `jaxreward search --resume"),
        ("search --resume --folder {0}/walker", "it is that of a run, which `jaxreward train --resume"),
        ("report {0}/wakler", "did you mean {0}/walker?"),
        ("evaluate {0}/wakler", "did you mean {0}/walker?"),
        ("results {0}/grid", "is a folder, and no question; ask of it with --in {0}/grid"),
        ("trian", "no command 'trian'; did you mean 'train'?"),
    ],
)
def test_commands_say_it(place, capsys, line, message):
    assert main(line.format(place).split()) == 2
    assert message.format(place) in capsys.readouterr().err.replace("\n", " ")


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("jaxreward ")
