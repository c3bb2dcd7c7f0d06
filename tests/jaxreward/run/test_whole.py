"""Which rows of the metrics there must be."""

import pyarrow as pa
import pytest

from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.whole import check_metrics

START = {"folder": "elsewhere", "members": [0, 1]}
RUN = {"population": [{}, {}], "seeds": [0], "log_every": 3}


def written(folder, *iterations):
    """A run of two members that logged at these iterations, and has a checkpoint of each."""
    run = RunFolder(folder)
    run.create()
    for iteration in iterations:
        run.write_part(iteration, pa.table({"iteration": [iteration] * 2}))
        (run.checkpoints / str(iteration)).mkdir()
    return run


@pytest.mark.parametrize(("there", "described", "end"), [
    ((3, 6, 7), {}, 7),
    ((3, 6, 7, 9, 10), {}, 10),  # grown from 7 to 10
    ((3, 6), {}, 6),
    ((3, 6, 9), {}, 6),  # what is later is not looked at
    ((6, 8), {"start": START, "began": 4}, 8),
    ((9,), {"start": START, "began": 6}, 9),
    ((), {"start": START, "began": 6}, 6),  # nothing done since
    ((6, 9), {"start": START}, 9),  # from before `began` was kept
])  # fmt: skip
def test_what_was_logged_is_enough(tmp_path, there, described, end):
    check_metrics(written(tmp_path, *there), {**RUN, **described}, end)


@pytest.mark.parametrize(("there", "described", "end", "missing", "back_to"), [
    ((3, 6), {}, 7, "7", 6),
    ((3, 7), {}, 7, "6", 3),
    ((6, 7), {}, 7, "3", 0),
    ((), {}, 21, "3, 6, 9, 12, 15 and 2 more", 0),
    ((8,), {"start": START, "began": 4}, 8, "6", 0),
    ((6, 12), {"start": START}, 12, "9", 6),
])  # fmt: skip
def test_what_is_missing_is_named_with_the_checkpoint_before_it(tmp_path, there, described, end, missing, back_to):
    run = written(tmp_path, *there)
    with pytest.raises(RunError, match=rf"of the iterations {missing}\. .*--from {back_to}`"):
        check_metrics(run, {**RUN, **described}, end)


def test_a_member_too_few_and_one_too_many(tmp_path):
    for count in (1, 3):
        run = written(tmp_path / str(count), 3)
        run.write_part(3, pa.table({"iteration": [3] * count}))
        with pytest.raises(RunError, match=r"of the iterations 3\."):
            check_metrics(run, RUN, 3)
