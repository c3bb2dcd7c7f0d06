"""Sweeps: what is combined, which programs are made of it, and that nothing is trained twice."""

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jaxreward.agent import vmap
from jaxreward.cli import main
from jaxreward.cli import sweep as cli
from jaxreward.cli.sweep import parse_size
from jaxreward.results.evaluate import evaluate
from jaxreward.results.tables import find_runs
from jaxreward.run.chunk import Program
from jaxreward.run.code import keep_code
from jaxreward.run.job import Job, Setup, job_of
from jaxreward.run.launcher import Outcome, local
from jaxreward.run.memory import available_memory, group_memory
from jaxreward.run.plan import make_plan
from jaxreward.run.store import RunError, RunFolder, to_json
from jaxreward.run.trust import trusting
from jaxreward.sweep import Sweep, describe, plan, read_sweep, run_sweep, sweep_of
from jaxreward.sweep.estimate import estimate, run_state_bytes
from tests.by_default import by_default

CLIMBER = f"{Path(__file__).parents[2] / 'climber.py'}:climber"
"""A toy agent: returns grow by `gain` an iteration, and noise is added up."""
SETUP = Setup(agent=CLIMBER, settings={"noise": 1.0})
SWEEP = Sweep(SETUP, 128, (0, 1), ({"steps_per_iteration": [32, 64]}, {"gain": [1.0, 2.0]}), log_every=1)
"""Two programs of 2 x 2 runs."""
SIZES = {"num_steps": 16, "num_minibatches": 1, "num_epochs": 1, "layers": (8,)}
TIMES = ["wall_seconds"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "whole"
    return folder, run_sweep(SWEEP, folder, local(progress=False)).metrics


def same_numbers(left, right, **tolerance):
    keys = ["member", "seed", "iteration"]
    left, right = (f.drop(columns=[*TIMES, "run"]).sort_values(keys).reset_index(drop=True) for f in (left, right))
    pd.testing.assert_frame_equal(left, right, check_dtype=False, **tolerance)


def refusing(number):
    """A launcher that is interrupted after some jobs."""

    def launch(jobs):
        for count, outcome in enumerate(local(progress=False)(jobs), 1):
            yield outcome
            if count == number:
                raise KeyboardInterrupt

    return launch


def test_the_last_axis_varies_fastest_and_zipped_names_change_together():
    axes = ({"num_envs": (2, 4)}, {"clip": (0.1, 0.2), "discount": (0.9, 0.99)})
    assert Sweep(Setup(), 1, axes=axes).choices() == [
        {"num_envs": 2, "clip": 0.1, "discount": 0.9},
        {"num_envs": 2, "clip": 0.2, "discount": 0.99},
        {"num_envs": 4, "clip": 0.1, "discount": 0.9},
        {"num_envs": 4, "clip": 0.2, "discount": 0.99},
    ]
    assert Sweep(Setup(), 1).choices() == [{}]


def test_a_table_says_what_a_sweep_is():
    table = {
        "env": "CartPole-v1",
        "steps": 100,
        "seeds": 3,
        "settings": {"discount": 0.98, "env": {"gravity": 5}, "layers": [8, 8]},
        "grid": {"learning_rate": "logspace(1e-4,1e-2,3)", "layers": [[8], [16, 16]], "reward": {"goal": [1, 2]}},
        "zip": [{"clip": [0.1, 0.2], "value_clip": ["inf", 1.0]}],
    }
    del table["settings"]["layers"]
    sweep = read_sweep(table)
    assert sweep.setup == Setup("ppo", "CartPole-v1", settings={"discount": 0.98, "env.gravity": 5})
    assert sweep.seeds == (0, 1, 2)
    assert list(sweep.axes) == [
        {"learning_rate": [1e-4, 1e-3, 1e-2]},
        {"layers": [(8,), (16, 16)]},
        {"reward.goal": [1, 2]},
        {"clip": [0.1, 0.2], "value_clip": [float("inf"), 1.0]},
    ]
    assert read_sweep(json.loads(json.dumps(sweep.to_table()))) == sweep


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stepz": 1}, "no entry of a sweep 'stepz'; did you mean 'steps'"),
        ({"steps": None}, "a sweep needs steps"),
        ({"steps": "200k"}, "steps must be an integer, not '200k'"),
        ({"steps": -3}, "steps must be positive, not -3"),
        ({"log_every": 0}, "log_every must be positive, not 0"),
        ({"agent": 3}, r'agent must be written like\n  agent = "ppo"'),
        ({"grid": [{"clip": [0.1]}]}, r"grid must be written like\n  \[grid\]"),
        ({"zip": {"clip": [0.1]}}, r"zip must be written like\n  \[\[zip\]\]"),
        ({"grid": {"env": ["CartPole-v1", "Acrobot-v1"]}}, "env is set in two places"),
        ({"seeds": [2**31]}, "seeds must be how many or a list"),
        ({"seeds": [True]}, "seeds must be how many or a list"),
        ({"seeds": [0, 0]}, "a seed is there twice"),
        ({"seeds": -1}, "seeds must be how many or a list"),
        ({"zip": [{"clip": [0.1], "discount": [0.9, 0.99]}]}, "need as many values each"),
        ({"grid": {"clip": [0.1, 0.1]}}, "clip has a value twice"),
        ({"grid": {"clip": []}}, "clip has no values"),
        ({"grid": {"clip": [0.1]}, "zip": [{"clip": [0.2]}]}, "clip is set in two places"),
        ({"grid": {"clip": [0.1]}, "settings": {"clip": 0.2}}, "clip is set in two places"),
        ({"grid": {"clipp": [0.1]}}, "no setting 'clipp'; did you mean 'clip'"),
        ({"grid": {"num_envs": [1.5]}}, "num_envs must be an integer"),
        ({"grid": {"agent": ["ppo", "pp0"]}}, "no agent 'pp0'; did you mean 'ppo'"),
    ],
)
def test_mistakes_are_named_before_anything_compiles(changes, message, tmp_path, monkeypatch):
    monkeypatch.setattr(Program, "compile", lambda *_: pytest.fail("compiled"))
    with pytest.raises(ValueError, match=message):
        plan(read_sweep({"env": "CartPole-v1", "steps": 10, **changes}), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 8}, r"like \(0, 1, 2\), not 8: for 8 of them, tuple\(range\(8\)\)"),
        ({"seeds": ()}, r"one or more integers, like \(0, 1, 2\), not \(\)"),
        ({"seeds": "01"}, "one or more integers"),
        ({"axes": {"clip": [0.1]}}, r"axes must be like .*, not \{'clip': \[0.1\]\}"),
        ({"axes": ({"clip": 0.1},)}, "axes must be like"),
        ({"axes": ("clip",)}, "axes must be like"),
        ({"steps": "10"}, "steps must be a whole number, not '10'"),
        ({"log_every": True}, "log_every must be a whole number, not True"),
        ({"setup": "CartPole-v1"}, r"setup must be like Setup\(env='CartPole-v1'\)"),
    ],
)
def test_what_is_of_another_form_in_python_is_shown_the_right_one(changes, message):
    with pytest.raises(ValueError, match=message):
        Sweep(**{"setup": Setup(), "steps": 10, **changes})


