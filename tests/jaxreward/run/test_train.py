"""The host loop: what it computes, counts, writes and says."""

import errno
import json
import re
import signal
import sys
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxreward.agent import Agent
from jaxreward.compilation.cache import enable_compilation_cache
from jaxreward.run import guards, store
from jaxreward.run import train as train_module
from jaxreward.run.checkpoint import saved_iterations
from jaxreward.run.chunk import Program
from jaxreward.run.loggers import Curves
from jaxreward.run.plan import batch_sharding, make_plan, widest_mesh
from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.train import NonFiniteWarning, load_state, train
from tests.noisy_quadratic import ENV_STEPS, Hyperparams, agent

RATES = (0.1, 0.2)
POPULATION = [{"learning_rate": rate} for rate in RATES]
BATCH = Hyperparams(*(jnp.full(2, value) for value in Hyperparams()))._replace(learning_rate=jnp.array(RATES))

compiled: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, fun_name="", **kwargs: compiled.append(fun_name) if "backend_compile" in event else None
)


def run(folder, **changes):
    arguments = dict(population=POPULATION, seeds=3, iterations=25, log_every=10, folder=folder, progress=False)
    hyperparams = changes.pop("hyperparams", BATCH)
    return train(changes.pop("agent", agent), hyperparams, **{**arguments, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "finished", config={"env": {"name": "quadratic"}})


def reference(hyperparams, seed, iterations):
    """The agent by hand: one step after another, metrics of each."""
    step = jax.jit(agent.step)
    state, rows = agent.init(jax.random.key(seed), hyperparams), []
    for _ in range(iterations):
        state, metrics = step(state)
        rows.append(metrics)
    return state, pd.DataFrame([{name: float(value) for name, value in row.items()} for row in rows])


def same(a, b):
    data = lambda x: np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)  # noqa: E731
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(data(left).view(np.uint8), data(right).view(np.uint8))


def without_time(frame):
    return frame.drop(columns="wall_seconds")


def test_metrics_are_those_of_single_steps(finished):
    _, rows = reference(Hyperparams(learning_rate=0.2), seed=1, iterations=25)
    mine = finished.metrics.query("member == 1 and seed == 1")
    assert list(mine["iteration"]) == [10, 20, 25]
    for (start, end), row in zip([(0, 10), (10, 20), (20, 25)], mine.to_dict("records"), strict=True):
        part = rows.iloc[start:end]
        assert row["iteration_index"] == (start + end - 1) / 2
        assert row["episode/count"] == part["episode/count"].sum()
        ended = part[part["episode/count"] > 0]
        expected = (ended["episode/return"] * ended["episode/count"]).sum() / ended["episode/count"].sum()
        # Float32 means of at most ten numbers: a few units in the last place.
        np.testing.assert_allclose(row["episode/return"], expected, rtol=1e-6)
        np.testing.assert_allclose(row["loss"], part["loss"].mean(), rtol=1e-6)


def test_state_has_population_and_seed_axes(finished):
    assert finished.state.params["x"].shape == (2, 3, 3)
    assert np.all(finished.state.iteration == 25)
    expected, _ = reference(Hyperparams(learning_rate=0.2), seed=1, iterations=25)
    # An elementwise update: vmap changes no rounding.
    same(jax.tree.map(lambda leaf: leaf[1, 1], finished.state.params), expected.params)


def test_episode_metrics_are_null_without_episodes(tmp_path):
    frame = run(tmp_path, iterations=12, log_every=1).metrics
    empty = frame["episode/count"] == 0
    assert empty.any()
    assert not empty.all()
    assert (frame["episode/return"].isna() == empty).all()
    assert not frame["failed"].any()


def test_counts_are_exact_past_int32(finished):
    assert list(finished.metrics["env_steps"].unique()) == [n * ENV_STEPS for n in (10, 20, 25)]
    assert finished.metrics["env_steps"].max() > 2**31


def test_columns(finished):
    columns = ["iteration", "env_steps", "wall_seconds", "member", "seed", "failed", "learning_rate"]
    assert list(finished.metrics.columns[:7]) == columns
    np.testing.assert_array_equal(finished.metrics["learning_rate"], np.array(RATES)[finished.metrics["member"]])
    # The agent's own metric of that name stays, apart.
    np.testing.assert_allclose(finished.metrics["metric/learning_rate"], finished.metrics["learning_rate"], rtol=1e-6)


