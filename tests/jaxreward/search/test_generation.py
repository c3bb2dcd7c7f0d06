"""Generations: who goes on, what is spent, that survivors lose nothing, and that no interruption matters."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxreward.results.tables import find_runs
from jaxreward.run.job import Setup
from jaxreward.run.launcher import Outcome, local
from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.train import NonFiniteWarning
from jaxreward.search.generation import FailedRunWarning, evaluate, metrics
from jaxreward.search.objective import Objective, scores
from jaxreward.search.schedule import Rung, cost, once, successive_halving

FINAL = (Objective(),)
TESTS = Path(__file__).parents[2]
SETUP = Setup("climber:climber", "Pendulum-v1")
SIZE = 10
"""Environment steps of an iteration of the toy."""


class Launch:
    """Trains like `local`, keeps what it was given, and can fail runs or be killed.

    Args:
        limit: Runs that are trained before it is interrupted.
        fail: A part of the folder's path of runs that fail.
    """

    def __init__(self, limit=math.inf, fail=None):
        self.jobs, self.trained, self.limit, self.fail = [], 0, limit, fail
        self.local = local(progress=False)

    def __call__(self, jobs):
        for job in jobs:
            self.jobs.append(job)
            if self.fail and self.fail in str(job.folder):
                yield Outcome(job, "the machine is on fire")
                continue
            if not job.finished() and self.trained >= self.limit:
                raise KeyboardInterrupt
            self.trained += not job.finished()
            yield from self.local([job])


def search(choices, schedule, folder, launch=None, objectives=FINAL, setup=SETUP, **options):
    return evaluate(setup, choices, schedule, objectives, folder, launch or Launch(), **options)


def gains(*values):
    return [{"gain": float(value)} for value in values]


def trained_steps(folder):
    """Environment steps that were trained in all, from the metrics of all runs."""
    return sum(_reached(run) - _inherited(run) for run in map(RunFolder, find_runs(folder)))


def _reached(run):
    return run.metrics().groupby(["member", "seed"])["env_steps"].max().sum()


def _inherited(run):
    described = run.read_config()
    if described["start"] is None:
        return 0
    frame = RunFolder(described["start"]["folder"]).metrics()
    reached = frame.groupby(["member", "seed"])["env_steps"].max()
    pairs = [(member, seed) for member in described["start"]["members"] for seed in described["seeds"]]
    return sum(reached[pair] for pair in pairs)


def test_halving_finds_the_best_and_spends_what_it_costs(tmp_path):
    choices = gains(3, 1, 9, 4, 7, 2, 8, 5, 6)
    schedule = successive_halving(9, 90 * SIZE, 2, min_steps=10 * SIZE)
    assert schedule == (Rung(9, 100, 2), Rung(3, 300, 2), Rung(1, 900, 2))
    scored = search(choices, schedule, tmp_path)
    # A final value is the mean over the last tenth: iterations 10, 28 to 30 and 82 to 90.
    at_rung = lambda gain: [gain * 10, gain * 29, gain * 86]  # noqa: E731
    reached = {9.0: 2, 8.0: 1, 7.0: 1}
    for choice, score in zip(choices, scored, strict=True):
        rung = reached.get(choice["gain"], 0)
        values = at_rung(choice["gain"])
        assert score.rung == rung
        assert score.values == (values[rung],)
        assert score.reports == tuple((schedule[i].steps, values[i]) for i in range(rung + 1))
    assert trained_steps(tmp_path) == cost(schedule)


def test_what_was_logged_is_told_by_configuration(tmp_path):
    """In programs of two sizes, with seeds that are added: values made of it again are those of the search."""
    choices = [
        {"gain": gain, "noise": 1.0, "steps_per_iteration": size}
        for gain, size in [(3.0, 10), (1.0, 5), (9.0, 10), (4.0, 5)]
    ]
    scored = search(choices, (Rung(4, 100, 2), Rung(2, 300, 4)), tmp_path)
    frame = metrics(tmp_path)
    values = scores(frame, FINAL[0])
    last = frame.groupby(["choice", "seed"])["env_steps"].max()
    for choice, score in enumerate(scored):
        assert values[choice] == score.values[0]
        assert last[choice].to_dict() == dict.fromkeys(range(4 if score.rung else 2), 300 if score.rung else 100)
    with pytest.raises(RunError, match="holds no generation that was trained"):
        metrics(tmp_path / "none")


def test_a_late_bloomer_is_lost_to_halving_and_found_without(tmp_path):
    """The reports are those of the rung, not of the end."""
    choices = [{"gain": 4.0, "late": 0.0}, {"gain": 1.0, "late": 1 / 16}, {"gain": 3.0, "late": 0.0}]
    schedule = (Rung(3, 10 * SIZE, 1), Rung(1, 64 * SIZE, 1))
    scored = search(choices, schedule, tmp_path / "halving")
    assert [score.rung for score in scored] == [1, 0, 0]
    straight = search(choices, once(3, 64 * SIZE, 1), tmp_path / "once")
    assert np.argmax([score.values[0] for score in straight]) == 1


def test_less_can_be_better(tmp_path):
    loss = (Objective(maximise=False),)
    scored = search(gains(3, 1, 2), (Rung(3, 100, 1), Rung(1, 200, 1)), tmp_path, objectives=loss)
    assert [score.rung for score in scored] == [0, 1, 0]


def test_seeds_that_are_added_begin_at_nothing_and_old_ones_go_on(tmp_path):
    launch = Launch()
    schedule = (Rung(4, 100, 1), Rung(2, 200, 3), Rung(1, 400, 4))
    choices = [{"gain": gain, "noise": 0.01} for gain in (1.0, 4.0, 2.0, 3.0)]
    scored = search(choices, schedule, tmp_path, launch)
    assert [score.rung for score in scored] == [0, 2, 0, 1]
    assert [(job.folder.relative_to(tmp_path).as_posix(), len(job.members), job.seeds) for job in launch.jobs] == [
        ("rung-0/program-00", 4, (0,)),
        ("rung-1/program-00", 2, (0,)),
        ("rung-1/program-00-from-seed-1", 2, (1, 2)),
        ("rung-2/program-00", 1, (0,)),
        ("rung-2/program-00-from-seed-1", 1, (1, 2)),
        ("rung-2/program-00-from-seed-3", 1, (3,)),
    ]
    starts = [job.start and (job.start.folder.parent.name, job.start.members) for job in launch.jobs]
    assert starts == [None, ("rung-0", (1, 3)), None, ("rung-1", (0,)), ("rung-1", (0,)), None]
    assert trained_steps(tmp_path) == cost(schedule)


def test_seeds_alone_may_be_added(tmp_path):
    launch = Launch()
    schedule = (Rung(3, 100, 1), Rung(2, 100, 2), Rung(1, 200, 2))
    scored = search(gains(1, 3, 2), schedule, tmp_path, launch)
    assert [score.rung for score in scored] == [0, 2, 1]
    assert [score.reports for score in scored] == [((100, 10.0),), ((100, 30.0), (200, 58.5)), ((100, 20.0),)]
    assert trained_steps(tmp_path) == cost(schedule)
    # Seed 0 goes on from the only run it has had.
    assert launch.jobs[2].start.folder.parent.name == "rung-0"


def test_rungs_of_the_same_iterations_train_nothing_more(tmp_path):
    launch = Launch()
    scored = search(gains(1, 2), (Rung(2, 11, 1), Rung(1, 19, 1), Rung(1, 40, 1)), tmp_path, launch)
    assert [score.rung for score in scored] == [0, 2]
    assert [job.folder.parent.name for job in launch.jobs] == ["rung-0", "rung-2"]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """The whole batch trained straight, and the same through two rungs."""
    choices = [{"gain": gain, "noise": 1 / 8} for gain in (1.0, 4.0, 2.0, 3.0)]
    folder = tmp_path_factory.mktemp("noisy")
    launch = Launch()
    search(choices, (Rung(4, 200, 2), Rung(2, 600, 2)), folder / "halved", launch, log_every=7)
    search(choices, (Rung(4, 200, 2), Rung(4, 600, 2)), folder / "kept", launch, log_every=7)
    search(choices, once(4, 600, 2), folder / "straight", launch, log_every=7)
    return folder


def curve(folder, gain, columns):
    frame = RunFolder(folder).metrics()
    frame = frame[(frame["gain"] == gain) & (frame["iteration"] > 21)]
    return frame.sort_values(["seed", "iteration"])[columns].to_numpy()


COLUMNS = ["iteration", "seed", "env_steps", "episode/return"]


def test_compacted_survivors_go_on_as_in_the_full_batch(noisy):
    for gain in (3.0, 4.0):
        straight = curve(noisy / "straight/rung-0/program-00", gain, COLUMNS)
        halved = curve(noisy / "halved/rung-1/program-00", gain, COLUMNS)
        assert len(straight) == 2 * 6
        np.testing.assert_allclose(halved, straight, rtol=1e-6)


def test_without_anyone_dropped_every_bit_is_the_same(noisy):
    for gain in (1.0, 2.0, 3.0, 4.0):
        straight = curve(noisy / "straight/rung-0/program-00", gain, COLUMNS)
        np.testing.assert_array_equal(curve(noisy / "kept/rung-1/program-00", gain, COLUMNS), straight)


def test_areas_under_curves_are_over_all_rungs(tmp_path):
    area = (Objective(statistic="auc"),)
    options = {"objectives": area, "log_every": 5}
    scored = search(gains(1, 2), (Rung(2, 200, 1), Rung(1, 600, 1)), tmp_path / "halved", **options)
    (straight,) = search(gains(2), once(1, 600, 1), tmp_path / "straight", **options)
    assert straight.values == scored[1].values == (2 * np.arange(1, 61).mean(),)
    assert scored[1].reports[0] == (200, 2 * np.arange(1, 21).mean())


def test_curves_have_rows_at_the_same_iterations_in_all_rungs(tmp_path):
    launch = Launch()
    search(gains(1, 2), (Rung(2, 2400, 1), Rung(1, 7200, 1)), tmp_path, launch)
    # At least ten rows in the first 240 iterations, a hundred in 720, and the greatest divisor of 240 below 7.
    assert {job.log_every for job in launch.jobs} == {6}
    frames = [RunFolder(job.folder).metrics() for job in launch.jobs]
    rows = np.concatenate([frame.loc[frame["gain"] == 2.0, "iteration"] for frame in frames])
    np.testing.assert_array_equal(rows, np.arange(6, 721, 6))


def test_programs_compete_with_each_other(tmp_path):
    choices = [
        {"gain": 4.0, "steps_per_iteration": 20},
        {"gain": 1.0},
        {"gain": 3.0},
        {"gain": 5.0, "steps_per_iteration": 20},
        {"gain": 5.0, "steps_per_iteration": 40},
        {"gain": 2.5},
    ]
    launch, schedule = Launch(), (Rung(6, 400, 1), Rung(3, 800, 1))
    scored = search(choices, schedule, tmp_path, launch)
    # Iterations of 10, 20 and 40 steps: 40, 20 and 10 of them, whose last tenths are the means below.
    expected = [4 * 19.5, 38.5, 3 * 38.5, 5 * 19.5, 5 * 10, 2.5 * 38.5]
    assert [score.reports[0] for score in scored] == [(400, value) for value in expected]
    assert [score.rung for score in scored] == [0, 0, 1, 1, 0, 1]
    # The third program has no survivor and no run.
    assert [len(job.members) for job in launch.jobs] == [2, 3, 1, 1, 2]
    assert trained_steps(tmp_path) == cost(schedule)


def test_equal_values_are_taken_in_order(tmp_path):
    scored = search(gains(1, 2, 2, 2), (Rung(4, 20, 1), Rung(2, 40, 1)), tmp_path)
    assert [score.rung for score in scored] == [0, 1, 1, 0]


def test_what_is_not_finite_never_goes_on(tmp_path):
    choices = [{"gain": 9.0, "explode_at": 2}, {"gain": 1.0}, {"gain": 8.0, "explode_at": 6}, {"gain": 2.0}]
    with pytest.warns(NonFiniteWarning):
        scored = search(choices, (Rung(4, 40, 2), Rung(3, 80, 2), Rung(2, 160, 2)), tmp_path)
    assert [score.rung for score in scored] == [0, 2, 1, 2]
    assert [math.isnan(score.values[0]) for score in scored] == [True, False, True, False]
    assert scored[2].reports[0] == (40, 32.0)
    assert math.isnan(scored[2].reports[1][1])


def test_fewer_finite_ones_than_places_all_go_on_and_none_ends_the_generation(tmp_path):
    schedule = (Rung(3, 40, 1), Rung(2, 80, 1))
    one = [{"gain": 1.0, "explode_at": 1}, {"gain": 1.0, "explode_at": 1}, {"gain": 0.5}]
    with pytest.warns(NonFiniteWarning):
        scored = search(one, schedule, tmp_path / "one")
    with pytest.warns(NonFiniteWarning):
        none = search([{"gain": 1.0, "explode_at": 1}] * 3, schedule, tmp_path / "none")
    assert [score.rung for score in scored] == [0, 0, 1]
    assert [score.rung for score in none] == [0, 0, 0]
    assert all(math.isnan(score.values[0]) for score in none)


def test_conditional_names_keep_the_program_when_those_that_had_them_are_gone(tmp_path):
    """Without any `env.*` the environment's params are constants: another state than the one to go on from."""
    choices = [{"gain": 3.0}, {"gain": 1.0, "env.g": 5.0}, {"noise": 0.0}, {"gain": 2.0, "late": 1.0}]
    launch = Launch()
    setup = Setup("climber:climber", "Pendulum-v1", settings={"env.m": 2.0, "gain": 4.0})
    scored = search(choices, (Rung(4, 20, 1), Rung(2, 40, 1), Rung(1, 80, 1)), tmp_path, launch, setup=setup)
    assert [score.rung for score in scored] == [0, 0, 1, 2]
    shared = {"gain": 4.0, "env.g": 10.0, "noise": 0.0, "late": 0.0}
    assert launch.jobs[0].members == tuple(shared | choice for choice in choices)
    assert launch.jobs[1].members == (shared, shared | choices[3])
    gravity = RunFolder(launch.jobs[0].folder).metrics().groupby("member")["gravity"].first()
    assert list(gravity) == [10.0, 5.0, 10.0, 10.0]