def test_choices_that_shape_a_program_have_one_each(tmp_path):
    planned = plan(SWEEP, tmp_path)
    assert [job.folder.name for job in planned.jobs] == ["000-steps_per_iteration=32", "001-steps_per_iteration=64"]
    assert [job.members for job in planned.jobs] == [({"gain": 1.0}, {"gain": 2.0})] * 2
    assert planned.wanted == 8
    text = "\n".join(describe(planned, SWEEP))
    assert "8 runs of 128 environment steps, in 2 compiled programs" in text
    assert "2 configurations x 2 seeds with steps_per_iteration=64" in text
    assert "each value of steps_per_iteration needs a program of its own" in text


def test_all_runs_are_in_one_table(finished):
    _, metrics = finished
    last = metrics[metrics["env_steps"] == 128]
    assert len(last) == 8 == len(last.drop_duplicates(["member", "seed"]))
    assert last.groupby("member")[["steps_per_iteration", "gain"]].first().to_dict("records") == SWEEP.choices()
    assert metrics.groupby("steps_per_iteration").size().to_dict() == {32: 4 * 128 // 32, 64: 4 * 128 // 64}


def test_a_finished_sweep_trains_nothing_again(finished):
    folder, metrics = finished
    planned = plan(SWEEP, folder)
    assert planned.jobs == []
    assert describe(planned, SWEEP) == ["8 runs of 128 environment steps, all of them done"]
    same_numbers(run_sweep(SWEEP, folder, refusing(0)).metrics, metrics, rtol=0)


def test_seeds_values_and_steps_are_added_to_what_is_there(finished, tmp_path):
    folder = tmp_path / "grown"
    run_sweep(SWEEP, folder, local(progress=False))
    more = replace(SWEEP, seeds=(0, 1, 2))
    planned = plan(more, folder)
    assert [(job.seeds, len(job.members)) for job in planned.jobs] == [((2,), 2)] * 2
    assert "12 runs of 128 environment steps, 8 of them done and 4 left" in describe(planned, more)[0]
    metrics = run_sweep(more, folder, local(progress=False)).metrics
    same_numbers(metrics[metrics["seed"] < 2], finished[1], rtol=0)
    wider = replace(more, axes=({"steps_per_iteration": [32, 64]}, {"gain": [1.0, 2.0, 3.0]}))
    assert [(job.seeds, job.members) for job in plan(wider, folder).jobs] == [((0, 1, 2), ({"gain": 3.0},))] * 2
    longer = replace(more, steps=256)
    assert sorted(job.steps for job in plan(longer, folder).jobs) == [256] * 4
    metrics = run_sweep(longer, folder, local(progress=False)).metrics
    assert metrics.groupby(["member", "seed"])["env_steps"].max().tolist() == [256] * 12
    before = (folder / "sweep.json").read_bytes()
    with pytest.raises(RunError, match=r"a sweep only grows \(there -> asked for\):\n  steps: 256 -> 128"):
        run_sweep(more, folder, refusing(0))
    fewer = replace(longer, seeds=(0, 2), axes=({"steps_per_iteration": [32]}, {"gain": [1.0, 2.0]}))
    with pytest.raises(RunError, match=r"seeds: \[0, 1, 2\] -> \[0, 2\]\n  2 of its configurations, such as steps"):
        run_sweep(fewer, folder, refusing(0))
    assert (folder / "sweep.json").read_bytes() == before


def test_grown_runs_are_what_a_single_batch_gives(tmp_path):
    """Batches of another size may be summed in another order, so to rounding."""
    small = replace(SWEEP, axes=SWEEP.axes[1:], setup=SETUP.replace({"steps_per_iteration": 32}))
    run_sweep(replace(small, seeds=(0,)), tmp_path / "grown", local(progress=False))
    grown = run_sweep(small, tmp_path / "grown", local(progress=False)).metrics
    same_numbers(grown, run_sweep(small, tmp_path / "whole", local(progress=False)).metrics, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("jobs", [0, 1])
def test_an_interrupted_sweep_ends_as_an_uninterrupted_one(jobs, finished, tmp_path):
    if jobs:
        with pytest.raises(KeyboardInterrupt):
            run_sweep(SWEEP, tmp_path, refusing(jobs))
    else:  # killed before the first run wrote its configuration
        (tmp_path / "programs" / "000-steps_per_iteration=32").mkdir(parents=True)
    assert len(plan(SWEEP, tmp_path).jobs) == 2 - jobs
    same_numbers(run_sweep(SWEEP, tmp_path, local(progress=False)).metrics, finished[1], rtol=0)
    assert len(find_runs(tmp_path)) == 2


def test_a_job_that_was_killed_goes_on_as_it_was(finished, tmp_path):
    described(SWEEP, tmp_path)
    planned = plan(SWEEP, tmp_path)
    replace(planned.jobs[0], steps=64).train(progress=False)  # half of it
    again = plan(SWEEP, tmp_path)
    assert [job.folder.name for job in again.jobs] == ["000-steps_per_iteration=32", "001-steps_per_iteration=64"]
    same_numbers(run_sweep(SWEEP, tmp_path, local(progress=False)).metrics, finished[1], rtol=0)


def test_a_folder_of_another_sweep_is_refused(finished, tmp_path):
    folder, _ = finished
    other = replace(SWEEP, setup=SETUP.replace({"noise": 0.5}))
    with pytest.raises(RunError, match=r"holds another sweep(.|\n)*settings.noise: 1.0 -> 0.5"):
        plan(other, folder)
    with pytest.raises(RunError, match="holds a single run"):
        plan(SWEEP, find_runs(folder)[0])


def test_what_fails_is_told_and_the_rest_is_trained(tmp_path):
    def launch(jobs):
        yield Outcome(jobs[0], "no such thing")
        yield from local(progress=False)(jobs[1:])

    swept = run_sweep(SWEEP, tmp_path, launch)
    assert [outcome.error for outcome in swept.failures] == ["no such thing"]
    assert set(swept.metrics["steps_per_iteration"]) == {64}


def test_a_batch_that_does_not_fit_is_split_and_comes_to_the_same(finished, tmp_path):
    each = estimate(plan(SWEEP, tmp_path).jobs[0]).run_bytes
    planned = plan(SWEEP, tmp_path, memory=3 * each)
    assert all(known.estimate.run_bytes * known.runs <= 3 * each for known in planned.planned)
    assert len(planned.jobs) == 4
    assert {(len(job.members), len(job.seeds)) for job in planned.jobs} == {(1, 2)}
    assert "(split so that each fits into" in "\n".join(describe(planned, SWEEP))
    metrics = run_sweep(SWEEP, tmp_path, local(progress=False), planned).metrics
    same_numbers(metrics, finished[1], rtol=1e-3, atol=1e-5)
    with pytest.raises(RunError, match="one run takes about"):
        plan(SWEEP, tmp_path / "other", memory=each // 2)
    one = plan(SWEEP, tmp_path / "other", memory=int(1.5 * each))
    assert [(len(job.members), len(job.seeds)) for job in one.jobs] == [(1, 1)] * 8


@pytest.mark.parametrize(("members", "log_every"), by_default([(64, 1), (4, 3000)], (4, 3000)))
def test_memory_is_not_underestimated(members, log_every):
    """Against what XLA plans for the whole program; the state is the least that can be needed.

    The metrics of a long chunk are most of its memory.
    """
    rates = tuple({"learning_rate": float(rate)} for rate in np.linspace(1e-4, 1e-2, members))
    settings = {**SIZES, "num_envs": 4}
    job = Job(Setup(settings=settings), Path("unused"), 64 * log_every, rates, (0, 1), log_every)
    experiment, known = job.experiment(), estimate(job)
    made = make_plan(experiment.hyperparams, experiment.population, job.seeds, log_every, log_every)
    whole = Program(vmap(vmap(experiment.agent), population=True), made.keys, made.hyperparams, log_every)
    whole.compile()
    assert run_state_bytes(job) * members * 2 <= whole.bytes <= known.run_bytes * members * 2
    assert known.run_seconds > 0


def test_memory_that_there_is():
    assert 2**28 < available_memory() < 2**50


def test_containers_and_cluster_jobs_are_seen(tmp_path):
    """A group's limit less what is taken of it; files that would be dropped are not taken."""

    def group(path, **files):
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / path / name.replace("__", ".")).write_text(text)

    group("job", memory__max="1000\n", memory__current="400\n", memory__stat="anon 300\ninactive_file 100\n")
    group("job/step", memory__max="max\n", memory__current="50\n", memory__stat="inactive_file 0\n")
    files = {"memory__limit_in_bytes": "600", "memory__usage_in_bytes": "700", "memory__stat": "total_inactive_file 0"}
    group("memory/slurm", **files)
    own = tmp_path / "cgroup"
    own.write_text("0::/job/step\n")
    assert group_memory(tmp_path, own) == [700]
    own.write_text("4:cpu,memory:/slurm\n2:cpuset:/job\n")
    assert group_memory(tmp_path, own) == [0]
    assert group_memory(tmp_path, tmp_path / "none") == []


def described(sweep, folder):
    """What a sweep writes first."""
    folder.mkdir(exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(sweep.to_table()))


def begun(job, iterations=None):
    """What a job leaves in its folder, without training: finished, or stopped before."""
    whole, run, every = job.experiment().iterations(job.steps), RunFolder(job.folder), job.log_every or 1
    config = {"config": to_json(job.experiment().config), "population": to_json(job.members), "seeds": list(job.seeds)}
    run.create()
    if iterations is None:
        rows = np.repeat(sorted({*range(every, whole, every), whole}), len(job.members) * len(job.seeds))
        run.write_part(whole, pa.table({"iteration": rows}))
        (run.checkpoints / str(whole)).mkdir()
    finished = {"finished": whole} if iterations is None else {}
    run.write_config({**config, "iterations": whole, "log_every": every, **finished})


@pytest.mark.parametrize("seed", range(8))
def test_what_is_missing_is_exactly_what_is_trained(seed, tmp_path):
    """Whatever products of members and seeds are there, each run that lacks is in one new job of a free folder."""
    rng = np.random.default_rng(seed)
    setup, axes, seeds = SETUP.replace({"steps_per_iteration": 32}), ({"gain": [1.0, 2.0, 3.0, 4.0]},), (0, 1, 2, 3)
    there = set()
    for number in rng.choice(20, 3, replace=False):
        members = tuple({"gain": float(gain)} for gain in rng.choice([1, 2, 3, 4, 5], 2, replace=False))
        job = Job(setup, tmp_path / "programs" / f"{number:03d}", 128, members, (int(rng.integers(4)),), 1)
        runs = {(member["gain"], each) for member in members for each in job.seeds}
        if not runs & there:
            begun(job)
            there |= runs
    folders = set((tmp_path / "programs").iterdir())
    described(Sweep(setup, 128, seeds, axes), tmp_path)
    planned = plan(Sweep(setup, 128, seeds, axes), tmp_path)
    new = [(member["gain"], each) for job in planned.jobs for member in job.members for each in job.seeds]
    wanted = {(gain, each) for gain in axes[0]["gain"] for each in seeds}
    assert len(new) == len(set(new)) == planned.left
    assert set(new) == wanted - there
    assert not folders & {job.folder for job in planned.jobs}


def test_parts_that_failed_are_trained_when_run_again(tmp_path):
    """A later part of the same shape is finished: its folder is not the one that failed."""
    sweep = replace(SWEEP, axes=SWEEP.axes[1:], setup=SETUP.replace({"steps_per_iteration": 32}))
    parts = plan(sweep, tmp_path, memory=2 * estimate(plan(sweep, tmp_path).jobs[0]).run_bytes)
    assert len(parts.jobs) == 2

    def launch(jobs):
        yield Outcome(jobs[0], "out of memory")
        yield from local(progress=False)(jobs[1:])

    assert run_sweep(sweep, tmp_path, launch, parts).metrics["member"].unique().tolist() == [1]
    swept = run_sweep(sweep, tmp_path, local(progress=False))
    assert swept.metrics.groupby(["member", "seed"])["env_steps"].max().tolist() == [128] * 4


def test_runs_that_are_no_longer_asked_for_are_not_counted(tmp_path):
    wide = replace(SWEEP, axes=({"gain": [1.0, 2.0, 3.0]},))
    begun(plan(wide, tmp_path).jobs[0], iterations=1)
    narrow, other = replace(wide, axes=({"gain": [1.0]},)), replace(wide, axes=({"gain": [5.0]},))
    described(narrow, tmp_path)
    planned = plan(narrow, tmp_path)
    assert (planned.wanted, planned.left, planned.planned[0].runs) == (2, 2, 6)
    described(other, tmp_path)
    assert plan(other, tmp_path).jobs[0].members == ({"gain": 5.0},)


def test_added_seeds_log_where_the_others_do(tmp_path):
    """A hundredth of what they train is not a hundredth of what the first were meant to."""
    sweep = replace(SWEEP, log_every=None, steps=64_000, axes=({"gain": [1.0]},))
    first = plan(sweep, tmp_path).jobs[0]
    begun(replace(first, log_every=7))
    described(sweep, tmp_path)
    assert [job.log_every for job in plan(replace(sweep, steps=128_000, seeds=(0, 1, 2)), tmp_path).jobs] == [7, 7]


def test_what_was_the_same_everywhere_may_become_varied(tmp_path):
    begun(plan(replace(SWEEP, axes=()), tmp_path).jobs[0])
    described(replace(SWEEP, axes=()), tmp_path)
    varied = replace(SWEEP, setup=Setup(agent=CLIMBER), axes=({"noise": [1.0, 2.0]},))
    assert [job.members for job in plan(varied, tmp_path).jobs] == [({"noise": 2.0},)]
    with pytest.raises(RunError, match=r"settings.noise: 1.0 -> None"):
        plan(replace(varied, axes=()), tmp_path)


def test_a_reward_that_was_changed_is_not_mixed_with_what_it_was(tmp_path):
    reward = tmp_path / "reward.py"
    reward.write_text("def r(t):\n    return t.reward\n")
    sweep = Sweep(Setup(reward=f"{reward}:r", settings=SIZES), 64, (0,))
    begun(plan(sweep, tmp_path / "sweep").jobs[0])
    described(sweep, tmp_path / "sweep")
    with trusting():  # a run that was not begun by `Job.train` has kept nothing, and could be anybody's
        assert plan(replace(sweep, seeds=(0, 1)), tmp_path / "sweep").left == 1
    reward.write_text("def r(t):\n    return -t.reward\n")
    with trusting(), pytest.raises(RunError, match=r"trained with something else of the same name(.|\n)*reward_digest"):
        plan(replace(sweep, seeds=(0, 1)), tmp_path / "sweep")


def test_code_that_was_changed_is_not_mixed_with_what_a_run_kept(tmp_path):
    reward, helper = tmp_path / "rewarding.py", tmp_path / "rewarding_helper.py"
    reward.write_text("import rewarding_helper\ndef r(t):\n    return rewarding_helper.K * t.reward\n")
    helper.write_text("K = 1.0\n")
    sweep = Sweep(Setup(reward=f"{reward}:r", settings=SIZES), 64, (0,))
    job = plan(sweep, tmp_path / "sweep").jobs[0]
    begun(job)
    described(sweep, tmp_path / "sweep")
    keep_code(RunFolder(job.folder), job.places())
    assert plan(replace(sweep, seeds=(0, 1)), tmp_path / "sweep").left == 1
    helper.write_text("K = 2.0\n")
    message = r"trained with something else of the same name(.|\n)*reward: rewarding_helper\.py"
    with pytest.warns(UserWarning, match="has changed since"), pytest.raises(RunError, match=message):
        plan(replace(sweep, seeds=(0, 1)), tmp_path / "sweep")


def test_what_the_folder_of_a_sweep_lacks_is_said_before_anything_is_trained(tmp_path):
    jobs = plan(SWEEP, tmp_path).jobs
    for job in jobs:
        begun(job)
    with pytest.raises(RunError, match=r"of a sweep whose sweep.json is gone\. Bring that back, or choose a folder"):
        plan(SWEEP, tmp_path)
    described(SWEEP, tmp_path)
    first = RunFolder(jobs[0].folder)
    shutil.rmtree(first.checkpoints)
    assert plan(SWEEP, tmp_path).jobs == []  # checkpoints of what is finished may be thrown away
    with pytest.raises(RunError, match=rf"the checkpoints of {first.path} are gone.* --from 0`"):
        plan(replace(SWEEP, steps=256), tmp_path)
    first.config_file.rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"of a run whose config\.json is gone"):
        plan(SWEEP, tmp_path)
    (tmp_path / "elsewhere").rename(first.config_file)
    first.drop_all_parts()
    with pytest.raises(RunError, match=rf"in {first.path} rows of the metrics are missing, of the iterations 1, 2, 3"):
        run_sweep(replace(SWEEP, seeds=(0, 1, 2)), tmp_path, refusing(0))


def test_a_sweep_that_is_held_is_not_run_again(tmp_path):
    refused = []

    def intrude(jobs):
        thread = threading.Thread(target=lambda: refused.append(attempt()))
        thread.start()
        thread.join()
        return iter(())

    def attempt():
        with pytest.raises(RunError, match=f"another process is at work in {tmp_path}: process {os.getpid()} on "):
            run_sweep(SWEEP, tmp_path, refusing(0))
        return True

    run_sweep(SWEEP, tmp_path, intrude)
    assert refused == [True]


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(RunError, match=r"sweep.json is damaged"):
        plan(SWEEP, tmp_path)


def test_evaluate_finds_the_best_of_all_programs(finished):
    folder, table = finished
    best = evaluate(folder, episodes=2)
    late = table[table["env_steps"] == 128].groupby("member")["episode/return"].mean()
    assert best.overrides == SWEEP.choices()[late.idxmax()]
    chosen = evaluate(folder, member=3, seed=1, episodes=2)
    assert (chosen.member, chosen.seed, chosen.overrides) == (3, 1, SWEEP.choices()[3])
    with pytest.raises(RunError, match="there is no member 4"):
        evaluate(folder, member=4)
    with pytest.raises(RunError, match="there is no seed 2"):
        evaluate(folder, seed=2)


def test_the_command_reads_a_file_and_options_go_before_it(tmp_path, capsys):
    head = f'agent = "{CLIMBER}"\nenv = "CartPole-v1"\nsteps = 64\nseeds = 2\nlog_every = 1\n'
    axes = "[settings]\nnoise = 1.0\n[grid]\nsteps_per_iteration = [32, 64]\ngain = [1, 2]\n"
    (tmp_path / "sweep.toml").write_text(head + axes)
    folder = str(tmp_path / "out")
    asked = ["sweep", str(tmp_path / "sweep.toml"), "--grid", "gain=3", "--seeds", "1", "--folder", folder]
    assert main([*asked, "--plan"]) == 0
    assert "2 runs of 64 environment steps, in 2 compiled programs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*asked, "--quiet"]) == 0
    assert {"sweep.json", "programs", "curves.png", "report.html"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert main(["sweep", "--resume", "--folder", folder, "--seeds", "2", "--quiet"]) == 0
    page = (tmp_path / "out" / "report.html").read_bytes()
    assert main(["sweep", "--resume", "--folder", folder, "--seeds", "1"]) == 2
    assert "a sweep only grows (there -> asked for):\n  seeds: [0, 1] -> [0]" in capsys.readouterr().err
    assert (tmp_path / "out" / "report.html").read_bytes() == page
    assert sweep_of(folder).seeds == (0, 1)
    assert sorted(job_of(path).seeds for path in find_runs(folder)) == [(0,), (0,), (1,), (1,)]


def test_options_replace_what_the_file_says_of_that_name_and_no_more(tmp_path):
    file = tmp_path / "sweep.toml"
    axes = "[grid]\nenv = ['CartPole-v1', 'Acrobot-v1']\nreward.goal = [1, 2]\n"
    file.write_text(
        f"steps = 64\n[settings]\ndiscount = 0.9\n{axes}[[zip]]\nclip = [0.1, 0.2]\ngae_lambda = [0.8, 0.9]"
    )
    read = lambda **options: cli.Sweep(file=file, **options)._sweep()  # noqa: E731
    assert read() == Sweep.from_toml(file)
    assert read().names() == ["env", "reward.goal", "clip", "gae_lambda"]
    chosen = read(env="CartPole-v1", grid=(("reward.goal=3,4", "clip=0.3"),), zip=(("discount=0.5,0.6",),))
    assert chosen.setup == Setup("ppo", "CartPole-v1")
    assert list(chosen.axes) == [
        {"gae_lambda": [0.8, 0.9]},
        {"reward.goal": [3, 4]},
        {"clip": [0.3]},
        {"discount": [0.5, 0.6]},
    ]
    assert read(set=(("clip=0.3",),)).setup.settings == {"discount": 0.9, "clip": 0.3}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("sweep --env CartPole-v1 --steps 10 --grid discount=1 --set discount=1", "discount was given twice"),
        ("sweep --env CartPole-v1 --steps 10 --grid discount=1 --zip discount=1", "discount was given twice"),
        ("sweep --env CartPole-v1 --steps 10 --grid env=CartPole-v1", "env was given twice"),
        ("sweep --steps 10 --grid discount=1", "which environment"),
        ("sweep --resume", "--resume needs --folder"),
        ("sweep --resume --folder nowhere", "nowhere is not the folder of a sweep"),
        ("sweep some.toml --resume --folder nowhere", "nowhere is not the folder of a sweep"),
        ("sweep none.toml", "there is no file none.toml"),
        ("sweep --env CartPole-v1 --steps 10 --memory much", "a size is a number with a unit"),
        ("sweep --env CartPole-v1 --steps 10 --launcher rays", "did you mean 'ray'"),
        ("sweep --env CartPole-v1 --steps 10 --zip clip=1,2 discount=0.9", "need as many values each"),
    ],
)
def test_the_command_answers_mistakes(arguments, expected, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(("text", "size"), [("4GB", 4e9), ("500 mb", 5e8), ("1.5G", 1.5e9), ("100", 100)])
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size


def test_a_sweep_json_is_whole_or_absent(finished):
    folder, _ = finished
    assert sweep_of(folder) == SWEEP
    assert RunFolder(find_runs(folder)[0]).finished()