def test_folder_describes_the_run(finished):
    config = json.loads((finished.folder / "config.json").read_text())
    assert config["config"] == {"env": {"name": "quadratic"}}
    assert config["hyperparams"]["learning_rate"] == list(RATES)
    assert config["hyperparams"]["horizon"] == ["inf", "inf"]
    assert config["population"] == POPULATION
    assert (config["seeds"], config["iterations"], config["log_every"]) == ([0, 1, 2], 25, 10)
    assert set(config["versions"]) == {"jaxreward", "jax", "jaxlib", "flax", "optax", "numpy", "python"}
    assert config["versions"]["jax"] == jax.__version__
    assert config["device"]["platform"] == "cpu"
    assert not list(finished.folder.rglob("*.tmp"))
    assert list((finished.folder / "tensorboard").rglob("events*"))


def test_compiles_once(tmp_path):
    run(tmp_path, iterations=7, log_every=3)
    start = len(compiled)
    run(tmp_path / "again", iterations=7, log_every=3)
    assert sum("_chunk" in name for name in compiled[start:]) == 1


def test_nothing_compiles_after_the_first_chunk(tmp_path, monkeypatch):
    sizes = []
    record = train_module.Training._record
    monkeypatch.setattr(train_module.Training, "_record", lambda *args: (sizes.append(len(compiled)), record(*args))[1])
    run(tmp_path, iterations=7, log_every=3, checkpoint_every=1)
    assert len(sizes) == 3
    assert sizes[1] == sizes[2] == len(compiled)


def test_state_is_donated():
    plan = make_plan(Hyperparams(), None, 2, 10, 5)
    program = Program(train_module._batched(agent), plan.keys, plan.hyperparams, 5)
    chunk, _ = program.compile()
    state, _ = program.init()
    assert not any(leaf.aval.weak_type for leaf in jax.tree.leaves(state))
    chunk(state, 5)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state) if leaf.size)


def test_donation_spares_the_callers_hyperparameters(tmp_path):
    run(tmp_path, iterations=2)
    np.testing.assert_array_equal(BATCH.learning_rate, np.float32(RATES))


def test_a_seed_alone_is_the_same_run(finished, tmp_path):
    alone = run(tmp_path, seeds=[2], population=None, hyperparams=Hyperparams(learning_rate=0.2))
    same(jax.tree.map(lambda leaf: leaf[:, 0], alone.state), jax.tree.map(lambda leaf: leaf[1:, 2], finished.state))
    pick = finished.metrics.query("member == 1 and seed == 2").reset_index(drop=True)
    columns = ["iteration", "env_steps", "episode/return", "episode/count"]
    pd.testing.assert_frame_equal(alone.metrics[columns], pick[columns])


def test_log_every_does_not_change_the_state(finished, tmp_path):
    same(run(tmp_path, log_every=1).state, finished.state)


def test_mesh_spreads_the_batch(finished, tmp_path):
    for number, mesh in enumerate(
        (jax.make_mesh((2,), ("population",)), jax.make_mesh((3, 2), ("seed", "population")))
    ):
        spread = run(tmp_path / str(number), mesh=mesh, config={"env": {"name": "quadratic"}})
        assert len(spread.state.params["x"].devices()) == mesh.size
        same(spread.state, finished.state)
        # Float32 means over a chunk may be summed in another order.
        pd.testing.assert_frame_equal(without_time(spread.metrics), without_time(finished.metrics), rtol=1e-6)
    for axis in ("seed", "a"):
        with pytest.raises(RunError, match=r"must have axes of .* that divide"):
            run(tmp_path / "other", mesh=jax.make_mesh((2,), (axis,)))


def test_devices_never_wait_for_each_other():
    plan = make_plan(BATCH, POPULATION, 4, 10, 5)
    mesh = jax.make_mesh((2, 4), ("population", "seed"))
    program = Program(train_module._batched(agent, mesh), plan.keys, plan.hyperparams, 5, batch_sharding(mesh, plan))
    text = program.lower().compile().as_text()
    assert "num_partitions=8" in text
    assert not re.findall("all-gather|all-reduce|all-to-all|collective|reduce-scatter", text)


@pytest.mark.parametrize(("members", "seeds", "expected"), [
    (3, 8, (1, 8)), (12, 5, (6, 1)), (2, 4, (2, 4)), (3, 2, (3, 2)), (8, 8, (1, 8)), (1, 1, None), (1, 11, None),
])  # fmt: skip
def test_the_widest_mesh_divides_the_batch(members, seeds, expected):
    """Of the eight devices that tests have."""
    plan = make_plan(jnp.zeros(members), [{"x": i} for i in range(members)], seeds, 1, None)
    mesh = widest_mesh(plan)
    assert (mesh and tuple(mesh.shape.items())) == (expected and tuple(zip(("population", "seed"), expected)))