def test_a_run_that_fails_fails_its_own_configurations_alone(tmp_path):
    choices = [{"gain": 5.0}, {"gain": 1.0, "steps_per_iteration": 20}, {"gain": 2.0, "steps_per_iteration": 20}]
    schedule = (Rung(3, 40, 1), Rung(1, 80, 1))
    with pytest.warns(FailedRunWarning, match="program-00 could not be trained: the machine is on fire"):
        scored = search(choices, schedule, tmp_path, Launch(fail="program-00"))
    assert [score.rung for score in scored] == [0, 0, 1]
    assert [math.isnan(score.values[0]) for score in scored] == [True, False, False]
    assert json.loads((tmp_path / "rung-0.json").read_text())["errors"] == {"program-00": "the machine is on fire"}
    assert search(choices, schedule, tmp_path, Launch())[1:] == scored[1:]


def test_seeds_that_fail_fail_the_configuration(tmp_path):
    with pytest.warns(FailedRunWarning):
        scored = search(gains(1, 2), (Rung(2, 20, 1), Rung(1, 40, 2)), tmp_path, Launch(fail="from-seed-1"))
    assert [score.rung for score in scored] == [0, 1]
    assert math.isnan(scored[1].values[0])


def test_values_that_do_not_fit_together_fail_alone(tmp_path):
    with pytest.warns(FailedRunWarning, match="it is broken"):
        scored = search([{"broken": True}, {"gain": 1.0}], once(2, 40, 1), tmp_path)
    assert [math.isnan(score.values[0]) for score in scored] == [True, False]


