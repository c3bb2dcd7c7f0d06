"""Interrupted runs: killed, damaged, extended; each must end in the bits of one that never stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from jaxreward.run.checkpoint import Checkpoints, restore, saved_iterations
from jaxreward.run.store import RunError, RunFolder, differences
from jaxreward.run.train import load_state, train
from tests.noisy_quadratic import Hyperparams, agent

SETTINGS = dict(seeds=2, log_every=2, checkpoint_every=1, progress=False)
LONG = 40


def run(folder, iterations, hyperparams=Hyperparams(), **changes):
    return train(agent, hyperparams, iterations=iterations, folder=folder, **{**SETTINGS, **changes})


def assert_same_run(result, expected):
    columns = [column for column in expected.metrics if column != "wall_seconds"]
    pd.testing.assert_frame_equal(result.metrics[columns], expected.metrics[columns], check_exact=True)
    assert_same(result.state, expected.state)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(_bytes(left), _bytes(right))


def _bytes(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf).reshape(-1).view(np.uint8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Lets all runs here, also those of other processes, compile once."""
    settings = {"jax_compilation_cache_dir": str(tmp_path_factory.mktemp("cache"))}
    settings |= {"jax_persistent_cache_min_compile_time_secs": 0.0}
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield settings["jax_compilation_cache_dir"]
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cache):
    return run(tmp_path_factory.mktemp("runs") / "whole", 6)


@pytest.fixture(scope="module")
def partial(tmp_path_factory, cache):
    """A run of four iterations, checkpoints at two and four; copy it."""
    folder = tmp_path_factory.mktemp("runs") / "part"
    run(folder, 4)
    return folder


@pytest.fixture
def copy(partial, tmp_path):
    return Path(shutil.copytree(partial, tmp_path / "run"))


CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
import jaxreward
from tests.jaxreward.run.test_checkpoint import LONG, run
run(sys.argv[1], LONG, resume=True)
"""


def start(folder, cache):
    environment = os.environ | {"JAXREWARD_CACHE": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, "-c", CHILD, str(folder), str(Path(__file__).parents[3])]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_when(process, reached):
    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_killed_runs_end_in_the_same_bits(tmp_path, cache):
    folder, checkpoints = tmp_path / "killed", tmp_path / "killed" / "checkpoints"
    # In the middle of writing a checkpoint, then somewhere later.
    kill_when(start(folder, cache), lambda: saved_iterations(checkpoints) and list(checkpoints.glob("*tmp*")))
    reached = saved_iterations(checkpoints)[-1]
    kill_when(start(folder, cache), lambda: saved_iterations(checkpoints)[-1] >= reached + 6)
    assert saved_iterations(checkpoints)[-1] < LONG
    resumed = run(folder, LONG, resume=True)
    assert_same_run(resumed, run(tmp_path / "whole", LONG))
    assert not list(checkpoints.glob("*tmp*"))
    starts = json.loads((folder / "config.json").read_text())["resumed"]
    assert starts[0]["iteration"] == reached


def test_extended_run_is_the_longer_run(copy, uninterrupted):
    resumed = run(copy, 6, resume=True)
    assert_same_run(resumed, uninterrupted)
    assert json.loads((copy / "config.json").read_text())["iterations"] == 6


def test_finished_run_is_returned_as_it_is(copy, monkeypatch):
    monkeypatch.setattr("jaxreward.run.chunk.Program.compile", lambda self: pytest.fail("compiled"))
    resumed = run(copy, 4, resume=True)
    assert list(resumed.metrics["iteration"].unique()) == [2, 4]
    assert_same(resumed.state, load_state(copy, agent, Hyperparams()))


def test_metrics_after_the_checkpoint_are_dropped(copy, uninterrupted):
    run(copy, 5, resume=True)  # logs at 5, where the whole run doesn't
    shutil.rmtree(copy / "checkpoints" / "5")
    (copy / "metrics.parquet" / "part-000000000006.parquet.tmp").write_bytes(b"half")
    assert_same_run(run(copy, 6, resume=True), uninterrupted)


class TestWhole:
    """What a folder lacks is said before anything is trained, with a way out that leads to the bits of a whole run."""

    @pytest.fixture(autouse=True)
    def _untrained(self, monkeypatch):
        self.patch = monkeypatch
        monkeypatch.setattr("jaxreward.run.train.Program", lambda *_: pytest.fail("a program was made"))

    def refused(self, folder, **changes):
        before = contents(folder)
        with pytest.raises(RunError) as error:
            run(folder, 6, **{"resume": True, **changes})
        assert contents(folder) == before
        return str(error.value)

    def goes_on(self, folder, **changes):
        self.patch.undo()
        return run(folder, 6, resume=True, **changes)

    @pytest.mark.parametrize("lose", ["folder", "content"])
    def test_lost_checkpoints(self, copy, uninterrupted, lose):
        shutil.rmtree(copy / "checkpoints")
        if lose == "content":
            (copy / "checkpoints").mkdir()
        message = self.refused(copy)
        assert "the checkpoints of" in message
        assert f"`jaxreward train --resume --folder {copy} --from 0` (in Python back_to=0) begins it again" in message
        assert_same_run(self.goes_on(copy, back_to=0), uninterrupted)

    def test_checkpoints_that_an_unfinished_run_lost(self, copy):
        change_config(copy, finished=None)
        shutil.rmtree(copy / "checkpoints")
        (copy / "checkpoints").mkdir()
        assert "the checkpoints of" in self.refused(copy)

    def test_a_run_that_never_had_a_checkpoint_begins_again_aloud(self, copy, uninterrupted):
        change_config(copy, finished=None, saved=None)
        shutil.rmtree(copy / "checkpoints")
        (copy / "checkpoints").mkdir()
        with pytest.warns(UserWarning, match="stopped before its first checkpoint, so it begins again"):
            resumed = self.goes_on(copy)
        assert_same_run(resumed, uninterrupted)

    def test_a_lost_configuration(self, copy):
        (copy / "config.json").unlink()
        for changes in ({}, {"resume": False}, {"resume": "require"}):
            message = self.refused(copy, **changes)
            assert (
                "of a run whose config.json is gone. Bring that back, or choose a folder that is new or empty"
                in message
            )

    @pytest.mark.parametrize(("damage", "said"), [
        (lambda folder: shutil.rmtree(folder), "the iterations 2, 4"),
        (lambda folder: cut(next(folder.iterdir())), "is damaged: in"),
        (lambda folder: empty(next(folder.iterdir())), "is damaged: in"),
    ])  # fmt: skip
    def test_lost_and_damaged_metrics(self, copy, uninterrupted, damage, said):
        damage(copy / "metrics.parquet")
        message = self.refused(copy)
        assert said in message
        assert "--from 0` (in Python back_to=0)" in message
        assert_same_run(self.goes_on(copy, back_to=0), uninterrupted)

    def test_a_part_that_is_gone_is_named_with_the_checkpoint_before_it(self, copy, uninterrupted):
        run_folder = RunFolder(copy)
        rows = run_folder.table()
        run_folder.drop_all_parts()
        run_folder.write_part(2, rows.filter(pc.equal(rows["iteration"], 2)))
        message = self.refused(copy)
        assert "of the iterations 4." in message
        assert "--from 2` (in Python back_to=2) drops what came after iteration 2" in message
        assert_same_run(self.goes_on(copy, back_to=3), uninterrupted)  # the checkpoint at or before it

    def test_a_row_that_is_gone(self, copy):
        run_folder = RunFolder(copy)
        rows = run_folder.table()
        run_folder.drop_all_parts()
        run_folder.write_part(4, rows.slice(0, rows.num_rows - 1))
        assert "of the iterations 4." in self.refused(copy)

    def test_going_back_to_where_there_is_no_checkpoint(self, copy):
        message = self.refused(copy, back_to=1)
        assert "no checkpoint at or before iteration 1; there are: 2, 4" in message
        assert "go back to an iteration from 0 on (got -1)" in self.refused(copy, back_to=-1)
        assert "go back to" in self.refused(copy, back_to=2, resume=False)

    def test_a_run_that_went_back_is_not_finished(self, copy):
        self.patch.undo()
        self.patch.setattr("jaxreward.run.chunk.Program.compile", lambda self: sys.exit())
        with pytest.raises(SystemExit):
            run(copy, 4, resume=True, back_to=2)
        assert not RunFolder(copy).finished()
        assert list(RunFolder(copy).metrics()["iteration"].unique()) == [2]
        assert saved_iterations(copy / "checkpoints") == [2]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({name: v for name, v in config.items() if v is not None}))


def test_only_the_newest_are_kept(tmp_path, cache):
    run(tmp_path, 8, keep=2)
    assert saved_iterations(tmp_path / "checkpoints") == [6, 8]


def damages(folder):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder)


def test_any_damage_is_noticed(partial, tmp_path):
    """Each file of the newest checkpoint deleted, emptied, cut and altered: the older one, or all bits are there."""
    abstract = load_state(partial, agent, Hyperparams())
    states = {i: restore_only(partial / "checkpoints", i, abstract, tmp_path / str(i)) for i in (2, 4)}
    fallbacks = 0
    for number, (path, damage) in enumerate(
        (path, damage) for path in damages(partial / "checkpoints" / "4") for damage in (delete, empty, cut, alter)
    ):
        folder = Path(shutil.copytree(partial / "checkpoints", tmp_path / f"damaged{number}"))
        damage(folder / "4" / path)
        with pytest.MonkeyPatch.context() as patch:
            warned = []
            patch.setattr("jaxreward.run.checkpoint.warnings.warn", lambda message, **_: warned.append(message))
            restored = restore(folder, abstract)
        assert bool(warned) == (restored.iteration == 2), (path, damage)
        assert_same(restored.state, states[restored.iteration])
        fallbacks += restored.iteration == 2
    assert fallbacks >= 4


def restore_only(folder, iteration, abstract, to):
    shutil.copytree(folder / str(iteration), to / str(iteration))
    return restore(to, abstract).state  # nothing older to fall back to


def delete(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def alter(path):
    """Inverts a byte in the largest part of the file, the numbers."""
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) // 3] ^= 255
    path.write_bytes(content)


def test_altered_numbers_are_noticed(tmp_path):
    """The array store has no checksums over its data."""
    state = jax.random.uniform(jax.random.key(0), (64, 64))
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, state, {})
    checkpoints.wait()
    checkpoints.close()
    data = max((path for path in tmp_path.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = data.read_bytes()
    for position in range(len(content) // 16, len(content), len(content) // 8):
        altered = bytearray(content)
        altered[position] ^= 1
        data.write_bytes(altered)
        with pytest.warns(UserWarning, match="skipped"), pytest.raises(RunError, match="damaged"):
            restore(tmp_path, state)
    data.write_bytes(content)
    assert_same(restore(tmp_path, state).state, state)


def test_resume_falls_back_past_a_damaged_checkpoint(copy, uninterrupted):
    cut(copy / "checkpoints" / "4" / "host" / "metadata")
    with pytest.warns(UserWarning, match=r"skipped the damaged checkpoint .*/4: "):
        resumed = run(copy, 6, resume=True)
    assert_same_run(resumed, uninterrupted)


def test_all_damaged_is_an_error(copy):
    for iteration in ("2", "4"):
        empty(copy / "checkpoints" / iteration / "host" / "metadata")
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(RunError, match=r"all .* are damaged; .*--from 0`"):
        run(copy, 6, resume=True)
    assert RunFolder(copy).metrics()["iteration"].max() == 4


class TestAnotherConfiguration:
    def test_existing_run_is_not_overwritten(self, copy):
        with pytest.raises(RunError, match="already holds a run: resume it"):
            run(copy, 4)

    def test_differences_are_listed(self, copy):
        with pytest.raises(RunError) as error:
            run(copy, 3, Hyperparams(learning_rate=0.3), seeds=3, config={"env": "other"}, resume=True)
        lines = str(error.value).splitlines()
        assert [line.strip() for line in lines[1:]] == [
            "hyperparams.learning_rate: [0.1] -> [0.3]",
            "seeds: [0, 1] -> [0, 1, 2]",
            'config.env: absent -> "other"',
            "iterations: 4 -> 3 (may only grow)",
        ]

    def test_a_size_that_came_later_is_none_unless_it_is_asked_for(self):
        before = {"config": {"settings": {}, "agent_config": {"num_envs": 4}}}
        after = {"config": {"settings": {}, "agent_config": {"num_envs": 4, "double": True}}}
        assert differences(before, after) == []
        assert differences(after, before) == ["config.agent_config.double: true -> absent"]
        after["config"]["settings"] = {"double": True}
        assert "config.agent_config.double: absent -> true" in differences(before, after)

    def test_log_every_is_the_first_runs(self, copy):
        assert list(run(copy, 5, log_every=None, resume=True).metrics["iteration"].unique()) == [2, 4, 5]

    def test_state_of_another_shape(self, copy):
        wider = agent._replace(init=lambda k, h: agent.init(k, h)._replace(empty=jnp.zeros(4)))
        with pytest.raises(RunError, match=r"differs \(stored -> expected\):\n  empty: float32\[1, 2, 0, 2\] -> "):
            load_state(copy, wider, Hyperparams())

    def test_other_versions_are_told(self, copy):
        config = json.loads((copy / "config.json").read_text())
        config["versions"]["jax"] = "0.0.1"
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.warns(UserWarning, match=r"bits may differ: jax 0.0.1 -> "):
            run(copy, 4, resume=True)


def test_another_number_of_devices_is_told(copy):
    mesh = jax.make_mesh((2,), ("seed",))
    run(copy, 4, resume=True, mesh=mesh)  # it is finished
    with pytest.warns(UserWarning, match="bits may differ: members x seeds on a device 1 x 2 -> 1 x 1"):
        run(copy, 6, resume=True, mesh=mesh)


def test_a_run_over_two_devices_resumes_to_the_same_bits_with_its_empty_leaf(tmp_path, cache):
    mesh = jax.make_mesh((2,), ("seed",))
    run(tmp_path / "twice", 2, mesh=mesh)
    resumed = run(tmp_path / "twice", 4, resume=True, mesh=mesh)
    assert_same_run(resumed, run(tmp_path / "once", 4, mesh=mesh))
    assert resumed.state.empty.shape == (1, 2, 0, 2)
    assert len(resumed.state.params["x"].devices()) == 2


def test_load_state_without_run_or_checkpoint(copy, tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        load_state(tmp_path, agent, Hyperparams())
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(RunError, match="no checkpoint"):
        load_state(copy, agent, Hyperparams())


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_every_kind_of_leaf(tmp_path, impl):
    state = {
        "keys": jax.random.split(jax.random.key(3, impl=impl), 2),
        "half": jnp.array([1.5, -jnp.inf, jnp.nan], jnp.bfloat16),
        "flag": jnp.array([True, False]),
        "big": jnp.array([2**32 - 1], jnp.uint32),
        "empty": jnp.zeros((0, 3)),
        "scalar": jnp.float32(0.1),
        "nothing": (),
        "none": None,
    }
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(7, state, {"exact": 2**60 + 1})
    checkpoints.wait()
    checkpoints.close()
    restored = restore(tmp_path, jax.eval_shape(lambda: state))
    assert (restored.iteration, restored.counters) == (7, {"exact": 2**60 + 1})
    assert_same(restored.state, state)
    assert jax.random.key_impl(restored.state["keys"]) == jax.random.key_impl(state["keys"])


def test_saved_state_can_be_donated_at_once(tmp_path):
    """The next chunk takes over the state's memory while the checkpoint is still being written."""
    advance = jax.jit(lambda x: x + 1, donate_argnums=0)
    state = jnp.zeros((64, 1024))
    checkpoints = Checkpoints(tmp_path, keep=9)
    for iteration in range(5):
        checkpoints.save(iteration, state, {})
        saved, state = state, advance(state)
        assert saved.is_deleted()
    checkpoints.wait()
    checkpoints.close()
    for iteration in range(5):
        read = restore_only(tmp_path, iteration, state, tmp_path / f"only{iteration}")
        np.testing.assert_array_equal(read, float(iteration))


def test_a_state_whose_parts_had_other_names_is_read(tmp_path):
    state = {"search": {"tally": jnp.arange(3)}, "rewards": {"individual": jnp.ones(2)}}
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, state, {})
    checkpoints.wait()
    checkpoints.close()
    renamed = {"search": {"statistics": jnp.zeros(3, int)}, "rewards": {"genotype": jnp.zeros(2)}}
    np.testing.assert_array_equal(restore(tmp_path, renamed).state["search"]["statistics"], jnp.arange(3))
    assert_same(restore(tmp_path, state).state, state)  # a state of the user's may have these names
    with pytest.raises(RunError, match="of another configuration"):
        restore(tmp_path, {"search": {"statistic": jnp.arange(3)}, "rewards": {"genotype": jnp.ones(2)}})