class TestNonFinite:
    hyperparams = BATCH._replace(explode_at=jnp.array([-1, 4]))

    def test_names_the_run_and_goes_on(self, tmp_path, finished):
        with pytest.warns(NonFiniteWarning) as caught:
            result = run(tmp_path, hyperparams=self.hyperparams, seeds=2)
        assert len(caught) == 1  # not again in later chunks
        message = str(caught[0].message)
        assert "2 of 4 runs are no longer finite at iteration 10" in message
        assert "member 1 (learning_rate=0.2), seed 1: the learned parameters" in message
        assert "loss" in message
        assert "member 0" not in message
        assert (result.metrics["failed"] == (result.metrics["member"] == 1)).all()
        same(
            jax.tree.map(lambda leaf: leaf[0], result.state.params),
            jax.tree.map(lambda x: x[0, :2], finished.state.params),
        )

    def test_says_when_none_is_left(self, tmp_path):
        with pytest.warns(NonFiniteWarning, match="(?s)4 of 4 runs .*no run is left whose numbers are$"):
            run(tmp_path, hyperparams=BATCH._replace(explode_at=jnp.array([4, 4])), seeds=2)

    def test_raise_saves_first(self, tmp_path):
        with pytest.raises(RunError, match=r"seed 0: .*loss"):
            run(tmp_path, hyperparams=self.hyperparams, on_nan="raise")
        assert np.all(load_state(tmp_path, agent, Hyperparams()).iteration == 10)

    def test_stays_known_on_resume(self, tmp_path):
        with pytest.warns(NonFiniteWarning):
            run(tmp_path, hyperparams=self.hyperparams)
        result = run(tmp_path, hyperparams=self.hyperparams, iterations=30, resume=True)
        assert (result.metrics["failed"] == (result.metrics["member"] == 1)).all()


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"iterations": 0}, "iterations must be a positive integer, not 0"),
            ({"log_every": 0}, "log_every must be a positive integer"),
            ({"keep": 0}, "keep must be"),
            ({"checkpoint_every": 0}, "checkpoint_every must be"),
            ({"seeds": [1, 1]}, "seeds must be"),
            ({"seeds": 0}, "seeds must be"),
            ({"seeds": [-1]}, "seeds must be"),
            ({"seeds": "8"}, "such as 8 or .0, 1., not '8'"),
            ({"seeds": None}, "such as 8 or .0, 1., not None"),
            ({"on_nan": "ignore"}, "on_nan must be"),
            ({"hyperparams": BATCH._replace(learning_rate="x")}, "hyperparameter learning_rate must be .* not .x."),
            ({"population": POPULATION[:1]}, r"names 1 members.*'learning_rate': \(2,\)"),
            ({"population": [{"seed": 1}, {"seed": 2}]}, r"\['seed'\]"),
            ({"resume": "require"}, "no run to resume"),
            ({"wandb": "project"}, "isn't installed"),
        ],
    )
    def test_is_said_before_anything_compiles(self, tmp_path, monkeypatch, changes, message):
        monkeypatch.setitem(sys.modules, "wandb", None)
        monkeypatch.setattr(Program, "compile", lambda self: pytest.fail("compiled"))
        with pytest.raises(RunError, match=message):
            run(tmp_path / "run", **changes)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("metrics", "message"),
        [
            ({"loss": 0.0}, "lack 'env_steps'"),
            ({"env_steps": 1, "episode/return": 0.0}, "lack 'episode/count'"),
            ({"env_steps": 1, "loss": np.zeros(3)}, r"'loss': \(3,\)"),
        ],
    )
    def test_wrong_metrics(self, tmp_path, metrics, message):
        wrong = Agent(agent.init, lambda state: (state, jax.tree.map(jnp.asarray, metrics)), agent.policy)
        with pytest.raises(RunError, match=message):
            run(tmp_path, agent=wrong)

    def test_a_file_in_the_way(self, tmp_path):
        (tmp_path / "run").write_text("")
        with pytest.raises(RunError, match="can't write to the folder"):
            run(tmp_path / "run")

    def test_too_little_space(self, tmp_path, monkeypatch):
        monkeypatch.setattr(guards.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=10_000_000))
        monkeypatch.setattr(Program, "compile", lambda self: pytest.fail("compiled"))
        with pytest.raises(RunError, match="has 10 MB left"):
            run(tmp_path)
        assert not (tmp_path / "config.json").exists()


def test_full_disk_keeps_what_was_written(tmp_path, finished, monkeypatch):
    replace, calls = store.os.replace, []

    def full(source, target):
        calls.append(target)
        if "part-000000000025" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(store.os, "replace", full)
    with pytest.raises(RunError, match=r"No space left on device.*kept; the last checkpoint is of iteration 20"):
        run(tmp_path, checkpoint_every=1, config={"env": {"name": "quadratic"}})
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    resumed = run(tmp_path, config={"env": {"name": "quadratic"}}, resume=True)
    pd.testing.assert_frame_equal(without_time(resumed.metrics), without_time(finished.metrics))