def test_a_name_that_does_not_exist_is_said(tmp_path):
    with pytest.raises(RunError, match="no setting 'gian'; did you mean 'gain'"):
        search([{"gian": 1.0}, {"gain": 1.0}], once(2, 40, 1), tmp_path)


def test_when_nothing_could_be_trained_it_says_why_and_can_be_called_again(tmp_path):
    with pytest.raises(RunError, match="nothing could be trained: the machine is on fire"):
        search(gains(1, 2), once(2, 40, 1), tmp_path, Launch(fail="rung-0"))
    assert search(gains(1, 2), once(2, 40, 1), tmp_path)[1].values == (8.0,)


def test_several_objectives_are_measured_and_do_not_decide(tmp_path):
    both = (Objective(), Objective("gravity"))
    scored = search(gains(1, 2), once(2, 40, 1), tmp_path / "once", objectives=both)
    assert [score.values for score in scored] == [(4.0, 0.0), (8.0, 0.0)]
    assert scored[0].reports == ((40, 4.0),)
    with pytest.raises(ValueError, match="2 objectives don't say who goes on to the next of 2 rungs"):
        search(gains(1, 2), (Rung(2, 20, 1), Rung(1, 40, 1)), tmp_path / "halving", objectives=both)


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the first rung has 3 members, but there are 2 choices"):
        search(gains(1, 2), once(3, 40, 1), tmp_path)
    with pytest.raises(ValueError, match="without an objective"):
        search(gains(1, 2), once(2, 40, 1), tmp_path, objectives=())
    with pytest.raises(ValueError, match="steps and seeds only more"):
        search(gains(1, 2), (Rung(2, 40, 1), Rung(1, 20, 1)), tmp_path)
    with pytest.raises(ValueError, match="did you mean 'climber'"):
        search([{"agent": "climber:climbr"}], once(1, 40, 1), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_of_one_generation(tmp_path):
    search(gains(1, 2), once(2, 40, 1), tmp_path)
    with pytest.raises(RunError, match="holds another generation: its choices, schedule differ"):
        search(gains(1, 2, 3), once(3, 40, 1), tmp_path)
    with pytest.raises(RunError, match="its objectives differ"):
        search(gains(1, 2), once(2, 40, 1), tmp_path, objectives=(Objective(maximise=False),))


SCHEDULE = (Rung(4, 100, 1), Rung(2, 200, 2), Rung(1, 400, 2))
NOISY = [{"gain": gain, "noise": 1 / 8} for gain in (1.0, 4.0, 2.0, 3.0)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a generation that was never interrupted, and what came of it."""
    folder, launch = tmp_path_factory.mktemp("whole"), Launch()
    scored = search(NOISY, SCHEDULE, folder, launch)
    assert launch.trained == 5
    return folder, scored


def test_an_interrupted_generation_goes_on_and_trains_nothing_twice(tmp_path, whole):
    for limit in (0, 1, 1, 1, 1):
        launch = Launch(limit)
        with pytest.raises(KeyboardInterrupt):
            search(NOISY, SCHEDULE, tmp_path, launch)
        assert launch.trained == limit
    launch = Launch()
    assert search(NOISY, SCHEDULE, tmp_path, launch) == whole[1]
    assert launch.trained == 1
    assert trained_steps(tmp_path) == cost(SCHEDULE)


def test_a_finished_generation_is_read_and_launches_nothing(whole, monkeypatch):
    folder, scored = whole
    launch = Launch()
    monkeypatch.chdir(folder.parent)
    assert search(NOISY, SCHEDULE, folder.name, launch) == scored
    assert launch.jobs == []


def test_a_rung_whose_decision_was_not_written_is_decided_again_the_same(whole):
    folder, scored = whole
    before = (folder / "rung-1.json").read_text()
    (folder / "rung-1.json").unlink()
    launch = Launch()
    assert search(NOISY, SCHEDULE, folder, launch) == scored
    assert launch.trained == 0
    assert (folder / "rung-1.json").read_text() == before


KILLED = """
import os, signal
from jaxreward.run.store import RunFolder
from tests.jaxreward.search.test_generation import NOISY, SCHEDULE, Launch, search

write = RunFolder.write_part

def killed_at_the_second_row_of_rung_1(self, iteration, table):
    if "rung-1" in str(self.path) and iteration > 11:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, iteration, table)

RunFolder.write_part = killed_at_the_second_row_of_rung_1
search(NOISY, SCHEDULE, "killed")
"""


def test_a_killed_process_loses_nothing(tmp_path, whole):
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, timeout=120
    )
    assert ended.returncode == -signal.SIGKILL
    folder = tmp_path / "killed"
    assert (folder / "rung-0.json").exists()
    assert len(RunFolder(folder / "rung-1/program-00").parts()) == 1
    launch = Launch()
    with pytest.warns(UserWarning, match="stopped before its first checkpoint, so it begins again"):
        assert search(NOISY, SCHEDULE, folder, launch) == whole[1]
    assert launch.trained == 4
    assert trained_steps(folder) == cost(SCHEDULE)
