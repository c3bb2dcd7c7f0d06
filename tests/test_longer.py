"""What is listed as longer is there, so that no name is left behind."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LISTED = (TESTS / "longer.txt").read_text().splitlines()


@pytest.mark.parametrize("file", sorted({name.partition("::")[0] for name in LISTED}))
def test_tests_that_are_listed_are_there(file):
    there = set(re.findall(r"def (test_\w+)\(", (TESTS.parent / file).read_text()))
    listed = {re.match(r"\w+", name.rpartition("::")[2])[0] for name in LISTED if name.startswith(f"{file}::")}
    assert listed <= there


def test_names_are_in_order_and_each_is_there_once():
    assert sorted(set(LISTED)) == LISTED