def test_checkpoint_that_cannot_be_written(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr("jaxreward.run.checkpoint.ocp.CheckpointManager.save", full)
    with pytest.raises(RunError, match=r"checkpoint could not be written.*No space left"):
        run(tmp_path)
    assert len(list((tmp_path / "metrics.parquet").iterdir())) == 3


def test_weights_and_biases(tmp_path, monkeypatch):
    calls = []

    class Run:
        def log(self, values, step):
            calls.append((step, values))

        def finish(self):
            calls.append("finish")

    fake = types.ModuleType("wandb")
    fake.init = lambda **arguments: (calls.append(arguments), Run())[1]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    result = run(tmp_path / "mine", wandb="quadratics")
    first, *logged, last = calls
    assert (first["project"], first["name"], first["config"]["seeds"]) == ("quadratics", "mine", [0, 1, 2])
    assert last == "finish"
    assert [step for step, _ in logged] == [10, 20, 25]
    loss = result.metrics.query("iteration == 25").groupby("member")["loss"].mean()
    np.testing.assert_allclose(logged[-1][1]["1_learning_rate=0.2/loss"], loss[1], rtol=1e-6)
    np.testing.assert_allclose(logged[-1][1]["loss"], loss.mean(), rtol=1e-6)


def test_large_populations_draw_few_curves():
    values = np.arange(1024.0).reshape(64, 16)
    assert Curves([{}] * 64, list(range(16))).of(values) == {"mean": values.mean()}
    assert len(Curves([{"a": i} for i in range(32)], list(range(16))).of(values[:32])) == 33
    assert len(Curves([{}], list(range(4))).of(values[:1, :4])) == 5
    assert Curves([{}], [0]).of(np.array([[np.nan]])) == {}


def test_interrupt_saves_and_says_how_to_go_on(tmp_path, finished, monkeypatch, capsys):
    record = train_module.Training._record

    def record_then_signal(self, *arguments):
        signal.raise_signal(signal.SIGINT)
        return record(self, *arguments)

    monkeypatch.setattr(train_module.Training, "_record", record_then_signal)
    config = {"env": {"name": "quadratic"}}
    with pytest.raises(KeyboardInterrupt, match="iteration 10; resume the run in"):
        run(tmp_path, progress=True, config=config)
    assert "saving" in capsys.readouterr().err
    monkeypatch.setattr(train_module.Training, "_record", record)
    same(run(tmp_path, resume="require", config=config).state, finished.state)


def test_terminated_process_exits_with_the_signals_code(tmp_path, monkeypatch):
    record = train_module.Training._record

    def record_then_signal(self, *arguments):
        signal.raise_signal(signal.SIGTERM)
        return record(self, *arguments)

    monkeypatch.setattr(train_module.Training, "_record", record_then_signal)
    with pytest.raises(SystemExit) as exit_:
        run(tmp_path)
    assert exit_.value.code == 143
    assert np.all(load_state(tmp_path, agent, Hyperparams()).iteration == 10)


def test_progress_lines_when_not_a_terminal(tmp_path, capsys):
    run(tmp_path, progress=True)
    lines = capsys.readouterr().err
    assert "compiled in" in lines
    assert "iteration 25/25" in lines
    assert "steps/s  return -" in lines


def test_compilation_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREWARD_CACHE", str(tmp_path / "cache"))
    before = jax.config.jax_compilation_cache_dir
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        enable_compilation_cache()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache")
        monkeypatch.setenv("JAXREWARD_CACHE", str(tmp_path / "other"))
        enable_compilation_cache()  # a choice made before stands
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)


def test_no_warning_escapes(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tmp_path, iterations=3)


def test_infinite_settings_are_numbers_in_the_metrics(tmp_path):
    population = [{"horizon": float("inf")}, {"horizon": 2.0}]
    hyperparams = BATCH._replace(horizon=jnp.array([jnp.inf, 2.0]))
    frame = run(tmp_path / "run", hyperparams=hyperparams, population=population).metrics
    assert frame["horizon"].dtype == float
    assert set(frame["horizon"]) == {float("inf"), 2.0}


@pytest.mark.parametrize("every", [1, 3])
def test_a_kill_loses_no_more_rows_than_there_are_between_checkpoints(tmp_path, monkeypatch, every):
    """At no moment are there more rows on disk than that after the newest checkpoint."""
    behind, write = [], RunFolder.write_part

    def spy(run, iteration, table):
        write(run, iteration, table)
        behind.append(iteration - max(saved_iterations(run.checkpoints), default=0))

    monkeypatch.setattr(RunFolder, "write_part", spy)
    options = {"log_every": 1, "checkpoint_every": every, "progress": False}
    train(agent, Hyperparams(), iterations=60, folder=tmp_path / "run", **options)
    assert len(behind) == 60
    assert max(behind) <= every
